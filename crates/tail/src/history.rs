//! The recent past of a feed, and whoever reads it live.
//!
//! One ring of events, bounded in number and bytes, that every live reader reads at its own pace: a reader
//! is a place in the ring. So readers cost no memory of their own, and one that is too slow for the ring
//! finds that events it wanted are gone, and how many: what was read and what was lost add up exactly.
//! Nobody waits for it, and the others do not notice.
//!
//! The ring is a reader of the feed from the beginning on, so it has the beginning of every invocation that
//! is open, unless too much has happened since.

mod begun;
mod reader;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::SystemTime;

use crate::{Event, EventSink};

pub use self::begun::{Begun, Since};
pub use self::reader::{Batch, HistoryReader, Start};

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Events, 65,536.
    pub events: usize,
    /// Bytes of memory by [`Event::size`], 16 MiB; the last event is kept whatever its size.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            events: 65_536,
            bytes: 16 * 1024 * 1024,
        }
    }
}

/// The recent events of a feed; give it to [`Feed::subscribe`](crate::Feed::subscribe).
///
/// Events are numbered from 0 in the order in which they came; that is an event's place.
///
/// ```
/// # use std::sync::Arc;
/// use tail::{Feed, History, HistoryLimits, Start};
///
/// let (feed, history) = (Feed::new(), Arc::new(History::new(HistoryLimits::default())));
/// feed.subscribe(history.clone());
/// let mut reader = history.read_from(Start::Now);
/// // ... things happen ...
/// let batch = reader.try_read(100);
/// assert_eq!((batch.lost, batch.events.len()), (0, 0));
/// ```
pub struct History {
    limits: HistoryLimits,
    readers: AtomicUsize,
    lost: AtomicU64,
    ring: Mutex<Ring>,
}

/// What a history has, and has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryStats {
    /// Events that came, ever: the place of the next one.
    pub next: u64,
    /// Events that are there.
    pub events: usize,
    /// Bytes of memory that they hold.
    pub bytes: usize,
    /// When the oldest of them happened.
    pub since: Option<SystemTime>,
    /// Readers that there are.
    pub readers: usize,
    /// Events that readers lost, all of them ever.
    pub lost: u64,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The place of the first event that is there.
    first: u64,
    /// Readers that wait for the next event, by their numbers; one that goes away takes its entry along.
    waiting: Vec<(u64, Waker)>,
    /// The number of the next reader.
    reader: u64,
    /// Nothing comes any more.
    closed: bool,
}

impl Ring {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Wakes a reader with the next event.
    fn wait(&mut self, reader: u64, waker: &Waker) {
        match self.waiting.iter_mut().find(|(other, _)| *other == reader) {
            Some((_, known)) => known.clone_from(waker),
            None => self.waiting.push((reader, waker.clone())),
        }
    }
}

impl History {
    /// An empty history.
    pub fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            readers: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            ring: Mutex::default(),
        }
    }

    /// A reader that begins at a place, or in time.
    pub fn read_from(self: &Arc<Self>, from: Start) -> HistoryReader {
        HistoryReader::new(Arc::clone(self), from)
    }

    /// What there is.
    pub fn stats(&self) -> HistoryStats {
        let ring = self.lock();
        HistoryStats {
            next: ring.next(),
            events: ring.events.len(),
            bytes: ring.bytes,
            since: ring.events.front().map(|event| event.timestamp),
            readers: self.readers.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    /// Nothing comes any more: readers end when they have read everything.
    pub fn close(&self) {
        let mut ring = self.lock();
        ring.closed = true;
        let waiting = std::mem::take(&mut ring.waiting);
        drop(ring);
        wake(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waiting: Vec<(u64, Waker)>) {
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

impl EventSink for History {
    fn is_live(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    fn event(&self, event: &Arc<Event>) -> bool {
        let mut ring = self.lock();
        if ring.closed {
            return false;
        }
        ring.bytes += event.size();
        ring.events.push_back(Arc::clone(event));
        let limits = self.limits;
        while ring.events.len() > limits.events.max(1)
            || (ring.bytes > limits.bytes && ring.events.len() > 1)
        {
            if let Some(oldest) = ring.events.pop_front() {
                ring.bytes -= oldest.size();
                ring.first += 1;
            }
        }
        if !ring.waiting.is_empty() {
            let waiting = std::mem::take(&mut ring.waiting);
            drop(ring);
            wake(waiting);
        }
        true
    }
}
