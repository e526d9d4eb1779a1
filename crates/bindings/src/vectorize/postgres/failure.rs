//! What goes wrong inside of a call, and what is done about it.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::super::error::{Code, VectorizeError};
use super::connect::explain;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// For the caller as it is.
    Answer(VectorizeError),
    /// There is no connection to be had.
    Unreachable(String),
    /// The connection broke, or the server cannot be used at present.
    Away(String),
    /// Others were in the way; nothing was stored.
    Conflict(String),
    /// Anything else.
    Other(String),
    /// The statement took too long.
    Timeout,
    /// Whether it was committed is unknown.
    Unknown(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = explain(&error);
        let Some(code) = error.code() else {
            return match error.is_closed() || has_io(&error) {
                true => Self::Away(text),
                false => Self::Other(text),
            };
        };
        match code.code() {
            // Serialization failure, deadlock, lock not available.
            "40001" | "40P01" | "55P03" => Self::Conflict(text),
            "57014" => Self::Timeout,
            // Shutdowns, recovery, idle connections closed, too many connections.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53300" => Self::Away(text),
            other if other.starts_with("08") => Self::Away(text),
            _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::Away(text),
            _ => Self::Other(text),
        }
    }
}

fn has_io(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<VectorizeError> for Failure {
    fn from(error: VectorizeError) -> Self {
        Self::Answer(error)
    }
}

impl Failure {
    /// What the caller is answered.
    pub(super) fn answer(self) -> VectorizeError {
        let store = |text: String| VectorizeError::new(Code::Store, text);
        match self {
            Self::Answer(error) => error,
            Self::Unreachable(text) | Self::Away(text) => {
                store(format!("PostgreSQL cannot be reached: {text}"))
            }
            Self::Conflict(text) => store(format!(
                "others changed the same vectors at the same time, call again: {text}"
            )),
            Self::Other(text) => store(format!("PostgreSQL refused: {text}")),
            Self::Timeout => timeout(),
            Self::Unknown(text) => store(format!(
                "the connection to PostgreSQL broke while this was being stored, and whether it was could not be \
                 found out in time: it may or may not be stored: {text}"
            )),
        }
    }
}

/// The call took too long; nothing was stored.
pub(super) fn timeout() -> VectorizeError {
    VectorizeError::new(Code::Timeout, "the call took too long, and was cancelled")
}
