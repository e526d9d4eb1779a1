//! Opening a file: what can be wrong with it is found here, before SQLite has one word for all of it.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::thread;
use std::time::Duration;

use roaring::RoaringBitmap;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;

use super::call::Watch;
use super::change::Space;
use super::core::{Core, locked};
use super::error::Failure;
use super::lock::{self, FileLock};
use super::queue::Queue;
use super::reader::Reader;
use super::refusal::{damaged, explain, missing, permission};
use super::schema::{self, APPLICATION, PAGE_SIZE, State, TABLES, VERSION, values_of};
use super::{index, writer::Writer};
use crate::place::{Identity, Place};
use crate::vectorize::options::{IndexOptions, OpenError, Shape};
use crate::vectorize::search::Vectors;

/// Bytes of the write-ahead log that are kept for the next batch.
const LOG_AT_REST: u32 = 16 << 20;
/// How long a backup or another reader may hold a lock.
const BUSY: Duration = Duration::from_secs(5);
/// The number of the next change is up to so much higher when a file is opened: so numbers of changes that a backup
/// does not have do not come again, once it is put in place, and nothing cached is taken for what it is not.
const JUMP: i64 = 1 << 40;

/// Open files of this process.
static OPEN: Mutex<Option<HashMap<Identity, Weak<Core>>>> = Mutex::new(None);

/// The file at the path, opened once in this process however many use it.
pub(super) fn core(path: &Path, options: &IndexOptions) -> Result<Arc<Core>, OpenError> {
    options.check_metadata_indexes()?;
    let path = prepare(path, options)?;
    let mut open = locked(&OPEN);
    let open = open.get_or_insert_default();
    open.retain(|_, core| core.strong_count() > 0);
    let place = Place::of(&path).map_err(|error| permission(&path, &error))?;
    if let Some(core) = open.get(&place.identity()).and_then(Weak::upgrade) {
        if core.failing().is_none() && core.users.load(Ordering::Acquire) > 0 {
            check_shape(&path, core.shape, options)?;
            core.users.fetch_add(1, Ordering::AcqRel);
            return Ok(core);
        }
        // The file is not opened twice: what is written would not be seen in the other's memory.
        core.shut_down();
    }
    let core = load(&path, place, options)?;
    open.insert(core.place.identity(), Arc::downgrade(&core));
    Ok(core)
}

/// One user less. The last one shuts it down.
pub(super) fn leave(core: &Arc<Core>) {
    // Nobody opens it meanwhile.
    let _open = locked(&OPEN);
    if core.users.fetch_sub(1, Ordering::AcqRel) == 1 {
        core.shut_down();
    }
}

/// The path without links, of a file that is there.
fn prepare(path: &Path, options: &IndexOptions) -> Result<PathBuf, OpenError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(OpenError::Store(format!(
            "{} is not a file; give the path of one",
            path.display()
        ))),
        Ok(_) => path
            .canonicalize()
            .map_err(|error| permission(path, &error)),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path, options),
        Err(error) => Err(permission(path, &error)),
    }
}

fn create(path: &Path, options: &IndexOptions) -> Result<PathBuf, OpenError> {
    if !options.create {
        return Err(missing(path));
    }
    shape_of_new(path, options)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(OpenError::Store(format!(
            "cannot create the index {}: its folder does not exist; create it with `mkdir -p {}`",
            path.display(),
            folder.display()
        )));
    }
    // For its owner alone; SQLite gives the files beside it the same mode.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .and_then(|_| path.canonicalize())
        .map_err(|error| permission(path, &error))
}

fn shape_of_new(path: &Path, options: &IndexOptions) -> Result<Shape, OpenError> {
    let most = options.limits.max_dimensions;
    match (options.dimensions, options.metric) {
        (Some(dimensions), Some(metric)) if (1..=most).contains(&dimensions) => {
            Ok(Shape { dimensions, metric })
        }
        (Some(dimensions), Some(_)) => Err(OpenError::Options(format!(
            "{dimensions} dimensions cannot be; an index has from 1 to {most}"
        ))),
        _ => Err(OpenError::Options(format!(
            "the index {} is to be created: give its dimensions and its metric",
            path.display()
        ))),
    }
}

fn check_shape(path: &Path, shape: Shape, options: &IndexOptions) -> Result<(), OpenError> {
    let path = path.display();
    if let Some(dimensions) = options.dimensions.filter(|n| *n != shape.dimensions) {
        return Err(OpenError::Options(format!(
            "the index {path} has {} dimensions, and not {dimensions}; leave them out, or give another file",
            shape.dimensions
        )));
    }
    if let Some(metric) = options.metric.filter(|metric| *metric != shape.metric) {
        return Err(OpenError::Options(format!(
            "the index {path} has the metric {}, and not {metric}; leave it out, or give another file",
            shape.metric
        )));
    }
    Ok(())
}

fn load(path: &Path, place: Place, options: &IndexOptions) -> Result<Arc<Core>, OpenError> {
    let lock = FileLock::of(path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => OpenError::Store(format!(
            "another process has the index {} open; end that, or give another file",
            path.display()
        )),
        _ => permission(&lock::path_of(path), &error),
    })?;
    // Opening it, and closing it again, would take the locks from a backup in this process.
    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
        .map_err(|error| permission(path, &error.into()))?;
    let failed = |error: rusqlite::Error| explain(path, &error);
    let empty = is_empty(path)?;
    if empty && !options.create {
        return Err(missing(path));
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    if empty {
        let shape = shape_of_new(path, options)?;
        make(&connection, shape).map_err(failed)?;
    }
    let shape = match schema::shape(&connection).map_err(failed)? {
        Ok(shape) => shape,
        Err(why) => return Err(damaged(path, &why)),
    };
    check_shape(path, shape, options)?;
    settle(&connection).map_err(failed)?;
    index_metadata(&connection, path, options)?;
    let mut state = State::read(&connection).map_err(failed)?;
    let needed = state.vectors * shape.dimensions as u64 * size_of::<f32>() as u64;
    if needed > options.limits.max_memory_bytes {
        return Err(OpenError::Store(format!(
            "the vectors of {} take {needed} bytes of memory, and at most {} are allowed; raise that limit",
            path.display(),
            options.limits.max_memory_bytes
        )));
    }
    let vectors = Vectors::new(shape, options.exact_below, Some(cache(path)));
    let rows = load_vectors(&connection, &vectors, shape, path)?;
    if rows.len() != state.vectors {
        let why = "it does not have as many vectors as it says";
        return Err(damaged(path, why));
    }
    let applied = state.changed;
    state.changed = state.changed.saturating_add(fastrand::i64(1..JUMP));
    let core = Arc::new(Core {
        place,
        shape,
        vectors,
        applied: AtomicI64::new(applied),
        commit: RwLock::new(()),
        state: Mutex::new(state.clone()),
        indexes: Mutex::new(schema::indexes(&connection).map_err(failed)?),
        failed: Mutex::new(None),
        queue: Queue::new(),
        users: AtomicUsize::new(1),
        threads: Mutex::new(Vec::new()),
        _lock: lock,
        rows: RwLock::new(rows.clone()),
    });
    let started = start(&core, connection, state, Space::new(&rows), options);
    started.inspect_err(|_| core.shut_down())?;
    Ok(core)
}

/// Where the approximate index is saved.
pub(super) fn cache(path: &Path) -> PathBuf {
    let mut cache = path.as_os_str().to_owned();
    cache.push("-index");
    cache.into()
}

fn start(
    core: &Arc<Core>,
    mut connection: Connection,
    state: State,
    space: Space,
    options: &IndexOptions,
) -> Result<(), OpenError> {
    let path = core.path();
    let failed = |error: rusqlite::Error| explain(&path, &error);
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|error| {
            OpenError::Store(format!(
                "cannot start a thread for the index {}: {error}; raise the limit of processes (`ulimit -u`)",
                path.display()
            ))
        })?;
        locked(&core.threads).push(thread);
        Ok::<_, OpenError>(())
    };
    let writer = Writer {
        watch: Watch::install(&mut connection).map_err(failed)?,
        core: Arc::clone(core),
        connection,
        state,
        space,
    };
    for _ in 0..options.searchers.max(1) {
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let reader = Reader {
            watch: Watch::install(&mut connection).map_err(failed)?,
            core: Arc::clone(core),
            connection,
        };
        spawn("vector-search", Box::new(move || reader.work()))?;
    }
    spawn("vector-write", Box::new(move || writer.work()))
}

/// Whether there is nothing in the file yet. One that is something else is refused before anything of it is changed.
pub(super) fn is_empty(path: &Path) -> Result<bool, OpenError> {
    let file = std::fs::metadata(path).map_err(|error| permission(path, &error))?;
    if file.len() == 0 {
        return Ok(true);
    }
    let failed = |error: rusqlite::Error| explain(path, &error);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let pragma = |name: &str| {
        let sql = format!("PRAGMA {name}");
        connection.query_row(&sql, (), |row| row.get::<_, i32>(0))
    };
    let application = pragma("application_id").map_err(failed)?;
    let version = pragma("user_version").map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .map_err(failed)?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(true);
    }
    if application != APPLICATION {
        return Err(OpenError::Store(format!(
            "{} is a SQLite database, but no Vectorize index; give the path of one, or of a file that does not exist yet",
            path.display()
        )));
    }
    if version != VERSION {
        return Err(OpenError::Store(format!(
            "the index {} has the format {version}, and this version reads {VERSION} only; use the version that wrote it, or a newer one",
            path.display()
        )));
    }
    Ok(false)
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn make(connection: &Connection, shape: Shape) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE_SIZE}"))?;
    connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")?;
    connection.execute_batch(TABLES)?;
    let set = "INSERT INTO settings (name, value) VALUES (?1, ?2)";
    connection.execute(set, ("dimensions", shape.dimensions as i64))?;
    connection.execute(set, ("metric", shape.metric.name()))?;
    // Not those of another index that was here before: what is cached of it is not this one's.
    let first = fastrand::i64(1..1 << 61);
    connection.execute(
        "INSERT INTO state (one, vectors, namespaces, changed) VALUES (1, 0, 0, ?1)",
        [first],
    )?;
    connection.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
    ))
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?;
    // After a large batch the log becomes as small again as SQLite lets it grow by itself.
    let log = format!("PRAGMA journal_size_limit = {LOG_AT_REST}");
    connection.query_row(&log, (), |_| Ok(()))?;
    // What was acknowledged survives a power failure.
    connection.execute_batch("PRAGMA synchronous = FULL")
}

fn index_metadata(
    connection: &Connection,
    path: &Path,
    options: &IndexOptions,
) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| explain(path, &error);
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(failed)?;
    let configured = index::configure(connection, &options.metadata_indexes);
    match configured {
        Ok(()) => connection.execute_batch("COMMIT").map_err(failed),
        Err(Failure::Sqlite(error)) => Err(explain(path, &error)),
        Err(Failure::Damaged(why)) => Err(damaged(path, &why)),
        Err(Failure::Call(error)) => Err(OpenError::Store(error.text)),
    }
}

fn load_vectors(
    connection: &Connection,
    vectors: &Vectors,
    shape: Shape,
    path: &Path,
) -> Result<RoaringBitmap, OpenError> {
    let failed = |error: rusqlite::Error| explain(path, &error);
    let mut read = connection
        .prepare("SELECT vectors.row, changed, vals FROM vectors JOIN vals ON vals.row = vectors.row ORDER BY vectors.row")
        .map_err(failed)?;
    let found = read
        .query_map((), |row| {
            let bytes = row.get_ref(2)?.as_blob()?;
            let values = values_of(bytes, shape.dimensions);
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, values))
        })
        .map_err(failed)?;
    let mut rows = RoaringBitmap::new();
    let found = found.map(|row| {
        let (row, changed, values) = row.map_err(failed)?;
        let values = values
            .ok_or_else(|| damaged(path, &format!("row {row} has values of other dimensions")))?;
        rows.insert(row);
        Ok((row, changed.unsigned_abs(), values))
    });
    vectors.load(found)?;
    Ok(rows)
}
