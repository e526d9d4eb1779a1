//! Files that are removed or replaced while they are open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// A file, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    file: Identity,
}

impl Place {
    /// The file that is at the path now.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Self::file(path)?,
        })
    }

    fn file(path: &Path) -> std::io::Result<Identity> {
        std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is.
    pub(crate) fn identity(&self) -> Identity {
        self.file
    }

    /// Whether it is still there.
    pub(crate) fn is_unmoved(&self) -> bool {
        Self::file(&self.path).is_ok_and(|file| file == self.file)
    }
}
