//! A copy of an index while it may be in use.

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::open::{connect, is_empty};
use super::refusal::{explain, permission};
use crate::vectorize::options::OpenError;

/// Pages that are copied between two reports of progress; 4 MiB.
const STEP: std::ffi::c_int = 256;

/// Why there is no backup. Nothing is left of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The index cannot be read.
    #[error("{0}")]
    Source(OpenError),
    /// There is something at the target already.
    #[error("{} exists already; give a path where nothing is yet", .0.display())]
    Exists(PathBuf),
    /// It was stopped.
    #[error("the backup was stopped")]
    Stopped,
    /// The copy cannot be written: where and why.
    #[error("cannot write the backup {}: {why}", .path.display())]
    Target {
        /// Where it was to be.
        path: PathBuf,
        /// What the operating system or SQLite says.
        why: String,
    },
}

/// Copies the index of one file to a new one, as it is when the copy begins. It may be in use, by this process or another
/// one. `progress` is given the pages that are copied, and how many there are; it may stop the backup.
///
/// The new file appears when it is complete and on the disk.
pub fn backup(
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), BackupError> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let source = source(from).map_err(BackupError::Source)?;
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{:016x}.partial", fastrand::u64(..)));
    let partial = PathBuf::from(name);
    let copied = copy(&source, from, &partial, progress).and_then(|()| {
        let moved = renameat_with(CWD, &partial, CWD, to, RenameFlags::NOREPLACE);
        moved.map_err(|error| match error {
            rustix::io::Errno::EXIST => BackupError::Exists(to.to_owned()),
            _ => target(to, std::io::Error::from(error)),
        })?;
        sync_folder(to)
    });
    if copied.is_err() {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut file = partial.as_os_str().to_owned();
            file.push(end);
            let _ = std::fs::remove_file(file);
        }
    }
    copied
}

/// A connection to an index that is there.
pub(super) fn source(from: &Path) -> Result<Connection, OpenError> {
    let found = std::fs::metadata(from).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => OpenError::Missing(format!(
            "there is no index at {}; give the path of one",
            from.display()
        )),
        _ => permission(from, &error),
    })?;
    if !found.is_file() {
        let text = format!("{} is not a file; give the path of one", from.display());
        return Err(OpenError::Store(text));
    }
    let from = from
        .canonicalize()
        .map_err(|error| permission(from, &error))?;
    if is_empty(&from)? {
        return Err(OpenError::Missing(format!(
            "{} is empty; give the path of an index",
            from.display()
        )));
    }
    connect(&from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| explain(&from, &error))
}

fn copy(
    source: &Connection,
    from: &Path,
    partial: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), BackupError> {
    let failed = |error: rusqlite::Error| target(partial, error);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(|error| target(partial, error))?;
    // While it is read nothing of it changes: a change would begin the copy anew.
    source
        .execute_batch("BEGIN; SELECT count(*) FROM settings")
        .map_err(|error| BackupError::Source(explain(from, &error)))?;
    let mut copy = connect(partial, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let running = Backup::new(source, &mut copy).map_err(failed)?;
    loop {
        let step = running.step(STEP).map_err(failed)?;
        let pages = running.progress();
        let of = u64::try_from(pages.pagecount).unwrap_or(0);
        let left = u64::try_from(pages.remaining).unwrap_or(0);
        let going_on = progress(of.saturating_sub(left), of);
        match step {
            StepResult::Done => break,
            _ if going_on.is_break() => return Err(BackupError::Stopped),
            StepResult::More => {}
            // Busy or locked: somebody checkpoints.
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    drop(running);
    copy.close().map_err(|(_, error)| failed(error))?;
    let file = File::open(partial).and_then(|file| file.sync_all());
    file.map_err(|error| target(partial, error))
}

fn sync_folder(of: &Path) -> Result<(), BackupError> {
    let folder = match of.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| target(of, error))
}

fn target(path: &Path, why: impl ToString) -> BackupError {
    BackupError::Target {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
