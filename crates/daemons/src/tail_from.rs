//! Tail events from a peer: a workerd whose `streamingTails` names us, or another caller. They go, as they
//! are, to the readers of our own, so that one file has the spans of both.

use std::sync::Arc;

use binding_span_schema::tail_stream_capnp::tail_event;
use capnp::struct_list;
use js_rpc::TailReceiver;
use tail::{EventKind, EventSink, wire};

/// Gives what peers report to readers. Events of kinds that our lines do not have, such as log lines, are
/// left out.
pub struct TailTaker(pub Vec<Arc<dyn EventSink>>);

impl TailReceiver for TailTaker {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        for event in events {
            let event = wire::read_event(event)?;
            if event.event != EventKind::Unknown {
                let event = Arc::new(event);
                // One that wants no more does not speak for the others.
                for reader in &self.0 {
                    let _ = reader.event(&event);
                }
            }
        }
        Ok(true)
    }
}
