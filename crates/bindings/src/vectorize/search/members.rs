//! Which rows are in a graph, and as which of its entries.
//!
//! A graph's entries are numbered from 0 and never change. An entry whose row was replaced or removed is dead: it still
//! leads searches on, but is never found.

use std::mem::size_of;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use roaring::RoaringBitmap;

use super::lock;
use super::matrix::Matrix;

/// No row, no entry.
pub(super) const NONE: u32 = u32::MAX;

/// The row of each entry of a graph; [`NONE`] if it is dead.
#[derive(Default)]
pub(super) struct Entries {
    rows: RwLock<Vec<AtomicU32>>,
}

impl Entries {
    pub(super) fn of(rows: Vec<u32>) -> Self {
        let rows = rows.into_iter().map(AtomicU32::new).collect();
        Self {
            rows: RwLock::new(rows),
        }
    }

    /// A new entry, dead at first.
    pub(super) fn push(&self) -> u32 {
        let mut rows = lock::write(&self.rows);
        rows.push(AtomicU32::new(NONE));
        (rows.len() - 1) as u32
    }

    pub(super) fn set(&self, entry: u32, row: u32) {
        if let Some(slot) = lock::read(&self.rows).get(entry as usize) {
            slot.store(row, Ordering::Release);
        }
    }

    pub(super) fn len(&self) -> usize {
        lock::read(&self.rows).len()
    }

    /// Calls `with` with a function that tells an entry's row, if it is alive.
    pub(super) fn with<T>(&self, with: impl FnOnce(&dyn Fn(u64) -> Option<u32>) -> T) -> T {
        let rows = lock::read(&self.rows);
        with(&|entry| {
            let row = rows
                .get(usize::try_from(entry).ok()?)?
                .load(Ordering::Acquire);
            (row != NONE).then_some(row)
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        (lock::read(&self.rows).capacity() * size_of::<u32>()) as u64
    }
}

/// The rows of the matrix, as one graph has them.
pub(super) struct Members {
    /// Which graph.
    pub(super) epoch: u64,
    pub(super) entries: Arc<Entries>,
    /// By position in the matrix; [`NONE`] of a row that is not in the graph yet.
    entry_of: Vec<u32>,
    /// Rows that are not in the graph yet.
    pub(super) pending: RoaringBitmap,
    /// Entries that are dead.
    pub(super) dead: u64,
}

impl Members {
    /// Of a graph without entries.
    pub(super) fn new(epoch: u64, matrix: &Matrix) -> Self {
        Self {
            epoch,
            entries: Arc::default(),
            entry_of: vec![NONE; matrix.len()],
            pending: matrix.rows().collect(),
            dead: 0,
        }
    }

    /// Of a graph that was saved with these rows and the states they had.
    pub(super) fn of(epoch: u64, matrix: &Matrix, saved: &[(u32, u64)]) -> Self {
        let mut new = Self::new(epoch, matrix);
        let mut rows = Vec::with_capacity(saved.len());
        for (entry, &(row, changed)) in saved.iter().enumerate() {
            let position = matrix.position(row);
            let same =
                position.filter(|&at| matrix.changed(at) == changed && new.entry_of[at] == NONE);
            if let Some(position) = same {
                new.entry_of[position] = entry as u32;
                new.pending.remove(row);
                rows.push(row);
            } else {
                new.dead += 1;
                rows.push(NONE);
            }
        }
        new.entries = Arc::new(Entries::of(rows));
        new
    }

    /// All rows, in the graph or not.
    pub(super) fn rows(&self) -> u64 {
        self.entry_of.len() as u64
    }

    /// A row was put there.
    pub(super) fn put(&mut self, row: u32, position: usize, new: bool) {
        if new {
            self.entry_of.push(NONE);
        } else {
            self.kill(position);
        }
        self.pending.insert(row);
    }

    /// A row was removed from there, and the last one took its place.
    pub(super) fn remove(&mut self, row: u32, position: usize) {
        self.kill(position);
        self.entry_of.swap_remove(position);
        self.pending.remove(row);
    }

    fn kill(&mut self, position: usize) {
        let entry = std::mem::replace(&mut self.entry_of[position], NONE);
        if entry != NONE {
            self.entries.set(entry, NONE);
            self.dead += 1;
        }
    }

    /// A row was added to the graph as it was when it had this `changed`.
    pub(super) fn added(&mut self, matrix: &Matrix, row: u32, changed: u64, entry: u32) {
        let position = matrix.position(row);
        match position.filter(|&at| matrix.changed(at) == changed && self.entry_of[at] == NONE) {
            Some(position) => {
                self.entry_of[position] = entry;
                self.entries.set(entry, row);
                self.pending.remove(row);
            }
            None => self.dead += 1,
        }
    }

    /// The row and its `changed` of each entry that is alive.
    pub(super) fn table(&self, matrix: &Matrix, entries: usize) -> Vec<(u32, u64)> {
        let mut table = vec![(NONE, 0); entries];
        for (position, &entry) in self.entry_of.iter().enumerate() {
            if let Some(slot) = table.get_mut(entry as usize) {
                *slot = (matrix.row(position), matrix.changed(position));
            }
        }
        table
    }

    pub(super) fn bytes(&self) -> u64 {
        let entry_of = self.entry_of.capacity() * size_of::<u32>();
        entry_of as u64 + self.pending.serialized_size() as u64 + self.entries.bytes()
    }
}
