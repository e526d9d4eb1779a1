//! Finished spans in memory: for tests, and for programs that show a tree at the end.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, AttributeValue, Dropped, InvocationId, Outcome, SpanClose, SpanContext, SpanId,
    SpanKind, SpanOpen, SpanRef, SpanSink,
};

use crate::ERROR_TYPE;

/// Open spans that are remembered; later ones are not recorded.
const MAX_OPEN: usize = 65_536;
/// Finished spans that are kept unless told otherwise.
const DEFAULT_KEPT: usize = 10_000;

/// A span that ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FinishedSpan {
    /// Trace, span, flags.
    pub context: SpanContext,
    /// The run of work that it belongs to.
    pub invocation: InvocationId,
    /// The span that it is a child of.
    pub parent: Option<SpanId>,
    /// Which side it shows.
    pub kind: SpanKind,
    /// Whether it was the first span of its invocation.
    pub root: bool,
    /// Its name at the end.
    pub name: String,
    /// Its name at the beginning.
    pub original_name: String,
    /// Its attributes: no key twice, in the order in which keys came, each with its last value.
    pub attributes: Vec<Attribute>,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong.
    pub error: Option<SpanError>,
    /// What was dropped from its enrichment, by reason.
    pub dropped: Dropped,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
}

/// What went wrong in a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanError {
    /// The class: `TypeError`.
    pub kind: String,
    /// The message.
    pub message: String,
}

impl FinishedSpan {
    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        let found = self.attributes.iter().find(|a| a.key == key)?;
        Some(&found.value)
    }

    /// Whether it was renamed to something else.
    pub fn renamed(&self) -> bool {
        self.name != self.original_name
    }

    /// How long it took; zero if the clock was set back.
    pub fn duration(&self) -> Duration {
        self.end.duration_since(self.start).unwrap_or_default()
    }
}

/// Keeps finished spans in memory, the latest 10,000 unless told otherwise, in the order in which
/// they ended.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use binding_span::*;
/// use tail::Recorder;
///
/// let recorder = Recorder::new();
/// let span = SpanRef { context: SpanContext::root(), invocation: InvocationId::random() };
/// let time = SystemTime::now();
/// recorder.open(&SpanOpen {
///     span, parent: None, name: "jsRpcSession", kind: SpanKind::Client, root: true, time,
///     attributes: &[],
/// });
/// apply(&Enrichment::new().name("d1.query").attribute("rows", 3), span, &recorder);
/// recorder.close(&SpanClose { span, outcome: Outcome::Ok, error: None, time });
///
/// let spans = recorder.wait_for(1, Duration::from_secs(5));
/// assert_eq!((&*spans[0].original_name, &*spans[0].name), ("jsRpcSession", "d1.query"));
/// assert_eq!(spans[0].get("rows"), Some(&AttributeValue::Int64(3)));
/// ```
pub struct Recorder {
    kept: usize,
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Default)]
struct State {
    open: HashMap<(InvocationId, SpanId), FinishedSpan>,
    finished: VecDeque<FinishedSpan>,
    lost: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::with_capacity(DEFAULT_KEPT)
    }
}

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that keeps the latest `kept` spans.
    pub fn with_capacity(kept: usize) -> Self {
        Self {
            kept,
            state: Mutex::default(),
            closed: Condvar::new(),
        }
    }

    /// The finished spans, in the order in which they ended.
    pub fn spans(&self) -> Vec<FinishedSpan> {
        self.lock().finished.iter().cloned().collect()
    }

    /// Takes the finished spans out.
    pub fn take(&self) -> Vec<FinishedSpan> {
        std::mem::take(&mut self.lock().finished).into()
    }

    /// The first finished span of this name.
    pub fn find(&self, name: &str) -> Option<FinishedSpan> {
        let state = self.lock();
        state
            .finished
            .iter()
            .find(|span| span.name == name)
            .cloned()
    }

    /// How many spans are open.
    pub fn open_spans(&self) -> usize {
        self.lock().open.len()
    }

    /// How many spans were not recorded, or not kept.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// The finished spans, as soon as there are `n`; fewer if they do not come within `timeout`. It
    /// blocks the thread: spans must end on another one.
    pub fn wait_for(&self, n: usize, timeout: Duration) -> Vec<FinishedSpan> {
        self.wait_until(timeout, |state| state.finished.len() >= n)
    }

    /// The finished spans, as soon as none is open and there is at least one; whatever there is after
    /// `timeout`. It blocks the thread.
    pub fn wait_idle(&self, timeout: Duration) -> Vec<FinishedSpan> {
        self.wait_until(timeout, |state| {
            state.open.is_empty() && !state.finished.is_empty()
        })
    }

    fn wait_until(&self, timeout: Duration, ready: impl Fn(&State) -> bool) -> Vec<FinishedSpan> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while !ready(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.closed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.finished.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, span: SpanRef, change: impl FnOnce(&mut FinishedSpan)) {
        let key = (span.invocation, span.context.span_id);
        if let Some(open) = self.lock().open.get_mut(&key) {
            change(open);
        }
    }
}

impl SpanSink for Recorder {
    fn open(&self, open: &SpanOpen<'_>) {
        let key = (open.span.invocation, open.span.context.span_id);
        let mut span = FinishedSpan {
            context: open.span.context,
            invocation: open.span.invocation,
            parent: open.parent,
            kind: open.kind,
            root: open.root,
            name: open.name.to_owned(),
            original_name: open.name.to_owned(),
            attributes: Vec::new(),
            outcome: Outcome::Ok,
            error: None,
            dropped: Dropped::default(),
            start: open.time,
            end: open.time,
        };
        upsert(&mut span.attributes, open.attributes);
        let mut state = self.lock();
        if state.open.len() < MAX_OPEN {
            state.open.insert(key, span);
        } else {
            state.lost += 1;
        }
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.update(span, |span| name.clone_into(&mut span.name));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.update(span, |span| upsert(&mut span.attributes, attributes));
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.update(span, |span| span.dropped.merge(dropped));
    }

    fn close(&self, close: &SpanClose<'_>) {
        let key = (close.span.invocation, close.span.context.span_id);
        let mut state = self.lock();
        let Some(mut span) = state.open.remove(&key) else {
            return;
        };
        span.outcome = close.outcome;
        span.end = close.time;
        span.error = close.error.map(|error| SpanError {
            kind: error.kind.to_owned(),
            message: error.message.to_owned(),
        });
        if let Some(error) = &span.error {
            let kind = Attribute::new(ERROR_TYPE, error.kind.clone());
            upsert(&mut span.attributes, &[kind]);
        }
        state.finished.push_back(span);
        if state.finished.len() > self.kept {
            state.finished.pop_front();
            state.lost += 1;
        }
        self.closed.notify_all();
    }
}

/// Adds attributes; a key that is there gets the new value in its old place.
pub(crate) fn upsert(known: &mut Vec<Attribute>, more: &[Attribute]) {
    for attribute in more {
        match known.iter_mut().find(|a| a.key == attribute.key) {
            Some(old) => old.value = attribute.value.clone(),
            None => known.push(attribute.clone()),
        }
    }
}
