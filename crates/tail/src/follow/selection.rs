//! The events of the spans that a filter wants, each from its beginning on.
//!
//! Whether a span is wanted may show only when it is renamed, tagged or closed. Until then its events are
//! kept, within bounds; then they pass, and so do all that follow.

use std::sync::Arc;
use std::time::SystemTime;

use binding_span::{Attribute, InvocationId, SpanId};

use super::SPANS;
use super::filter::{Conditions, Filter, Met};
use crate::aged::Aged;
use crate::{Event, EventKind, Onset, SESSION_NAME, SPAN_NAME, SpanChange, SpanInfo, StatusCode};

/// The attribute that names a call's binding.
pub(super) const BINDING: &str = "jsrpc.binding";
/// Bytes of events that are kept in all; beyond it those of the oldest span are forgotten.
const KEPT: usize = 16 * 1024 * 1024;

/// An event that passed, and for whom: an invocation's onset and outcome are for programs as soon as one
/// of its spans is wanted, and for people only if they are that span's.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// The event.
    pub event: Arc<Event>,
    /// It is for programs.
    pub programs: bool,
    /// It is for people.
    pub people: bool,
}

impl Passed {
    fn both(event: Arc<Event>) -> Self {
        Self {
            event,
            programs: true,
            people: true,
        }
    }
}

/// Lets the events of wanted spans pass.
#[derive(Debug)]
pub struct Selection {
    conditions: Conditions,
    spans: Aged<Key, Span>,
    invocations: Aged<InvocationId, Invocation>,
    kept: usize,
    ended: u64,
    forgotten: u64,
}

type Key = (InvocationId, SpanId);

#[derive(Debug, Default)]
struct Span {
    met: Met,
    opened: Option<SystemTime>,
    /// An onset that may stand for no span of its own, only in front of others.
    anchor: bool,
    wanted: bool,
    kept: Vec<Passed>,
    bytes: usize,
}

#[derive(Debug)]
struct Invocation {
    onset: Arc<Event>,
    span: SpanId,
    binding: Option<String>,
    /// Its onset has passed.
    told: bool,
}

impl Selection {
    /// Lets pass what the filter wants.
    pub fn new(filter: &Filter) -> Self {
        Self {
            conditions: Conditions::new(filter),
            spans: Aged::new(SPANS),
            invocations: Aged::new(SPANS),
            kept: 0,
            ended: 0,
            forgotten: 0,
        }
    }

    /// How many wanted spans ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// How many spans were forgotten before it was known whether they are wanted, because too many were
    /// open.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Something happened; appends what passes now.
    pub fn event(&mut self, event: Arc<Event>, out: &mut Vec<Passed>) {
        let id = event.invocation_id;
        let about = event.span_context.span_id.map(|span| (id, span));
        match &event.event {
            EventKind::Onset(onset) => self.onset(onset, &event, out),
            EventKind::SpanOpen {
                name,
                span_id,
                info,
            } => {
                let key = (id, *span_id);
                self.open(key, Some(name), event.timestamp, false);
                self.tag(key, info.as_ref().map_or(&[], SpanInfo::attributes));
                self.of_span(key, event, out);
            }
            EventKind::Attributes { .. }
            | EventKind::Exception { .. }
            | EventKind::SpanUpdate { .. }
            | EventKind::Log(_)
            | EventKind::DiagnosticChannel(_) => {
                if let Some(key) = about {
                    self.of_span(key, event, out);
                }
            }
            EventKind::SpanClose { .. } => {
                if let Some(key) = about {
                    self.of_span(key, event, out);
                    self.end(key);
                }
            }
            EventKind::Return { .. } | EventKind::Outcome { .. } => self.of_invocation(event, out),
            EventKind::StreamDiagnostic { .. } => out.push(Passed::both(event)),
            EventKind::Unknown => {}
        }
    }

    fn onset(&mut self, onset: &Onset, event: &Arc<Event>, out: &mut Vec<Passed>) {
        let key = (event.invocation_id, onset.span_id);
        let jsrpc = onset.info.is_call();
        let anchor = event.span_context.span_id.is_none() && jsrpc && onset.attributes.is_empty();
        let invocation = Invocation {
            onset: Arc::clone(event),
            span: onset.span_id,
            binding: onset.entrypoint.clone(),
            told: false,
        };
        self.invocations.insert(event.invocation_id, invocation);
        let named = onset.attributes.iter().any(|a| a.key == SPAN_NAME);
        let name = match (named, jsrpc) {
            (true, _) => None,
            (false, true) => Some(SESSION_NAME),
            (false, false) => Some(onset.info.kind()),
        };
        self.open(key, name, event.timestamp, anchor);
        self.tag(key, &onset.attributes);
        self.decide(key, out);
        self.tell_at_once(event, out);
    }

    /// Where every span is wanted, programs get an onset in its place, whatever people make of it later.
    fn tell_at_once(&mut self, onset: &Arc<Event>, out: &mut Vec<Passed>) {
        let everything = self.conditions.all_met(&Met::default());
        let invocation = self.invocations.get_mut(&onset.invocation_id);
        if let Some(invocation) = invocation.filter(|i| everything && !i.told) {
            invocation.told = true;
            out.push(Passed {
                event: Arc::clone(onset),
                programs: true,
                people: false,
            });
        }
    }

    fn open(&mut self, key: Key, name: Option<&str>, time: SystemTime, anchor: bool) {
        let mut span = Span {
            opened: Some(time),
            anchor,
            ..Span::default()
        };
        if let Some(name) = name {
            self.conditions.name(&mut span.met, name);
        }
        let invocation = self.invocations.get(&key.0);
        if let Some(binding) = invocation.and_then(|i| i.binding.as_deref()) {
            self.conditions.binding(&mut span.met, binding);
        }
        let gone = self.spans.insert(key, span);
        self.forget(gone);
    }

    fn tag(&mut self, key: Key, attributes: &[Attribute]) {
        if let Some(span) = self.spans.get_mut(&key) {
            for attribute in attributes {
                self.conditions.attribute(&mut span.met, attribute);
            }
        }
    }

    /// An event about a span; one whose beginning was not seen is made known by it.
    fn of_span(&mut self, key: Key, event: Arc<Event>, out: &mut Vec<Passed>) {
        if self.spans.get(&key).is_none() {
            let gone = self.spans.insert(key, Span::default());
            self.forget(gone);
        }
        let Some(span) = self.spans.get_mut(&key) else {
            return;
        };
        let lasted = span
            .opened
            .map(|opened| event.timestamp.duration_since(opened));
        if let Some(Ok(lasted)) = lasted {
            self.conditions.lasted(&mut span.met, lasted);
        }
        match &event.event {
            EventKind::Attributes { info } => {
                span.anchor = false;
                info.iter()
                    .for_each(|a| self.conditions.attribute(&mut span.met, a));
            }
            EventKind::Exception { .. } => {
                span.anchor = false;
                self.conditions.failed(&mut span.met);
            }
            EventKind::SpanUpdate { info } => {
                span.anchor = false;
                match info {
                    SpanChange::Name { name } => self.conditions.name(&mut span.met, name),
                    SpanChange::Status { status } if status.code == StatusCode::Error => {
                        self.conditions.failed(&mut span.met);
                    }
                    _ => {}
                }
            }
            EventKind::Log(_) | EventKind::DiagnosticChannel(_) => span.anchor = false,
            EventKind::SpanClose { outcome } | EventKind::Outcome { outcome, .. }
                if outcome != "ok" =>
            {
                self.conditions.failed(&mut span.met);
            }
            _ => {}
        }
        if span.wanted {
            out.push(Passed::both(event));
            return;
        }
        let bytes = event.size();
        span.bytes += bytes;
        self.kept += bytes;
        span.kept.push(Passed::both(event));
        self.decide(key, out);
        while self.kept > KEPT {
            let Some(gone) = self.spans.pop() else { break };
            self.forget(Some(gone));
        }
    }

    /// Lets everything of a span pass that is there, once it is wanted.
    fn decide(&mut self, key: Key, out: &mut Vec<Passed>) {
        let Some(span) = self.spans.get_mut(&key) else {
            return;
        };
        if span.wanted || span.anchor || !self.conditions.all_met(&span.met) {
            return;
        }
        span.wanted = true;
        self.kept -= std::mem::take(&mut span.bytes);
        if let Some(invocation) = self.invocations.get_mut(&key.0) {
            let told = std::mem::replace(&mut invocation.told, true);
            let own = invocation.span == key.1;
            if own || !told {
                out.push(Passed {
                    event: Arc::clone(&invocation.onset),
                    programs: !told,
                    people: own,
                });
            }
        }
        out.append(&mut span.kept);
    }

    /// `return` and `outcome`: about the onset's span, and about the whole invocation.
    fn of_invocation(&mut self, event: Arc<Event>, out: &mut Vec<Passed>) {
        let id = event.invocation_id;
        let invocation = self.invocations.get(&id);
        let told = invocation.is_some_and(|i| i.told) || self.conditions.all_met(&Met::default());
        let span = invocation.map(|i| i.span).or(event.span_context.span_id);
        let key = span.map(|span| (id, span));
        let last = matches!(event.event, EventKind::Outcome { .. });
        let passed = out.len();
        if let Some(key) = key.filter(|key| self.spans.get(key).is_some()) {
            self.of_span(key, Arc::clone(&event), out);
            if told && out.len() == passed {
                let kept = self
                    .spans
                    .get_mut(&key)
                    .and_then(|span| span.kept.last_mut());
                kept.into_iter().for_each(|kept| kept.programs = false);
            }
            if last {
                self.end(key);
            }
        }
        if told && out.len() == passed {
            out.push(Passed {
                event,
                programs: true,
                people: false,
            });
        }
        if last {
            self.invocations.remove(&id);
        }
    }

    fn end(&mut self, key: Key) {
        if let Some(span) = self.spans.remove(&key) {
            self.kept -= span.bytes;
            self.ended += u64::from(span.wanted);
        }
    }

    fn forget(&mut self, gone: Option<Span>) {
        if let Some(span) = gone {
            self.kept -= span.bytes;
            self.forgotten += u64::from(!span.wanted && !span.anchor);
        }
    }
}
