//! A bounded queue of events between the threads that report spans and one reader.
//!
//! Putting never waits. What does not fit is lost and counted for its invocation; just before the
//! invocation's outcome the reader is told, by a `streamDiagnostic` event of that invocation, as workerd
//! does it. `return` and `outcome` may use a reserve of a quarter, so that streams end even for a reader
//! that loses events. When the outcome is lost as well, its count is added to the next one's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use binding_span::InvocationId;

use crate::{Diagnostic, Event, EventKind, EventSink};

/// How much a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Events, 16,384.
    pub events: usize,
    /// Bytes of memory by [`Event::size`], 16 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            events: 16_384,
            bytes: 16 * 1024 * 1024,
        }
    }
}

/// Invocations whose losses are counted apart.
const LOSERS: usize = 65_536;

/// Bytes after which a batch is full.
const BATCH_BYTES: usize = 1024 * 1024;

/// The queue; shared by its two ends.
pub(crate) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// Something for the reader to look at.
    ready: Condvar,
    /// Something was finished by the reader.
    done: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The reader waits for `ready`; waking somebody who does not wait costs a system call.
    waiting: bool,
    /// Somebody waits for `done`: hurry.
    hurry: usize,
    /// The reader has something else to do.
    poked: bool,
    closed: bool,
    /// Events put in and events finished, ever.
    put: u64,
    finished: u64,
    lost: Lost,
}

#[derive(Default)]
struct Lost {
    by_invocation: HashMap<InvocationId, u64>,
    /// Of invocations that cannot be told any more.
    orphaned: u64,
    total: u64,
}

impl Lost {
    fn add(&mut self, event: &Event) {
        self.total += 1;
        let id = event.invocation_id;
        if matches!(event.event, EventKind::Outcome { .. }) {
            self.orphaned += 1 + self.by_invocation.remove(&id).unwrap_or(0);
        } else if self.by_invocation.len() < LOSERS || self.by_invocation.contains_key(&id) {
            *self.by_invocation.entry(id).or_insert(0) += 1;
        } else {
            self.orphaned += 1;
        }
    }

    /// What to tell the reader before this event.
    fn take(&mut self, event: &Event) -> u64 {
        if self.total == 0 || !matches!(event.event, EventKind::Outcome { .. }) {
            return 0;
        }
        let own = self.by_invocation.remove(&event.invocation_id);
        own.unwrap_or(0) + std::mem::take(&mut self.orphaned)
    }
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            ready: Condvar::new(),
            done: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State, event: &Event) -> bool {
        let QueueLimits { events, bytes } = self.limits;
        let (events, bytes) = if event.is_final() {
            (events + events / 4 + 1, bytes + bytes / 4)
        } else {
            (events, bytes)
        };
        state.events.len() < events && state.bytes + event.size() <= bytes
    }

    fn put(&self, event: &Arc<Event>) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        if !self.has_room(&state, event) {
            state.lost.add(event);
            return true;
        }
        match state.lost.take(event) {
            0 => state.push(Arc::clone(event)),
            count => {
                state.push(Arc::new(diagnostic(event, count)));
                let mut moved = Event::clone(event);
                moved.sequence = moved.sequence.saturating_add(1);
                state.push(Arc::new(moved));
            }
        }
        if state.waiting {
            state.waiting = false;
            self.ready.notify_one();
        }
        true
    }

    /// Takes up to `max` events into `batch`, the first as soon as there is one, the others if they
    /// come within `linger`; none if it was poked. `false`: the queue is closed and empty.
    pub(crate) fn take_batch(
        &self,
        batch: &mut Vec<Arc<Event>>,
        max: usize,
        linger: Duration,
    ) -> bool {
        let mut state = self.lock();
        while state.events.is_empty() && !state.poked {
            if state.closed {
                return false;
            }
            state.waiting = true;
            state = self
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
        let poked = std::mem::take(&mut state.poked);
        let hurry = state.closed || poked || state.hurry > 0;
        if !linger.is_zero() && !hurry && state.events.len() < max {
            let waited = self.ready.wait_timeout(state, linger);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        while batch.len() < max && bytes < BATCH_BYTES {
            let Some(event) = state.pop() else { break };
            bytes += event.size();
            batch.push(event);
        }
        true
    }

    /// Has the reader look up from waiting, without an event.
    pub(crate) fn poke(&self) {
        self.lock().poked = true;
        self.ready.notify_one();
    }

    /// The reader is done with `n` more events.
    pub(crate) fn finish(&self, n: usize) {
        let mut state = self.lock();
        state.finished += n as u64;
        if state.hurry > 0 {
            self.done.notify_all();
        }
    }

    /// Waits until what was put before now is finished; whether it was in time.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        let target = state.put;
        state.hurry += 1;
        self.ready.notify_one();
        while state.finished < target {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.hurry -= 1;
        state.finished >= target
    }

    /// Nothing is put in any more; what is there can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.ready.notify_all();
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost.total
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().events.len()
    }
}

impl State {
    fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        self.put += 1;
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        self.bytes -= event.size();
        Some(event)
    }
}

fn diagnostic(before: &Event, count: u64) -> Event {
    let diagnostic = Diagnostic {
        kind: "droppedEvents".into(),
        count,
    };
    Event {
        event: EventKind::StreamDiagnostic { diagnostic },
        span_context: before.span_context,
        ..*before
    }
}

impl EventSink for Queue {
    fn event(&self, event: &Arc<Event>) -> bool {
        self.put(event)
    }
}

/// A reader's end of a bounded queue of events; dropping it ends the subscription.
pub struct Subscription(Arc<Queue>);

/// A bounded queue of events, for more than one feed or for events of other processes: give the sink to
/// [`Feed::subscribe`](crate::Feed::subscribe), or call it.
pub fn queue(limits: QueueLimits) -> (Arc<dyn EventSink>, Subscription) {
    let (sink, subscription) = bounded(limits);
    (sink, subscription)
}

/// A queue and its reader.
pub(crate) fn bounded(limits: QueueLimits) -> (Arc<Queue>, Subscription) {
    let queue = Arc::new(Queue::new(limits));
    (Arc::clone(&queue), Subscription(queue))
}

impl Subscription {
    /// The next event, waiting for it up to `timeout`.
    pub fn recv(&self, timeout: Duration) -> Option<Arc<Event>> {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.lock();
        while state.events.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state.waiting = true;
            let waited = self.0.ready.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting = false;
        state.finished += 1;
        state.pop()
    }

    /// The next event, if it is there.
    pub fn try_recv(&self) -> Option<Arc<Event>> {
        self.recv(Duration::ZERO)
    }

    /// Everything that is there.
    pub fn drain(&self) -> Vec<Arc<Event>> {
        std::iter::from_fn(|| self.try_recv()).collect()
    }

    /// How many events did not fit and were lost.
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }

    /// What others may know of the queue.
    pub fn gauge(&self) -> QueueGauge {
        QueueGauge(Arc::clone(&self.0))
    }
}

/// How a queue is doing, for metrics: it can be asked while somebody else reads.
#[derive(Clone)]
pub struct QueueGauge(Arc<Queue>);

impl QueueGauge {
    /// How many events wait to be read.
    pub fn queued(&self) -> usize {
        self.0.queued()
    }

    /// How many events did not fit and were lost.
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().events.clear();
    }
}
