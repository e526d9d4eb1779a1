//! The thread that builds a graph, adds rows to it, replaces one with too many dead entries, and saves it at times.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::graph::{Added, Code, Graph};
use super::members::Members;
use super::{Rows, Shared, lock};

/// Rows that are added to a graph, between two that the matrix hears of it.
const BATCH: usize = 32;
/// Until it is tried again after an error.
const RETRY: Duration = Duration::from_secs(60);
/// How long a row's adding waits for queries to go ahead.
const PATIENCE: Duration = Duration::from_millis(2);
/// Dead entries that a graph may have in any case.
const DEAD: u64 = 1000;
/// Between two saves in the background.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Changes that make one worthwhile, at least.
const SAVE_AFTER: u64 = 5000;

/// What the thread is asked to do.
#[derive(Default)]
pub(super) struct State {
    stop: bool,
    /// Holds the thread back.
    paused: usize,
    /// There may be something to do.
    work: bool,
    /// An error, for a while: there is no graph, and queries are exact.
    failed: bool,
    /// Changes since the index was saved.
    unsaved: u64,
    saved: Option<Instant>,
}

/// What is next for a state of the rows.
#[derive(PartialEq)]
enum Work {
    Nothing,
    Drop,
    /// A graph to replace the one that there is, or the first one.
    Build,
    Add,
}

impl Rows {
    fn work(&self, exact_below: u64) -> Work {
        let len = self.matrix.len() as u64;
        let any = self.members.is_some() || self.next.is_some();
        if any && (len < exact_below / 2 || len == 0) {
            return Work::Drop;
        }
        if self.next.is_some() {
            return Work::Add;
        }
        let Some(members) = &self.members else {
            return match len >= exact_below {
                true => Work::Build,
                false => Work::Nothing,
            };
        };
        if members.dead > DEAD && members.dead > len / 2 {
            return Work::Build;
        }
        if members.pending.is_empty() {
            Work::Nothing
        } else {
            Work::Add
        }
    }
}

/// Keeps the thread from working.
pub(super) struct Paused<'a>(&'a Shared);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let mut state = lock::lock(&self.0.state);
        state.paused -= 1;
        state.work = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    pub(super) fn pause(&self) -> Paused<'_> {
        lock::lock(&self.state).paused += 1;
        Paused(self)
    }

    pub(super) fn stop(&self) {
        lock::lock(&self.state).stop = true;
        self.wake.notify_all();
    }

    pub(super) fn note_changes(&self, count: usize) {
        let mut state = lock::lock(&self.state);
        state.unsaved += count as u64;
        if !state.work {
            state.work = true;
            self.wake.notify_all();
        }
    }

    pub(super) fn note_saved(&self) {
        let mut state = lock::lock(&self.state);
        state.unsaved = 0;
        state.saved = Some(Instant::now());
    }

    pub(super) fn wait_until_indexed(&self) {
        loop {
            if lock::read(&self.rows).work(self.exact_below) == Work::Nothing {
                return;
            }
            let state = lock::lock(&self.state);
            if state.failed || state.stop {
                return;
            }
            drop(self.wake.wait_timeout(state, Duration::from_millis(20)));
        }
    }

    /// The graph, for as long as nothing is added.
    pub(super) fn graph_for_query(&self) -> RwLockReadGuard<'_, Option<Graph>> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let graph = lock::read(&self.graph);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        graph
    }

    /// Lets queries that wait for the graph go ahead, for a while: a lock that is taken again at once may never get to them.
    fn yield_to_queries(&self) {
        let since = Instant::now();
        while self.waiting.load(Ordering::Acquire) > 0 && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn add_shared(&self, code: &Code) -> Result<Added, String> {
        let _writer = lock::lock(&self.writer);
        self.yield_to_queries();
        let mut graph = lock::write(&self.graph);
        graph.as_mut().ok_or("there is no graph")?.add(code)
    }

    /// Adds some rows to one of the graphs, by `add`.
    fn add_some(
        &self,
        which: Which,
        count: usize,
        add: impl FnOnce(&[Code]) -> Result<Vec<Added>, String>,
    ) -> Result<(), String> {
        let (batch, codes): (Vec<(u32, u64)>, Vec<Code>) = {
            let rows = lock::read(&self.rows);
            let members = match which {
                Which::Current => &rows.members,
                Which::Next => &rows.next,
            };
            let pending = members.iter().flat_map(|members| &members.pending);
            let some = pending.take(count);
            some.filter_map(|row| {
                let changed = rows.matrix.changed(rows.matrix.position(row)?);
                Some(((row, changed), Code::of(rows.matrix.values(row)?)))
            })
            .unzip()
        };
        let added = add(&codes)?;
        let mut rows = lock::write(&self.rows);
        let Rows {
            matrix,
            members,
            next,
        } = &mut *rows;
        let members = match which {
            Which::Current => members,
            Which::Next => next,
        };
        if let Some(members) = members {
            for ((row, changed), added) in batch.into_iter().zip(&added) {
                members.added(matrix, row, changed, added);
            }
        }
        Ok(())
    }
}

/// Which graph of the two that there may be.
#[derive(Clone, Copy)]
enum Which {
    Current,
    Next,
}

/// Its own: the graph that is built to replace the one that queries use.
struct Indexer {
    shared: Arc<Shared>,
    next: Option<Graph>,
    epoch: u64,
}

/// Starts the thread. Without one, queries are exact.
pub(super) fn spawn(shared: Arc<Shared>) -> Option<JoinHandle<()>> {
    let indexer = Indexer {
        shared: Arc::clone(&shared),
        next: None,
        epoch: 1,
    };
    let thread = thread::Builder::new().name("vectorize-index".into());
    let spawned = thread.spawn(move || indexer.run());
    spawned
        .inspect_err(|error| {
            tracing::warn!(%error, "no thread for the approximate index; queries are exact");
            lock::lock(&shared.state).failed = true;
        })
        .ok()
}

impl Indexer {
    fn run(mut self) {
        while self.wait() {
            let step = catch_unwind(AssertUnwindSafe(|| self.step()));
            let error = match step {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(_) => "it panicked".to_owned(),
            };
            tracing::error!(
                error,
                "the approximate index failed; queries are exact until it is built again, which begins in {} s",
                RETRY.as_secs()
            );
            self.drop_all();
            lock::lock(&self.shared.state).failed = true;
            self.shared.wake.notify_all();
            if !self.wait_to_retry() {
                return;
            }
        }
    }

    /// False: it shall end.
    fn wait_to_retry(&self) -> bool {
        let since = Instant::now();
        let mut state = lock::lock(&self.shared.state);
        while !state.stop {
            let Some(left) = RETRY.checked_sub(since.elapsed()) else {
                state.failed = false;
                state.work = true;
                return true;
            };
            let waited = self.shared.wake.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        false
    }

    /// Until there is work. False: it shall end.
    fn wait(&self) -> bool {
        let mut state = lock::lock(&self.shared.state);
        loop {
            if state.stop {
                return false;
            }
            if state.work && state.paused == 0 {
                return true;
            }
            let waited = self.shared.wake.wait_timeout(state, SAVE_EVERY);
            let (again, waited) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            state = again;
            if waited.timed_out() && state.unsaved > 0 {
                state.work = true; // perhaps it can be saved now
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        lock::lock(&shared.state).work = false; // before looking, so that no change is missed
        let work = lock::read(&shared.rows).work(shared.exact_below);
        match work {
            Work::Nothing => {
                self.save_if_due();
                return Ok(());
            }
            Work::Drop => self.drop_all(),
            Work::Build => {
                let mut rows = lock::write(&shared.rows);
                let members = self.members(&rows);
                let entries = Arc::clone(&members.entries);
                self.next = Some(Graph::new(shared.shape, members.epoch, entries)?);
                rows.next = Some(members);
            }
            Work::Add => self.add()?,
        }
        let mut state = lock::lock(&shared.state);
        state.work = true;
        drop(state);
        shared.wake.notify_all();
        self.count_bytes();
        Ok(())
    }

    fn drop_all(&mut self) {
        self.next = None;
        let _writer = lock::lock(&self.shared.writer);
        let mut rows = lock::write(&self.shared.rows);
        rows.members = None;
        rows.next = None;
        let old = lock::write(&self.shared.graph).take();
        self.shared.graph_bytes.store(0, Ordering::Relaxed);
        drop(rows);
        drop(old); // without a lock: it may be large
    }

    fn members(&mut self, rows: &Rows) -> Members {
        self.epoch += 1;
        Members::new(self.epoch, &rows.matrix)
    }

    fn add(&mut self) -> Result<(), String> {
        let shared = &self.shared;
        shared.add_some(Which::Current, BATCH, |codes| {
            codes.iter().map(|code| shared.add_shared(code)).collect()
        })?;
        let Some(next) = &mut self.next else {
            return Ok(());
        };
        shared.add_some(Which::Next, BATCH, |codes| {
            codes.iter().map(|code| next.add(code)).collect()
        })?;
        // The first one is used as soon as queries can go by it. Another one replaces what is good: only when little is left,
        // but rows that come faster than they are added must not hold it back for ever.
        let complete = |rows: &Rows| {
            let part = if rows.members.is_none() { 4 } else { 64 };
            let few = rows.matrix.len() as u64 / part;
            let next = rows.next.as_ref();
            next.is_some_and(|next| next.pending.len() <= few)
        };
        if complete(&lock::read(&shared.rows)) {
            let _writer = lock::lock(&shared.writer);
            let mut rows = lock::write(&shared.rows);
            let old = std::mem::replace(&mut *lock::write(&shared.graph), self.next.take());
            rows.members = rows.next.take();
            drop(rows);
            drop(old); // without a lock: it may be large
        }
        Ok(())
    }

    fn count_bytes(&self) {
        let shared = lock::read(&self.shared.graph)
            .as_ref()
            .map_or(0, Graph::bytes);
        let next = self.next.as_ref().map_or(0, Graph::bytes);
        self.shared
            .graph_bytes
            .store(shared + next, Ordering::Relaxed);
    }

    fn save_if_due(&self) {
        if self.shared.index_file.is_none() {
            return;
        }
        let len = lock::read(&self.shared.rows).matrix.len() as u64;
        let due = {
            let state = lock::lock(&self.shared.state);
            let long_ago = state
                .saved
                .is_none_or(|saved| saved.elapsed() >= SAVE_EVERY);
            state.unsaved >= SAVE_AFTER.max(len / 10) && long_ago
        };
        if due && let Err(error) = self.shared.save_index() {
            tracing::warn!(%error, "the approximate index was not saved");
            self.shared.note_saved(); // not again at once
        }
    }
}
