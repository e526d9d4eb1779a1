//! The names of a tail's older files: `tail.jsonl.1` is the latest of them, `tail.jsonl.N` the oldest.
//!
//! Our own, because what we looked at (`file-rotate`) stops the program when somebody else moves or
//! removes an older file, and does not know of other processes that append.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// When a file is put aside, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may have; a single longer line has a file to itself.
    pub size: u64,
    /// Older files that are kept, at least one; the oldest gives way.
    pub keep: u32,
}

/// `tail.jsonl` and 2 make `tail.jsonl.2`.
pub(crate) fn older(path: &Path, n: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    name.into()
}

/// Moves the file to `.1`, what is there to `.2`, and so on up to the first free name; if none is free,
/// the oldest file is replaced. Each step is one atomic rename, from the oldest on: whenever it breaks
/// off, nothing has been lost that was not due, and the next time begins at the gap.
pub(crate) fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let keep = keep.max(1);
    let taken = |n: &u32| fs::symlink_metadata(older(path, *n)).is_ok();
    let free = (1..keep).find(|n| !taken(n)).unwrap_or(keep);
    for n in (1..free).rev() {
        match fs::rename(older(path, n), older(path, n + 1)) {
            // Somebody cleaned up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    fs::rename(path, older(path, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in `t`, `t.1`, `t.2`, ..; `-` where there is no file.
    fn contents(path: &Path) -> Vec<String> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_else(|_| "-".into());
        let older = (1..=4).map(|n| read(older(path, n)));
        [read(path.to_owned())].into_iter().chain(older).collect()
    }

    #[test]
    fn files_move_up_to_the_first_gap_and_the_oldest_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        for (n, expected) in [
            ["-", "a", "-", "-", "-"],
            ["-", "b", "a", "-", "-"],
            ["-", "c", "b", "a", "-"],
            ["-", "d", "c", "b", "-"],
        ]
        .iter()
        .enumerate()
        {
            fs::write(&path, ["a", "b", "c", "d"][n]).unwrap();
            shift(&path, 3).unwrap();
            assert_eq!(contents(&path), *expected);
        }
        fs::remove_file(older(&path, 1)).unwrap();
        fs::write(&path, "e").unwrap();
        shift(&path, 3).unwrap();
        assert_eq!(contents(&path), ["-", "e", "c", "b", "-"]);
    }

    #[test]
    fn without_the_file_nothing_of_it_is_claimed() {
        let dir = tempfile::tempdir().unwrap();
        let error = shift(&dir.path().join("t"), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
