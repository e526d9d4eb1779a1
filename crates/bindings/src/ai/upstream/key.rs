//! A provider's key, from where it is.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::ai::options::Secret;

/// How long a key may be, in bytes.
const MAX_KEY: u64 = 64 << 10;

/// For how long a file that changed is read each time: until its clock would show another change.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// A key, and how it is sent.
pub(super) struct Key {
    header: HeaderName,
    from: From,
}

enum From {
    Value(HeaderValue),
    File {
        path: PathBuf,
        last: Mutex<Option<(Stamp, HeaderValue)>>,
    },
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Key {
    /// Reads it, so that one that cannot be used shows at once. The error never has it.
    pub(super) fn open(secret: &Secret, header: &HeaderName) -> Result<Self, String> {
        let from = match secret {
            Secret::Value(value) => From::Value(sent(value.as_bytes(), header)?),
            Secret::File(path) => From::File {
                path: path.clone(),
                last: Mutex::new(None),
            },
        };
        let key = Self {
            header: header.clone(),
            from,
        };
        key.value()?;
        Ok(key)
    }

    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's value, from the file as it is now.
    pub(super) fn value(&self) -> Result<HeaderValue, String> {
        let (path, last) = match &self.from {
            From::Value(value) => return Ok(value.clone()),
            From::File { path, last } => (path, last),
        };
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let about = std::fs::metadata(path).map_err(wrong)?;
        let stamp = Stamp {
            file: (about.dev(), about.ino()),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = last.as_ref().filter(|(read, _)| *read == stamp) {
            return Ok(value.clone());
        }
        *last = None;
        if !about.is_file() {
            return Err(format!("{} is not a file", path.display()));
        }
        let value = sent(&read(path)?, &self.header)
            .map_err(|reason| format!("{}: {reason}", path.display()))?;
        let age = about
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > SETTLES_AFTER) {
            *last = Some((stamp, value.clone()));
        }
        Ok(value)
    }
}

/// What a file has, without its last line break.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(MAX_KEY + 1)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    if bytes.len() as u64 > MAX_KEY {
        return Err(format!("{} is too long for a key", path.display()));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(bytes)
}

/// A key as a header's value.
fn sent(key: &[u8], header: &HeaderName) -> Result<HeaderValue, String> {
    if key.trim_ascii().is_empty() {
        return Err("it is empty".to_owned());
    }
    let value = match *header == AUTHORIZATION {
        true => [b"Bearer ", key].concat(),
        false => key.to_vec(),
    };
    let mut value = HeaderValue::from_bytes(&value)
        .map_err(|_| "it has characters that no header can have; it must be one line".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
