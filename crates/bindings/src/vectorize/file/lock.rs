//! One process for one file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rustix::fs::{FlockOperation, flock};

use super::core::locked;

/// A lock on a file beside the index: one on the index itself would be released when anything in this process closes
/// the index, if the file system has but one kind of locks.
#[derive(Debug)]
pub(super) struct FileLock(File);

/// Those of this process. Stores of one file have one together.
static LOCKS: Mutex<Option<HashMap<PathBuf, Weak<FileLock>>>> = Mutex::new(None);

/// The lock's path.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push("-lock");
    lock.into()
}

impl FileLock {
    /// Fails with `WouldBlock` if another process has it.
    pub(super) fn of(path: &Path) -> io::Result<Arc<Self>> {
        let path = path_of(path);
        let mut locks = locked(&LOCKS);
        let locks = locks.get_or_insert_default();
        locks.retain(|_, lock| lock.strong_count() > 0);
        let held = locks.get(&path).and_then(Weak::upgrade);
        if let Some(lock) = held.filter(|lock| lock.is_at(&path)) {
            return Ok(lock);
        }
        let lock = Arc::new(Self::acquire(&path)?);
        locks.insert(path, Arc::downgrade(&lock));
        Ok(lock)
    }

    fn acquire(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }

    /// A folder that was moved away took its lock along.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
        let own = self.0.metadata().map(identity);
        let there = std::fs::metadata(path).map(identity);
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }
}
