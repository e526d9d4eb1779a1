//! A reader of a history: a place in it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::SystemTime;

use super::{Begun, History};
use crate::Event;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what happens next.
    Now,
    /// With the first event that is not older.
    Time(SystemTime),
    /// At a place; what is gone from there on is lost.
    Place(u64),
    /// With the oldest event that is there.
    Oldest,
}

/// Events that a reader got, in order, and how many it lost just before them.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Events that were gone before they could be read.
    pub lost: u64,
    /// What came after them.
    pub events: Vec<Arc<Event>>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.lost == 0 && self.events.is_empty()
    }
}

/// Reads a history from a place on, at its own pace.
pub struct HistoryReader {
    history: Arc<History>,
    /// No other reader has it.
    number: u64,
    place: u64,
    lost: u64,
}

/// Events that are looked at without letting others in: whoever reports a span waits for this long.
const STRETCH: usize = 1024;
/// Bytes of events after which a batch is full: whoever writes them as JSON needs several times as much.
const BATCH_BYTES: usize = 1024 * 1024;

impl HistoryReader {
    pub(super) fn new(history: Arc<History>, from: Start) -> Self {
        history.readers.fetch_add(1, Ordering::Relaxed);
        let number = {
            let mut ring = history.lock();
            ring.reader += 1;
            ring.reader
        };
        let mut reader = Self {
            history,
            number,
            place: 0,
            lost: 0,
        };
        reader.place = match from {
            Start::Now => reader.history.lock().next(),
            Start::Place(place) => place.min(reader.history.lock().next()),
            Start::Oldest => reader.history.lock().first,
            Start::Time(time) => reader.place_in_time(time),
        };
        reader
    }

    /// The place of the next event.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// Events that this reader lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The events of invocations that are open at the reader's place, as far as they are known: what has
    /// to be told first to somebody who begins here. Without them, names and beginnings would be missing.
    pub fn begun(&self) -> Vec<Arc<Event>> {
        let mut begun = Begun::default();
        let mut past = Self::new(Arc::clone(&self.history), Start::Oldest);
        while past.place < self.place {
            let most = usize::try_from(self.place - past.place).unwrap_or(STRETCH);
            let batch = past.take(&self.history.lock(), most.min(STRETCH));
            if batch.is_empty() {
                break;
            }
            // When it was overtaken by the ring's end it may have gone too far.
            let beyond = past.place.saturating_sub(self.place);
            let known = (batch.events.len() as u64).saturating_sub(beyond);
            let events = batch.events.into_iter().take(known as usize);
            events.for_each(|event| begun.event(event));
        }
        begun.take()
    }

    /// Up to `most` events, if there are any; fewer if they are large.
    pub fn try_read(&mut self, most: usize) -> Batch {
        let history = Arc::clone(&self.history);
        let batch = self.take(&history.lock(), most);
        self.count(&batch);
        batch
    }

    /// Up to `most` events, as soon as there is one; `None` when nothing comes any more.
    pub async fn read(&mut self, most: usize) -> Option<Batch> {
        poll_fn(|context| self.poll_read(context, most)).await
    }

    /// The same for futures of your own.
    pub fn poll_read(&mut self, context: &mut Context<'_>, most: usize) -> Poll<Option<Batch>> {
        let history = Arc::clone(&self.history);
        let mut ring = history.lock();
        let batch = self.take(&ring, most);
        self.count(&batch);
        if !batch.is_empty() {
            return Poll::Ready(Some(batch));
        }
        if ring.closed {
            return Poll::Ready(None);
        }
        ring.wait(self.number, context.waker());
        Poll::Pending
    }

    fn count(&mut self, batch: &Batch) {
        self.lost += batch.lost;
        self.history.lost.fetch_add(batch.lost, Ordering::Relaxed);
    }

    fn take(&mut self, ring: &super::Ring, most: usize) -> Batch {
        let lost = ring.first.saturating_sub(self.place);
        self.place += lost;
        let at = usize::try_from(self.place - ring.first).unwrap_or(usize::MAX);
        let end = at.saturating_add(most).min(ring.events.len());
        let mut events = Vec::new();
        let mut bytes = 0;
        for event in ring.events.range(at.min(end)..end) {
            if bytes >= BATCH_BYTES {
                break;
            }
            bytes += event.size();
            events.push(Arc::clone(event));
        }
        self.place += events.len() as u64;
        Batch { lost, events }
    }

    /// The place of the first event that is not older; found in stretches.
    fn place_in_time(&self, time: SystemTime) -> u64 {
        let mut place = self.history.lock().first;
        loop {
            let ring = self.history.lock();
            place = place.max(ring.first);
            let at = usize::try_from(place - ring.first).unwrap_or(usize::MAX);
            let end = at.saturating_add(STRETCH).min(ring.events.len());
            if at >= end {
                return place;
            }
            let mut stretch = ring.events.range(at..end);
            if let Some(found) = stretch.position(|event| event.timestamp >= time) {
                return place + found as u64;
            }
            place += (end - at) as u64;
        }
    }
}

impl Drop for HistoryReader {
    fn drop(&mut self) {
        self.history.readers.fetch_sub(1, Ordering::Relaxed);
        let mut ring = self.history.lock();
        ring.waiting.retain(|(reader, _)| *reader != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::HistoryLimits;

    #[test]
    fn readers_that_come_and_go_while_nothing_happens_leave_nothing_behind() {
        let history = Arc::new(History::new(HistoryLimits::default()));
        let mut context = Context::from_waker(Waker::noop());
        let mut stays = history.read_from(Start::Now);
        for _ in 0..3 {
            let mut goes = history.read_from(Start::Now);
            for reader in [&mut goes, &mut stays] {
                assert!(reader.poll_read(&mut context, 1).is_pending());
                assert!(reader.poll_read(&mut context, 1).is_pending());
            }
            assert_eq!(history.lock().waiting.len(), 2);
        }
        assert_eq!(history.lock().waiting.len(), 1);
        drop(stays);
        assert!(history.lock().waiting.is_empty());
    }
}
