//! Nearest neighbours among vectors in memory: exactly, or by an approximate index.
//!
//! [`Vectors`] has all vectors in a [`Matrix`]. Once there are enough of them, a background thread adds them to a
//! [`Graph`]. A query asks the graph for candidates, adds the rows that are not in the graph yet or that it does not reach, and compares all of these
//! with the vectors in the matrix: so it sees each row that was put before it began, and never values of the past.
//!
//! What is compared, and how: `score`. Which rows the graph has: `members`. The thread: `indexer`. The index on disk, a
//! cache that can be deleted at any time: `saved`. Ids, filters and SQLite are not here.
//!
//! Locks are taken in the order `writer`, `rows`, `graph`; none is held while vectors are compared with all others.

mod graph;
mod indexer;
mod lock;
mod matrix;
mod members;
mod saved;
mod score;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::JoinHandle;

use roaring::RoaringBitmap;

use super::{Search, Shape};
use graph::{Code, Graph};
use indexer::State;
use matrix::Matrix;
use members::Members;
use score::Top;

/// Rows that are compared between two looks at whether a query is cancelled, and for which a lock is held.
const STRIDE: usize = 256;
/// Candidates that a graph is asked for at least. Its codes are so exact that few more than are wanted hold the right ones.
const CANDIDATES: usize = 32;
/// What a search by a graph without a filter costs, in rows of an exact one.
const GRAPH_COST: u64 = 2000;

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearby {
    /// Rows and scores in the metric's terms, the nearest first, those as near as one another by their numbers. There are
    /// more than were asked for if others are as near as the last of them, so that the caller can choose among them.
    pub rows: Vec<(u32, f32)>,
    /// Vectors that were compared exactly.
    pub scanned: u64,
    /// How.
    pub search: Search,
}

/// Vectors in memory. All methods may be called from several threads.
pub struct Vectors {
    shared: Arc<Shared>,
    indexer: Option<JoinHandle<()>>,
}

struct Shared {
    shape: Shape,
    exact_below: u64,
    index_file: Option<PathBuf>,
    rows: RwLock<Rows>,
    graph: RwLock<Option<Graph>>,
    /// Held by whom changes the graph, and while it is saved.
    writer: Mutex<()>,
    /// Queries that wait for the graph.
    waiting: AtomicUsize,
    /// Bytes of all graphs, as of their last change.
    graph_bytes: AtomicU64,
    state: Mutex<State>,
    /// Signalled when `state` changes.
    wake: Condvar,
}

struct Rows {
    matrix: Matrix,
    /// Those of the graph that queries use.
    members: Option<Members>,
    /// Those of the graph that is built to replace it.
    next: Option<Members>,
}

impl Vectors {
    /// None at first. From `exact_below` on there is an approximate index, which is saved in `index_file`, if anywhere.
    pub fn new(shape: Shape, exact_below: u64, index_file: Option<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            shape,
            exact_below: exact_below.max(1),
            index_file,
            rows: RwLock::new(Rows {
                matrix: Matrix::new(shape.dimensions),
                members: None,
                next: None,
            }),
            graph: RwLock::new(None),
            writer: Mutex::new(()),
            waiting: AtomicUsize::new(0),
            graph_bytes: AtomicU64::new(0),
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let indexer = indexer::spawn(Arc::clone(&shared));
        Self { shared, indexer }
    }

    /// All rows at the start: (row, changed, values). `changed` is another number for each change of a row. What was saved
    /// of an index is used as far as it matches.
    ///
    /// # Errors
    ///
    /// The first one of `rows`; those before it are there.
    pub fn load<E>(
        &self,
        rows: impl Iterator<Item = Result<(u32, u64, Vec<f32>), E>>,
    ) -> Result<(), E> {
        let _paused = self.shared.pause();
        let mut result = Ok(());
        for row in rows {
            match row {
                Ok((row, changed, values)) => self.put(&[(row, changed, &values)]),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.shared.load_index();
        result
    }

    /// New or replaced rows; queries that begin afterwards see them. Rows are below [`u32::MAX`].
    pub fn put(&self, rows: &[(u32, u64, &[f32])]) {
        let shape = self.shared.shape;
        for (row, _, values) in rows {
            assert_eq!(values.len(), shape.dimensions, "values of row {row}");
            assert_ne!(*row, u32::MAX, "a row's number");
        }
        let mut prepared = Vec::with_capacity(shape.dimensions);
        for some in rows.chunks(STRIDE) {
            let mut locked = lock::write(&self.shared.rows);
            let all = &mut *locked;
            for &(row, changed, values) in some {
                score::prepare(shape.metric, values, &mut prepared);
                let (position, new) = all.matrix.put(row, changed, &prepared);
                for members in all.members.iter_mut().chain(&mut all.next) {
                    members.put(row, position, new);
                }
            }
        }
        self.shared.note_changes(rows.len());
    }

    /// Rows that shall not be there any more.
    pub fn remove(&self, rows: &[u32]) {
        for some in rows.chunks(STRIDE) {
            let mut locked = lock::write(&self.shared.rows);
            let all = &mut *locked;
            for &row in some {
                if let Some(position) = all.matrix.remove(row) {
                    for members in all.members.iter_mut().chain(&mut all.next) {
                        members.remove(row, position);
                    }
                }
            }
        }
        self.shared.note_changes(rows.len());
    }

    /// The `k` nearest rows, of those in `among`, if it is given. What there is of a result is returned when `cancelled`
    /// returns true.
    pub fn nearest(
        &self,
        to: &[f32],
        k: usize,
        among: Option<&RoaringBitmap>,
        cancelled: &dyn Fn() -> bool,
    ) -> Nearby {
        let shared = &self.shared;
        assert_eq!(to.len(), shared.shape.dimensions, "values of a query");
        let mut prepared = Vec::with_capacity(to.len());
        score::prepare(shared.shape.metric, to, &mut prepared);
        let query = Query {
            shared,
            to: &prepared,
            k,
            among,
            cancelled,
        };
        query.by_graph().unwrap_or_else(|| query.exact())
    }

    /// Rows.
    pub fn len(&self) -> u64 {
        lock::read(&self.shared.rows).matrix.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that are in the index, or in the first one that is being built.
    pub fn indexed(&self) -> u64 {
        let rows = lock::read(&self.shared.rows);
        let members = rows.members.as_ref().or(rows.next.as_ref());
        members.map_or(0, |members| {
            rows.matrix.len() as u64 - members.pending.len()
        })
    }

    /// Bytes that the vectors and the index take.
    pub fn memory_bytes(&self) -> u64 {
        let rows = lock::read(&self.shared.rows);
        let members: u64 = rows
            .members
            .iter()
            .chain(&rows.next)
            .map(Members::bytes)
            .sum();
        rows.matrix.bytes() + members + self.shared.graph_bytes.load(Ordering::Relaxed)
    }

    /// Waits until all rows are in the index, if there are enough for one.
    pub fn wait_until_indexed(&self) {
        self.shared.wait_until_indexed();
    }

    /// Writes the index to its file, if there is one of each.
    ///
    /// # Errors
    ///
    /// The file cannot be written. The one from before is unharmed.
    pub fn save(&self) -> io::Result<()> {
        self.shared.save_index()
    }
}

/// Ends the thread.
impl Drop for Vectors {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(indexer) = self.indexer.take() {
            drop(indexer.join()); // its panics were logged
        }
    }
}

struct Query<'a> {
    shared: &'a Shared,
    /// Prepared.
    to: &'a [f32],
    k: usize,
    among: Option<&'a RoaringBitmap>,
    cancelled: &'a dyn Fn() -> bool,
}

impl Query<'_> {
    fn distance(&self, values: &[f32]) -> f32 {
        score::distance(self.shared.shape.metric, self.to, values)
    }

    fn finish(&self, top: Top, scanned: u64, search: Search) -> Nearby {
        Nearby {
            rows: top.finish(self.shared.shape.metric),
            scanned,
            search,
        }
    }

    /// Compares all.
    fn exact(&self) -> Nearby {
        let mut top = Top::new(self.k);
        let rows = lock::read(&self.shared.rows);
        let few = rows.matrix.len() as u64 / 8;
        let scanned = match self.among {
            Some(among) if among.len() <= few => {
                drop(rows);
                self.compare(among.iter(), &mut top)
            }
            among => {
                let chunks = rows.matrix.snapshot();
                drop(rows);
                self.scan(&chunks, among, &mut top)
            }
        };
        self.finish(top, scanned, Search::Exact)
    }

    /// Compares those in memory's order.
    fn scan(
        &self,
        chunks: &[Arc<matrix::Chunk>],
        among: Option<&RoaringBitmap>,
        top: &mut Top,
    ) -> u64 {
        let mut scanned = 0;
        let mut since = 0;
        for chunk in chunks {
            for (row, values) in chunk.iter(self.to.len()) {
                if among.is_none_or(|among| among.contains(row)) {
                    top.push(row, self.distance(values));
                    scanned += 1;
                }
            }
            since += chunk.len();
            if since >= STRIDE {
                since = 0;
                if (self.cancelled)() {
                    break;
                }
            }
        }
        scanned
    }

    /// Compares these, one by one.
    fn compare(&self, mut rows: impl Iterator<Item = u32>, top: &mut Top) -> u64 {
        let mut scanned = 0;
        loop {
            let all = lock::read(&self.shared.rows);
            let mut seen = 0;
            for row in rows.by_ref().take(STRIDE) {
                seen += 1;
                if let Some(values) = all.matrix.values(row) {
                    top.push(row, self.distance(values));
                    scanned += 1;
                }
            }
            drop(all);
            if seen < STRIDE || (self.cancelled)() {
                return scanned;
            }
        }
    }

    /// By the graph, if there is one and it is worthwhile.
    fn by_graph(&self) -> Option<Nearby> {
        let asked = CANDIDATES.max(self.k.saturating_mul(2));
        let code = Code::of(self.to);
        loop {
            // A row that is added to the graph meanwhile may be missed by the search, and is in this set.
            let (epoch, mut beside, wanted) = {
                let rows = lock::read(&self.shared.rows);
                let members = rows.members.as_ref()?;
                let len = rows.matrix.len() as u64;
                let eligible = self.among.map_or(len, |among| among.len().min(len));
                let too_few = self.among.is_some() && eligible * eligible < GRAPH_COST * len;
                let beside = members.beside();
                if too_few || beside.len() > len / 4 {
                    return None;
                }
                let wanted = eligible
                    .saturating_sub(members.pending.len())
                    .min(self.k as u64);
                (members.epoch, beside, wanted)
            };
            let candidates = {
                let graph = self.shared.graph_for_query();
                let graph = graph.as_ref()?;
                if graph.epoch != epoch {
                    continue;
                }
                let allow = |row| self.among.is_none_or(|among| among.contains(row));
                let found = graph.search(&code, asked, &allow);
                found
                    .inspect_err(|error| tracing::debug!(error, "searching without the index"))
                    .ok()?
            };
            if (candidates.len() as u64) < wanted {
                return None; // parts of the graph that it did not reach, or rows of `among` that are not there
            }
            // A row that left the graph meanwhile is in this one.
            if let Some(members) = &lock::read(&self.shared.rows).members {
                beside |= members.beside();
            }
            if let Some(among) = self.among {
                beside &= among;
            }
            let mut top = Top::new(self.k);
            let only_found: Vec<u32> = candidates
                .into_iter()
                .filter(|&row| !beside.contains(row))
                .collect();
            let mut scanned = self.compare(only_found.into_iter(), &mut top);
            scanned += self.compare(beside.iter(), &mut top);
            return Some(self.finish(top, scanned, Search::Index));
        }
    }
}
