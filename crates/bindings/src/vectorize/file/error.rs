//! What goes wrong with the file while it is used.

use rusqlite::ffi;

use super::call::Ticket;
use crate::vectorize::error::{Code, VectorizeError};

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// As the caller learns it.
    Call(VectorizeError),
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// What is in the file cannot be.
    Damaged(String),
}

impl From<VectorizeError> for Failure {
    fn from(error: VectorizeError) -> Self {
        Self::Call(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Something in the file cannot be.
pub(super) fn damaged(what: impl ToString) -> Failure {
    Failure::Damaged(what.to_string())
}

impl Failure {
    /// As the caller of this call learns it.
    pub(super) fn of_call(self, ticket: &Ticket) -> VectorizeError {
        match self {
            Self::Call(error) => error,
            Self::Sqlite(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) =>
            {
                ticket.timeout()
            }
            Self::Sqlite(error) => VectorizeError::new(Code::Store, explain(&error)),
            Self::Damaged(what) => VectorizeError::new(
                Code::Store,
                format!(
                    "the index's file is damaged: {what}; check it, and restore it from a backup"
                ),
            ),
        }
    }
}

/// SQLite's refusal of a file that is in use.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
    match code {
        Some(ffi::SQLITE_FULL) => "the disk is full; make room, and try again".to_owned(),
        Some(ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => {
            "the index's file is damaged; check it, and restore it from a backup".to_owned()
        }
        Some(ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN) => format!(
            "the index's file cannot be read and written: {error}; give this user the permission, on the file and on its folder"
        ),
        _ => format!("the index's file cannot be used: {error}"),
    }
}
