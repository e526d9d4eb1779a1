//! Spans that open under their final names, for readers that cannot rename them.
//!
//! An invocation's events stand in a line. A `spanOpen` waits at its head until its span's name is final: the
//! call returned, or the span closed. What came after waits behind it, so that the order stays as it was, and the
//! renames that it waited for are taken out. What waits is bounded: beyond that spans open under the names that
//! they have. A reader that cannot rename need not know `spanUpdate`: what is left of it is attributes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use binding_span::{InvocationId, SpanId};

use crate::aged::Aged;
use crate::plain::without_update;
use crate::{Event, EventKind, EventSink, SPAN_NAME, SpanChange};

/// What may wait for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateLimits {
    /// Invocations that are followed, 65,536; of more the oldest is given up.
    pub invocations: usize,
    /// Events of one invocation, 4,096.
    pub events: usize,
    /// Bytes in all by [`Event::size`], 16 MiB.
    pub bytes: usize,
}

impl Default for LateLimits {
    fn default() -> Self {
        Self {
            invocations: 65_536,
            events: 4096,
            bytes: 16 * 1024 * 1024,
        }
    }
}

/// Gives events to another reader, each span's opening under its final name.
///
/// It reads what says renames in any way ([`Renames`](crate::Renames)). Timestamps stay; sequence numbers have
/// no gaps where a rename was. The onset is never kept: its own span may be renamed later, by an attribute.
/// There is no `spanUpdate`; a status is attributes, as [`WithoutUpdates`](crate::WithoutUpdates) has it.
pub struct LateNames {
    inner: Arc<dyn EventSink>,
    limits: LateLimits,
    early: AtomicU64,
    state: Mutex<State>,
}

struct State {
    streams: Aged<InvocationId, Stream>,
    bytes: usize,
}

/// One invocation.
#[derive(Debug, Default)]
struct Stream {
    waiting: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Spans whose opening waits.
    spans: HashMap<SpanId, Name>,
    /// Events that were taken out.
    removed: u32,
}

/// The name of a span whose opening waits.
#[derive(Debug, Default)]
struct Name {
    /// The latest one that it was given.
    given: Option<String>,
    is_final: bool,
}

impl LateNames {
    /// Gives them to this reader.
    pub fn new(inner: Arc<dyn EventSink>, limits: LateLimits) -> Self {
        let state = State {
            streams: Aged::new(limits.invocations.max(1)),
            bytes: 0,
        };
        Self {
            inner,
            limits,
            early: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// Spans that opened before their names were final, because too much waited.
    pub fn opened_early(&self) -> u64 {
        self.early.load(Ordering::Relaxed)
    }

    /// Gives on everything that waits: nothing is to come.
    pub fn flush(&self) {
        let mut state = self.lock();
        self.release_all(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release_all(&self, state: &mut State) {
        let streams = state.streams.values_mut();
        let early: usize = streams.map(|stream| self.release(stream)).sum();
        self.early.fetch_add(early as u64, Ordering::Relaxed);
        state.bytes = 0;
    }

    /// Gives on everything of a stream; how many spans opened before their time.
    fn release(&self, stream: &mut Stream) -> usize {
        let mut early = 0;
        for name in stream.spans.values_mut() {
            early += usize::from(!name.is_final);
            name.is_final = true;
        }
        self.pass(stream);
        early
    }

    /// Gives on what does not have to wait any more; whether the reader wants more.
    fn pass(&self, stream: &mut Stream) -> bool {
        let mut wanted = true;
        while let Some(event) = stream.waiting.pop_front() {
            let mut given = None;
            if let EventKind::SpanOpen { span_id, .. } = &event.event {
                if stream.spans.get(span_id).is_some_and(|name| !name.is_final) {
                    stream.waiting.push_front(event);
                    return wanted;
                }
                given = stream.spans.remove(span_id).and_then(|name| name.given);
            }
            stream.bytes -= event.size() + given.as_ref().map_or(0, String::len);
            wanted = self.inner.event(&match given {
                Some(given) => Arc::new(opened_as(event, given)),
                None => event,
            });
        }
        wanted
    }

    /// Puts an event at the end of its stream, and gives on what may go.
    fn follow(&self, state: &mut State, event: &Arc<Event>) -> bool {
        let id = event.invocation_id;
        let Some(stream) = state.streams.get_mut(&id) else {
            // Of an invocation whose beginning was not seen, or that was given up.
            return self.inner.event(&without_update(Arc::clone(event)));
        };
        let before = stream.bytes;
        let Some(event) = stream.without_renames(event) else {
            stream.removed = stream.removed.saturating_add(1);
            state.bytes = state.bytes + stream.bytes - before;
            return true;
        };
        let last = matches!(event.event, EventKind::Outcome { .. });
        match &event.event {
            EventKind::SpanOpen { span_id, .. } => {
                stream.spans.insert(*span_id, Name::default());
            }
            EventKind::SpanClose { .. } => stream.settle(event.span_context.span_id),
            EventKind::Outcome { .. } => {
                let names = stream.spans.values_mut();
                names.for_each(|name| name.is_final = true);
            }
            _ => {}
        }
        let event = without_update(event);
        stream.bytes += event.size();
        stream.waiting.push_back(event);
        let mut wanted = self.pass(stream);
        if stream.waiting.len() > self.limits.events {
            let early = self.release(stream);
            self.early.fetch_add(early as u64, Ordering::Relaxed);
            wanted = true;
        }
        state.bytes = state.bytes + stream.bytes - before;
        if last {
            state.streams.remove(&id);
        }
        if state.bytes > self.limits.bytes {
            self.release_all(state);
        }
        wanted
    }
}

impl EventSink for LateNames {
    fn event(&self, event: &Arc<Event>) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        if matches!(event.event, EventKind::Onset(_)) {
            let gone = [
                state.streams.remove(&event.invocation_id),
                state.streams.insert(event.invocation_id, Stream::default()),
            ];
            for mut stream in gone.into_iter().flatten() {
                state.bytes -= stream.bytes;
                let early = self.release(&mut stream);
                self.early.fetch_add(early as u64, Ordering::Relaxed);
            }
            return self.inner.event(event);
        }
        self.follow(state, event)
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn waits_for_names(&self) -> bool {
        true
    }

    fn named(&self, invocation: InvocationId, span: SpanId) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(stream) = state.streams.get_mut(&invocation) else {
            return;
        };
        let before = stream.bytes;
        stream.settle(Some(span));
        self.pass(stream);
        state.bytes = state.bytes + stream.bytes - before;
    }
}

impl Name {
    /// Gives it another name; how long the one before was.
    fn replace(&mut self, name: String) -> usize {
        self.given.replace(name).map_or(0, |before| before.len())
    }
}

impl Stream {
    fn settle(&mut self, span: Option<SpanId>) {
        if let Some(name) = span.and_then(|span| self.spans.get_mut(&span)) {
            name.is_final = true;
        }
    }

    /// The event with its new number, without what renames a span whose opening waits; `None` if nothing is left.
    fn without_renames(&mut self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let removed = self.removed;
        let renumbered = || {
            let mut event = Event::clone(event);
            event.sequence = event.sequence.saturating_sub(removed);
            event
        };
        let span = event.span_context.span_id;
        let waiting = span.and_then(|span| self.spans.get_mut(&span));
        if let Some(waiting) = waiting {
            match &event.event {
                EventKind::SpanUpdate {
                    info: SpanChange::Name { name },
                } => {
                    self.bytes += name.len();
                    self.bytes -= waiting.replace(name.clone());
                    return None;
                }
                EventKind::Attributes { info } if info.iter().any(|a| a.key == SPAN_NAME) => {
                    let name = info.iter().rev().find(|a| a.key == SPAN_NAME);
                    if let Some(name) = name.and_then(|a| a.value.as_str()) {
                        self.bytes += name.len();
                        self.bytes -= waiting.replace(name.to_owned());
                    }
                    if info.iter().all(|a| a.key == SPAN_NAME) {
                        return None;
                    }
                    let mut event = renumbered();
                    if let EventKind::Attributes { info } = &mut event.event {
                        info.retain(|a| a.key != SPAN_NAME);
                    }
                    return Some(Arc::new(event));
                }
                _ => {}
            }
        }
        Some(match removed {
            0 => Arc::clone(event),
            _ => Arc::new(renumbered()),
        })
    }
}

/// A span's opening, under another name.
fn opened_as(event: Arc<Event>, given: String) -> Event {
    let mut event = Arc::unwrap_or_clone(event);
    if let EventKind::SpanOpen { name, .. } = &mut event.event {
        *name = given;
    }
    event
}
