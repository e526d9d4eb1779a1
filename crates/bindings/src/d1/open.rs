//! Opening the file: everything that can be wrong with it is said here, before the first call.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};

use super::error::{QueryError, SqliteFailure};
use super::gate::Gate;
use super::options::DatabaseOptions;
use super::raw::Kept;
#[cfg(counts_rows)]
use super::rows::{Tally, tally};
use super::transaction;
use super::watch::Watch;
use crate::place::Place;

/// Why a database could not be opened: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file, and `create` is off.
    #[error(
        "no such database file: {path}; create it with `sqlite3 {path} \"VACUUM\"`, or allow its creation (`create`)"
    )]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The folder for the new file does not exist.
    #[error(
        "cannot create the database {path}: its folder does not exist; create it with `mkdir -p {folder}`"
    )]
    MissingFolder {
        /// The path as it was given.
        path: PathBuf,
        /// The folder that is missing.
        folder: PathBuf,
    },
    /// The path leads to a folder, or to something else than a file.
    #[error("{path} is not a file; give the path of a SQLite database file")]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system does not let us read or write it.
    #[error(
        "cannot {action} the database {path}: {error}; give this user the permission, on the file and on its folder (SQLite keeps its log beside it)"
    )]
    Permission {
        /// The path as it was given.
        path: PathBuf,
        /// `read`, `write`, `create` or `open`.
        action: &'static str,
        /// What the operating system said, or SQLite.
        error: std::io::Error,
    },
    /// The file is something else than a SQLite database, or is encrypted or damaged at its start.
    #[error("{path} is not a SQLite database; give another file, or restore it from a backup")]
    NotADatabase {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Another process holds a lock and did not let go within `busy_timeout`.
    #[error(
        "the database {path} is locked by another process; end its transaction (or the process) and try again"
    )]
    Locked {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("cannot open the database {path}: {failure}")]
    Sqlite {
        /// The path as it was given.
        path: PathBuf,
        /// SQLite's words.
        failure: SqliteFailure,
    },
    /// The threads that run statements could not be started.
    #[error(
        "cannot start a thread for the database {path}: {error}; raise the limit of processes (`ulimit -u`)"
    )]
    Thread {
        /// The path as it was given.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
}

/// A connection with its guards in place.
pub(super) struct Session {
    /// Before the connection, so that it is dropped first.
    pub(super) kept: Kept,
    #[cfg(counts_rows)]
    counter: std::cell::RefCell<Option<super::raw::Counter>>,
    pub(super) connection: Connection,
    pub(super) gate: Arc<Gate>,
    pub(super) watch: Arc<Watch>,
    /// Whether this connection may write. There is one that does.
    pub(super) writes: bool,
    place: Place,
}

impl Session {
    /// Fails when the path leads to another file than the one that is open, or to none: what is written then is
    /// lost when the file is closed.
    pub(super) fn check_in_place(&self) -> Result<(), QueryError> {
        match self.place.is_unmoved() {
            true => Ok(()),
            false => Err(QueryError::Moved(self.place.path().to_owned())),
        }
    }
}

#[cfg(counts_rows)]
impl Session {
    /// What the instructions of a statement tell that has run. Nothing if SQLite has no memory left to tell, or was not
    /// compiled with the flags that it was to be: no call fails for it.
    pub(super) fn tally(&self, statement: &mut super::raw::Statement<'_>) -> Option<Tally> {
        let mut counter = self.counter.borrow_mut();
        counter.as_mut()?.ops(statement).ok().map(tally)
    }

    /// How many rows a table has, by its first page or that of one of its indexes.
    pub(super) fn entries(&self, root: i32) -> Result<u64, QueryError> {
        const NAME: &str = "SELECT tbl_name FROM main.sqlite_schema WHERE rootpage = ?1";
        self.gate.ours(|| {
            let name = match root {
                1 => "sqlite_schema".to_owned(),
                _ => {
                    let mut name = self.connection.prepare_cached(NAME)?;
                    name.query_row([root], |row| row.get::<_, String>(0))?
                }
            };
            let count = format!(
                "SELECT count(*) FROM main.\"{}\"",
                name.replace('"', "\"\"")
            );
            let count = self
                .connection
                .query_row(&count, (), |row| row.get::<_, i64>(0));
            Ok(u64::try_from(count?).unwrap_or(0))
        })
    }
}

impl Session {
    /// Closes the file. One that was removed or replaced is left as it is: SQLite would remove the log at its path,
    /// which may be another file's by now.
    pub(super) fn close(self) {
        match self.check_in_place() {
            Ok(()) => drop(self),
            Err(_) => std::mem::forget(self),
        }
    }

    /// Makes a log small again that a call has made large and was rolled back: SQLite would keep it so until it has
    /// been filled once more. If others read, the next such call does.
    pub(super) fn shrink_log(&self) {
        let Self {
            gate, connection, ..
        } = self;
        if self.watch.log_bytes() <= u64::from(LOG_AT_REST) {
            return;
        }
        // Nobody is waited for. The next call sets it again.
        let _ = connection.busy_timeout(std::time::Duration::ZERO);
        let _ = gate.ours(|| connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"));
    }

    /// Everything into the database's own file: the connection that closes last removes its log, but only if
    /// it has used it, and the readers cannot. What others are doing is not waited for.
    pub(super) fn leave_one_file(&self) {
        let Self {
            gate, connection, ..
        } = self;
        // What could not be put into it stays in the log, where it counts as well.
        let _ = gate.ours(|| connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)"));
    }
}

/// The connection that writes. Opened first: it creates the file and sets its journal mode.
pub(super) fn writer(path: &Path, options: &DatabaseOptions) -> Result<Session, OpenError> {
    check_file(path, options.create)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    connect(path, flags, options, true)
        .and_then(|session| {
            session
                .gate
                .ours(|| prepare_file(&session.connection, options))?;
            Ok(session)
        })
        .map_err(|error| explain(path, error))
}

/// One more connection, which can only read.
pub(super) fn reader(path: &Path, options: &DatabaseOptions) -> Result<Session, OpenError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, options, false)
        .map_err(|error| explain(path, error))
}

/// What only the operating system can say well: SQLite has one word, "unable to open", for all of it.
fn check_file(path: &Path, create: bool) -> Result<(), OpenError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OpenError::NotAFile { path: path.into() }),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return check_folder(path, create),
        Err(error) => {
            return Err(OpenError::Permission {
                path: path.into(),
                action: "read",
                error,
            });
        }
    }
    File::open(path).map_err(|error| OpenError::Permission {
        path: path.into(),
        action: "read",
        error,
    })?;
    OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|error| OpenError::Permission {
            path: path.into(),
            action: "write",
            error,
        })?;
    Ok(())
}

fn check_folder(path: &Path, create: bool) -> Result<(), OpenError> {
    if !create {
        return Err(OpenError::Missing { path: path.into() });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(OpenError::MissingFolder {
            path: path.into(),
            folder: folder.into(),
        });
    }
    // For its owner alone; SQLite gives the files beside it the same mode.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::Permission {
            path: path.into(),
            action: "create",
            error,
        })?;
    Ok(())
}

fn connect(
    path: &Path,
    flags: OpenFlags,
    options: &DatabaseOptions,
    writes: bool,
) -> rusqlite::Result<Session> {
    // An absolute path is never taken for SQLite's `:memory:` or for a `file:` URI with options.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut connection =
        Connection::open_with_flags(&absolute, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.busy_timeout)?;
    set_limits(&connection, options)?;
    let watch = Watch::install(&mut connection, &absolute, options, writes)?;
    let gate = Gate::install(&mut connection)?;
    let session = Session {
        kept: Kept::default(),
        #[cfg(counts_rows)]
        counter: std::cell::RefCell::new(gate.ours(|| super::raw::Counter::new(&connection))),
        connection,
        gate,
        watch,
        writes,
        place: Place::of(&absolute).map_err(|_| cannot_open())?,
    };
    session.gate.ours(|| {
        // Reads the file's first page, so that a file that is no database is refused now.
        session
            .connection
            .query_row("PRAGMA schema_version", (), |_| Ok(()))?;
        session.connection.execute_batch("PRAGMA foreign_keys = ON")
    })?;
    transaction::prepare(&session)?;
    Ok(session)
}

fn prepare_file(connection: &Connection, options: &DatabaseOptions) -> rusqlite::Result<()> {
    if options.wal {
        connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;
    }
    let page_size: u32 = connection.query_row("PRAGMA page_size", (), |row| row.get(0))?;
    let pages = (options.max_database_bytes / u64::from(page_size.max(1)))
        .clamp(1, u64::from(u32::MAX - 1));
    // The answer is what SQLite takes: a file that is larger already stays so.
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(()))?;
    // After a large call the log becomes as small again as SQLite lets it grow by itself.
    let log = format!("PRAGMA journal_size_limit = {LOG_AT_REST}");
    connection.query_row(&log, (), |_| Ok(()))?;
    // A commit that was answered survives a power failure.
    connection.execute_batch("PRAGMA synchronous = FULL")
}

/// Bytes of the write-ahead log that are kept for the next call.
const LOG_AT_REST: u32 = 16 << 20;

/// D1's limit on a statement's instructions.
pub(super) const MAX_INSTRUCTIONS: i32 = 25_000;

fn cannot_open() -> rusqlite::Error {
    let error = ffi::Error::new(ffi::SQLITE_CANTOPEN);
    rusqlite::Error::SqliteFailure(error, None)
}

/// D1's published limits and, for the rest, those that workerd sets. The number of columns stays SQLite's
/// own (2000; D1 allows 100), since a lower one would make an existing file with more unreadable.
fn set_limits(connection: &Connection, options: &DatabaseOptions) -> rusqlite::Result<()> {
    let int = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, int(options.max_value_bytes)),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, int(options.max_sql_bytes)),
        (
            Limit::SQLITE_LIMIT_VARIABLE_NUMBER,
            int(options.max_parameters),
        ),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (Limit::SQLITE_LIMIT_VDBE_OP, MAX_INSTRUCTIONS),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    for (limit, value) in limits {
        connection.set_limit(limit, value)?;
    }
    Ok(())
}

fn explain(path: &Path, error: rusqlite::Error) -> OpenError {
    let failure = SqliteFailure::from(error);
    let path = path.to_owned();
    match failure.code & 0xff {
        ffi::SQLITE_NOTADB => OpenError::NotADatabase { path },
        // The file itself was opened before: it is its folder.
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY | ffi::SQLITE_PERM => OpenError::Permission {
            path,
            action: "open",
            error: std::io::Error::other(failure.to_string()),
        },
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => OpenError::Locked { path },
        _ => OpenError::Sqlite { path, failure },
    }
}
