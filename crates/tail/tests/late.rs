//! Spans that open under their final names, and what a feed says of renames.

mod support;

use std::sync::Arc;

use binding_span::{Attribute, InvocationId, Outcome, SpanKind, SpanRef, SpanSink};
use support::{INVOCATION, Opening, at, close, fail, in_invocation, open, span};
use tail::{
    Event, EventKind, EventSink, Feed, FeedLimits, LateLimits, LateNames, LineStyle, QueueLimits,
    Renames, SpanChange, SpanLines, Subscription, Tree, TreeStyle, WithoutUpdates,
};

const SESSION: u64 = 2;
const CALL: u64 = 3;

/// A feed with a reader that wants names late.
fn late(limits: LateLimits) -> (Feed, Arc<LateNames>, Subscription) {
    let (queue, events) = tail::queue(QueueLimits::default());
    let feed = Feed::new();
    let late = Arc::new(LateNames::new(queue, limits));
    feed.subscribe(late.clone());
    (feed, late, events)
}

/// What happened, briefly: the type, the span's number and what matters of it.
fn outline(events: &Subscription) -> Vec<String> {
    let brief = |event: Arc<Event>| {
        let id = event.span_context.span_id.map_or(0, |id| id.0);
        match &event.event {
            EventKind::SpanOpen { name, span_id, .. } => format!("open {} {name}", span_id.0),
            EventKind::SpanUpdate { info } => match info {
                SpanChange::Name { name } => format!("name {id} {name}"),
                other => format!("{other:?}"),
            },
            EventKind::Attributes { info } => {
                let keys: Vec<&str> = info.iter().map(|a| &*a.key).collect();
                format!("tags {id} {}", keys.join(","))
            }
            EventKind::SpanClose { .. } => format!("close {id}"),
            EventKind::Onset(_) => "onset".into(),
            EventKind::Return { .. } => "return".into(),
            EventKind::Outcome { .. } => "outcome".into(),
            other => format!("{other:?}"),
        }
    };
    events.drain().into_iter().map(brief).collect()
}

fn sequences(events: &Subscription) -> Vec<u32> {
    events.drain().iter().map(|event| event.sequence).collect()
}

fn returned(feed: &Feed, span: SpanRef) {
    feed.returned(span, Outcome::Ok, None);
}

fn tag(feed: &Feed, span: SpanRef, key: &'static str) {
    feed.attributes(span, &[Attribute::new(key, 1)]);
}

/// A call that renames itself twice, with a call below it.
fn nested(feed: &Feed) {
    open(feed, span(SESSION), None, SpanKind::Client, 0);
    tag(feed, span(SESSION), "first");
    feed.rename(span(SESSION), "early");
    open(feed, span(CALL), Some(SESSION), SpanKind::Client, 1_000);
    feed.rename(span(CALL), "inner");
    returned(feed, span(CALL));
    close(feed, span(CALL), 2_000);
    feed.rename(span(SESSION), "outer");
    tag(feed, span(SESSION), "second");
}

#[test]
fn a_span_opens_under_its_final_name_and_what_is_below_it_waits() {
    let (feed, _, events) = late(LateLimits::default());
    nested(&feed);
    assert_eq!(outline(&events), ["onset"]);
    returned(&feed, span(SESSION));
    let opened = [
        "open 2 outer",
        "tags 2 first",
        "open 3 inner",
        "close 3",
        "tags 2 second",
    ];
    assert_eq!(outline(&events), opened);
    // Its name is final as far as anybody can wait for it; what is said later is passed on.
    feed.rename(span(SESSION), "after all");
    close(&feed, span(SESSION), 3_000);
    let rest = [
        "tags 2 span.name",
        "tags 2 span.name",
        "close 2",
        "return",
        "outcome",
    ];
    assert_eq!(outline(&events), rest);
}

#[test]
fn numbers_have_no_gaps_and_times_are_those_of_what_happened() {
    let (feed, _, events) = late(LateLimits::default());
    nested(&feed);
    close(&feed, span(SESSION), 3_000);
    let events = events.drain();
    let numbers: Vec<u32> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (0..events.len() as u32).collect::<Vec<_>>());
    let opened = |name: &str| {
        let named =
            |e: &&Arc<Event>| matches!(&e.event, EventKind::SpanOpen { name: n, .. } if n == name);
        events.iter().find(named).unwrap().timestamp
    };
    assert_eq!((opened("outer"), opened("inner")), (at(0), at(1_000)));
}

#[test]
fn a_span_that_closes_without_having_returned_opens_then() {
    let (feed, _, events) = late(LateLimits::default());
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    feed.rename(span(SESSION), "named");
    fail(&feed, span(SESSION), "Error", "no", 1_000);
    let outline = outline(&events);
    assert_eq!(outline[..3], ["onset", "open 2 named", "tags 2 error.type"]);
    let status = "tags 2 otel.status_code,otel.status_description";
    assert_eq!(outline[4], status, "{outline:?}");
    assert_eq!(outline.len(), 8, "{outline:?}");
}

#[test]
fn invocations_do_not_wait_for_each_other() {
    let (feed, _, events) = late(LateLimits::default());
    let other = in_invocation(7, InvocationId(1));
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    open(&feed, other, None, SpanKind::Client, 0);
    feed.rename(other, "other");
    close(&feed, other, 1_000);
    let all = [
        "onset",
        "onset",
        "open 7 other",
        "close 7",
        "return",
        "outcome",
    ];
    assert_eq!(outline(&events), all);
}

#[test]
fn too_much_that_waits_opens_spans_under_the_names_they_have() {
    let limits = |events, bytes| LateLimits {
        events,
        bytes,
        ..LateLimits::default()
    };
    for limits in [limits(10, usize::MAX), limits(usize::MAX, 4096)] {
        let (feed, late, events) = late(limits);
        open(&feed, span(SESSION), None, SpanKind::Client, 0);
        feed.rename(span(SESSION), "so far");
        (0..100).for_each(|_| tag(&feed, span(SESSION), "more"));
        feed.rename(span(SESSION), "too late");
        close(&feed, span(SESSION), 1_000);
        let outline = outline(&events);
        assert_eq!(outline[..3], ["onset", "open 2 so far", "tags 2 more"]);
        assert!(
            outline.contains(&"tags 2 span.name".to_owned()),
            "{outline:?}"
        );
        assert_eq!(outline.iter().filter(|o| *o == "tags 2 more").count(), 100);
        assert_eq!(late.opened_early(), 1);
    }
}

#[test]
fn names_that_wait_count_and_invocations_are_given_up() {
    let limits = LateLimits {
        bytes: 1024 * 1024,
        invocations: 8,
        ..LateLimits::default()
    };
    let (feed, late, events) = late(limits);
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    feed.rename(span(SESSION), &"x".repeat(2 * 1024 * 1024));
    assert_eq!(late.opened_early(), 0, "a rename alone makes nobody wait");
    tag(&feed, span(SESSION), "more");
    assert_eq!(late.opened_early(), 1);
    for n in 1..=100_u128 {
        open(
            &feed,
            in_invocation(9, InvocationId(n)),
            None,
            SpanKind::Client,
            0,
        );
    }
    assert_eq!(late.opened_early(), 93);
    late.flush();
    assert_eq!(late.opened_early(), 101);
    assert_eq!(events.drain().len(), 3 + 2 * 100);
}

#[test]
fn what_comes_from_elsewhere_is_read_in_either_form() {
    for renames in [Renames::SpanUpdate, Renames::Attribute, Renames::Both] {
        let (queue, events) = tail::queue(QueueLimits::default());
        let late = Arc::new(LateNames::new(queue, LateLimits::default()));
        let feed = Feed::new().renames(renames);
        let source = feed.queue(QueueLimits::default());
        nested(&feed);
        close(&feed, span(SESSION), 3_000);
        source
            .drain()
            .iter()
            .for_each(|event| _ = late.event(event));
        let outline = outline(&events);
        assert_eq!(
            outline[1..4],
            ["open 2 outer", "tags 2 first", "open 3 inner"]
        );
        assert_eq!(outline.len(), 9, "{outline:?}");
    }
}

#[test]
fn updates_of_others_are_attributes_for_readers_that_do_not_know_them() {
    let feed = Feed::new();
    let source = feed.queue(QueueLimits::default());
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    feed.rename(span(SESSION), "named");
    fail(&feed, span(SESSION), "Error", "no", 1_000);
    let (queue, events) = tail::queue(QueueLimits::default());
    let plain = WithoutUpdates::new(queue);
    let sent = source.drain();
    sent.iter().for_each(|event| _ = plain.event(event));
    let got = events.drain();
    assert_eq!(got.len(), sent.len());
    let lines: Vec<String> = got.iter().map(|event| event.to_line()).collect();
    assert!(
        lines[2]
            .ends_with(r#"{"type":"attributes","info":[{"name":"span.name","value":"named"}]}}"#)
    );
    let status = r#"[{"name":"otel.status_code","value":"ERROR"},{"name":"otel.status_description","value":"no"}]}}"#;
    assert!(lines.iter().any(|line| line.ends_with(status)), "{lines:?}");
    assert!(!lines.join("").contains("spanUpdate"));
    // Whoever looks for errors finds it.
    let filter = tail::Filter {
        errors: true,
        ..tail::Filter::default()
    };
    let mut selection = tail::Selection::new(&filter);
    let mut passed = Vec::new();
    let status = got
        .iter()
        .filter(|event| event.to_line().contains("otel.status_code"));
    status.for_each(|event| selection.event(Arc::clone(event), &mut passed));
    assert_eq!(passed.len(), 1);
}

#[test]
fn a_rename_is_written_as_is_asked_for_and_seen_once() {
    for (renames, written) in [
        (Renames::SpanUpdate, &["name 2 d1.query"][..]),
        (Renames::Attribute, &["tags 2 span.name"]),
        (Renames::Both, &["name 2 d1.query", "tags 2 span.name"]),
    ] {
        let feed = Feed::new().renames(renames);
        let (events, again) = (
            feed.queue(QueueLimits::default()),
            feed.queue(QueueLimits::default()),
        );
        let third = feed.queue(QueueLimits::default());
        open(&feed, span(SESSION), None, SpanKind::Client, 0);
        feed.rename(span(SESSION), "d1.query");
        close(&feed, span(SESSION), 1_000);
        let all = outline(&events);
        assert_eq!(&all[2..all.len() - 3], written, "{renames:?}");
        let expected: Vec<u32> = (0..all.len() as u32).collect();
        assert_eq!(sequences(&again), expected);
        let mut lines = SpanLines::new(LineStyle::default());
        let mut tree = Tree::new();
        for event in third.drain() {
            lines.event(&event);
            tree.add_event("callee", &event);
        }
        let text = lines.take();
        assert_eq!(text.matches("jsRpcSession → d1.query").count(), 1, "{text}");
        let tree = tree.render(TreeStyle::plain());
        assert_eq!(
            tree.lines().next(),
            Some("● jsRpcSession → d1.query  1 ms  ok  [callee]")
        );
        assert_eq!(tree.lines().count(), 1, "{tree}");
    }
}

#[test]
fn a_span_that_failed_has_the_status_error_once() {
    let feed = Feed::new();
    let events = feed.queue(QueueLimits::default());
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    fail(&feed, span(SESSION), "TypeError", "no good", 1_000);
    let events = events.drain();
    let lines: Vec<String> = events.iter().map(|event| event.to_line()).collect();
    let status = r#""event":{"type":"spanUpdate","info":{"type":"status","status":{"code":"error","message":"no good"}}}}"#;
    let at = lines.iter().position(|line| line.ends_with(status));
    assert!(
        lines[at.unwrap() - 1].contains("exception")
            && lines[at.unwrap() + 1].contains("spanClose")
    );
    let mut shown = SpanLines::new(LineStyle::default());
    events.iter().for_each(|event| shown.event(event));
    let shown = shown.take();
    assert_eq!(shown.matches("no good").count(), 1, "{shown}");
}

#[test]
fn a_status_alone_is_a_failure_to_whoever_looks() {
    let context = r#"{"spanContext":{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"},"invocationId":"ffef0102030405060708090a0b0c0d0e","timestamp":"2026-11-22T07:18:14.585Z","sequence":0,"event":"#;
    let events = [
        r#"{"type":"spanOpen","name":"work","spanId":"00f067aa0ba902b7"}"#,
        r#"{"type":"spanUpdate","info":{"type":"name","name":"other work"}}"#,
        r#"{"type":"spanUpdate","info":{"type":"status","status":{"code":"error","message":"boom"}}}"#,
        r#"{"type":"log","level":"warn","message":["careful",{"a":1}]}"#,
        r#"{"type":"diagnosticChannel","channel":"c","message":{"b":2}}"#,
        r#"{"type":"spanClose","outcome":"ok"}"#,
    ];
    let filter = tail::Filter {
        errors: true,
        ..tail::Filter::default()
    };
    let mut selection = tail::Selection::new(&filter);
    let (mut lines, mut tree, mut passed) = (
        SpanLines::new(LineStyle::default()),
        Tree::new(),
        Vec::new(),
    );
    for (i, event) in events.iter().enumerate() {
        let line = format!("{context}{event}}}");
        // All but the first are about the span that it opens.
        let line = if i == 0 {
            line
        } else {
            line.replace("b7ad6b7169203331", "00f067aa0ba902b7")
        };
        let event = Event::from_line(&line).unwrap();
        lines.event(&event);
        tree.add_event("worker", &event);
        selection.event(Arc::new(event), &mut passed);
    }
    assert_eq!((passed.len(), selection.ended()), (6, 1));
    let expected = "\
── 2026-11-22 UTC
07:18:14.585  a902b7  ○ work
07:18:14.585  a902b7  │ work → \"other work\"
07:18:14.585  a902b7  │ ✗ boom
07:18:14.585  a902b7  │ [warn] careful {\"a\":1}
07:18:14.585  a902b7  │ [c] {\"b\":2}
07:18:14.585  a902b7  ● \"other work\"  <1 ms  ok
";
    assert_eq!(lines.take(), expected);
    let expected = "\
● work → \"other work\"  <1 ms  ok  [worker]
    ✗ boom
    [warn] careful {\"a\":1}
    [c] {\"b\":2}
";
    assert_eq!(tree.render(TreeStyle::plain()), expected);
}

#[test]
fn a_feed_without_readers_does_nothing_for_names() {
    let feed = Feed::with(FeedLimits::default(), None);
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    returned(&feed, span(SESSION));
    Opening {
        span: in_invocation(SESSION, INVOCATION),
        parent: None,
        name: "x",
        kind: SpanKind::Server,
        time: at(0),
        attributes: &[],
    }
    .report(&feed);
    assert_eq!(feed.stats(), tail::FeedStats::default());
}
