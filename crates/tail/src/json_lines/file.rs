//! A file that tail events are appended to: opened again when somebody moved it away, put aside when it is
//! full, shared with other processes.
//!
//! Without rotation each piece of whole lines is one `write` to a file opened for appending, which local
//! file systems keep apart from those of other processes. With rotation, each piece is written under the
//! file's lock (`flock`), and whoever holds it first makes sure that the path still names this file: so no
//! process writes to a file that another has put aside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::rotate::{self, Rotation};
use super::{Target, write_some};

/// How often it is looked whether the path still names the file, and how soon what failed is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// How long another process may hold the lock before we go on without it, and without rotation.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the lock is asked for meanwhile.
const ASK: Duration = Duration::from_millis(1);
/// How often trouble that costs no lines is told.
const TELL: Duration = Duration::from_secs(60);

/// The file, and what is known of it.
pub(super) struct TailFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Pipes and devices are neither looked after nor put aside.
    regular: bool,
    rotation: Option<Rotation>,
    /// When to look after the path again.
    look: Instant,
    /// When to rotate again after it failed.
    rotate: Instant,
    /// When trouble is told again.
    tell: Instant,
    /// Why there is no file to write to: the last one was removed, and no other could be opened.
    gone: Option<io::ErrorKind>,
    /// The last write broke off within a line that could not be taken back.
    mid_line: bool,
    /// The lock did not come in time, and has not come since.
    impatient: bool,
}

impl TailFile {
    /// Opens or creates it.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = append(path)?;
        let meta = file.metadata()?;
        if rotation.is_some() && !meta.is_file() {
            let says = "it is not a regular file, which alone can be rotated";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, says));
        }
        // A link stays one: what it points to is put aside, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let now = Instant::now();
        Ok(Self {
            path,
            file,
            id: id(&meta),
            regular: meta.is_file(),
            rotation,
            look: now + LOOK,
            rotate: now,
            tell: now,
            gone: None,
            mid_line: false,
            impatient: false,
        })
    }

    /// Whether the path names this file.
    fn in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| id(&meta) == self.id)
    }

    /// Opens what the path names now, or creates it; whether that worked. If not, the file that is open
    /// stays in use as long as it has a name.
    fn follow_path(&mut self) -> bool {
        self.look = Instant::now() + LOOK;
        let opened = append(&self.path).and_then(|file| Ok((file.metadata()?, file)));
        let error = match opened {
            Ok((meta, file)) => {
                self.mid_line &= id(&meta) == self.id;
                (self.id, self.file, self.gone) = (id(&meta), file, None);
                return true;
            }
            Err(error) => error,
        };
        if self.file.metadata().is_ok_and(|meta| meta.nlink() > 0) {
            self.complain(
                "cannot open it again; they go to where it was moved",
                &error,
            );
        } else {
            self.gone = Some(error.kind());
        }
        false
    }

    /// Looks after the path, if it is time to.
    ///
    /// # Errors
    /// When there is nothing to write to.
    fn look_after(&mut self) -> io::Result<()> {
        if self.regular && Instant::now() >= self.look {
            self.look = Instant::now() + LOOK;
            if !self.in_place() {
                self.follow_path();
            }
        }
        self.gone.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Appends whole lines under the lock: as many as fit, after putting the file aside if none does.
    fn append_in_turn(
        &mut self,
        rotation: Rotation,
        text: &[u8],
        written: &mut usize,
    ) -> io::Result<()> {
        let locked = self.take_turn()?;
        let size = self.file.metadata()?.len();
        let room = usize::try_from(rotation.size.saturating_sub(size)).unwrap_or(usize::MAX);
        let fits = fitting(text, room);
        if locked && fits == 0 && size > 0 && Instant::now() >= self.rotate {
            match self.put_aside(rotation, size) {
                // The new file has a lock of its own.
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.rotate = Instant::now() + LOOK;
                    self.complain("cannot put the full file aside; it grows", &error);
                }
            }
        }
        let piece = match fits {
            // Nothing is lost for want of rotation.
            0 if size > 0 => text.len(),
            0 => line(text),
            fits => fits,
        };
        let appended = self.append(&text[..piece], written, locked.then_some(size));
        let _ = self.file.unlock();
        appended
    }

    /// Appends. With the lock, and so with the size before, a piece of a line that a full disk left is
    /// taken back.
    fn append(&mut self, text: &[u8], written: &mut usize, size: Option<u64>) -> io::Result<()> {
        let mut size = size;
        if self.mid_line {
            self.file.write_all(b"\n")?;
            self.mid_line = false;
            size = size.map(|size| size + 1);
        }
        let mut done = 0;
        let appended = write_some(&mut self.file, text, &mut done);
        if appended.is_err() && done > 0 && text[done - 1] != b'\n' {
            let whole = text[..done].iter().rposition(|&b| b == b'\n');
            let whole = whole.map_or(0, |at| at + 1);
            match size.map(|size| self.file.set_len(size + whole as u64)) {
                Some(Ok(())) => done = whole,
                _ => self.mid_line = true,
            }
        }
        *written += done;
        appended
    }

    /// Takes the lock of the file that the path names. `false`: another process holds it for too long, or
    /// the path names no file that can be opened.
    fn take_turn(&mut self) -> io::Result<bool> {
        let patience = if self.impatient {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let until = Instant::now() + patience;
        loop {
            match self.file.try_lock() {
                Ok(()) if self.in_place() => {
                    self.impatient = false;
                    return Ok(true);
                }
                // Another process put it aside, or somebody moved it.
                Ok(()) => {
                    let _ = self.file.unlock();
                    if !self.follow_path() {
                        return self.gone.map_or(Ok(false), |kind| Err(kind.into()));
                    }
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(ASK),
                Err(TryLockError::WouldBlock) => {
                    self.impatient = true;
                    return Ok(false);
                }
                // A file system without locks: as if we were alone.
                Err(TryLockError::Error(_)) => return Ok(true),
            }
        }
    }

    /// Renames it to `.1`, and opens a new one with the same permissions.
    fn put_aside(&mut self, rotation: Rotation, size: u64) -> io::Result<()> {
        let permissions = self.file.metadata()?.permissions();
        rotate::shift(&self.path, rotation.keep)?;
        tracing::debug!(path = %self.path.display(), size, "put a full file of tail events aside");
        self.mid_line = false;
        self.file = append(&self.path)?;
        self.id = id(&self.file.metadata()?);
        // Best effort: the system's mask may have narrowed them.
        let _ = self.file.set_permissions(permissions);
        Ok(())
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        let now = Instant::now();
        if now >= self.tell {
            self.tell = now + TELL;
            let path = self.path.display();
            tracing::warn!(%error, "tail events in {path}: {what}; trying again");
        }
    }
}

impl Target for TailFile {
    fn write(&mut self, text: &[u8], written: &mut usize) -> io::Result<()> {
        self.look_after()?;
        while *written < text.len() {
            let rest = &text[*written..];
            match self.rotation {
                Some(rotation) if self.regular => self.append_in_turn(rotation, rest, written)?,
                _ => self.append(rest, written, None)?,
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        if self.regular {
            self.follow_path();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    // It has what callees said: a new one is for its owner alone.
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path)
}

fn id(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Bytes of the first line, with its newline.
fn line(text: &[u8]) -> usize {
    let end = text.iter().position(|&b| b == b'\n');
    end.map_or(text.len(), |at| at + 1)
}

/// Bytes of the whole lines at the beginning that have room.
fn fitting(text: &[u8], room: usize) -> usize {
    if text.len() <= room {
        return text.len();
    }
    let end = text[..room].iter().rposition(|&b| b == b'\n');
    end.map_or(0, |at| at + 1)
}
