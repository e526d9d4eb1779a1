//! Files that people name, such as certificates: read whole, and never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Reads a regular file of at most `most` bytes. It does not wait, as it would for somebody who writes to a named
/// pipe, and it does not read what has no end, such as a device.
///
/// # Errors
/// Says what is there instead, or how long it may be.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    check_regular(&file)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(invalid(&format!("it has more than {most} bytes"))),
        false => Ok(bytes),
    }
}

fn check_regular(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "it is a directory",
        () if kind.is_fifo() => "it is a pipe, which cannot be read again; write it to a file",
        () => "it is no regular file",
    };
    Err(invalid(what))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_said_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "four").unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), kind, mode, 0).unwrap();
        assert_eq!(read_file(&path("file"), 4).unwrap(), b"four");
        for (path, most, says) in [
            (path("file"), 3, "more than 3 bytes"),
            (path("pipe"), 9, "it is a pipe"),
            (folder.path().to_owned(), 9, "it is a directory"),
            ("/dev/zero".into(), 9, "no regular file"),
            (path("none"), 9, "No such file"),
        ] {
            let error = read_file(&path, most).unwrap_err().to_string();
            assert!(error.contains(says), "{path:?}: {error}");
        }
    }
}
