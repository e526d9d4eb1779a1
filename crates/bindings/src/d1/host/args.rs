//! What can be said about D1 databases: options, and the keys of their tables.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use host::values::{self, Size, Switch};

use crate::d1::{DatabaseOptions, Integers, Isolation, ReplyForm};

/// The options.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct D1Args {
    /// Serve a SQLite file as the D1 database NAME; may be repeated
    ///
    /// What its calls may take is below and in --help-limits. In the variable, several are separated by `;`.
    #[arg(
        long = "d1",
        value_name = "NAME=PATH",
        env = "BINDING_SPAN_D1",
        value_delimiter = ';',
        value_parser = database
    )]
    pub(super) d1: Vec<NamedFile>,

    /// Create database files that are not there
    #[arg(long = "d1-create", env = "BINDING_SPAN_D1_CREATE", value_parser = FalseyValueParser::new())]
    pub(super) d1_create: bool,

    /// What calls of a database may take.
    #[command(flatten)]
    pub(super) limits: DatabaseLimitArgs,
}

/// A binding and its file.
#[derive(Debug, Clone)]
pub(super) struct NamedFile {
    /// The binding's name.
    pub(super) binding: String,
    /// The SQLite file.
    pub(super) path: PathBuf,
}

fn database(text: &str) -> Result<NamedFile, String> {
    let (binding, path) = values::named(text, "NAME=PATH, for instance DB=./shop.sqlite")?;
    Ok(NamedFile {
        binding: binding.to_owned(),
        path: path.into(),
    })
}

/// What every database may take, unless its table says otherwise.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Databases")]
pub(super) struct DatabaseLimitArgs {
    /// How long a call may take on its database, all statements together; 30s by default
    ///
    /// Then it is stopped and rolled back, whatever it computes.
    #[arg(long = "d1-timeout", value_name = "TIME", env = "BINDING_SPAN_D1_TIMEOUT", value_parser = values::deadline, hide_short_help = true)]
    timeout: Option<Duration>,

    /// Processes that read a database, beside the one that writes; 4 by default
    ///
    /// They are started as they are needed, and end after a minute without work. With 0, the one that writes
    /// answers everything.
    #[arg(long = "d1-readers", value_name = "N", env = "BINDING_SPAN_D1_READERS", value_parser = values::count::<usize>, hide_short_help = true)]
    readers: Option<usize>,

    /// Memory that SQLite may take in each of these processes; 128MiB by default
    ///
    /// A statement that needs more fails. A process may have 256MiB besides, for requests and results.
    #[arg(long = "d1-memory", value_name = "SIZE", env = "BINDING_SPAN_D1_MEMORY", value_parser = memory, hide_short_help = true)]
    memory: Option<Size>,

    /// How large a database may grow; 10GB by default, as in D1
    ///
    /// One that is larger already does not grow.
    #[arg(long = "d1-max-size", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_SIZE", value_parser = values::some_bytes, hide_short_help = true)]
    max_size: Option<Size>,

    /// How large its write-ahead log may grow within a call; 1GiB by default
    ///
    /// The log holds all that a call changes.
    #[arg(long = "d1-max-log", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_LOG", value_parser = values::some_bytes, hide_short_help = true)]
    max_log: Option<Size>,

    /// How large temporary files of a process may grow, all together; 1GiB by default
    ///
    /// A large sort or a new index needs some. They are in SQLITE_TMPDIR, or in /var/tmp.
    #[arg(long = "d1-max-temporary", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_TEMPORARY", value_parser = values::some_bytes, hide_short_help = true)]
    max_temporary: Option<Size>,

    /// Columns that a statement may return; 100 by default, as in D1
    #[arg(long = "d1-max-columns", value_name = "N", env = "BINDING_SPAN_D1_MAX_COLUMNS", value_parser = values::positive::<usize>, hide_short_help = true)]
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
    #[arg(long = "d1-max-statements", value_name = "N", env = "BINDING_SPAN_D1_MAX_STATEMENTS", value_parser = values::positive::<usize>, hide_short_help = true)]
    max_statements: Option<usize>,

    /// Rows that a call may return, all statements together; 100000 by default
    #[arg(long = "d1-max-rows", value_name = "N", env = "BINDING_SPAN_D1_MAX_ROWS", value_parser = values::positive::<usize>, hide_short_help = true)]
    max_rows: Option<usize>,

    /// How large the result of a call may be, all statements together; 8MB by default
    ///
    /// Each value, row and column counts for 8 bytes, each byte of a blob too, and texts and names for their
    /// length. Our own callers take a reply of at most 2^20 values.
    #[arg(long = "d1-max-result", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_RESULT", value_parser = values::some_bytes, hide_short_help = true)]
    max_result: Option<Size>,

    /// How long the body of a plain HTTP request may be; 16MiB by default
    #[arg(long = "d1-max-request", value_name = "SIZE", env = "BINDING_SPAN_D1_MAX_REQUEST", value_parser = values::some_bytes, hide_short_help = true)]
    max_request: Option<Size>,

    /// How long to wait for another program that has locked the file; 5s by default
    #[arg(long = "d1-busy-timeout", value_name = "TIME", env = "BINDING_SPAN_D1_BUSY_TIMEOUT", value_parser = values::duration, hide_short_help = true)]
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
    #[arg(long = "d1-queue", value_name = "N", env = "BINDING_SPAN_D1_QUEUE", value_parser = values::positive::<usize>, hide_short_help = true)]
    queue: Option<usize>,
}

/// The keys of a table `[d1.NAME]`.
#[derive(Debug, Args)]
pub(super) struct DatabaseArgs {
    /// The SQLite file.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<PathBuf>,

    /// Whether to create the file when there is none.
    #[arg(long, value_name = "true|false")]
    pub(super) create: Option<Switch>,

    /// As --d1-timeout, for this database.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    timeout: Option<Duration>,

    /// As --d1-readers.
    #[arg(long, value_name = "N", value_parser = values::count::<usize>)]
    readers: Option<usize>,

    /// As --d1-memory.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Size>,

    /// As --d1-max-size.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_size: Option<Size>,

    /// As --d1-max-log.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_log: Option<Size>,

    /// As --d1-max-temporary.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_temporary: Option<Size>,

    /// As --d1-max-columns.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
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
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_statements: Option<usize>,

    /// As --d1-max-rows.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_rows: Option<usize>,

    /// As --d1-max-result.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_result: Option<Size>,

    /// As --d1-max-request.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_request: Option<Size>,

    /// As --d1-busy-timeout.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    busy_timeout: Option<Duration>,

    /// As --d1-integers.
    #[arg(long, value_name = "FORM")]
    integers: Option<IntegerForm>,

    /// As --d1-reply.
    #[arg(long, value_name = "FORM")]
    reply: Option<Reply>,

    /// As --d1-queue.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
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
    match values::positive(text)? {
        32_767.. => Err("SQLite takes 32766 at most; bind a list as one JSON array, and read it with json_each()".into()),
        count => Ok(count),
    }
}

/// Reads a length, within SQLite's own bound.
fn length(text: &str) -> Result<Size, String> {
    match values::some_bytes(text)? {
        Size(1_000_000_001..) => Err("SQLite takes 1GB at most".into()),
        size => Ok(size),
    }
}

/// SQLite needs some memory to open a file at all.
fn memory(text: &str) -> Result<Size, String> {
    match values::some_bytes(text)? {
        Size(bytes) if bytes < 8 << 20 => {
            Err("SQLite needs more to work; write 8MiB or more".into())
        }
        size => Ok(size),
    }
}

impl DatabaseLimitArgs {
    /// These, where `own` does not say otherwise.
    pub(super) fn or(&self, own: Self) -> Self {
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

    pub(super) fn options(&self, create: bool) -> (DatabaseOptions, Isolation) {
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

impl DatabaseArgs {
    /// What it says that holds for all databases elsewhere.
    pub(super) fn limits(self) -> DatabaseLimitArgs {
        DatabaseLimitArgs {
            timeout: self.timeout,
            readers: self.readers,
            memory: self.memory,
            max_size: self.max_size,
            max_log: self.max_log,
            max_temporary: self.max_temporary,
            max_columns: self.max_columns,
            max_parameters: self.max_parameters,
            max_sql: self.max_sql,
            max_value: self.max_value,
            max_statements: self.max_statements,
            max_rows: self.max_rows,
            max_result: self.max_result,
            max_request: self.max_request,
            busy_timeout: self.busy_timeout,
            integers: self.integers,
            reply: self.reply,
            queue: self.queue,
        }
    }
}
