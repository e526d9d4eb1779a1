//! What happens to spans, as the event streams of their invocations: no readers, no locks.
//!
//! The first span of an invocation decides what its onset stands for. A server span *is* the onset:
//! it has no `spanOpen`, its caller's span is the onset's context, and `return` marks its end. In front
//! of any other span stands an onset of its own, with the id of the span's parent if there is one.
//! The outcome comes when the last open span of the invocation closes; a span that opens later under
//! the same invocation id begins a new stream.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::SystemTime;

use binding_span::wire::DROPPED_KEY;
use binding_span::{
    Attribute, Dropped, InvocationId, Outcome, SpanClose, SpanId, SpanKind, SpanOpen, SpanRef,
    TraceId,
};

use crate::{
    ERROR_TYPE, Event, EventKind, Onset, Renames, SESSION_NAME, SPAN_NAME, SpanChange, SpanStatus,
    StatusCode, StreamContext,
};

/// The attribute of a span that becomes its onset's entrypoint.
const BINDING: &str = "jsrpc.binding";

/// Bytes of a status's message; the exception has all of it.
const STATUS_BYTES: usize = 1024;

/// What a feed remembers at most about spans that are open. Beyond it the oldest invocation is given
/// up: its stream ends with the outcome `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedLimits {
    /// Invocations, 65,536.
    pub invocations: usize,
    /// Spans in all, 262,144.
    pub spans: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            invocations: 65_536,
            spans: 262_144,
        }
    }
}

/// Ids are random and our own: a multiplication spreads them well enough.
type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, n: u64) {
        // The multiplier of 64-bit Fibonacci hashing.
        self.0 = (self.0 ^ n)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }

    fn write_u128(&mut self, n: u128) {
        self.write_u64((n >> 64) as u64);
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The invocations that are open.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    limits: FeedLimits,
    script_name: Option<String>,
    pub(crate) renames: Renames,
    open: IdMap<InvocationId, Invocation>,
    /// By age, for giving up the oldest.
    ages: BTreeMap<u64, InvocationId>,
    spans: usize,
    begun: u64,
    /// Invocations given up.
    pub(crate) evicted: u64,
    /// Reports about spans that are not known (any more).
    pub(crate) unknown: u64,
}

#[derive(Debug)]
struct Invocation {
    age: u64,
    id: InvocationId,
    trace: TraceId,
    /// The onset's span.
    onset: SpanId,
    /// The first span; the same as the onset's for a server.
    root: SpanId,
    root_outcome: Option<Outcome>,
    returned: bool,
    started: SystemTime,
    sequence: u32,
    /// Open spans, each with how much of its enrichment was dropped so far.
    spans: IdMap<SpanId, u64>,
}

impl Invocation {
    fn event(&mut self, span: Option<SpanId>, timestamp: SystemTime, event: EventKind) -> Event {
        let sequence = self.sequence;
        self.sequence = sequence.saturating_add(1);
        Event {
            span_context: StreamContext {
                trace_id: self.trace,
                span_id: span,
                trace_flags: None,
            },
            invocation_id: self.id,
            timestamp,
            sequence,
            event,
        }
    }

    fn attributes(&mut self, span: SpanId, time: SystemTime, info: Vec<Attribute>) -> Event {
        self.event(Some(span), time, EventKind::Attributes { info })
    }

    fn update(&mut self, span: SpanId, time: SystemTime, info: SpanChange) -> Event {
        self.event(Some(span), time, EventKind::SpanUpdate { info })
    }

    fn finish(&mut self, outcome: &'static str, time: SystemTime) -> Event {
        let wall = time.duration_since(self.started).unwrap_or_default();
        let outcome = EventKind::Outcome {
            outcome: outcome.into(),
            cpu_time: 0,
            wall_time: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        };
        self.event(Some(self.onset), time, outcome)
    }
}

impl Streams {
    pub(crate) fn new(limits: FeedLimits, script_name: Option<String>) -> Self {
        Self {
            limits,
            script_name,
            ..Self::default()
        }
    }

    pub(crate) fn open(&mut self, open: &SpanOpen<'_>, out: &mut Vec<Event>) {
        let id = open.span.context.span_id;
        if self.open.contains_key(&open.span.invocation) {
            if self.spans >= self.limits.spans {
                self.evict(open.time, out);
            }
        } else {
            while !self.open.is_empty()
                && (self.open.len() >= self.limits.invocations || self.spans >= self.limits.spans)
            {
                self.evict(open.time, out);
            }
            self.begin(open, out);
        }
        let Some(invocation) = self.open.get_mut(&open.span.invocation) else {
            self.unknown += 1;
            return;
        };
        if invocation.spans.insert(id, 0).is_none() {
            self.spans += 1;
        }
        if id != invocation.onset {
            let parent = open.parent.unwrap_or(invocation.onset);
            let event = EventKind::SpanOpen {
                info: None,
                name: open.name.to_owned(),
                span_id: id,
            };
            out.push(invocation.event(Some(parent), open.time, event));
        }
        if !open.attributes.is_empty() {
            out.push(invocation.attributes(id, open.time, open.attributes.to_vec()));
        }
    }

    fn begin(&mut self, open: &SpanOpen<'_>, out: &mut Vec<Event>) {
        let root = open.span.context.span_id;
        let server = open.kind == SpanKind::Server;
        let (onset, caller) = if server {
            (root, open.parent)
        } else {
            (open.parent.unwrap_or_else(SpanId::random), None)
        };
        let mut invocation = Invocation {
            age: self.begun,
            id: open.span.invocation,
            trace: open.span.context.trace_id,
            onset,
            root,
            root_outcome: None,
            returned: false,
            started: open.time,
            sequence: 0,
            spans: IdMap::default(),
        };
        let named = server && open.name != SESSION_NAME;
        let name = named.then(|| Attribute::new(SPAN_NAME, open.name.to_owned()));
        let event = EventKind::Onset(Box::new(Onset {
            span_id: onset,
            entrypoint: entrypoint(open.attributes),
            script_name: self.script_name.clone(),
            attributes: name.into_iter().collect(),
            ..Onset::default()
        }));
        out.push(invocation.event(caller, open.time, event));
        self.ages.insert(self.begun, invocation.id);
        self.begun += 1;
        self.open.insert(invocation.id, invocation);
    }

    /// The invocation of a span that is open.
    fn known(&mut self, span: SpanRef) -> Option<&mut Invocation> {
        let known = self
            .open
            .get_mut(&span.invocation)
            .filter(|invocation| invocation.spans.contains_key(&span.context.span_id));
        if known.is_none() {
            self.unknown += 1;
        }
        known
    }

    pub(crate) fn rename(&mut self, span: SpanRef, name: &str, out: &mut Vec<Event>) {
        let (id, renames) = (span.context.span_id, self.renames);
        let Some(invocation) = self.known(span) else {
            return;
        };
        let time = SystemTime::now();
        if renames.updates() {
            let name = name.to_owned();
            out.push(invocation.update(id, time, SpanChange::Name { name }));
        }
        if renames.attributes() {
            let name = Attribute::new(SPAN_NAME, name.to_owned());
            out.push(invocation.attributes(id, time, vec![name]));
        }
    }

    pub(crate) fn attributes(
        &mut self,
        span: SpanRef,
        attributes: Vec<Attribute>,
        out: &mut Vec<Event>,
    ) {
        if let Some(invocation) = self.known(span) {
            out.push(invocation.attributes(span.context.span_id, SystemTime::now(), attributes));
        }
    }

    pub(crate) fn dropped(&mut self, span: SpanRef, dropped: &Dropped, out: &mut Vec<Event>) {
        let id = span.context.span_id;
        let Some(invocation) = self.known(span) else {
            return;
        };
        let Some(total) = invocation.spans.get_mut(&id) else {
            return;
        };
        *total = total.saturating_add(dropped.total());
        let count = i64::try_from(*total).unwrap_or(i64::MAX);
        let info = vec![Attribute::new(DROPPED_KEY, count)];
        out.push(invocation.attributes(id, SystemTime::now(), info));
    }

    pub(crate) fn close(&mut self, close: &SpanClose<'_>, out: &mut Vec<Event>) {
        let (id, renames) = (close.span.context.span_id, self.renames);
        let Some(invocation) = self.known(close.span) else {
            return;
        };
        invocation.spans.remove(&id);
        if let Some(error) = close.error {
            let kind = Attribute::new(ERROR_TYPE, error.kind.to_owned());
            out.push(invocation.attributes(id, close.time, vec![kind]));
            let exception = EventKind::Exception {
                name: error.kind.to_owned(),
                message: error.message.to_owned(),
                stack: None,
            };
            out.push(invocation.event(Some(id), close.time, exception));
        }
        if renames.updates() && (close.error.is_some() || close.outcome != Outcome::Ok) {
            let status = failed(close.error.map(|error| error.message));
            out.push(invocation.update(id, close.time, SpanChange::Status { status }));
        }
        if id != invocation.onset {
            let outcome = close.outcome.label().into();
            let closed = EventKind::SpanClose { outcome };
            out.push(invocation.event(Some(id), close.time, closed));
        }
        if id == invocation.root {
            invocation.root_outcome = Some(close.outcome);
        }
        let last = invocation.spans.is_empty();
        if !invocation.returned && (last || id == invocation.onset) {
            invocation.returned = true;
            let returned = EventKind::Return { info: None };
            out.push(invocation.event(Some(invocation.onset), close.time, returned));
        }
        if last {
            let outcome = invocation.root_outcome.map_or("unknown", Outcome::label);
            out.push(invocation.finish(outcome, close.time));
            let age = invocation.age;
            self.open.remove(&close.span.invocation);
            self.ages.remove(&age);
        }
        self.spans = self.spans.saturating_sub(1);
    }

    fn evict(&mut self, time: SystemTime, out: &mut Vec<Event>) {
        let Some((_, oldest)) = self.ages.pop_first() else {
            return;
        };
        if let Some(mut invocation) = self.open.remove(&oldest) {
            self.spans = self.spans.saturating_sub(invocation.spans.len());
            self.evicted += 1;
            out.push(invocation.finish("unknown", time));
        }
    }
}

/// The status of a span that did not end well, as an exporter of spans has it.
fn failed(message: Option<&str>) -> SpanStatus {
    let message = message.filter(|message| !message.is_empty());
    SpanStatus {
        code: StatusCode::Error,
        message: message.map(|text| text[..text.floor_char_boundary(STATUS_BYTES)].to_owned()),
    }
}

fn entrypoint(attributes: &[Attribute]) -> Option<String> {
    let binding = attributes.iter().find(|a| a.key == BINDING)?;
    binding.value.as_str().map(str::to_owned)
}
