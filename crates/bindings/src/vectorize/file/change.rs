//! What a batch changes in the file, and then in memory.

use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension};

use super::call::Ticket;
use super::error::Failure;
use super::property::key_of;
use super::schema::{Indexed, State, bytes_of};
use super::select::parse;
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::options::Limits;
use crate::vectorize::search::Vectors;
use crate::vectorize::vector::{Metadata, Vector, Write};

/// What a vector takes in memory besides its values, about.
const ROW_BYTES: u64 = 64;

/// Rows that are not used.
#[derive(Debug, Clone)]
pub(super) struct Space {
    free: RoaringBitmap,
    next: u32,
}

impl Space {
    pub(super) fn new(used: &RoaringBitmap) -> Self {
        let next = used.max().map_or(1, |last| last.saturating_add(1));
        let mut free = RoaringBitmap::new();
        free.insert_range(1..next);
        Self {
            free: free - used,
            next,
        }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(row) = self.free.min() {
            self.free.remove(row);
            return Some(row);
        }
        let row = self.next;
        self.next = row.checked_add(1)?;
        Some(row)
    }

    /// After the commit: until then others still have them.
    pub(super) fn give_back(&mut self, rows: &[u32]) {
        self.free.extend(rows.iter().copied());
    }
}

/// What is to be changed in memory.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) number: i64,
    pub(super) put: Vec<(u32, u64, Vec<f32>)>,
    pub(super) removed: Vec<u32>,
}

impl Change {
    pub(super) fn new(number: i64) -> Self {
        Self {
            number,
            put: Vec::new(),
            removed: Vec::new(),
        }
    }
}

/// A vector that there is.
struct Old {
    row: u32,
    namespace: Option<i64>,
    metadata: Option<Metadata>,
}

/// A batch that is being written.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) vectors: &'a Vectors,
    pub(super) dimensions: usize,
    pub(super) indexes: Vec<Indexed>,
    pub(super) state: &'a mut State,
    pub(super) space: &'a mut Space,
    pub(super) change: &'a mut Change,
    pub(super) limits: &'a Limits,
    pub(super) ticket: &'a Ticket,
}

impl Writing<'_> {
    /// The ids of those that are stored.
    pub(super) fn store(
        &mut self,
        write: Write,
        vectors: &[Vector],
    ) -> Result<Vec<String>, Failure> {
        let mut ids = Vec::new();
        let namespaces = self.state.namespaces;
        for vector in vectors {
            self.check_time()?;
            if vector.values.len() != self.dimensions {
                let text = format!(
                    "a vector has {} values, and not {}",
                    vector.values.len(),
                    self.dimensions
                );
                return Err(VectorizeError::new(Code::Vector, text).into());
            }
            let old = self.find(&vector.id)?;
            match (old, write) {
                (Some(_), Write::Insert) => continue,
                (Some(old), Write::Upsert) => self.replace(&old, vector)?,
                (None, _) => self.insert(vector)?,
            }
            ids.push(vector.id.clone());
        }
        // Those that the batch leaves without a vector make place for new ones.
        let (now, max) = (self.state.namespaces, self.limits.max_namespaces);
        if now > namespaces && now > max as u64 {
            return Err(full(format!(
                "the index holds at most {max} namespaces; delete all vectors of one, or raise that limit"
            ))
            .into());
        }
        Ok(ids)
    }

    /// The ids of those that there were.
    pub(super) fn delete(&mut self, ids: &[String]) -> Result<Vec<String>, Failure> {
        let mut deleted = Vec::new();
        for id in ids {
            self.check_time()?;
            let Some(old) = self.find(id)? else {
                continue;
            };
            self.remove_keys(&old)?;
            self.leave_namespace(old.namespace)?;
            for sql in [
                "DELETE FROM vectors WHERE row = ?1",
                "DELETE FROM vals WHERE row = ?1",
            ] {
                self.connection.prepare_cached(sql)?.execute([old.row])?;
            }
            self.state.vectors = self.state.vectors.saturating_sub(1);
            self.change.removed.push(old.row);
            deleted.push(id.clone());
        }
        Ok(deleted)
    }

    /// Statements on single rows are too short to be interrupted.
    fn check_time(&self) -> Result<(), VectorizeError> {
        match self.ticket.is_stopped() {
            true => Err(self.ticket.timeout()),
            false => Ok(()),
        }
    }

    fn find(&self, id: &str) -> Result<Option<Old>, Failure> {
        const FIND: &str = "SELECT row, namespace, metadata FROM vectors WHERE id = ?1";
        let mut find = self.connection.prepare_cached(FIND)?;
        let found = find
            .query_row([id], |found| {
                let metadata: Option<String> = found.get(2)?;
                Ok((found.get(0)?, found.get(1)?, metadata))
            })
            .optional()?;
        let Some((row, namespace, metadata)) = found else {
            return Ok(None);
        };
        let metadata = metadata.map(|text| parse(row, &text)).transpose()?;
        Ok(Some(Old {
            row,
            namespace,
            metadata,
        }))
    }

    fn insert(&mut self, vector: &Vector) -> Result<(), Failure> {
        self.check_room()?;
        let Some(row) = self.space.take() else {
            return Err(full("the index has no numbers left for more vectors; delete some").into());
        };
        let namespace = self.join_namespace(vector.namespace.as_deref())?;
        let metadata = text_of(vector)?;
        self.connection
            .prepare_cached("INSERT INTO vectors (row, id, namespace, changed, metadata) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((row, &vector.id, namespace, self.change.number, metadata))?;
        self.connection
            .prepare_cached("INSERT INTO vals (row, vals) VALUES (?1, ?2)")?
            .execute((row, bytes_of(&vector.values)))?;
        self.add_keys(row, vector)?;
        self.state.vectors += 1;
        self.put(row, vector);
        Ok(())
    }

    fn replace(&mut self, old: &Old, vector: &Vector) -> Result<(), Failure> {
        self.remove_keys(old)?;
        let namespace = self.join_namespace(vector.namespace.as_deref())?;
        self.leave_namespace(old.namespace)?;
        let metadata = text_of(vector)?;
        self.connection
            .prepare_cached(
                "UPDATE vectors SET namespace = ?2, changed = ?3, metadata = ?4 WHERE row = ?1",
            )?
            .execute((old.row, namespace, self.change.number, metadata))?;
        self.connection
            .prepare_cached("UPDATE vals SET vals = ?2 WHERE row = ?1")?
            .execute((old.row, bytes_of(&vector.values)))?;
        self.add_keys(old.row, vector)?;
        self.put(old.row, vector);
        Ok(())
    }

    fn put(&mut self, row: u32, vector: &Vector) {
        let changed = self.change.number.unsigned_abs();
        self.change.put.push((row, changed, vector.values.clone()));
    }

    fn check_room(&self) -> Result<(), VectorizeError> {
        let limits = self.limits;
        if self.state.vectors >= limits.max_vectors {
            return Err(full(format!(
                "the index holds at most {} vectors; delete some, or raise that limit",
                limits.max_vectors
            )));
        }
        // Those of the same transaction are not in memory yet.
        let waiting = self.state.vectors.saturating_sub(self.vectors.len()) + 1;
        let each = self.dimensions as u64 * size_of::<f32>() as u64 + ROW_BYTES;
        let bytes = self.vectors.memory_bytes() + waiting * each;
        if bytes > limits.max_memory_bytes {
            return Err(full(format!(
                "the index takes at most {} bytes of memory; delete vectors, or raise that limit",
                limits.max_memory_bytes
            )));
        }
        Ok(())
    }

    /// The namespace's number, of one that has a vector more.
    fn join_namespace(&mut self, name: Option<&str>) -> Result<Option<i64>, Failure> {
        let Some(name) = name else {
            return Ok(None);
        };
        let joined = self
            .connection
            .prepare_cached(
                "UPDATE namespaces SET vectors = vectors + 1 WHERE name = ?1 RETURNING id",
            )?
            .query_row([name], |row| row.get(0))
            .optional()?;
        if joined.is_some() {
            return Ok(joined);
        }
        self.connection
            .prepare_cached("INSERT INTO namespaces (name, vectors) VALUES (?1, 1)")?
            .execute([name])?;
        self.state.namespaces += 1;
        Ok(Some(self.connection.last_insert_rowid()))
    }

    fn leave_namespace(&mut self, id: Option<i64>) -> Result<(), Failure> {
        let Some(id) = id else {
            return Ok(());
        };
        self.connection
            .prepare_cached("UPDATE namespaces SET vectors = vectors - 1 WHERE id = ?1")?
            .execute([id])?;
        let empty = self
            .connection
            .prepare_cached("DELETE FROM namespaces WHERE id = ?1 AND vectors <= 0")?
            .execute([id])?;
        self.state.namespaces = self.state.namespaces.saturating_sub(empty as u64);
        Ok(())
    }

    fn add_keys(&self, row: u32, vector: &Vector) -> Result<(), Failure> {
        const ADD: &str =
            "INSERT OR REPLACE INTO properties (metadata_index, value, row) VALUES (?1, ?2, ?3)";
        self.each_key(row, vector.metadata.as_ref(), ADD)
    }

    fn remove_keys(&self, old: &Old) -> Result<(), Failure> {
        const REMOVE: &str =
            "DELETE FROM properties WHERE metadata_index = ?1 AND value = ?2 AND row = ?3";
        self.each_key(old.row, old.metadata.as_ref(), REMOVE)
    }

    fn each_key(&self, row: u32, metadata: Option<&Metadata>, sql: &str) -> Result<(), Failure> {
        for index in &self.indexes {
            if let Some(key) = key_of(metadata, &index.index.property) {
                let mut statement = self.connection.prepare_cached(sql)?;
                statement.execute((index.id, key, row))?;
            }
        }
        Ok(())
    }
}

fn text_of(vector: &Vector) -> Result<Option<String>, Failure> {
    let metadata = vector.metadata.as_ref();
    let text = metadata.map(serde_json::to_string).transpose();
    text.map_err(|error| VectorizeError::new(Code::Metadata, error.to_string()).into())
}

fn full(text: impl Into<String>) -> VectorizeError {
    VectorizeError::new(Code::Full, text)
}
