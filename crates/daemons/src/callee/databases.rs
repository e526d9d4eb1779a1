//! D1 databases: what can be said about them, and how they are opened.

use std::path::PathBuf;
use std::time::Duration;

use bindings::d1::{DatabaseOptions, IsolatedDatabase, Isolation};
use clap::Args;

use crate::cli::{self, Size, Switch};
use crate::config::{Problem, Section};
use crate::exit::Failure;

/// What every database may take, unless its table says otherwise.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Databases")]
pub struct DatabaseLimitArgs {
    /// How long a call may take on its database, all statements together; 30s by default
    ///
    /// Then it is stopped and rolled back, whatever it computes.
    #[arg(long = "d1-timeout", value_name = "TIME", env = "BINDING_SPAN_D1_TIMEOUT", value_parser = cli::deadline, hide_short_help = true)]
    timeout: Option<Duration>,

    /// Processes that read a database, beside the one that writes; 4 by default
    ///
    /// They are started as they are needed, and end after a minute without work. With 0, the one that writes
    /// answers everything.
    #[arg(long = "d1-readers", value_name = "N", env = "BINDING_SPAN_D1_READERS", value_parser = cli::count::<usize>, hide_short_help = true)]
    readers: Option<usize>,

    /// Memory that SQLite may take in each of these processes; 128MiB by default
    ///
    /// A statement that needs more fails. A process may have 256MiB besides, for requests and results.
    #[arg(long = "d1-memory", value_name = "SIZE", env = "BINDING_SPAN_D1_MEMORY", value_parser = memory, hide_short_help = true)]
    memory: Option<Size>,

    /// How large a database may grow; 10GB by default, as in D1
    ///
    /// One that is larger already does not grow.
    #[arg(long = "d1-max-size", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_SIZE", value_parser = cli::some_bytes, hide_short_help = true)]
    max_size: Option<Size>,

    /// How large its write-ahead log may grow within a call; 1GiB by default
    ///
    /// The log holds all that a call changes.
    #[arg(long = "d1-max-log", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_LOG", value_parser = cli::some_bytes, hide_short_help = true)]
    max_log: Option<Size>,

    /// How large temporary files of a process may grow, all together; 1GiB by default
    ///
    /// A large sort or a new index needs some. They are in SQLITE_TMPDIR, or in /var/tmp.
    #[arg(long = "d1-max-temporary", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_TEMPORARY", value_parser = cli::some_bytes, hide_short_help = true)]
    max_temporary: Option<Size>,

    /// Columns that a statement may return; 100 by default, as in D1
    #[arg(long = "d1-max-columns", value_name = "N", env = "BINDING_SPAN_D1_MAX_COLUMNS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    max_columns: Option<usize>,

    /// Calls that may wait for a process of a database, of all clients; 1024 by default
    ///
    /// Beyond it, the client of whom most waits is refused.
    #[arg(long = "d1-queue", value_name = "N", env = "BINDING_SPAN_D1_QUEUE", value_parser = cli::positive::<usize>, hide_short_help = true)]
    queue: Option<usize>,
}

/// The keys of a table `[d1.NAME]`.
#[derive(Debug, Args)]
struct DatabaseArgs {
    /// The SQLite file.
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,

    /// Whether to create the file when there is none.
    #[arg(long, value_name = "true|false")]
    create: Option<Switch>,

    /// As --d1-timeout, for this database.
    #[arg(long, value_name = "TIME", value_parser = cli::deadline)]
    timeout: Option<Duration>,

    /// As --d1-readers.
    #[arg(long, value_name = "N", value_parser = cli::count::<usize>)]
    readers: Option<usize>,

    /// As --d1-memory.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Size>,

    /// As --d1-max-size.
    #[arg(long, value_name = "SIZE", value_parser = cli::some_bytes)]
    max_size: Option<Size>,

    /// As --d1-max-log.
    #[arg(long, value_name = "SIZE", value_parser = cli::some_bytes)]
    max_log: Option<Size>,

    /// As --d1-max-temporary.
    #[arg(long, value_name = "SIZE", value_parser = cli::some_bytes)]
    max_temporary: Option<Size>,

    /// As --d1-max-columns.
    #[arg(long, value_name = "N", value_parser = cli::positive::<usize>)]
    max_columns: Option<usize>,

    /// As --d1-queue.
    #[arg(long, value_name = "N", value_parser = cli::positive::<usize>)]
    queue: Option<usize>,
}

/// SQLite needs some memory to open a file at all.
fn memory(text: &str) -> Result<Size, String> {
    match cli::some_bytes(text)? {
        Size(bytes) if bytes < 8 << 20 => {
            Err("SQLite needs more to work; write 8MiB or more".into())
        }
        size => Ok(size),
    }
}

impl DatabaseLimitArgs {
    /// These, where `own` does not say otherwise.
    fn or(&self, own: Self) -> Self {
        Self {
            timeout: own.timeout.or(self.timeout),
            readers: own.readers.or(self.readers),
            memory: own.memory.or(self.memory),
            max_size: own.max_size.or(self.max_size),
            max_log: own.max_log.or(self.max_log),
            max_temporary: own.max_temporary.or(self.max_temporary),
            max_columns: own.max_columns.or(self.max_columns),
            queue: own.queue.or(self.queue),
        }
    }

    fn options(&self, create: bool) -> (DatabaseOptions, Isolation) {
        let plain = DatabaseOptions::default();
        let isolation = Isolation::default();
        let bytes = |size: Option<Size>, default| size.map_or(default, |size| size.0);
        let options = DatabaseOptions {
            create,
            timeout: self.timeout.unwrap_or(plain.timeout),
            readers: self.readers.unwrap_or(plain.readers),
            max_database_bytes: bytes(self.max_size, plain.max_database_bytes),
            max_log_bytes: bytes(self.max_log, plain.max_log_bytes),
            max_temporary_bytes: bytes(self.max_temporary, plain.max_temporary_bytes),
            max_columns: self.max_columns.unwrap_or(plain.max_columns),
            max_queued: self.queue.unwrap_or(plain.max_queued),
            ..plain
        };
        let isolation = Isolation {
            memory: bytes(self.memory, isolation.memory),
            ..isolation
        };
        (options, isolation)
    }
}

/// A database and the binding that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The binding's name.
    pub binding: String,
    /// The SQLite file.
    pub path: PathBuf,
    /// What calls may take, and whether the file is created when there is none.
    pub options: DatabaseOptions,
    /// Memory that SQLite may take in each of its processes, in bytes.
    pub memory: u64,
}

impl DatabaseConfig {
    /// A database without a table of its own.
    pub(super) fn plain(
        binding: String,
        path: PathBuf,
        create: bool,
        limits: &DatabaseLimitArgs,
    ) -> Self {
        let (options, isolation) = limits.options(create);
        Self {
            binding,
            path,
            options,
            memory: isolation.memory,
        }
    }

    /// A table `[d1.NAME]`, whose file is another one if an option says so.
    pub(super) fn table(
        name: &str,
        section: &Section,
        path: Option<PathBuf>,
        create: bool,
        limits: &DatabaseLimitArgs,
    ) -> Result<Self, Problem> {
        let own: DatabaseArgs = section.parse()?;
        let lacks = || section.lacks("there is no `path`; write path = \"FILE\"");
        let path = path.or(own.path).ok_or_else(lacks)?;
        let create = create || own.create.is_some_and(|switch| switch.0);
        let limits = limits.or(DatabaseLimitArgs {
            timeout: own.timeout,
            readers: own.readers,
            memory: own.memory,
            max_size: own.max_size,
            max_log: own.max_log,
            max_temporary: own.max_temporary,
            max_columns: own.max_columns,
            queue: own.queue,
        });
        Ok(Self::plain(name.to_owned(), path, create, &limits))
    }

    /// Whether both are the same binding on the same file, within the same bounds.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let mut same = other.clone();
        // It matters only where there is no file.
        same.options.create = self.options.create;
        *self == same
    }

    /// Whether its file can be there, without opening it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.options.create || self.path.is_file() {
            true => Ok(()),
            false => Err(Failure::Config(format!(
                "the database {} is not there: {} is no file; create it, or say --d1-create or create = true",
                self.binding,
                self.path.display()
            ))),
        }
    }

    /// Opens the file, in processes of its own.
    pub(super) async fn open(self) -> Result<(Self, IsolatedDatabase), Failure> {
        let isolation = Isolation {
            memory: self.memory,
            ..Isolation::default()
        };
        let options = self.options.clone();
        match IsolatedDatabase::open(&self.path, options, isolation).await {
            Ok(open) => Ok((self, open)),
            Err(error) => Err(Failure::Config(error.to_string())),
        }
    }
}
