//! Tail events from a peer: a workerd whose `streamingTails` names us, or another caller. They go, as they
//! are, to the readers of our own, so that one file has the spans of both.

mod circle;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use binding_span_schema::tail_stream_capnp::tail_event;
use capnp::struct_list;
use js_rpc::TailReceiver;
use tail::wire::{Found, Headers, Unknown};
use tail::{Event, EventKind, EventSink, wire};

pub(crate) use self::circle::{ButTails, Passed, Tails};
use crate::metrics::{Metrics, catalog};

/// Gives what peers report to readers. What this version does not know is counted, and named in the log.
pub struct TailTaker {
    readers: Vec<Arc<dyn EventSink>>,
    headers: Headers,
    counts: Arc<Counts>,
    /// What was here before, where events are sent on.
    passed: Option<Arc<Passed>>,
    tails: Arc<Tails>,
    complained: AtomicBool,
    named: Mutex<HashSet<Unknown>>,
}

/// Members of later versions that the log names; of more it says nothing.
const NAMED: usize = 64;

/// What did not arrive as it was sent.
#[derive(Default)]
struct Counts {
    /// Events of kinds that are not known.
    unknown: AtomicU64,
    returned: AtomicU64,
    /// Members of events, and events, that are not known, in the order of [`MEMBERS`].
    members: [AtomicU64; MEMBERS.len()],
    cut: AtomicU64,
}

/// Where an event may have members that are not known; the last is for all others.
const MEMBERS: [&str; 6] = [
    "event",
    "onset.info",
    "spanOpen.info",
    "spanUpdate",
    "attribute.value",
    "other",
];

impl TailTaker {
    /// One that gives events to these.
    pub fn new(readers: Vec<Arc<dyn EventSink>>) -> Self {
        Self {
            readers,
            headers: Headers::default(),
            counts: Arc::default(),
            passed: None,
            tails: Arc::default(),
            complained: AtomicBool::default(),
            named: Mutex::default(),
        }
    }

    /// The same, which keeps these headers of requests.
    #[must_use]
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The same, which takes no invocation that has passed here before, and learns what tail Workers do.
    pub(crate) fn once(mut self, passed: Arc<Passed>, tails: Arc<Tails>) -> Self {
        self.passed = Some(passed);
        self.tails = tails;
        self
    }

    /// Whether an event went in a circle and is here again.
    fn came_back(&self, event: &Event) -> bool {
        let Some(passed) = &self.passed else {
            return false;
        };
        if self.tails.learn(event) {
            tracing::warn!(
                "a Worker that is a tail itself reports by --tail-from: what tail Workers do is not sent on by \
                 --tail-to, where it could be about these very events"
            );
        }
        if passed.is_new(event) {
            return false;
        }
        self.counts.returned.fetch_add(1, Relaxed);
        if !self.complained.swap(true, Relaxed) {
            tracing::warn!(
                "tail events that were here before come in by --tail-from: the --tail-to of several callers go \
                 in a circle; such events are declined"
            );
        }
        true
    }

    fn found(&self, found: &Found) {
        self.counts.cut.fetch_add(found.cut.into(), Relaxed);
        for unknown in &found.unknown {
            let place = MEMBERS.iter().position(|of| *of == unknown.of);
            let count = &self.counts.members[place.unwrap_or(MEMBERS.len() - 1)];
            count.fetch_add(1, Relaxed);
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            if named.len() < NAMED && named.insert(*unknown) {
                let Unknown { of, discriminant } = unknown;
                tracing::warn!(
                    "a tail event has {of} {discriminant}, which this version does not know; what it says is left out"
                );
            }
        }
    }

    /// Shows what it leaves out.
    pub(crate) fn count_into(&self, metrics: &Metrics) {
        type Count = fn(&Counts) -> &AtomicU64;
        let kinds: [(&'static str, Count); 2] = [
            ("unknown", |of| &of.unknown),
            ("returned", |of| &of.returned),
        ];
        for (kind, count) in kinds {
            let of = Arc::clone(&self.counts);
            metrics.add(&catalog::TAIL_LEFT_OUT, &[("kind", kind)], move || {
                count(&of).load(Relaxed)
            });
        }
        let tails = Arc::clone(&self.tails);
        metrics.add(&catalog::TAIL_LEFT_OUT, &[("kind", "tail")], move || {
            tails.kept()
        });
        for (i, member) in MEMBERS.into_iter().enumerate() {
            let of = Arc::clone(&self.counts);
            metrics.add(&catalog::TAIL_UNKNOWN, &[("member", member)], move || {
                of.members[i].load(Relaxed)
            });
        }
        let of = Arc::clone(&self.counts);
        metrics.add(&catalog::TAIL_CUT, &[], move || of.cut.load(Relaxed));
    }
}

impl TailReceiver for TailTaker {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        let mut found = Found::default();
        for from in events {
            let event = wire::read_event(from, self.headers, &mut found)?;
            if found != Found::default() {
                self.found(&std::mem::take(&mut found));
            }
            if event.event == EventKind::Unknown {
                self.counts.unknown.fetch_add(1, Relaxed);
                continue;
            }
            if self.came_back(&event) {
                // No more of this stream, which is one invocation's.
                return Ok(false);
            }
            let event = Arc::new(event);
            // One that wants no more does not speak for the others.
            for reader in &self.readers {
                let _ = reader.event(&event);
            }
        }
        Ok(true)
    }
}
