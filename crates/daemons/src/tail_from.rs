//! Tail events from a peer: a workerd whose `streamingTails` names us, or another caller. They go, as they
//! are, to a sink of tail events, so that one file has the spans of both.

use std::sync::Arc;

use binding_span_schema::tail_stream_capnp::tail_event;
use capnp::struct_list;
use js_rpc::TailReceiver;
use tail::{EventKind, EventSink, wire};

/// Gives what peers report to a sink. Events of kinds that our lines do not have, such as log lines, are
/// left out.
pub struct TailToSink(pub Arc<dyn EventSink>);

impl TailReceiver for TailToSink {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        for event in events {
            let event = wire::read_event(event)?;
            if event.event != EventKind::Unknown && !self.0.event(&Arc::new(event)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
