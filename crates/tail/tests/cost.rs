//! What a span costs in the reporting thread. Figures, not a test: run it with
//! `cargo test --release -p binding-span-tail --test cost -- --ignored --nocapture`.

mod support;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, InvocationId, Outcome, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen, SpanRef,
    SpanSink, TraceId,
};
use tail::{Feed, JsonLines, QueueLimits, Recorder};

struct Nobody;

impl SpanSink for Nobody {
    fn rename(&self, _: SpanRef, _: &str) {}
    fn attributes(&self, _: SpanRef, _: &[Attribute]) {}
}

const ROUNDS: u32 = 200_000;

fn measure(what: &str, sink: &dyn SpanSink, mut between: impl FnMut(u32)) {
    let attributes = [
        Attribute::new("gen_ai.request.model", "llama-4"),
        Attribute::new("tokens", 42),
    ];
    let mut spent = Duration::ZERO;
    for n in 0..ROUNDS {
        let start = Instant::now();
        let span = SpanRef {
            context: SpanContext {
                trace_id: TraceId(1),
                span_id: SpanId(u64::from(n) + 1),
                flags: None,
            },
            invocation: InvocationId(u128::from(n) + 1),
        };
        let time = SystemTime::now();
        sink.open(&SpanOpen {
            span,
            parent: None,
            name: "jsRpcSession",
            kind: SpanKind::Client,
            root: true,
            time,
            attributes: &[],
        });
        sink.rename(span, "ai_gateway.run");
        sink.attributes(span, &attributes);
        sink.close(&SpanClose {
            span,
            outcome: Outcome::Ok,
            error: None,
            time,
        });
        spent += start.elapsed();
        between(n);
    }
    println!(
        "{what}: {} ns a span (name + 2)",
        spent.as_nanos() / u128::from(ROUNDS)
    );
}

#[test]
#[ignore = "prints figures"]
fn cost_of_a_span() {
    measure("no sink (the clock's share)", &Nobody, |_| {});
    measure("feed, no reader", &Feed::new(), |_| {});
    let recorder = Recorder::new();
    measure("recorder", &recorder, |_| {});
    let feed = Feed::new();
    let reader = feed.queue(QueueLimits::default());
    measure("feed, one queue", &feed, |n| {
        if n % 100 == 0 {
            drop(reader.drain())
        }
    });
    let feed = Feed::new();
    let lines = Arc::new(JsonLines::to(io::sink()));
    feed.subscribe(lines.clone());
    measure("feed, JSON lines on another thread", &feed, |n| {
        if n % 1_000 == 0 {
            lines.flush(Duration::from_secs(5));
        }
    });
    println!("lost {}", lines.lost());
}
