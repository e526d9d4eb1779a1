//! The log's file: what can be wrong with it is found here, before SQLite has one word for all of it.

use std::fs::{OpenOptions, Permissions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// The path to open: that of a file which is there now, and of nothing else. A new one is for its owner alone, and
/// SQLite gives the files beside it the same mode.
///
/// A file that is there is not opened: to close it again would take the locks from another log of this process.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, String> {
    let name = path
        .file_name()
        .ok_or("it does not name a file; give the path of one")?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // SQLite follows no link in a path that it is told to follow none in: those of folders are followed here.
    let folder = folder.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!(
            "its folder does not exist; create it with `mkdir -p {}`",
            folder.display()
        ),
        _ => format!("its folder cannot be used: {error}"),
    })?;
    let path = folder.join(name);
    match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_symlink() => Err(
            "it is a symbolic link, and may lead anywhere; give the path of the file".to_owned(),
        ),
        Ok(found) if found.is_dir() => Err("it is a folder; give the path of a file".to_owned()),
        Ok(found) if !found.is_file() => Err("it is not a file; give the path of one".to_owned()),
        Ok(_) => Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => create(&path).map(|()| path),
        Err(error) => Err(permission(&error)),
    }
}

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// Which file is there now.
pub(super) fn identity(path: &Path) -> Result<Identity, String> {
    std::fs::symlink_metadata(path)
        .map(|file| (file.dev(), file.ino()))
        .map_err(|error| permission(&error))
}

fn create(path: &Path) -> Result<(), String> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        // Somebody was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop).map_err(|error| permission(&error)),
    }
}

/// Prompts may be in it: it is for its owner alone, even if it was not before.
pub(super) fn protect(path: &Path) -> Result<(), String> {
    let mode = std::fs::symlink_metadata(path)
        .map_err(|error| permission(&error))?
        .permissions()
        .mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| {
            format!("others may read it, and that cannot be changed: {error}; `chmod 600` it")
        }),
    }
}

fn permission(error: &Error) -> String {
    format!(
        "it cannot be read and written: {error}; give this user the permission, on the file and on its folder"
    )
}

/// SQLite's refusal of a file.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error().map(|error| error.extended_code & 0xff) {
        Some(ffi::SQLITE_NOTADB | ffi::SQLITE_CORRUPT) => {
            "it is not a SQLite database, or a damaged one; give another path, or move it away"
                .to_owned()
        }
        Some(ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH) => {
            format!(
                "it cannot be read and written: {error}; give this user the permission, on the file and on its folder"
            )
        }
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => {
            "it is locked by another process; end that, or its transaction, and try again"
                .to_owned()
        }
        Some(ffi::SQLITE_FULL) => "the disk is full; make room, and try again".to_owned(),
        _ => error.to_string(),
    }
}
