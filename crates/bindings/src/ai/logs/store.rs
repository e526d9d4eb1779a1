//! The log as a table.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::entry::{Entry, Head, LogEntry, millis};
use super::patch::Patch;
use super::{Keeping, Keepings, LogError, file};
use crate::ai::gateway::Metadata;

/// Of the table. A change of it raises this, and says here how an older one becomes a newer one.
const VERSION: i64 = 1;
/// Marks the file as a log of ours, and not another program's database: "bsAI".
const APPLICATION: i64 = 0x6273_4149;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(2);
/// Bytes of an entry beside its texts: its numbers, and its place in the indexes.
const OVERHEAD: usize = 320;
/// Entries that are removed at once.
const CHUNK: usize = 500;
/// What is left of a full log, in percent: room for more until it is full again.
const LEFT: u64 = 90;

const TABLE: &str = "
CREATE TABLE logs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    gateway TEXT NOT NULL,
    created_at INTEGER NOT NULL, -- milliseconds since 1970
    bytes INTEGER NOT NULL, -- what the entry takes, about
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    model_type TEXT,
    path TEXT NOT NULL,
    duration INTEGER NOT NULL, -- milliseconds
    request_type TEXT,
    request_content_type TEXT,
    status_code INTEGER NOT NULL,
    response_content_type TEXT,
    success INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    tokens_in INTEGER,
    tokens_out INTEGER,
    metadata TEXT, -- JSON
    step INTEGER,
    cost REAL, -- US dollars
    custom_cost INTEGER NOT NULL,
    request_size INTEGER NOT NULL,
    request_head TEXT,
    request_head_complete INTEGER NOT NULL,
    response_size INTEGER NOT NULL,
    response_head TEXT,
    response_head_complete INTEGER NOT NULL,
    score REAL,
    feedback INTEGER
);
CREATE INDEX logs_by_age ON logs (gateway, created_at, bytes);
";

const INSERT: &str = "
INSERT INTO logs (
    id, gateway, created_at, bytes, provider, model, model_type, path, duration, request_type,
    request_content_type, status_code, response_content_type, success, cached, tokens_in, tokens_out, metadata, step,
    cost, custom_cost, request_size, request_head, request_head_complete, response_size, response_head,
    response_head_complete
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25, ?26, ?27)
";

/// The connection, and how much is in it.
pub(super) struct Store {
    pub(super) connection: Connection,
    /// Where the file is, and which file that was; none in memory.
    place: Option<(PathBuf, file::Identity)>,
    keepings: Keepings,
    /// Bytes of each allowance's entries: of a named gateway's, or of all the others' under no name.
    bytes: HashMap<String, u64>,
}

impl Store {
    /// Opens the log, or makes it. The error is the reason, in words.
    pub(super) fn open(path: Option<&Path>, keepings: Keepings) -> Result<Self, String> {
        let path = path.map(file::prepare).transpose()?;
        let connection = connect(path.as_deref()).map_err(|error| file::explain(&error))?;
        let known = version(&connection)?;
        if let Some(path) = &path {
            file::protect(path)?;
        }
        let place = path.map(|path| file::identity(&path).map(|file| (path, file)));
        let mut store = Self {
            connection,
            place: place.transpose()?,
            keepings,
            bytes: HashMap::new(),
        };
        store
            .prepare(known)
            .and_then(|()| store.count())
            .map_err(|error| file::explain(&error))?;
        Ok(store)
    }

    fn prepare(&mut self, known: i64) -> rusqlite::Result<()> {
        let connection = &mut self.connection;
        if known == 0 {
            // This can only be set in an empty file. It lets the file shrink when entries are removed.
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        }
        connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;
        connection.query_row("PRAGMA journal_size_limit = 1048576", (), |_| Ok(()))?;
        // A power failure may take the last entries with it, and leaves the file whole.
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        if known == 0 {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            // Another process may have been faster.
            if user_version(&transaction)? == 0 {
                transaction.execute_batch(TABLE)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    /// Begins a new file when the one that is open was moved away, removed or replaced: what is written into it
    /// nobody would find.
    fn stay_in_place(&mut self) -> Result<(), LogError> {
        let Some((path, file)) = &self.place else {
            return Ok(());
        };
        if file::identity(path).is_ok_and(|now| now == *file) {
            return Ok(());
        }
        let new = Self::open(Some(path), self.keepings.clone()).map_err(LogError::Storage)?;
        let old = std::mem::replace(self, new);
        // Closed, it would remove the write-ahead log at its path, which is the new file's by now.
        std::mem::forget(old.connection);
        Ok(())
    }

    /// Writes entries, all or none.
    pub(super) fn add(&mut self, entries: &[Box<Entry>]) -> Result<(), LogError> {
        self.stay_in_place()?;
        let mut added = Vec::with_capacity(entries.len());
        let transaction = self.connection.transaction().map_err(storage)?;
        {
            let mut insert = transaction.prepare_cached(INSERT).map_err(storage)?;
            for entry in entries {
                added.push(insert_entry(&mut insert, entry).map_err(storage)?);
            }
        }
        transaction.commit().map_err(storage)?;
        for (entry, bytes) in entries.iter().zip(added) {
            self.grow(&entry.gateway, bytes);
        }
        Ok(())
    }

    pub(super) fn get(&self, gateway: &str, id: &str) -> Result<LogEntry, LogError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT * FROM logs WHERE id = ?1 AND gateway = ?2")
            .map_err(storage)?;
        let found = select.query_row([id, gateway], read).optional();
        found.map_err(storage)?.ok_or(LogError::NotFound)
    }

    pub(super) fn patch(&mut self, gateway: &str, id: &str, patch: &Patch) -> Result<(), LogError> {
        let Patch {
            score,
            feedback,
            metadata,
        } = patch;
        let json = metadata.as_ref().and_then(Option::as_ref).and_then(json);
        let longer = json.as_ref().map_or(0, String::len);
        let mut update = self
            .connection
            .prepare_cached(
                "UPDATE logs SET
                    score = iif(?3, ?4, score),
                    feedback = iif(?5, ?6, feedback),
                    bytes = iif(?7, bytes - ifnull(octet_length(metadata), 0) + ifnull(octet_length(?8), 0), bytes),
                    metadata = iif(?7, ?8, metadata)
                WHERE id = ?1 AND gateway = ?2",
            )
            .map_err(storage)?;
        let changed = update
            .execute(params![
                id,
                gateway,
                score.is_some(),
                score.flatten(),
                feedback.is_some(),
                feedback.flatten(),
                metadata.is_some(),
                json,
            ])
            .map_err(storage)?;
        drop(update);
        match changed {
            0 => Err(LogError::NotFound),
            _ => {
                // Counted again when something is removed.
                self.grow(gateway, longer);
                Ok(())
            }
        }
    }

    /// Whether a gateway's log is larger than it may be.
    pub(super) fn is_full(&self) -> bool {
        let mut all = self.bytes.iter();
        all.any(|(name, bytes)| *bytes > self.keepings.of(name).max_bytes)
    }

    /// Removes some of what is too old or too much, and says whether there is more.
    pub(super) fn prune(&mut self) -> Result<bool, LogError> {
        let removed = self.remove().map_err(storage)?;
        if removed > 0 {
            self.shrink().map_err(storage)?;
        }
        if removed >= CHUNK {
            return Ok(true);
        }
        self.count().map_err(storage)?;
        // The file becomes smaller when its log is written into it.
        let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
        let checkpoint = self.connection.query_row(checkpoint, (), |_| Ok(()));
        checkpoint.map_err(storage)?;
        Ok(false)
    }

    /// Of each allowance at most a number of entries, oldest first; the most it were of one.
    fn remove(&mut self) -> rusqlite::Result<usize> {
        let now = millis(SystemTime::now());
        let mut most = 0;
        for (name, bytes) in &mut self.bytes {
            let Keeping {
                retention,
                max_bytes,
            } = self.keepings.of(name);
            let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
            let oldest = int(now.saturating_sub(retention));
            let excess = match *bytes > max_bytes {
                true => *bytes - max_bytes / 100 * LEFT,
                false => 0,
            };
            let (those, named) = self.keepings.those(name);
            // What the entries before each take: as long as that is not enough, it goes as well.
            let delete = format!(
                "DELETE FROM logs WHERE seq IN (
                    SELECT seq FROM (
                        SELECT seq, created_at, sum(bytes) OVER (ORDER BY created_at, seq) - bytes AS before
                        FROM (
                            SELECT seq, created_at, bytes FROM logs WHERE {those}
                            ORDER BY created_at, seq LIMIT {CHUNK}
                        )
                    )
                    WHERE created_at < {oldest} OR before < {excess}
                ) RETURNING bytes"
            );
            let mut delete = self.connection.prepare_cached(&delete)?;
            let mut rows = delete.query(rusqlite::params_from_iter(named))?;
            let mut removed = 0;
            while let Some(row) = rows.next()? {
                removed += 1;
                *bytes = bytes.saturating_sub(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0));
            }
            most = most.max(removed);
        }
        Ok(most)
    }

    /// Gives the pages back that nothing is in. Each step gives one.
    fn shrink(&self) -> rusqlite::Result<()> {
        let mut vacuum = self
            .connection
            .prepare_cached("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query(())?;
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// Counts anew what is in the log.
    fn count(&mut self) -> rusqlite::Result<()> {
        let mut bytes = HashMap::new();
        let mut sums = self
            .connection
            .prepare_cached("SELECT gateway, sum(bytes) FROM logs GROUP BY gateway")?;
        let mut rows = sums.query(())?;
        while let Some(row) = rows.next()? {
            let gateway: String = row.get(0)?;
            let sum: i64 = row.get(1)?;
            *bytes.entry(self.keepings.name(&gateway)).or_insert(0) +=
                u64::try_from(sum).unwrap_or(0);
        }
        drop(rows);
        drop(sums);
        self.bytes = bytes;
        Ok(())
    }

    fn grow(&mut self, gateway: &str, bytes: usize) {
        let name = self.keepings.name(gateway);
        *self.bytes.entry(name).or_insert(0) += bytes as u64;
    }

    /// Everything into one file; what cannot be stays beside it, where it counts as well.
    pub(super) fn close(self) {
        let _ = self
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

impl Keepings {
    /// An allowance's name: the gateway's, or none for one that is not named.
    fn name(&self, gateway: &str) -> String {
        match self.named.contains_key(gateway) {
            true => gateway.to_owned(),
            false => String::new(),
        }
    }

    fn of(&self, name: &str) -> Keeping {
        self.named.get(name).copied().unwrap_or(self.others)
    }

    /// Which entries an allowance has, as a condition and its parameters.
    fn those(&self, name: &str) -> (String, Vec<String>) {
        if self.named.contains_key(name) {
            return ("gateway = ?1".to_owned(), vec![name.to_owned()]);
        }
        let mut named: Vec<String> = self.named.keys().cloned().collect();
        named.sort_unstable();
        let marks = vec!["?"; named.len()].join(", ");
        (format!("gateway NOT IN ({marks})"), named)
    }
}

fn connect(path: Option<&Path>) -> rusqlite::Result<Connection> {
    let connection = match path {
        Some(path) => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_NOFOLLOW,
        )?,
        None => Connection::open_in_memory()?,
    };
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF")?;
    // Reads the first page, so that a file that is no database is refused now.
    connection.query_row("PRAGMA schema_version", (), |_| Ok(()))?;
    if connection.is_readonly("main")? {
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(rusqlite::Error::SqliteFailure(error, None));
    }
    Ok(connection)
}

/// 0 of an empty file. The error is the reason, in words.
fn version(connection: &Connection) -> Result<i64, String> {
    let explain = |error: rusqlite::Error| file::explain(&error);
    let version = user_version(connection).map_err(explain)?;
    let application: i64 = connection
        .query_row("PRAGMA application_id", (), |row| row.get(0))
        .map_err(explain)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(explain)?;
    match (application, version, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION, VERSION, _) => Ok(VERSION),
        (APPLICATION, newer, _) if newer > VERSION => Err(format!(
            "a newer version of this program wrote it (its schema is {newer}, and this one knows {VERSION}); use that \
             version, or give another path"
        )),
        (APPLICATION, ..) => Err(format!(
            "its schema is {version}, which no version of this program writes; give another path, or move it away"
        )),
        _ => Err("it is another program's database; give another path".to_owned()),
    }
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

/// What SQLite says, which may name a file's place and nothing that is in it.
fn storage(error: rusqlite::Error) -> LogError {
    LogError::Storage(file::explain(&error))
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn json(metadata: &Metadata) -> Option<String> {
    (!metadata.is_empty()).then(|| serde_json::Value::Object(metadata.clone()).to_string())
}

/// Bytes of the entry.
fn insert_entry(insert: &mut rusqlite::Statement<'_>, entry: &Entry) -> rusqlite::Result<usize> {
    let metadata = json(&entry.metadata);
    let optional = [
        &entry.model_type,
        &entry.request_type,
        &entry.request_content_type,
        &entry.response_content_type,
        &metadata,
        &entry.request_head.text,
        &entry.response_head.text,
    ];
    let texts = [
        &entry.id,
        &entry.gateway,
        &entry.gateway,
        &entry.provider,
        &entry.model,
        &entry.path,
    ];
    let texts = texts.into_iter().chain(optional.into_iter().flatten());
    let bytes = OVERHEAD + texts.map(String::len).sum::<usize>();
    let duration = u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX);
    insert.execute(params![
        entry.id,
        entry.gateway,
        int(millis(entry.created_at)),
        int(bytes as u64),
        entry.provider,
        entry.model,
        entry.model_type,
        entry.path,
        int(duration),
        entry.request_type,
        entry.request_content_type,
        entry.status_code,
        entry.response_content_type,
        entry.success,
        entry.cached,
        entry.tokens_in.map(int),
        entry.tokens_out.map(int),
        metadata,
        entry.step,
        entry.cost.filter(|cost| cost.is_finite()),
        entry.custom_cost,
        int(entry.request_size),
        entry.request_head.text,
        entry.request_head.complete,
        int(entry.response_size),
        entry.response_head.text,
        entry.response_head.complete,
    ])?;
    Ok(bytes)
}

fn read(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    let unsigned = |name: &str| -> rusqlite::Result<u64> {
        Ok(u64::try_from(row.get::<_, i64>(name)?).unwrap_or(0))
    };
    let tokens = |name: &str| -> rusqlite::Result<Option<u64>> {
        Ok(row
            .get::<_, Option<i64>>(name)?
            .and_then(|tokens| u64::try_from(tokens).ok()))
    };
    let metadata: Option<String> = row.get("metadata")?;
    let metadata = metadata.and_then(|json| serde_json::from_str(&json).ok());
    Ok(LogEntry {
        entry: Entry {
            id: row.get("id")?,
            gateway: row.get("gateway")?,
            provider: row.get("provider")?,
            model: row.get("model")?,
            model_type: row.get("model_type")?,
            path: row.get("path")?,
            duration: Duration::from_millis(unsigned("duration")?),
            request_type: row.get("request_type")?,
            request_content_type: row.get("request_content_type")?,
            status_code: row.get("status_code")?,
            response_content_type: row.get("response_content_type")?,
            success: row.get("success")?,
            cached: row.get("cached")?,
            tokens_in: tokens("tokens_in")?,
            tokens_out: tokens("tokens_out")?,
            metadata: metadata.unwrap_or_default(),
            step: row.get("step")?,
            cost: row.get("cost")?,
            custom_cost: row.get("custom_cost")?,
            request_size: unsigned("request_size")?,
            request_head: Head {
                text: row.get("request_head")?,
                complete: row.get("request_head_complete")?,
            },
            response_size: unsigned("response_size")?,
            response_head: Head {
                text: row.get("response_head")?,
                complete: row.get("response_head_complete")?,
            },
            created_at: SystemTime::UNIX_EPOCH + Duration::from_millis(unsigned("created_at")?),
        },
        score: row.get("score")?,
        feedback: row.get("feedback")?,
    })
}
