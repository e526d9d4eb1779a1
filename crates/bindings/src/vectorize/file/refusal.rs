//! Why a file is not opened: what, where, and what to do.

use std::path::Path;

use rusqlite::ffi;

use crate::vectorize::options::OpenError;

pub(super) fn missing(path: &Path) -> OpenError {
    OpenError::Missing(format!(
        "there is no index at {}; give the path of one, or allow its creation (with dimensions and metric)",
        path.display()
    ))
}

pub(super) fn damaged(path: &Path, why: &str) -> OpenError {
    OpenError::Store(format!(
        "the index {} is damaged: {why}; check it, and restore it from a backup",
        path.display()
    ))
}

pub(super) fn permission(path: &Path, error: &std::io::Error) -> OpenError {
    OpenError::Store(format!(
        "{} cannot be read and written: {error}; give this user the permission, on the file and on its folder",
        path.display()
    ))
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let at = path.display();
    let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
    OpenError::Store(match code {
        Some(ffi::SQLITE_NOTADB) => format!(
            "{at} is not a SQLite database; give the path of a Vectorize index, or of a file that does not exist yet"
        ),
        Some(ffi::SQLITE_CORRUPT) => {
            format!("the index {at} is damaged: {error}; check it, and restore it from a backup")
        }
        Some(ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY | ffi::SQLITE_PERM) => format!(
            "{at} cannot be read and written: {error}; give this user the permission, on the file and on its folder"
        ),
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => format!(
            "the index {at} is locked by another process; end that, or its transaction, and try again"
        ),
        Some(ffi::SQLITE_FULL) => format!("the disk of {at} is full; make room, and try again"),
        _ => format!("the index {at} cannot be opened: {error}"),
    })
}
