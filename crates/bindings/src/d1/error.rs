//! Why a call failed, in D1's words.
//!
//! Every variant is an answer for the caller: the service replies `{success: false, error: {message}}`, and
//! the Worker sees `D1_ERROR: ` and the message. Nothing of the failed call stays in the database.

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
    /// The statement ran too long and was interrupted.
    #[error(
        "The statement ran longer than {} ms and was stopped; its call was rolled back: SQLITE_INTERRUPT", .0.as_millis()
    )]
    Timeout(Duration),
    /// The caller went away, and the call was dropped before it wrote anything.
    #[error("The call was cancelled: SQLITE_INTERRUPT")]
    Cancelled,
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
    /// The database was closed before the call was answered.
    #[error("The database is closed")]
    Closed,
    /// A bug of ours: the thread that ran the call panicked. The call was rolled back.
    #[error("Internal error while running the call; it was rolled back")]
    Internal,
}

fn advice(instead: &Option<&'static str>) -> String {
    instead.map_or_else(String::new, |instead| format!(" ({instead})"))
}

impl QueryError {
    /// One of few words for a span's `error.type`: the name of SQLite's most specific code, or ours.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Sqlite(failure) => failure.name(),
            Self::NotAllowed { .. } => "SQLITE_AUTH",
            Self::Timeout(_) | Self::Cancelled => "SQLITE_INTERRUPT",
            Self::NoStatement => "d1.no_statement",
            Self::NulInSql => "d1.invalid_sql",
            Self::ParameterCount { .. } | Self::ParametersBeforeLast => "d1.parameters",
            Self::TooManyRows(_) | Self::TooManyBytes(_) => "d1.result_too_large",
            Self::TooManyStatements { .. } => "d1.too_many_statements",
            Self::BookmarkTooLong(_) => "d1.bookmark",
            Self::Overloaded => "d1.overloaded",
            Self::Closed => "d1.closed",
            Self::Internal => "d1.internal",
        }
    }

    /// SQLite's extended result code, when SQLite had a say.
    pub fn status_code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(failure) => Some(failure.code),
            Self::NotAllowed { .. } => Some(rusqlite::ffi::SQLITE_AUTH),
            Self::Timeout(_) | Self::Cancelled => Some(rusqlite::ffi::SQLITE_INTERRUPT),
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
