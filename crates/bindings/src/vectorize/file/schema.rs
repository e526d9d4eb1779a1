//! What is in the file.
//!
//! Values of vectors are apart from the rest, so that a look at all metadata does not read them. Texts are compared by
//! their UTF-8 bytes, as SQLite does by itself.

use rusqlite::{Connection, OptionalExtension};

use crate::vectorize::options::{MetadataIndex, MetadataType, Metric, Shape};

/// The file's application id.
pub(super) const APPLICATION: i32 = 0x6273_5678;
/// The version of what is below.
pub(super) const VERSION: i32 = 1;

/// Vectors of some kilobytes leave little of such pages unused.
pub(super) const PAGE_SIZE: u32 = 16 << 10;

pub(super) const TABLES: &str = "
CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- One row: counts, the number of the newest change, and the newest mutation.
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    vectors INTEGER NOT NULL,
    namespaces INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    mutation TEXT,
    mutated_at INTEGER
);
CREATE TABLE namespaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, vectors INTEGER NOT NULL);
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    namespace INTEGER, -- of `namespaces`
    changed INTEGER NOT NULL,
    metadata TEXT
);
CREATE INDEX vectors_by_namespace ON vectors (namespace) WHERE namespace IS NOT NULL;
-- Little-endian float32.
CREATE TABLE vals (row INTEGER PRIMARY KEY, vals BLOB NOT NULL);
CREATE TABLE metadata_indexes (id INTEGER PRIMARY KEY, property TEXT NOT NULL UNIQUE, kind TEXT NOT NULL);
-- What vectors have of the indexed properties, as SQLite orders it: numbers (REAL), texts, booleans (x'00', x'01'),
-- objects and lists (x'02'). A property that is null is as one that is not there.
CREATE TABLE properties (
    metadata_index INTEGER NOT NULL,
    value NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (metadata_index, value, row)
) WITHOUT ROWID;
";

/// A metadata index of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) id: i64,
    pub(super) index: MetadataIndex,
}

/// Why the settings cannot be.
pub(super) type Inconsistent = String;

/// What the file says of its shape.
pub(super) fn shape(connection: &Connection) -> rusqlite::Result<Result<Shape, Inconsistent>> {
    const READ: &str = "SELECT value FROM settings WHERE name = ?1";
    let mut read = connection.prepare(READ)?;
    let dimensions = read
        .query_row(["dimensions"], |row| row.get::<_, i64>(0))
        .optional()?;
    let metric = read
        .query_row(["metric"], |row| row.get::<_, String>(0))
        .optional()?;
    let dimensions = dimensions.and_then(|n| usize::try_from(n).ok());
    let metric = metric.and_then(|metric| metric.parse::<Metric>().ok());
    Ok(match (dimensions, metric) {
        (Some(dimensions @ 1..), Some(metric)) => Ok(Shape { dimensions, metric }),
        _ => Err("its settings have no dimensions or no metric".to_owned()),
    })
}

/// The metadata indexes.
pub(super) fn indexes(connection: &Connection) -> rusqlite::Result<Vec<Indexed>> {
    const READ: &str = "SELECT id, property, kind FROM metadata_indexes ORDER BY id";
    let mut read = connection.prepare_cached(READ)?;
    let found = read.query_map((), |row| {
        let kind: String = row.get(2)?;
        Ok(Indexed {
            id: row.get(0)?,
            index: MetadataIndex {
                property: row.get(1)?,
                // What no version of ours has written is read as the most general.
                kind: kind.parse().unwrap_or(MetadataType::String),
            },
        })
    });
    found?.collect()
}

/// The table of one row, and which rows of vectors are not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) vectors: u64,
    pub(super) namespaces: u64,
    pub(super) changed: i64,
    pub(super) mutation: Option<(String, i64)>,
}

impl State {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        const READ: &str =
            "SELECT vectors, namespaces, changed, mutation, mutated_at FROM state WHERE one = 1";
        connection.query_row(READ, (), |row| {
            let mutation: Option<String> = row.get(3)?;
            let at: Option<i64> = row.get(4)?;
            Ok(Self {
                vectors: row.get::<_, i64>(0)?.max(0) as u64,
                namespaces: row.get::<_, i64>(1)?.max(0) as u64,
                changed: row.get(2)?,
                mutation: mutation.zip(at),
            })
        })
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        const WRITE: &str = "UPDATE state SET vectors = ?1, namespaces = ?2, changed = ?3, mutation = ?4, mutated_at = ?5 WHERE one = 1";
        connection.prepare_cached(WRITE)?.execute((
            self.vectors as i64,
            self.namespaces as i64,
            self.changed,
            self.mutation.as_ref().map(|(id, _)| id),
            self.mutation.as_ref().map(|(_, at)| at),
        ))?;
        Ok(())
    }
}

/// Values as they are stored.
pub(super) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Stored values. Nothing if they are not so many.
pub(super) fn values_of(bytes: &[u8], dimensions: usize) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    (values.len() == dimensions && rest.is_empty()).then(|| {
        values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect()
    })
}
