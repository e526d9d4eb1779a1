//! What is counted of calls: a [`SpanSink`] that finds a call's counters when its span opens, and from
//! then on only adds to them. Once a binding and a method are known, a call allocates nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use binding_span::{
    Attribute, AttributeValue, DropReason, Dropped, ErrorInfo, Outcome, SpanClose, SpanKind,
    SpanOpen, SpanRef, SpanSink,
};

use host::metrics::{BUCKETS, Bounded, Bounds, Histogram, Labelled};

use super::open::{OpenCall, OpenCalls};

/// Bindings that have labels of their own. They are configured, not chosen by peers.
const BINDINGS: usize = 1_024;

/// Methods of a binding that have labels of their own because they were called. Who calls decides.
pub(crate) const METHODS_CALLED: usize = 32;

/// Methods of a binding that have labels of their own, with those that were called with success later:
/// whoever calls methods that are not there must not use up the labels of those that are.
pub(crate) const METHODS: usize = 64;

/// Errors of a binding that have labels of their own. Callees choose their names.
const ERRORS: usize = 32;

/// Both sides of calls.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) client: Side,
    pub(super) server: Side,
    open: OpenCalls,
}

/// The calls that we make, or those that we serve.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) bindings: Bounded<Binding>,
    opened: AtomicU64,
    returned: AtomicU64,
    closed: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Binding {
    pub(super) methods: Bounded<Method>,
    pub(super) errors: Bounded<AtomicU64>,
    pub(super) enriched: AtomicU64,
    pub(super) renames: AtomicU64,
    pub(super) attributes: AtomicU64,
    pub(super) dropped: [AtomicU64; DropReason::ALL.len()],
}

#[derive(Debug, Default)]
pub(super) struct Method {
    pub(super) outcomes: [AtomicU64; OUTCOMES.len()],
    pub(super) duration: Histogram<OfCalls>,
}

/// A call on a unix socket takes a tenth of a millisecond, one that waits for its deadline half a minute.
#[derive(Debug, Default)]
pub struct OfCalls;

impl Bounds for OfCalls {
    const SECONDS: [f64; BUCKETS] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        10.0, 30.0,
    ];
}

/// How calls end.
pub(super) const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Ok, "ok"),
    (Outcome::Exception, "exception"),
    (Outcome::Canceled, "canceled"),
    (Outcome::ExceededWallTime, "deadline"),
];

fn place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Exception => 1,
        Outcome::Canceled => 2,
        Outcome::ExceededWallTime => 3,
    }
}

impl Side {
    fn new() -> Self {
        Self {
            bindings: Bounded::new(),
            opened: AtomicU64::default(),
            returned: AtomicU64::default(),
            closed: AtomicU64::default(),
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        let returned = self.returned.load(Relaxed);
        self.opened.load(Relaxed).saturating_sub(returned)
    }

    pub(super) fn spans_open(&self) -> u64 {
        let closed = self.closed.load(Relaxed);
        self.opened.load(Relaxed).saturating_sub(closed)
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            client: Side::new(),
            server: Side::new(),
            open: OpenCalls::default(),
        }
    }

    fn side(&self, kind: SpanKind) -> Option<&Side> {
        match kind {
            SpanKind::Client => Some(&self.client),
            SpanKind::Server => Some(&self.server),
            // Work within a call, which is counted as a whole.
            SpanKind::Internal => None,
        }
    }

    fn settle(&self, call: &mut OpenCall, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        call.returned = true;
        call.outcome = outcome;
        let binding = &call.binding.value;
        let label = OUTCOMES[place(outcome)].1;
        let method = match call.unlabelled.take() {
            Some(name) if outcome == Outcome::Ok => &binding.methods.get(&name, METHODS),
            _ => &call.method,
        };
        method.value.duration.observe(call.since.elapsed());
        method.value.outcomes[place(outcome)].fetch_add(1, Relaxed);
        if outcome != Outcome::Ok {
            let kind = error.map_or(label, |error| error.kind);
            let error = binding.errors.get(kind, ERRORS);
            error.value.fetch_add(1, Relaxed);
        }
        if let Some(side) = self.side(call.kind) {
            side.returned.fetch_add(1, Relaxed);
        }
    }

    fn enriched(&self, span: SpanRef, add: impl FnOnce(&Binding)) {
        self.open.with(span, |call| {
            let binding = &call.binding.value;
            add(binding);
            if !std::mem::replace(&mut call.enriched, true) {
                binding.enriched.fetch_add(1, Relaxed);
            }
        });
    }
}

/// A text among a span's first attributes.
fn text<'a>(attributes: &'a [Attribute], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.map(|attribute| &attribute.value) {
        Some(AttributeValue::String(text)) => text,
        _ => "",
    }
}

impl SpanSink for Calls {
    fn open(&self, open: &SpanOpen<'_>) {
        let Some(side) = self.side(open.kind) else {
            return;
        };
        let name = text(open.attributes, "jsrpc.method");
        let binding: Arc<Labelled<Binding>> = side
            .bindings
            .get(text(open.attributes, "jsrpc.binding"), BINDINGS);
        let methods = &binding.value.methods;
        let method = methods.get(name, METHODS_CALLED);
        let unlabelled = methods.is_other(&method).then(|| name.into());
        side.opened.fetch_add(1, Relaxed);
        self.open.insert(
            open.span,
            OpenCall {
                kind: open.kind,
                binding,
                method,
                unlabelled,
                since: Instant::now(),
                enriched: false,
                returned: false,
                outcome: Outcome::Ok,
            },
        );
    }

    fn rename(&self, span: SpanRef, _name: &str) {
        self.enriched(span, |binding| {
            binding.renames.fetch_add(1, Relaxed);
        });
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.enriched(span, |binding| {
            let more = attributes.len() as u64;
            binding.attributes.fetch_add(more, Relaxed);
        });
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.open.with(span, |call| {
            for (reason, count) in dropped.iter() {
                let counter = &call.binding.value.dropped[reason as usize];
                counter.fetch_add(u64::from(count), Relaxed);
            }
        });
    }

    fn returned(&self, span: SpanRef, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        self.open.with(span, |call| {
            if !call.returned {
                self.settle(call, outcome, error);
            }
        });
    }

    fn close(&self, close: &SpanClose<'_>) {
        let Some(mut call) = self.open.remove(close.span) else {
            return;
        };
        if !call.returned {
            self.settle(&mut call, close.outcome, close.error);
        } else if let (Outcome::Ok, Some(error)) = (call.outcome, close.error) {
            // The callee said so while the result was held. The call stays counted as it returned.
            let kind = call.binding.value.errors.get(error.kind, ERRORS);
            kind.value.fetch_add(1, Relaxed);
        }
        if let Some(side) = self.side(call.kind) {
            side.closed.fetch_add(1, Relaxed);
        }
    }
}
