//! Why a call failed, in D1's words.
//!
//! Every variant is an answer for the caller: the service replies `{success: false, error: {message}}`, and
//! the Worker sees `D1_ERROR: ` and the message. Nothing of the failed call stays in the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::codes;

/// A failed call. Its `Display` is the message that the caller gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// SQLite refused: a syntax error, a constraint, a lock.
    #[error(transparent)]
    Sqlite(#[from] SqliteFailure),
    /// The text is empty or holds comments only.
    #[error("SQL code did not contain a statement.")]
    NoStatement,
    /// Fewer or more parameters than the statement has.
    #[error(
        "Wrong number of parameter bindings for SQL query. The statement takes {expected}, the call bound {given}."
    )]
    ParameterCount {
        /// How many the statement has.
        expected: usize,
        /// How many the call bound.
        given: usize,
    },
    /// Several statements in one text, of which another than the last has parameters.
    #[error(
        "When executing multiple SQL statements in a single call, only the last statement can have parameters."
    )]
    ParametersBeforeLast,
    /// The text holds a NUL character, at which SQLite would stop reading.
    #[error("SQL code contains a NUL character; bind it as a parameter instead.")]
    NulInSql,
    /// The statement is one that a caller may not run: a transaction, `ATTACH`, a setting.
    #[error("{what} is not allowed{}: SQLITE_AUTH", advice(.instead))]
    NotAllowed {
        /// What was refused, for instance `PRAGMA journal_mode`.
        what: String,
        /// What to do instead, where there is something.
        instead: Option<&'static str>,
    },
    /// The call ran too long and was interrupted.
    #[error(
        "The call ran longer than {} ms and was stopped; it was rolled back: SQLITE_INTERRUPT", .0.as_millis()
    )]
    Timeout(Duration),
    /// The caller went away, and the call was rolled back.
    #[error("The call was cancelled and rolled back: SQLITE_INTERRUPT")]
    Cancelled,
    /// The call gave way to others until its time was up.
    #[error(
        "The call was stopped each time it had run for long, because other clients waited; it was rolled back. Send it in smaller parts: SQLITE_INTERRUPT"
    )]
    GaveWay,
    /// The call filled what it may fill of the disk.
    #[error(transparent)]
    Full(#[from] Full),
    /// The statement needs more memory than the operator allows.
    #[error(
        "The statement needs more memory than there is for SQL{}; sort or gather less at once: SQLITE_NOMEM", of_bytes(.0)
    )]
    OutOfMemory(Option<u64>),
    /// The statement compiles to more instructions than D1 allows.
    #[error(
        "The statement is too complex: it takes more than {} of SQLite's instructions; split it: SQLITE_TOOBIG",
        super::open::MAX_INSTRUCTIONS
    )]
    TooComplex,
    /// The statement returns more columns than the operator allows.
    #[error(
        "The result has {given} columns, more than {cap} (max_columns); select fewer columns: SQLITE_TOOBIG"
    )]
    TooManyColumns {
        /// How many it returns.
        given: usize,
        /// How many are allowed.
        cap: usize,
    },
    /// The file at the database's path is not the one that is open.
    #[error(
        "The database file {} was removed or replaced while it was served; nothing of the call was written. Restore it, or restart the service: SQLITE_READONLY_DBMOVED", .0.display()
    )]
    Moved(PathBuf),
    /// The call returns more rows than the operator allows.
    #[error(
        "The result has more than {0} rows (max_result_rows); add a LIMIT, or read it in parts"
    )]
    TooManyRows(usize),
    /// The call returns more bytes than the operator allows.
    #[error(
        "The result has more than {0} bytes (max_result_bytes); select fewer columns, or read it in parts"
    )]
    TooManyBytes(usize),
    /// More statements in one call than the operator allows.
    #[error("The call has {given} statements, more than {cap} (max_statements); split it")]
    TooManyStatements {
        /// How many were sent.
        given: usize,
        /// How many are allowed.
        cap: usize,
    },
    /// The bookmark or constraint is too long to be one.
    #[error("D1_SESSION_ERROR: invalid bookmark or constraint: {0} bytes, at most {max} are expected", max = super::MAX_BOOKMARK_BYTES)]
    BookmarkTooLong(usize),
    /// Too many calls wait already.
    #[error("D1 DB is overloaded. Too many requests queued.")]
    Overloaded,
    /// No turn came while the call had time.
    #[error("D1 DB is overloaded. Requests queued for too long.")]
    QueuedTooLong,
    /// The database was closed before the call was answered.
    #[error("The database is closed")]
    Closed,
    /// The database cannot be used at present.
    #[error("The database cannot be used, nothing of the call was run: {0}")]
    Unavailable(Arc<str>),
    /// The process that ran the call is gone.
    #[error("The process that ran the call {how}; {}", .written.text())]
    WorkerLost {
        /// How it ended.
        how: Arc<str>,
        /// What of the call is in the database.
        written: Written,
    },
    /// A bug of ours: the thread that ran the call panicked. The call was rolled back.
    #[error("Internal error while running the call; it was rolled back")]
    Internal,
}

fn advice(instead: &Option<&'static str>) -> String {
    instead.map_or_else(String::new, |instead| format!(" ({instead})"))
}

fn of_bytes(limit: &Option<u64>) -> String {
    limit.map_or_else(String::new, |bytes| format!(", {bytes} bytes"))
}

/// Which of a database's files is as large as it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The write-ahead log.
    #[error(
        "The call changes more than the write-ahead log may hold, {0} bytes (max_log_bytes); it was rolled back. Change less at once: SQLITE_FULL"
    )]
    Log(u64),
    /// Temporary files.
    #[error(
        "The call needs more than {0} bytes of temporary files (max_temporary_bytes); it was rolled back. Sort or index less at once: SQLITE_FULL"
    )]
    Temporary(u64),
    /// The database itself.
    #[error(
        "The database is as large as it may be, {0} bytes (max_database_bytes); the call was rolled back. Delete something: SQLITE_FULL"
    )]
    Database(u64),
}

/// What a call that was not answered wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Nothing.
    Nothing,
    /// All of it, or nothing.
    Perhaps,
    /// All of it.
    All,
}

impl Written {
    const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing of the call was written",
            Self::Perhaps => "it was being committed: either all of it was written, or nothing",
            Self::All => "it was committed: all of it was written",
        }
    }
}

impl QueryError {
    /// One of few words for a span's `error.type`: the name of SQLite's most specific code, or ours.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Sqlite(failure) => failure.name(),
            Self::NotAllowed { .. } => "SQLITE_AUTH",
            Self::Timeout(_) | Self::Cancelled | Self::GaveWay => "SQLITE_INTERRUPT",
            Self::Full(_) => "SQLITE_FULL",
            Self::OutOfMemory(_) => "SQLITE_NOMEM",
            Self::TooComplex | Self::TooManyColumns { .. } => "SQLITE_TOOBIG",
            Self::Moved(_) => "SQLITE_READONLY_DBMOVED",
            Self::NoStatement => "d1.no_statement",
            Self::NulInSql => "d1.invalid_sql",
            Self::ParameterCount { .. } | Self::ParametersBeforeLast => "d1.parameters",
            Self::TooManyRows(_) | Self::TooManyBytes(_) => "d1.result_too_large",
            Self::TooManyStatements { .. } => "d1.too_many_statements",
            Self::BookmarkTooLong(_) => "d1.bookmark",
            Self::Overloaded | Self::QueuedTooLong => "d1.overloaded",
            Self::Closed => "d1.closed",
            Self::Unavailable(_) => "d1.unavailable",
            Self::WorkerLost { .. } => "d1.worker_lost",
            Self::Internal => "d1.internal",
        }
    }

    /// SQLite's extended result code, when SQLite had a say.
    pub fn status_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(failure) => Some(failure.code),
            Self::NotAllowed { .. } => Some(rusqlite::ffi::SQLITE_AUTH),
            Self::Timeout(_) | Self::Cancelled | Self::GaveWay => {
                Some(rusqlite::ffi::SQLITE_INTERRUPT)
            }
            Self::Full(_) => Some(rusqlite::ffi::SQLITE_FULL),
            Self::OutOfMemory(_) => Some(rusqlite::ffi::SQLITE_NOMEM),
            Self::TooComplex | Self::TooManyColumns { .. } => Some(rusqlite::ffi::SQLITE_TOOBIG),
            Self::Moved(_) => Some(rusqlite::ffi::SQLITE_READONLY_DBMOVED),
            _ => None,
        }
    }
}

/// What SQLite said. Shown as workerd shows it: `UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended:
/// SQLITE_CONSTRAINT_UNIQUE)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteFailure {
    /// SQLite's message.
    pub message: String,
    /// The extended result code; its low byte is the primary one.
    pub code: i32,
    /// Where in the SQL text, in bytes, when SQLite knows.
    pub offset: Option<usize>,
}

impl SqliteFailure {
    /// The name of the most specific code that we know, for instance `SQLITE_CONSTRAINT_UNIQUE`.
    pub fn name(&self) -> &'static str {
        codes::name(self.code)
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        self.code & 0xff == rusqlite::ffi::SQLITE_NOMEM
    }

    pub(super) fn is_full(&self) -> bool {
        self.code & 0xff == rusqlite::ffi::SQLITE_FULL
    }
}

impl std::error::Error for SqliteFailure {}

impl std::fmt::Display for SqliteFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", codes::primary(self.code))?;
        match codes::extended(self.code) {
            Some(extended) => write!(f, " (extended: {extended})"),
            None => Ok(()),
        }
    }
}

impl From<rusqlite::Error> for SqliteFailure {
    fn from(error: rusqlite::Error) -> Self {
        let code = error
            .sqlite_error()
            .map_or(rusqlite::ffi::SQLITE_ERROR, |e| e.extended_code);
        let message = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            other => other.to_string(),
        };
        Self {
            message,
            code,
            offset: None,
        }
    }
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}
