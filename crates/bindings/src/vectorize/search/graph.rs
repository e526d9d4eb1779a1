//! A graph of vectors for approximate search (HNSW), by `usearch`.
//!
//! The graph has each vector in one byte for each value, with a factor of its own; candidates are compared exactly
//! afterwards. Distances are `simsimd`'s: those of `usearch` are slow without a dependency that takes minutes to compile.
//!
//! `usearch` reads lists of neighbours without a lock when it searches. So nothing is added while searches run: adding
//! takes `&mut self`, searching `&self`. Entries are neither removed nor reused: see [`Entries`].
#![allow(unsafe_code)] // `usearch` passes its metric raw pointers; each block says why it is sound

use std::path::Path;
use std::sync::Arc;

use simsimd::SpatialSimilarity;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::super::{Metric, Shape};
use super::members::Entries;

/// Bytes after the values: the factor and the squared length, both f32.
const TAIL: usize = 8;

/// Neighbours of an entry.
const CONNECTIVITY: usize = 32;
/// Candidates that are looked at for a new entry's neighbours.
const EXPANSION_ADD: usize = 200;
/// Searches of one graph at the same time; more of them fail, and are done without the graph.
const SEARCHES: usize = 64;
/// Candidates that a search keeps on its way, at least.
const EXPANSION_SEARCH: usize = 96;
/// Entries that there is room for at first.
const FIRST_CAPACITY: usize = 1024;

/// A vector as the graph has it.
pub(super) struct Code(Vec<i8>);

impl Code {
    /// `values` are prepared (see [`super::score::prepare`]).
    pub(super) fn of(values: &[f32]) -> Self {
        let largest = values.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        let factor = largest / 127.0;
        let inverse = if factor > 0.0 { 127.0 / largest } else { 0.0 };
        let mut code = Vec::with_capacity(values.len() + TAIL);
        code.extend(values.iter().map(|v| (v * inverse).round() as i8)); // `as` saturates
        let squared: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let tail = [factor, squared.min(f64::from(f32::MAX)) as f32];
        code.extend(
            tail.iter()
                .flat_map(|v| v.to_ne_bytes())
                .map(|byte| byte as i8),
        );
        Self(code)
    }
}

/// Values, factor and squared length.
fn parts(code: &[i8]) -> (&[i8], f32, f32) {
    let (values, tail) = code.split_at(code.len() - TAIL);
    let float = |at: usize| {
        f32::from_ne_bytes([
            tail[at] as u8,
            tail[at + 1] as u8,
            tail[at + 2] as u8,
            tail[at + 3] as u8,
        ])
    };
    (values, float(0), float(4))
}

/// Low is near.
fn distance(metric: Metric, a: &[i8], b: &[i8]) -> f32 {
    let (a, a_factor, a_squared) = parts(a);
    let (b, b_factor, b_squared) = parts(b);
    let dot = i8::dot(a, b).unwrap_or(0.0) * f64::from(a_factor) * f64::from(b_factor);
    let distance = match metric {
        Metric::Cosine => 1.0 - dot,
        Metric::Euclidean => f64::from(a_squared) + f64::from(b_squared) - 2.0 * dot,
        Metric::DotProduct => -dot,
    };
    distance.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// An entry that was added.
pub(super) struct Added {
    pub(super) entry: u32,
    /// Whether a search for its vector finds something as near. The graph may have no way to a vector far from all others.
    pub(super) reached: bool,
}

pub(super) struct Graph {
    index: Index,
    metric: Metric,
    pub(super) epoch: u64,
    pub(super) entries: Arc<Entries>,
    capacity: usize,
}

impl Graph {
    pub(super) fn new(shape: Shape, epoch: u64, entries: Arc<Entries>) -> Result<Self, String> {
        let mut new = Self {
            index: Index::new(&options(shape)).map_err(text)?,
            metric: shape.metric,
            epoch,
            entries,
            capacity: 0,
        };
        new.set_metric(shape);
        new.reserve(FIRST_CAPACITY)?;
        Ok(new)
    }

    /// One that [`save`](Self::save) wrote. The file must be as it was written: one that is damaged is not noticed here.
    pub(super) fn load(
        shape: Shape,
        epoch: u64,
        entries: Arc<Entries>,
        file: &Path,
    ) -> Result<Self, String> {
        let index = Index::new(&options(shape)).map_err(text)?;
        index.load(path(file)?).map_err(text)?;
        if index.size() != entries.len() || index.dimensions() != shape.dimensions + TAIL {
            return Err("the graph is not the one that its table is of".into());
        }
        let mut new = Self {
            index,
            metric: shape.metric,
            epoch,
            entries,
            capacity: 0,
        };
        new.set_metric(shape);
        new.reserve(new.index.size().max(FIRST_CAPACITY))?;
        Ok(new)
    }

    fn set_metric(&mut self, shape: Shape) {
        let Shape { dimensions, metric } = shape;
        let bytes = dimensions + TAIL;
        let measure = move |a: *const i8, b: *const i8| {
            // SAFETY: `usearch` calls it with vectors of this index or one that it was called with, each of them `bytes`
            // long: `options` makes it so, and `add` and `search` of `usearch` refuse other lengths. Nothing writes to
            // them meanwhile.
            let (a, b) = unsafe {
                (
                    std::slice::from_raw_parts(a, bytes),
                    std::slice::from_raw_parts(b, bytes),
                )
            };
            distance(metric, a, b)
        };
        self.index.change_metric::<i8>(Box::new(measure));
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), String> {
        self.index
            .reserve_capacity_and_threads(capacity, SEARCHES)
            .map_err(text)?;
        self.capacity = capacity;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.index.size()
    }

    /// A new entry, which is dead at first.
    pub(super) fn add(&mut self, code: &Code) -> Result<Added, String> {
        if self.len() >= self.capacity {
            self.reserve(self.capacity + self.capacity / 2)?;
        }
        let entry = self.entries.push();
        self.index.add(u64::from(entry), &code.0).map_err(text)?;
        let reached = self.reaches(code)?;
        Ok(Added { entry, reached })
    }

    fn reaches(&self, code: &Code) -> Result<bool, String> {
        let found = self.index.search(&code.0, 1).map_err(text)?;
        let own = distance(self.metric, &code.0, &code.0);
        let nearest = found.distances.first();
        Ok(nearest.is_some_and(|&nearest| nearest <= own))
    }

    /// Rows that are near, at most `count` of them. Only those that `allow` takes.
    pub(super) fn search(
        &self,
        to: &Code,
        count: usize,
        allow: &dyn Fn(u32) -> bool,
    ) -> Result<Vec<u32>, String> {
        self.entries.with(|row| {
            let alive = |entry| row(entry).is_some_and(allow);
            let found = self
                .index
                .filtered_search(&to.0, count, alive)
                .map_err(text)?;
            // an entry may have died since
            Ok(found.keys.into_iter().filter_map(row).collect())
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let tapes = self.index.memory_stats();
        let used = tapes.graph_allocated - tapes.graph_reserved.min(tapes.graph_allocated)
            + tapes.vectors_allocated
            - tapes.vectors_reserved.min(tapes.vectors_allocated);
        // two pointers for each entry, and a slot of 16 bytes in a hash table of a power of two
        (used + self.capacity * 16 + self.capacity.next_power_of_two() * 16) as u64
    }

    pub(super) fn save(&self, file: &Path) -> Result<(), String> {
        self.index.save(path(file)?).map_err(text)
    }
}

fn options(shape: Shape) -> IndexOptions {
    IndexOptions {
        dimensions: shape.dimensions + TAIL,
        metric: MetricKind::IP, // replaced by our own
        quantization: ScalarKind::I8,
        connectivity: CONNECTIVITY,
        expansion_add: EXPANSION_ADD,
        expansion_search: EXPANSION_SEARCH,
        multi: false,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn path(file: &Path) -> Result<&str, String> {
    file.to_str()
        .ok_or_else(|| format!("{} is not UTF-8", file.display()))
}
