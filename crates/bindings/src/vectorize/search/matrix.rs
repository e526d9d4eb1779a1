//! Vectors without gaps, in chunks: a row's values stand next to those of another one, so that a scan reads memory in order.
//!
//! Chunks are shared with scans that run. A change copies a chunk that a scan still reads, so neither waits for the other.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

/// Bytes of a chunk's values, about.
const CHUNK_BYTES: usize = 256 << 10;

/// Some rows. `values` has as many vectors as `rows` has numbers.
pub(super) struct Chunk {
    values: Vec<f32>,
    rows: Vec<u32>,
}

impl Chunk {
    fn with_capacity(rows: usize, dimensions: usize) -> Self {
        Self {
            values: Vec::with_capacity(rows * dimensions),
            rows: Vec::with_capacity(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Row numbers and values.
    pub(super) fn iter(&self, dimensions: usize) -> impl Iterator<Item = (u32, &[f32])> {
        self.rows
            .iter()
            .copied()
            .zip(self.values.chunks_exact(dimensions))
    }
}

/// With room for as many rows as before.
impl Clone for Chunk {
    fn clone(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.capacity());
        values.extend_from_slice(&self.values);
        let mut rows = Vec::with_capacity(self.rows.capacity());
        rows.extend_from_slice(&self.rows);
        Self { values, rows }
    }
}

/// All rows, by position: from 0, without gaps.
pub(super) struct Matrix {
    dimensions: usize,
    rows_per_chunk: usize,
    chunks: Vec<Arc<Chunk>>,
    /// By position.
    changed: Vec<u64>,
    positions: HashMap<u32, u32>,
}

impl Matrix {
    pub(super) fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            rows_per_chunk: (CHUNK_BYTES / (size_of::<f32>() * dimensions)).clamp(16, 1024),
            chunks: Vec::new(),
            changed: Vec::new(),
            positions: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.changed.len()
    }

    fn place(&self, position: usize) -> (usize, usize) {
        (
            position / self.rows_per_chunk,
            position % self.rows_per_chunk,
        )
    }

    pub(super) fn position(&self, row: u32) -> Option<usize> {
        self.positions.get(&row).map(|&position| position as usize)
    }

    pub(super) fn values(&self, row: u32) -> Option<&[f32]> {
        let (chunk, at) = self.place(self.position(row)?);
        let start = at * self.dimensions;
        self.chunks[chunk]
            .values
            .get(start..start + self.dimensions)
    }

    pub(super) fn row(&self, position: usize) -> u32 {
        let (chunk, at) = self.place(position);
        self.chunks[chunk].rows[at]
    }

    pub(super) fn changed(&self, position: usize) -> u64 {
        self.changed[position]
    }

    /// All rows at this moment; they do not change any more.
    pub(super) fn snapshot(&self) -> Vec<Arc<Chunk>> {
        self.chunks.clone()
    }

    /// All rows' numbers.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.rows.iter().copied())
    }

    /// A new or replaced row; where it is, and whether it is new.
    pub(super) fn put(&mut self, row: u32, changed: u64, values: &[f32]) -> (usize, bool) {
        debug_assert_eq!(values.len(), self.dimensions);
        if let Some(position) = self.position(row) {
            let (chunk, at) = self.place(position);
            let start = at * self.dimensions;
            Arc::make_mut(&mut self.chunks[chunk]).values[start..start + self.dimensions]
                .copy_from_slice(values);
            self.changed[position] = changed;
            return (position, false);
        }
        let position = self.len();
        let (chunk, _) = self.place(position);
        if chunk == self.chunks.len() {
            let new = Chunk::with_capacity(self.rows_per_chunk, self.dimensions);
            self.chunks.push(Arc::new(new));
        }
        let last = Arc::make_mut(&mut self.chunks[chunk]);
        last.values.extend_from_slice(values);
        last.rows.push(row);
        self.changed.push(changed);
        self.positions.insert(row, position as u32);
        (position, true)
    }

    /// Where it was. The last row is there now, unless it was the last one.
    pub(super) fn remove(&mut self, row: u32) -> Option<usize> {
        let position = self.positions.remove(&row)? as usize;
        let last = self.len() - 1;
        let (last_chunk, last_at) = self.place(last);
        let start = last_at * self.dimensions;
        if position != last {
            let moved = self.row(last);
            let values = self.chunks[last_chunk].values[start..start + self.dimensions].to_vec();
            let (chunk, at) = self.place(position);
            let chunk = Arc::make_mut(&mut self.chunks[chunk]);
            chunk.values[at * self.dimensions..(at + 1) * self.dimensions].copy_from_slice(&values);
            chunk.rows[at] = moved;
            self.positions.insert(moved, position as u32);
        }
        self.changed.swap_remove(position);
        if last_at == 0 {
            self.chunks.pop();
        } else {
            let chunk = Arc::make_mut(&mut self.chunks[last_chunk]);
            chunk.values.truncate(start);
            chunk.rows.truncate(last_at);
        }
        self.shrink();
        Some(position)
    }

    /// Gives back what many removed rows took.
    fn shrink(&mut self) {
        let len = self.len();
        if self.changed.capacity() > 1024 && self.changed.capacity() / 4 > len {
            self.changed.shrink_to(len * 2);
            self.positions.shrink_to(len * 2);
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let row = size_of::<f32>() * self.dimensions + size_of::<u32>();
        let chunk = self.rows_per_chunk * row + size_of::<Chunk>() + 2 * size_of::<usize>();
        // hash tables have one byte of control for each slot, and an eighth of the slots are free
        let slot = size_of::<(u32, u32)>() + 1;
        let map = self.positions.capacity() * slot * 8 / 7;
        let chunks = self.chunks.capacity() * size_of::<usize>();
        let changed = self.changed.capacity() * size_of::<u64>();
        (self.chunks.len() * chunk + map + chunks + changed) as u64
    }
}
