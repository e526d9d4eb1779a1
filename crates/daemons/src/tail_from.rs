//! Tail events from a peer: a workerd whose `streamingTails` names us, or another caller. They go, as they
//! are, to the readers of our own, so that one file has the spans of both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use binding_span_schema::tail_stream_capnp::tail_event::{self, event};
use capnp::struct_list;
use js_rpc::TailReceiver;
use tail::{EventKind, EventSink, wire};

use crate::metrics::{Metrics, catalog};

/// Gives what peers report to readers. Events of kinds that our lines do not have, such as log lines, are
/// left out, and counted.
pub struct TailTaker {
    readers: Vec<Arc<dyn EventSink>>,
    left_out: Arc<LeftOut>,
}

/// Events by kind.
#[derive(Default)]
struct LeftOut {
    log: AtomicU64,
    diagnostics_channel: AtomicU64,
    unknown: AtomicU64,
}

impl TailTaker {
    /// One that gives events to these.
    pub fn new(readers: Vec<Arc<dyn EventSink>>) -> Self {
        Self {
            readers,
            left_out: Arc::default(),
        }
    }

    /// Shows how many events it leaves out.
    pub(crate) fn count_into(&self, metrics: &Metrics) {
        type Count = fn(&LeftOut) -> &AtomicU64;
        let kinds: [(&'static str, Count); 3] = [
            ("log", |of| &of.log),
            ("diagnostics_channel", |of| &of.diagnostics_channel),
            ("unknown", |of| &of.unknown),
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
            let event = Arc::new(event);
            // One that wants no more does not speak for the others.
            for reader in &self.readers {
                let _ = reader.event(&event);
            }
        }
        Ok(true)
    }
}
