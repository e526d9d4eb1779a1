//! An entry of a development registry: a file whose name is a Worker's, and whose text says where that Worker is.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

/// How old an entry is that nobody looks after any more; its session touches it every ten seconds.
pub(super) const STALE: Duration = Duration::from_secs(90);

/// Bytes of a file that can be an entry.
const LONGEST: u64 = 64 * 1024;

/// Bytes of a file's name that file systems take.
const LONGEST_NAME: usize = 255;

/// How long a port may take to say whether somebody listens.
const PROBE: Duration = Duration::from_millis(500);

/// Files of other things than Workers in the same directory.
const NO_WORKER: &str = "__miniflare_storage_candidate__";

/// Where a Worker, or a binding, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where its debug port is, `127.0.0.1:PORT`.
    pub(super) address: String,
    /// The service that has its default entrypoint.
    pub(super) default_service: String,
    /// The service that has the others.
    pub(super) user_service: String,
    /// Whose entry it is: an id of one process.
    pub(super) instance: String,
    /// Which process that is, where the entry says it; ours do.
    pub(super) owner: Option<String>,
}

/// A file of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// What it says, if it is an entry.
    pub(super) entry: Option<Entry>,
    /// When its session last touched it.
    pub(super) touched: SystemTime,
}

/// Why something cannot be the name of an entry.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let wrong = |text: &str| Err(format!("{name:?} {text}"));
    match name {
        "" | "." | ".." => wrong("is no name for a file"),
        _ if name.contains(['/', '\0', '\\']) => {
            wrong("has a character that names of files do not have")
        }
        _ if name.len() > LONGEST_NAME => wrong("is longer than 255 bytes"),
        _ if name.starts_with(['.', '_']) && is_apart(name) => {
            wrong("is a name that others use for something else")
        }
        _ => Ok(()),
    }
}

/// Whether a file of that name is something else than a Worker.
fn is_apart(name: &str) -> bool {
    name.starts_with('.') || name.starts_with(NO_WORKER)
}

impl Entry {
    /// Reads the file of that name, if it is there.
    ///
    /// # Errors
    /// When it cannot be read, or is no file.
    pub(super) fn read(path: &Path) -> io::Result<Option<Found>> {
        let read = || -> io::Result<Found> {
            let touched = std::fs::metadata(path)?.modified()?;
            let text = js_rpc::read_file(path, LONGEST)?;
            Ok(Found {
                entry: Self::parse(&text),
                touched,
            })
        };
        match read() {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(text).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        Some(Self {
            address: text("debugPortAddress").filter(|address| !address.is_empty())?,
            default_service: text("defaultEntrypointService").unwrap_or_default(),
            user_service: text("userWorkerService").unwrap_or_default(),
            instance: text("instanceId").unwrap_or_default(),
            owner: text("owner"),
        })
    }

    pub(super) fn text(&self) -> String {
        let json = json!({
            "debugPortAddress": self.address,
            "defaultEntrypointService": self.default_service,
            "userWorkerService": self.user_service,
            "instanceId": self.instance,
            "owner": self.owner,
        });
        format!("{json:#}\n")
    }

    /// Whether the process that it is of has certainly ended: nobody listens where it says.
    pub(super) fn is_abandoned(&self) -> bool {
        let Ok(address) = self.address.parse::<SocketAddr>() else {
            return false;
        };
        if !address.ip().is_loopback() {
            return false;
        }
        let connected = TcpStream::connect_timeout(&address, PROBE);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Who has it, in a few words.
    pub(super) fn describe(&self) -> String {
        let short = |text: &str| text.escape_debug().take(100).collect::<String>();
        let address = short(&self.address);
        match &self.owner {
            Some(owner) => format!("{} at {address}", short(owner)),
            None => format!("a session of wrangler, Vite or miniflare at {address}"),
        }
    }
}

impl Found {
    /// How long it has not been touched, if that is too long for a session that runs.
    pub(super) fn stale(&self) -> Option<Duration> {
        let age = self.touched.elapsed().unwrap_or_default();
        (age > STALE).then_some(age)
    }

    /// Who has it, in a few words.
    pub(super) fn describe(&self) -> String {
        match &self.entry {
            Some(entry) => entry.describe(),
            None => "a file that is no entry".into(),
        }
    }
}

/// The names in a directory that have an entry, sorted; those that are stale apart. At most as many as people read.
///
/// # Errors
/// When the directory cannot be read; one that is not there has none.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let files = match std::fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for file in files.take(MOST) {
        let Ok(name) = file?.file_name().into_string() else {
            continue;
        };
        let path = directory.join(&name);
        let found = (!is_apart(&name)).then(|| Entry::read(&path).ok().flatten());
        let is_there = |found: &Found| found.entry.is_some() && found.stale().is_none();
        if found.flatten().as_ref().is_some_and(is_there) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Files of a directory that are looked at.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_read_and_what_is_no_entry_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Entry::read(&path).unwrap().unwrap().entry
        };
        let entry = read(
            r#"{"debugPortAddress":"127.0.0.1:1","defaultEntrypointService":"assets:rpc-proxy:shop",
                "userWorkerService":"core:user:shop","instanceId":"7","queueConsumers":["q"]}"#,
        );
        let entry = entry.unwrap();
        assert_eq!(entry.default_service, "assets:rpc-proxy:shop");
        assert_eq!(entry.owner, None);
        assert_eq!(read(&entry.text()), Some(entry.clone()));
        for none in [
            "",
            "null",
            "[]",
            "7",
            "{",
            "{\"debugPortAddress\":7}",
            r#"{"protocol":"http","port":8787}"#,
        ] {
            assert_eq!(read(none), None, "{none}");
        }
        std::fs::write(&path, vec![b' '; LONGEST as usize + 1]).unwrap();
        assert!(Entry::read(&path).is_err());
        assert!(Entry::read(folder.path()).is_err());
        assert_eq!(Entry::read(&folder.path().join("nobody")).unwrap(), None);
    }

    #[test]
    fn names_are_names_of_files() {
        let long = "x".repeat(256);
        for wrong in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            "a\0",
            ".hidden",
            "__miniflare_storage_candidate__-1",
            &long,
        ] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        for right in ["DB", "shop-api", "_a", "core:user:x", "ä b"] {
            assert_eq!(check_name(right), Ok(()), "{right}");
        }
    }
}
