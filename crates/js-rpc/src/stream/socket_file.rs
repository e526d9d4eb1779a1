//! The file of a unix socket: made so that nobody who may not connect ever can, and so that nothing of
//! anybody else's is replaced or removed.
//!
//! The socket is bound in a folder of its own (mode 0700, a random name) beside the path, gets its group
//! and mode there, listens, and is then moved to the path, which must be free. A folder or file that
//! we did not make is never changed.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::sleep;

use super::BACKLOG;

/// How long others may keep the folder's lock, and how often it is asked for.
const PATIENCE: Duration = Duration::from_secs(1);
const ASK: Duration = Duration::from_millis(2);

/// The file of a listening socket. Removed on drop, if it is still the one that we made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// What tells one file from every other.
type FileId = (u64, u64);

fn id(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| id(&meta) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket for its owner alone, or for a group as well. The error is for people.
pub(super) async fn bind(
    path: &Path,
    group: Option<u32>,
) -> Result<(UnixListener, SocketFile), String> {
    let mut stale = look(path).await?;
    let hidden = Hidden::beside(path).map_err(|error| explain(&error))?;
    // Whoever takes a stale socket away does so alone: two might take away each other's new one.
    let _turn = match stale {
        Some(_) => take_turn(path).await,
        None => None,
    };
    if stale.is_some() {
        stale = look(path).await?;
    }
    if let Some(stale) = stale {
        hidden.put_away(path, stale)?;
    }
    let (listener, id) = hidden.listen(group).map_err(|error| explain(&error))?;
    // Another process may have come first, or somebody else's file: then it stays.
    rename_to_free(&hidden.socket(), path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "another process began to listen there; stop it or choose another path".into()
        }
        _ => explain(&error),
    })?;
    let path = path.to_owned();
    Ok((listener, SocketFile { path, id }))
}

/// The lock of the path's folder, until it is dropped. `None`: it cannot be had. Whoever may read the folder can
/// keep it, so nobody waits for long.
async fn take_turn(path: &Path) -> Option<File> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).ok()?;
    let until = Instant::now() + PATIENCE;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(ASK).await,
            Err(_) => return None,
        }
    }
}

/// What is at the path: nothing, or a socket on which nobody listens. All else is an error.
async fn look(path: &Path) -> Result<Option<FileId>, String> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(None);
    };
    if !meta.file_type().is_socket() {
        return Err("there is a file that is not a socket; choose another path".into());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Some(id(&meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err("another user's socket is there; choose another path".into())
        }
        // It listens, even if its queue is full or we are out of descriptors.
        _ => Err("another process listens there; stop it or choose another path".into()),
    }
}

/// A folder that only we can look into, beside the path. Removed on drop with what is left in it.
struct Hidden(PathBuf);

impl Hidden {
    fn beside(path: &Path) -> io::Result<Self> {
        let mut folder = DirBuilder::new();
        folder.mode(0o700);
        loop {
            let mut random = [0u8; 4];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let name = format!(".{:08x}", u32::from_ne_bytes(random));
            let hidden = path.with_file_name(name);
            match folder.create(&hidden) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(hidden)),
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    fn old(&self) -> PathBuf {
        self.0.join("o")
    }

    /// Takes a stale socket away. What was put there since we looked goes back.
    fn put_away(&self, path: &Path, stale: FileId) -> Result<(), String> {
        let cannot = |e| format!("a stale socket is there and cannot be removed: {e}");
        match fs::rename(path, self.old()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved.map_err(cannot)?,
        }
        let found = fs::symlink_metadata(self.old()).map_err(cannot)?;
        if id(&found) != stale {
            let _ = rename_to_free(&self.old(), path);
            return Err("another process began to listen there; choose another path".into());
        }
        fs::remove_file(self.old()).map_err(cannot)
    }

    fn listen(&self, group: Option<u32>) -> io::Result<(UnixListener, FileId)> {
        let file = self.socket();
        let socket = UnixSocket::new_stream()?;
        socket.bind(&file)?;
        let mode = match group {
            Some(group) => {
                std::os::unix::fs::lchown(&file, None, Some(group))?;
                0o660
            }
            None => 0o600,
        };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        let id = id(&fs::symlink_metadata(&file)?);
        Ok((socket.listen(BACKLOG)?, id))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.0);
    }
}

fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot promise it; a hard link, which never replaces, can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// What a failed bind means to people.
pub(super) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}; stop the other process or choose another port")
        }
        io::ErrorKind::NotFound => "the directory does not exist; create it first".into(),
        io::ErrorKind::PermissionDenied => {
            format!(
                "{error}; run as a user who may do that there (and who is a member of the group, if \
                 one is to be admitted), or choose another address"
            )
        }
        io::ErrorKind::InvalidInput => {
            format!("{error}; the path may be too long for a unix socket")
        }
        _ => error.to_string(),
    }
}
