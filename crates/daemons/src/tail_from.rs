//! Tail events from a peer: a workerd whose `streamingTails` names us, or another caller. They go, as they
//! are, to the readers of our own, so that one file has the spans of both.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use binding_span::InvocationId;
use binding_span_schema::tail_stream_capnp::tail_event::{self, event};
use capnp::struct_list;
use js_rpc::TailReceiver;
use tail::{Event, EventKind, EventSink, wire};

use crate::metrics::{Metrics, catalog};

/// Gives what peers report to readers. Events of kinds that our lines do not have, such as log lines, are
/// left out, and counted.
pub struct TailTaker {
    readers: Vec<Arc<dyn EventSink>>,
    left_out: Arc<LeftOut>,
    /// What was here before, where events are sent on.
    passed: Option<Arc<Passed>>,
    complained: AtomicBool,
}

/// Invocations that began here or were taken here, the latest 65,536 of them. One whose onset comes in again
/// went in a circle: its stream is declined, so that it goes round once and not for ever. Its time of beginning
/// counts too, since an invocation may have several streams.
#[derive(Default)]
pub(crate) struct Passed(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    known: HashSet<(InvocationId, SystemTime)>,
    order: VecDeque<(InvocationId, SystemTime)>,
}

/// Invocations that are remembered.
const PASSED: usize = 65_536;

impl Passed {
    /// Whether an event is an onset that was not here before, or no onset.
    fn is_new(&self, event: &Event) -> bool {
        if !matches!(event.event, EventKind::Onset(_)) {
            return true;
        }
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let onset = (event.invocation_id, event.timestamp);
        if !latest.known.insert(onset) {
            return false;
        }
        latest.order.push_back(onset);
        if latest.order.len() > PASSED
            && let Some(oldest) = latest.order.pop_front()
        {
            latest.known.remove(&oldest);
        }
        true
    }
}

impl EventSink for Passed {
    fn event(&self, event: &Arc<Event>) -> bool {
        self.is_new(event);
        true
    }
}

/// Events by kind.
#[derive(Default)]
struct LeftOut {
    log: AtomicU64,
    diagnostics_channel: AtomicU64,
    unknown: AtomicU64,
    returned: AtomicU64,
}

impl TailTaker {
    /// One that gives events to these.
    pub fn new(readers: Vec<Arc<dyn EventSink>>) -> Self {
        Self {
            readers,
            left_out: Arc::default(),
            passed: None,
            complained: AtomicBool::default(),
        }
    }

    /// The same, which takes no invocation that has passed here before.
    pub(crate) fn once(mut self, passed: Arc<Passed>) -> Self {
        self.passed = Some(passed);
        self
    }

    /// Whether an event went in a circle and is here again.
    fn came_back(&self, event: &Event) -> bool {
        let is_new = |passed: &Arc<Passed>| passed.is_new(event);
        if self.passed.as_ref().is_none_or(is_new) {
            return false;
        }
        self.left_out.returned.fetch_add(1, Relaxed);
        if !self.complained.swap(true, Relaxed) {
            tracing::warn!(
                "tail events that were here before come in by --tail-from: the --tail-to of several callers go \
                 in a circle; such events are declined"
            );
        }
        true
    }

    /// Shows how many events it leaves out.
    pub(crate) fn count_into(&self, metrics: &Metrics) {
        type Count = fn(&LeftOut) -> &AtomicU64;
        let kinds: [(&'static str, Count); 4] = [
            ("log", |of| &of.log),
            ("diagnostics_channel", |of| &of.diagnostics_channel),
            ("unknown", |of| &of.unknown),
            ("returned", |of| &of.returned),
        ];
        for (kind, count) in kinds {
            let of = Arc::clone(&self.left_out);
            metrics.add(&catalog::TAIL_LEFT_OUT, &[("kind", kind)], move || {
                count(&of).load(Relaxed)
            });
        }
    }
}

impl TailReceiver for TailTaker {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        for from in events {
            let event = wire::read_event(from)?;
            if event.event == EventKind::Unknown {
                let count = match from.get_event().which() {
                    Ok(event::Log(_)) => &self.left_out.log,
                    Ok(event::DiagnosticChannelEvent(_)) => &self.left_out.diagnostics_channel,
                    _ => &self.left_out.unknown,
                };
                count.fetch_add(1, Relaxed);
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
