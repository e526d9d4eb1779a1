//! Events that would go round: those that come back to where they were sent from, and those of tail Workers,
//! which do something, and so have events, for every event that they get.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use binding_span::{InvocationId, TraceId};
use tail::{Event, EventKind, EventSink, OnsetInfo};

/// How many are remembered.
const LATEST: usize = 65_536;

/// The latest of something.
struct Latest<T>(Mutex<(HashSet<T>, VecDeque<T>)>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy + Eq + Hash> Latest<T> {
    /// Remembers one; whether it was not known.
    fn insert(&self, one: T) -> bool {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *latest;
        if !known.insert(one) {
            return false;
        }
        order.push_back(one);
        if order.len() > LATEST
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }

    fn contains(&self, one: &T) -> bool {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.0.contains(one)
    }
}

/// Invocations that began here or were taken here, the latest 65,536 of them. One whose onset comes in again
/// went in a circle: its stream is declined, so that it goes round once and not for ever. Its time of beginning
/// counts too, since an invocation may have several streams.
#[derive(Default)]
pub(crate) struct Passed(Latest<(InvocationId, SystemTime)>);

impl Passed {
    /// Whether an event is an onset that was not here before, or no onset.
    pub(super) fn is_new(&self, event: &Event) -> bool {
        let onset = matches!(event.event, EventKind::Onset(_));
        !onset || self.0.insert((event.invocation_id, event.timestamp))
    }
}

impl EventSink for Passed {
    fn event(&self, event: &Arc<Event>) -> bool {
        self.is_new(event);
        true
    }
}

/// What tail Workers do, by trace: those of the latest 65,536 invocations that are a tail's. A peer that is such a
/// Worker would get events of what it does with events, for ever; each is another invocation, so that no number
/// comes back.
#[derive(Default)]
pub(crate) struct Tails {
    any: AtomicBool,
    traces: Latest<TraceId>,
    kept: AtomicU64,
}

impl Tails {
    /// Looks at an event of another process; whether it is the first that shows a tail Worker.
    pub(super) fn learn(&self, event: &Event) -> bool {
        let EventKind::Onset(onset) = &event.event else {
            return false;
        };
        if !matches!(onset.info, OnsetInfo::Trace { .. }) {
            return false;
        }
        self.traces.insert(event.span_context.trace_id);
        !self.any.swap(true, Relaxed)
    }

    /// Events that were not sent on.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    fn is_of_tail(&self, event: &Event) -> bool {
        self.any.load(Relaxed) && self.traces.contains(&event.span_context.trace_id)
    }
}

/// A reader that gets nothing of what tail Workers do.
pub(crate) struct ButTails {
    pub(crate) reader: Arc<dyn EventSink>,
    pub(crate) tails: Arc<Tails>,
}

impl EventSink for ButTails {
    fn event(&self, event: &Arc<Event>) -> bool {
        if self.tails.is_of_tail(event) {
            self.tails.kept.fetch_add(1, Relaxed);
            return true;
        }
        self.reader.event(event)
    }

    fn is_live(&self) -> bool {
        self.reader.is_live()
    }

    fn waits_for_names(&self) -> bool {
        self.reader.waits_for_names()
    }

    fn named(&self, invocation: InvocationId, span: binding_span::SpanId) {
        self.reader.named(invocation, span);
    }
}
