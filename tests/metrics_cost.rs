//! What counting a call costs in memory: nothing, once its binding and method are known.

#[path = "../crates/js-value/tests/counting/mod.rs"]
mod counting;

use std::time::SystemTime;

use binding_span::{
    Attribute, ErrorInfo, InvocationId, Outcome, SpanClose, SpanContext, SpanKind, SpanOpen,
    SpanRef, SpanSink,
};
use daemons::metrics::Metrics;
use js_rpc::NetworkStats;

fn call(metrics: &Metrics, first: &[Attribute], outcome: Outcome) {
    let span = SpanRef {
        context: SpanContext::root(),
        invocation: InvocationId::default(),
    };
    let time = SystemTime::now();
    metrics.open(&SpanOpen {
        span,
        parent: None,
        name: "jsRpcSession",
        kind: SpanKind::Client,
        root: true,
        time,
        attributes: first,
    });
    metrics.rename(span, "d1.query");
    metrics.attributes(span, first);
    let failed = ErrorInfo {
        kind: "TypeError",
        message: "no",
    };
    let error = (outcome != Outcome::Ok).then_some(failed);
    metrics.returned(span, outcome, error);
    metrics.close(&SpanClose {
        span,
        outcome,
        error,
        time,
    });
}

#[test]
fn a_call_whose_binding_and_method_are_known_allocates_nothing() {
    let metrics = Metrics::new("test", &NetworkStats::default());
    let first = [
        Attribute::new("jsrpc.binding", "DB"),
        Attribute::new("jsrpc.method", "query"),
    ];
    let both = |times: usize| {
        for _ in 0..times {
            call(&metrics, &first, Outcome::Ok);
            call(&metrics, &first, Outcome::Exception);
        }
    };
    // Spans go to one of several tables by chance; by now each has had one.
    both(200);
    let ((), allocations) = counting::counted(|| both(1_000));
    assert_eq!(allocations, 0);
}
