//! D1 databases: what can be said about them, and how they are opened.

use std::path::PathBuf;
use std::time::Duration;

use bindings::d1::{DatabaseOptions, Integers, IsolatedDatabase, Isolation, ReplyForm};
use clap::{Args, ValueEnum};

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

    /// Parameters that a statement may have; 100 by default, as in D1
    #[arg(long = "d1-max-parameters", value_name = "N", env = "BINDING_SPAN_D1_MAX_PARAMETERS", value_parser = parameters, hide_short_help = true)]
    max_parameters: Option<usize>,

    /// How long a statement's text may be; 100KB by default, as in D1
    #[arg(long = "d1-max-sql", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_SQL", value_parser = length, hide_short_help = true)]
    max_sql: Option<Size>,

    /// How large a text, a blob or a row may be; 2MB by default, as in D1
    ///
    /// It holds for what is stored already, too.
    #[arg(long = "d1-max-value", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_VALUE", value_parser = length, hide_short_help = true)]
    max_value: Option<Size>,

    /// Statements that a call may have; 1000 by default
    #[arg(long = "d1-max-statements", value_name = "N", env = "BINDING_SPAN_D1_MAX_STATEMENTS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    max_statements: Option<usize>,

    /// Rows that a call may return, all statements together; 100000 by default
    #[arg(long = "d1-max-rows", value_name = "N", env = "BINDING_SPAN_D1_MAX_ROWS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    max_rows: Option<usize>,

    /// How large the result of a call may be, all statements together; 8MB by default
    ///
    /// Each value, row and column counts for 8 bytes, each byte of a blob too, and texts and names for their
    /// length. Our own callers take a reply of at most 2^20 values.
    #[arg(long = "d1-max-result", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_RESULT", value_parser = cli::some_bytes, hide_short_help = true)]
    max_result: Option<Size>,

    /// How long the body of a plain HTTP request may be; 16MiB by default
    #[arg(long = "d1-max-request", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_REQUEST", value_parser = cli::some_bytes, hide_short_help = true)]
    max_request: Option<Size>,

    /// How long to wait for another program that has locked the file; 5s by default
    #[arg(long = "d1-busy-timeout", value_name = "TIME", env = "BINDING_SPAN_D1_BUSY_TIMEOUT", value_parser = cli::duration, hide_short_help = true)]
    busy_timeout: Option<Duration>,

    /// What callers get for an integer that is no JavaScript number, most beyond 2^53; number by default, as from D1
    ///
    /// number: the nearest number, and the `rounded_integers` of `meta` say how many there are. text: its digits.
    /// bigint: a BigInt; for a plain HTTP request its digits. As a parameter such an integer is a BigInt.
    #[arg(
        long = "d1-integers",
        value_name = "FORM",
        env = "BINDING_SPAN_D1_INTEGERS",
        hide_short_help = true
    )]
    integers: Option<IntegerForm>,

    /// The form of a reply: legacy, which workerd of August 2026 reads too, or new; legacy by default
    ///
    /// workerd 1.20261117.1 reads both. In the new form a failed statement is an exception, in the legacy form a
    /// result. A call does not say what its caller reads.
    #[arg(
        long = "d1-reply",
        value_name = "FORM",
        env = "BINDING_SPAN_D1_REPLY",
        hide_short_help = true
    )]
    reply: Option<Reply>,

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

    /// As --d1-max-parameters.
    #[arg(long, value_name = "N", value_parser = parameters)]
    max_parameters: Option<usize>,

    /// As --d1-max-sql.
    #[arg(long, value_name = "SIZE", value_parser = length)]
    max_sql: Option<Size>,

    /// As --d1-max-value.
    #[arg(long, value_name = "SIZE", value_parser = length)]
    max_value: Option<Size>,

    /// As --d1-max-statements.
    #[arg(long, value_name = "N", value_parser = cli::positive::<usize>)]
    max_statements: Option<usize>,

    /// As --d1-max-rows.
    #[arg(long, value_name = "N", value_parser = cli::positive::<usize>)]
    max_rows: Option<usize>,

    /// As --d1-max-result.
    #[arg(long, value_name = "SIZE", value_parser = cli::some_bytes)]
    max_result: Option<Size>,

    /// As --d1-max-request.
    #[arg(long, value_name = "SIZE", value_parser = cli::some_bytes)]
    max_request: Option<Size>,

    /// As --d1-busy-timeout.
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    busy_timeout: Option<Duration>,

    /// As --d1-integers.
    #[arg(long, value_name = "FORM")]
    integers: Option<IntegerForm>,

    /// As --d1-reply.
    #[arg(long, value_name = "FORM")]
    reply: Option<Reply>,

    /// As --d1-queue.
    #[arg(long, value_name = "N", value_parser = cli::positive::<usize>)]
    queue: Option<usize>,
}

/// What callers get for an integer that is no JavaScript number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IntegerForm {
    /// The nearest number.
    Number,
    /// Its digits.
    Text,
    /// A BigInt.
    Bigint,
}

impl From<IntegerForm> for Integers {
    fn from(form: IntegerForm) -> Self {
        match form {
            IntegerForm::Number => Self::Number,
            IntegerForm::Text => Self::Text,
            IntegerForm::Bigint => Self::BigInt,
        }
    }
}

/// The form of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reply {
    /// With `success`; a failure is a result.
    Legacy,
    /// Without; a failure is an exception.
    New,
}

impl From<Reply> for ReplyForm {
    fn from(form: Reply) -> Self {
        match form {
            Reply::Legacy => Self::Legacy,
            Reply::New => Self::New,
        }
    }
}

/// Reads a number of parameters, within SQLite's own bound.
fn parameters(text: &str) -> Result<usize, String> {
    match cli::positive(text)? {
        32_767.. => Err("SQLite takes 32766 at most; bind a list as one JSON array, and read it with json_each()".into()),
        count => Ok(count),
    }
}

/// Reads a length, within SQLite's own bound.
fn length(text: &str) -> Result<Size, String> {
    match cli::some_bytes(text)? {
        Size(1_000_000_001..) => Err("SQLite takes 1GB at most".into()),
        size => Ok(size),
    }
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
            max_parameters: own.max_parameters.or(self.max_parameters),
            max_sql: own.max_sql.or(self.max_sql),
            max_value: own.max_value.or(self.max_value),
            max_statements: own.max_statements.or(self.max_statements),
            max_rows: own.max_rows.or(self.max_rows),
            max_result: own.max_result.or(self.max_result),
            max_request: own.max_request.or(self.max_request),
            busy_timeout: own.busy_timeout.or(self.busy_timeout),
            integers: own.integers.or(self.integers),
            reply: own.reply.or(self.reply),
            queue: own.queue.or(self.queue),
        }
    }

    fn options(&self, create: bool) -> (DatabaseOptions, Isolation) {
        let plain = DatabaseOptions::default();
        let isolation = Isolation::default();
        let bytes = |size: Option<Size>, default| size.map_or(default, |size| size.0);
        let length_of = |size: Option<Size>, default| {
            size.map_or(default, |size| {
                usize::try_from(size.0).unwrap_or(usize::MAX)
            })
        };
        let options = DatabaseOptions {
            create,
            timeout: self.timeout.unwrap_or(plain.timeout),
            readers: self.readers.unwrap_or(plain.readers),
            max_database_bytes: bytes(self.max_size, plain.max_database_bytes),
            max_log_bytes: bytes(self.max_log, plain.max_log_bytes),
            max_temporary_bytes: bytes(self.max_temporary, plain.max_temporary_bytes),
            max_columns: self.max_columns.unwrap_or(plain.max_columns),
            max_parameters: self.max_parameters.unwrap_or(plain.max_parameters),
            max_sql_bytes: length_of(self.max_sql, plain.max_sql_bytes),
            max_value_bytes: length_of(self.max_value, plain.max_value_bytes),
            max_statements: self.max_statements.unwrap_or(plain.max_statements),
            max_result_rows: self.max_rows.unwrap_or(plain.max_result_rows),
            max_result_bytes: length_of(self.max_result, plain.max_result_bytes),
            max_request_bytes: length_of(self.max_request, plain.max_request_bytes),
            busy_timeout: self.busy_timeout.unwrap_or(plain.busy_timeout),
            integers: self.integers.map_or(plain.integers, Into::into),
            reply: self.reply.map_or(plain.reply, Into::into),
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
            max_parameters: own.max_parameters,
            max_sql: own.max_sql,
            max_value: own.max_value,
            max_statements: own.max_statements,
            max_rows: own.max_rows,
            max_result: own.max_result,
            max_request: own.max_request,
            busy_timeout: own.busy_timeout,
            integers: own.integers,
            reply: own.reply,
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
    pub(super) async fn open(&self) -> Result<IsolatedDatabase, Failure> {
        let isolation = Isolation {
            memory: self.memory,
            ..Isolation::default()
        };
        let options = self.options.clone();
        let opened = IsolatedDatabase::open(&self.path, options, isolation).await;
        opened.map_err(|error| Failure::Config(error.to_string()))
    }
}
