//! A peer that reports tail events to a `caller serve --tail-from tail`: as many, and as nasty, as a test
//! wants.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use binding_span::{
    InvocationId, Outcome, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen, SpanRef, SpanSink,
    TraceId,
};
use binding_span_schema::tail_stream_capnp::tail_event;
use js_rpc::{ConnectOptions, Connection, TailStream};
use tail::{Event, Feed, QueueLimits, wire};
use tokio::runtime::LocalRuntime;

/// The name of the service that takes the events.
pub const SERVICE: &str = "tail";
/// Events of one report.
const BATCH: usize = 500;

/// A connection, and the streams of the invocations that it has begun.
pub struct Reporter {
    streams: HashMap<InvocationId, TailStream>,
    connection: Connection,
    runtime: LocalRuntime,
}

impl Reporter {
    pub fn connect(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        let address = address.parse().unwrap();
        let connection = Connection::connect(&address, ConnectOptions::default());
        Self {
            connection: runtime.block_on(connection).unwrap(),
            streams: HashMap::new(),
            runtime,
        }
    }

    /// Reports what happens to spans; it has arrived when this returns.
    pub fn report(&mut self, happens: impl FnOnce(&Feed)) {
        let feed = Feed::new();
        let everything = QueueLimits {
            events: usize::MAX / 2,
            bytes: usize::MAX / 2,
        };
        let queue = feed.queue(everything);
        happens(&feed);
        self.send(&queue.drain());
    }

    /// Reports events, those of an invocation in a row.
    pub fn send(&mut self, events: &[Arc<Event>]) {
        for events in events.chunk_by(|a, b| a.invocation_id == b.invocation_id) {
            let (first, rest) = events.split_at(1);
            let known = self.streams.contains_key(&first[0].invocation_id);
            let stream = self.streams.entry(first[0].invocation_id);
            let stream = stream.or_insert_with(|| self.connection.tail_stream(SERVICE));
            let rest = if known { events } else { rest };
            let alone = if known { &[][..] } else { first };
            for batch in std::iter::once(alone).chain(rest.chunks(BATCH)) {
                if batch.is_empty() {
                    continue;
                }
                let sent = stream.report(batch.len() as u32, |mut list| {
                    for (i, event) in batch.iter().enumerate() {
                        wire::write_event(event, list.reborrow().get(i as u32));
                    }
                });
                assert!(self.runtime.block_on(sent).unwrap());
            }
            if matches!(
                events[events.len() - 1].event,
                tail::EventKind::Outcome { .. }
            ) {
                self.streams.remove(&events[0].invocation_id);
            }
        }
    }
}

impl Reporter {
    /// Reports events that are written by hand, of an invocation that has begun.
    pub fn write(
        &mut self,
        invocation: u128,
        count: u32,
        write: impl Fn(u32, tail_event::Builder<'_>),
    ) {
        let stream = &self.streams[&InvocationId(invocation)];
        let sent = stream.report(count, |mut list| {
            (0..count).for_each(|i| write(i, list.reborrow().get(i)));
        });
        assert!(self.runtime.block_on(sent).unwrap());
    }
}

/// The span `id` of an invocation.
pub fn span(invocation: u128, id: u64) -> SpanRef {
    SpanRef {
        context: SpanContext {
            trace_id: TraceId(invocation),
            span_id: SpanId(id),
            flags: None,
        },
        invocation: InvocationId(invocation),
    }
}

pub fn open(feed: &Feed, span: SpanRef, parent: Option<u64>, name: &str) {
    feed.open(&SpanOpen {
        span,
        parent: parent.map(SpanId),
        name,
        kind: if parent.is_none() {
            SpanKind::Server
        } else {
            SpanKind::Internal
        },
        root: parent.is_none(),
        time: SystemTime::now(),
        attributes: &[],
    });
}

pub fn close(feed: &Feed, span: SpanRef) {
    feed.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time: SystemTime::now(),
    });
}

/// One invocation of `spans` spans below its own: twice as many events, and three.
pub fn busy(feed: &Feed, invocation: u128, spans: u64) {
    let root = span(invocation, 1);
    open(feed, root, None, "DB.query");
    for id in 2..2 + spans {
        let child = span(invocation, id);
        open(feed, child, Some(1), "step");
        close(feed, child);
    }
    close(feed, root);
}
