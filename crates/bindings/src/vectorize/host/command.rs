//! What operators do with indexes: `bspan vectorize info`, `check`, `backup`, `copy`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use clap::{Args, Command, FromArgMatches, Subcommand};
use host::Failure;

use super::copy::{self, Line};
use super::place::{Place, describe};
use crate::vectorize::{
    BackupError, IndexOptions, Info, Limits, OpenError, Store, Vectorize, backup, check, inspect,
};

const EXAMPLES: &str = "Examples:
  What an index is; it may be in use:
    bspan vectorize info ./docs.sqlite
    bspan vectorize info postgres://rag@db.internal/rag,table=docs

  Whether a file is sound, and a copy of it while it is in use:
    bspan vectorize check ./docs.sqlite
    bspan vectorize backup ./docs.sqlite ./docs.backup.sqlite

  From the file to PostgreSQL, with the password from a file, and back:
    bspan vectorize copy ./docs.sqlite postgres://rag@db.internal/rag,table=docs --create \\
          --password-file ./password
    bspan vectorize copy postgres://rag@db.internal/rag,table=docs ./docs.sqlite --create \\
          --password-file ./password";

#[derive(Debug, Args)]
struct CommandArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what an index is: dimensions, metric, vectors, metadata indexes
    Info {
        /// A file, or postgres://USER@HOST/DATABASE,table=TABLE
        #[arg(value_name = "PLACE")]
        place: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Look at all of a file, which may be in use; exits with 1 and a line for each problem
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Copy a file to a new one, while it may be in use
    Backup {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where nothing is yet
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Copy all vectors to another index, and compare both
    ///
    /// Nobody may write to them meanwhile; a file must not be open in another process (copy a backup of it). An
    /// interrupted copy goes on where it was when it is run again. Nothing is ever deleted.
    Copy {
        /// A file, or postgres://USER@HOST/DATABASE,table=TABLE
        #[arg(value_name = "FROM")]
        from: String,
        /// Likewise
        #[arg(value_name = "TO")]
        to: String,
        /// Create TO if it is not there, with the dimensions, metric and metadata indexes of FROM
        #[arg(long)]
        create: bool,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// The file with PostgreSQL's password; otherwise PGPASSWORD has it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The command.
pub(super) fn command() -> Command {
    let command = Command::new("vectorize")
        .about("Look at Vectorize indexes, check, back up and move them")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true);
    CommandArgs::augment_args(command)
}

/// Runs it.
pub(super) fn run(matches: &clap::ArgMatches) -> Result<(), Failure> {
    let args = CommandArgs::from_arg_matches(matches);
    match args
        .map_err(|error| Failure::Usage(error.to_string()))?
        .what
    {
        What::Info { place, password } => {
            let info = match read(&place, &password)? {
                Store::File(path) => inspect(&path).map_err(failed)?,
                store => copy::block_on(async {
                    let index = open(&store, unlimited()).await?;
                    let info = index.info().await;
                    index.close().await;
                    info.map_err(|error| Failure::Unavailable(error.to_string()))
                })??,
            };
            print(&shown(&info))
        }
        What::Check { file } => checked(&file),
        What::Backup { file, to } => {
            let interrupted = copy::interrupted()?;
            let mut line = Line::new();
            let copied = backup(&file, &to, &mut |pages, of| {
                line.show("copied", "pages", pages, of);
                match interrupted.load(Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            line.end();
            copied.map_err(|error| match error {
                BackupError::Stopped => Failure::Signal(copy::INTERRUPT),
                error => Failure::Config(error.to_string()),
            })?;
            print(&format!(
                "{} is a backup of {}\n",
                to.display(),
                file.display()
            ))
        }
        What::Copy {
            from,
            to,
            create,
            password,
        } => {
            let (from, to) = (read(&from, &password)?, read(&to, &password)?);
            if is_same(&from, &to) {
                let text = format!("FROM and TO are both {}", describe(&from));
                return Err(Failure::Usage(text));
            }
            let copied = copy::block_on(copy::copy(&from, &to, create))??;
            print(&format!(
                "{copied} vectors are in {}, each the same as in {}\n",
                describe(&to),
                describe(&from)
            ))
        }
    }
}

fn is_same(from: &Store, to: &Store) -> bool {
    match (from, to) {
        (Store::File(from), Store::File(to)) => {
            let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            place(from) == place(to)
        }
        _ => from == to,
    }
}

fn read(text: &str, password: &PasswordArgs) -> Result<Store, Failure> {
    let place = Place::read(text).and_then(|place| {
        match place.dimensions.is_some() || place.metric.is_some() {
            true => {
                Err("an index has its dimensions and its metric already; leave them out".into())
            }
            false => place.store(None),
        }
    });
    let mut store = place.map_err(Failure::Usage)?;
    if let Store::Postgres(server) = &mut store {
        server.password_file.clone_from(&password.password_file);
        let variable = std::env::var("PGPASSWORD").ok();
        server.password = variable.filter(|password| !password.is_empty());
    }
    Ok(store)
}

/// Without limits of its own: whoever serves the index has them. No approximate index is made meanwhile.
pub(super) fn unlimited() -> IndexOptions {
    IndexOptions {
        exact_below: u64::MAX,
        searchers: 1,
        timeout: std::time::Duration::from_secs(3600),
        limits: Limits {
            max_dimensions: 16_000,
            max_namespaces: usize::MAX,
            max_vectors: u64::MAX,
            max_metadata_indexes: usize::MAX,
            max_memory_bytes: u64::MAX,
            ..Limits::default()
        },
        ..IndexOptions::default()
    }
}

pub(super) async fn open(store: &Store, options: IndexOptions) -> Result<Vectorize, Failure> {
    let opened = Vectorize::open("copy", store.clone(), options, None).await;
    opened.map_err(|error| match (store, error) {
        (Store::Postgres(_), OpenError::Store(text)) => Failure::Unavailable(text),
        (_, error) => failed(error),
    })
}

fn failed(error: OpenError) -> Failure {
    Failure::Config(error.to_string())
}

fn checked(file: &Path) -> Result<(), Failure> {
    // Ids and namespaces may be as long as whoever serves the index allows.
    let limits = Limits {
        max_id_bytes: usize::MAX,
        max_namespace_bytes: usize::MAX,
        ..unlimited().limits
    };
    let report = check(file, &limits).map_err(failed)?;
    if report.problems.is_empty() {
        let (vectors, shown) = (report.vectors, file.display());
        return print(&format!("{shown} is sound: {vectors} vectors\n"));
    }
    let mut text: String = report
        .problems
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if report.more > 0 {
        text.push_str(&format!("and {} more\n", report.more));
    }
    print(&text)?;
    Err(Failure::Callee(format!(
        "{} is damaged; restore it from a backup",
        file.display()
    )))
}

fn shown(info: &Info) -> String {
    let mut text = format!(
        "dimensions        {}\nmetric            {}\nvectors           {}\n",
        info.dimensions, info.metric, info.vectors
    );
    let newest = info.newest.as_ref().map_or_else(
        || "none".to_owned(),
        |(id, millis)| {
            let nanos = i128::from(*millis) * 1_000_000;
            let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
            let format = &time::format_description::well_known::Rfc3339;
            let time = time.and_then(|time| time.format(format).ok());
            format!("{id} at {}", time.unwrap_or_else(|| millis.to_string()))
        },
    );
    text.push_str(&format!("newest mutation   {newest}\n"));
    let indexes = info.metadata_indexes.iter();
    let indexes: Vec<String> = indexes
        .map(|index| format!("{}:{}", index.property, index.kind.name()))
        .collect();
    let indexes = match indexes.is_empty() {
        true => "none".to_owned(),
        false => indexes.join(", "),
    };
    text.push_str(&format!("metadata indexes  {indexes}\n"));
    text
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Output(format!("cannot write the result: {error}")))
}
