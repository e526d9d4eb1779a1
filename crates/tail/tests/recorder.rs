//! What the recorder keeps.

mod support;

use std::sync::Arc;
use std::time::Duration;

use binding_span::{
    Attribute, AttributeValue, DropReason, Dropped, InvocationId, Outcome, SpanKind, SpanSink,
};
use support::{Opening, at, close, fail, in_invocation, open, span};
use tail::Recorder;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn attributes_are_upserted_each_key_in_its_first_place() {
    let spans = Recorder::new();
    let early = [Attribute::new("a", 1), Attribute::new("b", "early")];
    Opening {
        span: span(1),
        parent: None,
        name: "jsRpcSession",
        kind: SpanKind::Client,
        time: at(0),
        attributes: &early,
    }
    .report(&spans);
    spans.attributes(
        span(1),
        &[Attribute::new("c", true), Attribute::new("a", 2.5)],
    );
    close(&spans, span(1), 1_500);
    let recorded = &spans.spans()[0];
    let expected = [
        Attribute::new("a", 2.5),
        Attribute::new("b", "early"),
        Attribute::new("c", true),
    ];
    assert_eq!(recorded.attributes, expected);
    assert_eq!(recorded.get("c"), Some(&AttributeValue::Bool(true)));
    assert_eq!(recorded.duration(), Duration::from_micros(1_500));
    assert!(!recorded.renamed());
}

#[test]
fn a_failure_has_its_error_and_drops_have_their_reasons() {
    let spans = Recorder::new();
    open(&spans, span(1), Some(7), SpanKind::Server, 0);
    let mut dropped = Dropped::default();
    dropped.add(DropReason::RenameOff, 1);
    spans.dropped(span(1), &dropped);
    spans.dropped(span(1), &dropped);
    fail(&spans, span(1), "TypeError", "no", 1);
    let recorded = &spans.spans()[0];
    let error = recorded.error.as_ref().map(|e| (&*e.kind, &*e.message));
    assert_eq!(error, Some(("TypeError", "no")));
    assert_eq!(recorded.get("error.type"), Some(&"TypeError".into()));
    assert_eq!(recorded.dropped.count(DropReason::RenameOff), 2);
    assert_eq!(recorded.outcome, Outcome::Exception);
    assert_eq!(recorded.parent.map(|id| id.0), Some(7));
}

#[test]
fn waiting_ends_when_the_spans_are_there() {
    let spans = Arc::new(Recorder::new());
    let reporter = Arc::clone(&spans);
    let thread = std::thread::spawn(move || {
        for n in 1..=64 {
            let call = in_invocation(n, InvocationId(n.into()));
            open(&*reporter, call, None, SpanKind::Client, 0);
            close(&*reporter, call, 1);
        }
    });
    assert_eq!(spans.wait_for(64, LONG).len(), 64);
    assert_eq!(spans.wait_idle(LONG).len(), 64);
    assert_eq!(spans.wait_for(65, Duration::from_millis(1)).len(), 64);
    thread.join().unwrap();
    assert_eq!(spans.take().len(), 64);
    assert_eq!((spans.spans().len(), spans.open_spans()), (0, 0));
}

#[test]
fn the_latest_spans_are_kept_and_the_others_counted() {
    let spans = Recorder::with_capacity(2);
    for n in 1..=5 {
        open(&spans, span(n), None, SpanKind::Internal, n);
        close(&spans, span(n), n);
    }
    let ids: Vec<u64> = spans.spans().iter().map(|s| s.context.span_id.0).collect();
    assert_eq!(ids, [4, 5]);
    assert_eq!(spans.lost(), 3);
}
