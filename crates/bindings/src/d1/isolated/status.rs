//! How a database is doing, for those who ask from other threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::place::Place;

/// How a database is doing. Clones are the same.
#[derive(Debug, Clone)]
pub struct DatabaseStatus(pub(super) Arc<Status>);

#[derive(Debug)]
pub(super) struct Status {
    path: PathBuf,
    /// The file that was opened last.
    place: Mutex<Option<Place>>,
    pub(super) workers: AtomicUsize,
    waiting: [AtomicUsize; 2],
    failing: Mutex<Option<String>>,
    replaced: [AtomicU64; 3],
}

/// Why a worker process was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyReplaced {
    /// Its call did not end when others waited for long, and it was killed.
    GaveWay,
    /// Its call did not end when its time was up or its caller had gone, and it was killed.
    Stuck,
    /// It ended by itself: somebody else killed it, it needed more memory than it may have, or the file is not what
    /// it was.
    Ended,
}

impl WhyReplaced {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::GaveWay, Self::Stuck, Self::Ended];

    /// A word for a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GaveWay => "gave_way",
            Self::Stuck => "stuck",
            Self::Ended => "ended",
        }
    }
}

impl Status {
    pub(super) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            place: Mutex::default(),
            workers: AtomicUsize::new(0),
            waiting: Default::default(),
            failing: Mutex::default(),
            replaced: Default::default(),
        })
    }

    pub(super) fn waiting(&self, writes: bool) -> &AtomicUsize {
        let [reading, writing] = &self.waiting;
        if writes { writing } else { reading }
    }

    /// A worker has opened the file, or could not and why.
    /// Returns whether that is new.
    pub(super) fn set_failing(&self, why: Option<String>) -> bool {
        if why.is_none() {
            *lock(&self.place) = Place::of(&self.path).ok();
        }
        let mut failing = lock(&self.failing);
        let new = *failing != why;
        *failing = why;
        new
    }

    /// Whether the file that was opened last is not at its path any more.
    pub(super) fn is_moved(&self) -> bool {
        let place = lock(&self.place);
        place.as_ref().is_some_and(|place| !place.is_unmoved())
    }

    /// Why the file that is at the path now must not be opened, if it is another one than before: SQLite would put
    /// into it what is left in the log of the one before.
    pub(super) fn foreign_log(&self) -> Option<String> {
        if !self.is_moved() || !self.path.exists() {
            return None;
        }
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        let is_there = std::fs::metadata(&log).is_ok_and(|file| file.len() > 0);
        is_there.then(|| {
            format!(
                "the database file {} was replaced while it was served, and {} may be the log of the file before, which would damage this one; remove it, or put back the file that it belongs to, or restart the service to use both as they are",
                self.path.display(),
                log.display()
            )
        })
    }

    pub(super) fn replaced(&self, why: WhyReplaced) {
        if let Some(count) = self.replaced.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DatabaseStatus {
    /// Why calls fail at present, if they do: the file was removed or replaced, or cannot be opened.
    pub fn failing(&self) -> Option<String> {
        if let Some(why) = lock(&self.0.failing).clone() {
            return Some(why);
        }
        self.0.is_moved().then(|| {
            format!(
                "the database file {} was removed or replaced while it was served",
                self.0.path.display()
            )
        })
    }

    /// Worker processes that run or are starting.
    pub fn workers(&self) -> usize {
        self.0.workers.load(Relaxed)
    }

    /// Calls that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.0
            .waiting
            .iter()
            .map(|waiting| waiting.load(Relaxed))
            .sum()
    }

    /// How many workers were replaced, and why.
    pub fn replaced(&self, why: WhyReplaced) -> u64 {
        self.0
            .replaced
            .get(why as usize)
            .map_or(0, |count| count.load(Relaxed))
    }
}
