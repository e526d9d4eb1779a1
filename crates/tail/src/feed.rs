//! The feed: a [`SpanSink`] that numbers what happens and hands it to readers.
//!
//! Events reach every reader in the order of their sequence numbers, so they are handed over under
//! the feed's lock; readers must return at once, which a bounded queue does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use binding_span::{
    Attribute, Dropped, ErrorInfo, InvocationId, Outcome, SpanClose, SpanId, SpanOpen, SpanRef,
    SpanSink,
};

use crate::Event;
use crate::invocation::{FeedLimits, Streams};
use crate::queue::{self, QueueLimits, Subscription};

/// Something that reads a feed.
///
/// It is called on the path of a call and under the feed's lock: it must return at once, and must not
/// report spans to the same feed.
pub trait EventSink: Send + Sync {
    /// An event happened. `false` means that no more are wanted.
    fn event(&self, event: &Arc<Event>) -> bool;

    /// Whether somebody looks at the events as they come.
    fn is_live(&self) -> bool {
        false
    }

    /// Whether it wants to know when a span's name is final.
    fn waits_for_names(&self) -> bool {
        false
    }

    /// A span keeps the name that it has: its call returned.
    fn named(&self, _invocation: InvocationId, _span: SpanId) {}
}

/// How events say that a span has another name or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renames {
    /// By the event `spanUpdate`, as workerd does.
    SpanUpdate,
    /// By the attribute [`SPAN_NAME`](crate::SPAN_NAME), as the enrichment proposal has it; that a span failed
    /// is said by `error.type`, the exception and the outcome alone.
    Attribute,
    /// By both.
    #[default]
    Both,
}

impl Renames {
    /// Whether there are `spanUpdate` events.
    pub(crate) fn updates(self) -> bool {
        self != Self::Attribute
    }

    /// Whether there are `span.name` attributes.
    pub(crate) fn attributes(self) -> bool {
        self != Self::SpanUpdate
    }
}

/// Turns what happens to spans into tail events.
///
/// Without readers a report costs one atomic load. A reader that joins late sees the invocations that
/// begin after it joined; a [`History`](crate::History) that joined at the beginning knows them all.
#[derive(Default)]
pub struct Feed {
    readers: AtomicUsize,
    /// Whether some of them wait for names.
    names: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    streams: Streams,
    sinks: Vec<Arc<dyn EventSink>>,
    /// Room for the events of one report.
    out: Vec<Event>,
}

/// What a feed has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedStats {
    /// Invocations given up because too many were open.
    pub evicted: u64,
    /// Reports about spans that were not open: of invocations given up, or begun before there was a
    /// reader.
    pub unknown: u64,
}

impl Feed {
    /// A feed without readers, within the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, which says in this way that spans are renamed and fail.
    #[must_use]
    pub fn renames(self, renames: Renames) -> Self {
        self.lock().streams.renames = renames;
        self
    }

    /// A feed with limits of your own and, if given, a name of this service that onsets carry as
    /// `scriptName`.
    pub fn with(limits: FeedLimits, script_name: Option<String>) -> Self {
        let inner = Inner {
            streams: Streams::new(limits, script_name),
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            ..Self::default()
        }
    }

    /// Adds a reader: a [`JsonLines`](crate::JsonLines), or one of your own.
    pub fn subscribe(&self, sink: Arc<dyn EventSink>) {
        let mut inner = self.lock();
        if sink.waits_for_names() {
            self.names.store(true, Ordering::Release);
        }
        inner.sinks.push(sink);
        self.readers.store(inner.sinks.len(), Ordering::Release);
    }

    /// Adds a reader that takes events from a bounded queue.
    pub fn queue(&self, limits: QueueLimits) -> Subscription {
        let (sender, subscription) = queue::bounded(limits);
        self.subscribe(sender);
        subscription
    }

    /// What was counted so far.
    pub fn stats(&self) -> FeedStats {
        let inner = self.lock();
        FeedStats {
            evicted: inner.streams.evicted,
            unknown: inner.streams.unknown,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, happened: impl FnOnce(&mut Streams, &mut Vec<Event>)) {
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut guard = self.lock();
        let inner = &mut *guard;
        happened(&mut inner.streams, &mut inner.out);
        for event in inner.out.drain(..) {
            let event = Arc::new(event);
            inner.sinks.retain(|sink| sink.event(&event));
        }
        self.readers.store(inner.sinks.len(), Ordering::Release);
    }
}

impl SpanSink for Feed {
    fn live(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
            && self.lock().sinks.iter().any(|sink| sink.is_live())
    }

    fn open(&self, open: &SpanOpen<'_>) {
        self.report(|streams, out| streams.open(open, out));
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.report(|streams, out| streams.rename(span, name, out));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.report(|streams, out| streams.attributes(span, attributes.to_vec(), out));
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.report(|streams, out| streams.dropped(span, dropped, out));
    }

    fn returned(&self, span: SpanRef, _outcome: Outcome, _error: Option<ErrorInfo<'_>>) {
        if self.names.load(Ordering::Acquire) {
            let inner = self.lock();
            let waiting = inner.sinks.iter().filter(|sink| sink.waits_for_names());
            waiting.for_each(|sink| sink.named(span.invocation, span.context.span_id));
        }
    }

    fn close(&self, close: &SpanClose<'_>) {
        self.report(|streams, out| streams.close(close, out));
    }
}
