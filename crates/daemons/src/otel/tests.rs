//! The sink and the queue without a receiver: what is kept of a span, and what is counted when there is no
//! room.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, AttributeValue, DropReason, Dropped, ErrorInfo, NewSpan, Outcome, SpanClose,
    SpanContext, SpanKind, SpanOpen, SpanRef, SpanSink,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::budget::HELD_BYTES;
use super::message;
use super::queue::Queue;
use super::sampler::{RootRule, Sampler};
use super::sink::OtelSink;
use super::span::{Held, ORIGINAL_NAME, UNFINISHED};
use super::stats::OtelStats;
use super::{Batching, SpanLimits};

struct Bench {
    sink: OtelSink,
    queue: Arc<Queue>,
}

fn bench(sampler: Sampler, limits: SpanLimits, queue: usize) -> Bench {
    let batching = Batching {
        queue,
        batch: queue,
        delay: Duration::ZERO,
    };
    let queue = Arc::new(Queue::new(batching, OtelStats::default()));
    Bench {
        sink: OtelSink::new(sampler, limits, Arc::clone(&queue)),
        queue,
    }
}

fn sampled() -> SpanRef {
    let new = NewSpan {
        parent: None,
        remote: false,
        kind: SpanKind::Client,
    };
    SpanRef {
        context: Sampler::default().identify(&new),
        ..SpanRef::default()
    }
}

impl Bench {
    fn usual() -> Self {
        bench(Sampler::default(), SpanLimits::default(), 8)
    }

    fn open(&self, span: SpanRef) {
        self.sink.open(&SpanOpen {
            span,
            parent: None,
            name: "jsRpcSession",
            kind: SpanKind::Client,
            root: true,
            time: SystemTime::now(),
            attributes: &[Attribute::new("rpc.method", "run")],
        });
    }

    fn close(&self, span: SpanRef, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        self.sink.close(&SpanClose {
            span,
            outcome,
            error,
            time: SystemTime::now(),
        });
    }

    /// What is queued, in order.
    fn taken(&self) -> Vec<Held> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .unwrap()
            .block_on(self.queue.next())
            .unwrap_or_default()
    }

    /// A span from its beginning to its end, as it is queued.
    fn whole(&self, between: impl FnOnce(&OtelSink, SpanRef)) -> Held {
        let span = sampled();
        self.open(span);
        between(&self.sink, span);
        self.close(span, Outcome::Ok, None);
        let mut taken = self.taken();
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }
}

fn get<'a>(span: &'a Held, key: &str) -> Option<&'a AttributeValue> {
    let mut found = span.attributes.iter().filter(|a| a.key == key);
    let value = found.next().map(|a| &a.value);
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

#[test]
fn a_span_has_each_attribute_once_its_new_name_and_the_old_one_as_an_attribute() {
    let span = Bench::usual().whole(|sink, span| {
        sink.rename(span, "d1.query");
        sink.attributes(
            span,
            &[Attribute::new("rows", 1), Attribute::new("ok", true)],
        );
        sink.attributes(
            span,
            &[Attribute::new("rows", 2), Attribute::new("cost", 0.5)],
        );
        sink.rename(span, "d1.batch");
        sink.dropped(span, &Dropped::default());
    });
    assert_eq!(span.name, "d1.batch");
    assert_eq!(get(&span, ORIGINAL_NAME), Some(&"jsRpcSession".into()));
    assert_eq!(get(&span, "rows"), Some(&AttributeValue::Int64(2)));
    assert_eq!(get(&span, "cost"), Some(&AttributeValue::Float64(0.5)));
    let keys: Vec<_> = span.attributes.iter().map(|a| a.key.as_ref()).collect();
    assert_eq!(
        keys[..4],
        ["rpc.method", ORIGINAL_NAME, "rows", "ok"],
        "in order"
    );
    assert_eq!(
        (span.cut, &span.status),
        (0, &None),
        "a success says nothing"
    );
}

#[test]
fn how_a_span_ended_is_its_status() {
    let message = "é".repeat(2000);
    let thrown = ErrorInfo {
        kind: "TypeError",
        message: &message,
    };
    for (outcome, error, kind, words) in [
        (
            Outcome::Exception,
            Some(thrown),
            Some("TypeError"),
            Some(1024),
        ),
        (Outcome::Canceled, None, Some("canceled"), Some(0)),
        (Outcome::Ok, None, None, None),
    ] {
        let bench = Bench::usual();
        let span = sampled();
        bench.open(span);
        bench.close(span, outcome, error);
        let span = &bench.taken()[0];
        assert_eq!(
            get(span, "error.type").and_then(AttributeValue::as_str),
            kind
        );
        assert_eq!(span.status.as_ref().map(String::len), words);
    }
    let span = Bench::usual().whole(|sink, span| {
        sink.attributes(span, &[Attribute::new("error.type", "SQLITE_BUSY")]);
    });
    assert_eq!(
        span.status.as_deref(),
        Some(""),
        "a failure that came as a result is one"
    );
    for no_error in [AttributeValue::from(""), ["E", "F"].into(), true.into()] {
        let span = Bench::usual().whole(|sink, span| {
            sink.attributes(span, &[Attribute::new("error.type", no_error.clone())]);
        });
        assert_eq!(span.status, None, "{no_error:?}");
    }
}

#[test]
fn a_list_is_an_array_cut_text_by_text_and_kept_within_the_budget() {
    let limits = SpanLimits {
        count: None,
        value_chars: Some(3),
    };
    let said = [
        Attribute::new("reasons", ["stop", "öl", ""]),
        Attribute::new("bools", [true, false]),
        Attribute::new("ints", [1, 2]),
        Attribute::new("doubles", [0.5]),
        // As a list of one text arrives.
        Attribute::new("gen_ai.response.finish_reasons", "stop"),
    ];
    let bench = bench(Sampler::default(), limits, 8);
    let span = bench.whole(|sink, span| sink.attributes(span, &said));
    assert_eq!(get(&span, "reasons"), Some(&["sto", "öl", ""].into()));

    let plain = Bench::usual().whole(|_, _| {}).bytes;
    let many = Attribute::new("k", vec![""; 64]);
    let lists = Bench::usual()
        .whole(|sink, span| sink.attributes(span, &[many]))
        .bytes;
    assert!(
        lists - plain >= 64 * size_of::<String>(),
        "{}",
        lists - plain
    );

    let request = message::request(&message::resource(&[]), vec![span]);
    let exported = &request.resource_spans[0].scope_spans[0].spans[0];
    let array = |key| {
        let found = exported.attributes.iter().find(|pair| pair.key == key);
        match found.unwrap().value.as_ref().unwrap().value.clone() {
            Some(Value::ArrayValue(array)) => array
                .values
                .into_iter()
                .filter_map(|any| any.value)
                .collect::<Vec<_>>(),
            other => panic!("{key}: {other:?}"),
        }
    };
    let text = |text: &str| Value::StringValue(text.to_owned());
    assert_eq!(array("reasons"), [text("sto"), text("öl"), text("")]);
    assert_eq!(array("gen_ai.response.finish_reasons"), [text("sto")]);
    assert_eq!(
        array("bools"),
        [Value::BoolValue(true), Value::BoolValue(false)]
    );
    assert_eq!(array("ints"), [Value::IntValue(1), Value::IntValue(2)]);
    assert_eq!(array("doubles"), [Value::DoubleValue(0.5)]);
}

#[test]
fn limits_cut_what_they_say_and_it_is_counted() {
    let limits = SpanLimits {
        count: Some(2),
        value_chars: Some(3),
    };
    let bench = bench(Sampler::default(), limits, 8);
    let span = bench.whole(|sink, span| {
        sink.attributes(
            span,
            &[
                Attribute::new("a", "größer"),
                Attribute::new("b", 1),
                Attribute::new("c", 1),
            ],
        );
        sink.attributes(
            span,
            &[Attribute::new("rpc.method", "ab"), Attribute::new("d", 1)],
        );
    });
    assert_eq!(get(&span, "a"), Some(&"grö".into()));
    assert_eq!(
        get(&span, "rpc.method"),
        Some(&"ab".into()),
        "a known key is replaced"
    );
    assert_eq!((span.attributes.len(), span.cut), (2, 3));
    assert_eq!(bench.queue.stats.read().attributes_cut, 3);
}

#[test]
fn what_was_dropped_from_an_enrichment_is_on_the_span() {
    let span = Bench::usual().whole(|sink, span| {
        let mut dropped = Dropped::default();
        dropped.add(DropReason::KeyEmpty, 3);
        sink.dropped(span, &dropped);
    });
    assert_eq!(
        get(&span, "binding_span.dropped"),
        Some(&AttributeValue::Int64(3))
    );
}

#[test]
fn a_decision_of_the_parent_holds_and_one_that_was_not_made_is_ours() {
    let parent = |flags| SpanContext {
        flags,
        ..SpanContext::root()
    };
    let decide = |root, by_parent, parent: Option<SpanContext>| {
        let sampler = Sampler { root, by_parent };
        let new = NewSpan {
            parent,
            remote: true,
            kind: SpanKind::Server,
        };
        let context = sampler.identify(&new);
        if let Some(parent) = parent {
            assert_eq!(context.trace_id, parent.trace_id);
            assert_ne!(context.span_id, parent.span_id);
        }
        context.flags
    };
    for root in [RootRule::Always, RootRule::Never] {
        let own = Some(u8::from(root == RootRule::Always));
        assert_eq!(decide(root, true, None), own);
        assert_eq!(
            decide(root, true, Some(parent(None))),
            own,
            "flags that are not set are no decision"
        );
        assert_eq!(decide(root, true, Some(parent(Some(0)))), Some(0));
        assert_eq!(decide(root, true, Some(parent(Some(3)))), Some(3));
        assert_eq!(decide(root, false, Some(parent(Some(0)))), own);
    }
    let half = |_| decide(RootRule::Ratio(0.5), true, Some(parent(None))) == Some(1);
    let taken = (0..1000).map(half).filter(|taken| *taken).count();
    assert!((350..650).contains(&taken), "{taken} of 1000");
    let trace = parent(None);
    let again = |_| decide(RootRule::Ratio(0.5), true, Some(trace));
    assert!(
        (0..20).map(again).all(|flags| flags == again(0)),
        "a trace is taken whole or not at all"
    );
}

#[test]
fn a_span_that_is_not_sampled_is_not_kept() {
    let never = Sampler {
        root: RootRule::Never,
        by_parent: true,
    };
    let bench = bench(never, SpanLimits::default(), 8);
    let span = SpanRef {
        context: SpanContext {
            flags: Some(0),
            ..SpanContext::root()
        },
        ..SpanRef::default()
    };
    assert!(!bench.sink.wants(span.context));
    bench.open(span);
    bench.sink.rename(span, "d1.query");
    bench.close(span, Outcome::Ok, None);
    assert_eq!(bench.queue.stats.read(), super::OtelCounts::default());
    assert_eq!(bench.queue.budget.taken(), 0);
}

#[test]
fn a_full_queue_drops_what_comes_and_counts_it() {
    let bench = Bench::usual();
    for _ in 0..20 {
        let span = sampled();
        bench.open(span);
        bench.close(span, Outcome::Ok, None);
    }
    let counts = bench.queue.stats.read();
    assert_eq!((counts.sampled, counts.queued, counts.dropped), (20, 8, 12));
    assert_eq!(bench.taken().len(), 8);
}

#[test]
fn memory_is_bounded_by_bytes_and_given_back() {
    let bench = bench(Sampler::default(), SpanLimits::default(), 100_000);
    let long = "x".repeat(128 * 1024);
    let spans: Vec<SpanRef> = (0..600).map(|_| sampled()).collect();
    for span in &spans {
        bench.open(*span);
        bench
            .sink
            .attributes(*span, &[Attribute::new("long", long.clone())]);
    }
    assert!(bench.queue.budget.taken() <= HELD_BYTES);
    let cut = bench.queue.stats.read().attributes_cut;
    assert!(
        (80..=100).contains(&cut),
        "what does not fit is cut and counted: {cut}"
    );
    let held: usize = spans
        .iter()
        .map(|span| {
            bench.close(*span, Outcome::Ok, None);
            bench.taken().iter().map(|span| span.bytes).sum::<usize>()
        })
        .sum();
    assert_eq!(
        held,
        bench.queue.budget.taken(),
        "what is given back is what was taken"
    );
}

#[test]
fn a_name_that_there_is_no_memory_for_is_counted() {
    let bench = Bench::usual();
    let span = sampled();
    bench.open(span);
    assert!(
        bench
            .queue
            .budget
            .take(HELD_BYTES - bench.queue.budget.taken())
    );
    bench.sink.rename(span, "d1.query");
    assert_eq!(bench.queue.stats.read().attributes_cut, 1);
    bench.close(span, Outcome::Ok, None);
    let ended = bench.taken();
    assert_eq!((&*ended[0].name, ended[0].cut), ("jsRpcSession", 1));
}

#[test]
fn too_many_open_spans_are_refused_and_counted() {
    let bench = Bench::usual();
    for _ in 0..140_000 {
        bench.open(sampled());
    }
    let counts = bench.queue.stats.read();
    assert!(counts.open <= 65_536, "{counts:?}");
    assert_eq!(counts.open + counts.dropped, 140_000);
    assert!(bench.queue.budget.taken() <= HELD_BYTES);
}

#[test]
fn at_the_end_open_spans_are_ended_and_say_so_and_later_ones_are_counted() {
    let bench = Bench::usual();
    let held = sampled();
    bench.open(held);
    let until = Instant::now() + Duration::from_secs(1);
    bench.queue.close(bench.sink.close_open_spans(), until);
    let taken = bench.taken();
    assert_eq!(get(&taken[0], UNFINISHED), Some(&true.into()));
    bench.close(held, Outcome::Ok, None);
    bench.open(sampled());
    let counts = bench.queue.stats.read();
    assert_eq!(
        (counts.sampled, counts.open, counts.queued, counts.cut),
        (2, 0, 1, 1)
    );
    assert!(bench.taken().is_empty());
}
