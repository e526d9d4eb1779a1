//! What the feed says about spans: the exact JSON, its order, and what it bounds.

mod support;

use std::sync::Arc;

use binding_span::{
    Attribute, AttributeValue, DropReason, Dropped, InvocationId, SpanKind, SpanSink,
};
use support::{INVOCATION, Opening, at, close, fail, in_invocation, open, span};
use tail::{Event, EventKind, Feed, FeedLimits, QueueLimits, ReturnInfo, Subscription};

const CALLER: u64 = 0x7ba5_0000_0000_0001;
const SESSION: u64 = 0xd407_0000_0000_0002;
const CALL: u64 = 0xd407_0000_0000_0003;

fn feed() -> (Feed, Subscription) {
    let feed = Feed::new();
    let events = feed.queue(QueueLimits::default());
    (feed, events)
}

/// The lines, the timestamps of attributes (which are "now") set to a fixed one.
fn lines(events: &Subscription) -> String {
    let mut text = String::new();
    for event in events.drain() {
        let mut event = Event::clone(&event);
        if matches!(
            event.event,
            EventKind::Attributes { .. } | EventKind::SpanUpdate { .. }
        ) {
            event.timestamp = at(0);
        }
        text += &event.to_line();
        text.push('\n');
    }
    text
}

/// Type of event, and the last digit of the span that it is about.
fn outline(events: &[Arc<Event>]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let line: serde_json::Value = serde_json::from_str(&event.to_line()).unwrap();
            let id = line["spanContext"]["spanId"].as_str().unwrap_or("-");
            let kind = line["event"]["type"].as_str().unwrap();
            format!("{kind} {}", &id[id.len() - 1..])
        })
        .collect()
}

fn assert_sequences(events: &[Arc<Event>], invocation: InvocationId) {
    let own = events.iter().filter(|e| e.invocation_id == invocation);
    let sequences: Vec<u32> = own.map(|e| e.sequence).collect();
    let expected: Vec<u32> = (0..).take(sequences.len()).collect();
    assert_eq!(sequences, expected);
}

#[test]
fn a_client_call_has_the_lines_of_a_tail_worker() {
    let (feed, events) = feed();
    let method = [
        Attribute::new("jsrpc.method", "query"),
        Attribute::new("jsrpc.binding", "DB"),
    ];
    Opening {
        span: span(SESSION),
        parent: Some(CALLER),
        name: "jsRpcSession",
        kind: SpanKind::Client,
        time: at(0),
        attributes: &method,
    }
    .report(&feed);
    feed.rename(span(SESSION), "d1.query");
    feed.attributes(
        span(SESSION),
        &[
            Attribute::new("s", "text"),
            Attribute::new("b", true),
            Attribute::new("i", i64::MIN),
            Attribute::new("f", 1.5),
            Attribute::new("whole", 3.0),
            Attribute::new("nan", f64::NAN),
            Attribute::new("inf", f64::NEG_INFINITY),
            Attribute::new("strings", ["stop", "\u{1b}\"", ""]),
            Attribute::new("bools", [true, false]),
            Attribute::new("ints", [i64::MIN, 3]),
            Attribute::new("doubles", [3.0, 1.5, f64::NAN]),
        ],
    );
    let mut dropped = Dropped::default();
    dropped.add(DropReason::DeniedKey, 2);
    feed.dropped(span(SESSION), &dropped);
    feed.dropped(span(SESSION), &dropped);
    close(&feed, span(SESSION), 12_000);
    support::assert_golden("client_call.jsonl", &lines(&events));
}

#[test]
fn a_served_call_is_its_onset_and_what_it_calls_stands_below() {
    let (feed, events) = feed();
    Opening {
        span: span(SESSION),
        parent: Some(CALLER),
        name: "jsRpcSession",
        kind: SpanKind::Server,
        time: at(0),
        attributes: &[],
    }
    .report(&feed);
    open(&feed, span(CALL), Some(SESSION), SpanKind::Client, 1_000);
    fail(&feed, span(CALL), "TypeError", "x is not a function", 2_000);
    fail(&feed, span(SESSION), "Error", "it failed", 3_000);
    support::assert_golden("served_call.jsonl", &lines(&events));
}

#[test]
fn every_line_that_is_written_reads_back_as_the_same_event() {
    for file in ["client_call.jsonl", "served_call.jsonl"] {
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            assert_eq!(Event::from_line(line).unwrap().to_line(), line);
        }
    }
}

#[test]
fn lines_of_a_real_tail_worker_are_read() {
    let context = r#""spanContext":{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","traceFlags":1},"invocationId":"ffef0102030405060708090a0b0c0d0e","timestamp":"2026-11-22T07:18:14.585Z","sequence":0"#;
    let read = |event: &str| {
        let line = format!("{{{context},\"event\":{event}}}");
        Event::from_line(&line).map(|event| event.event)
    };
    let onset = read(
        r#"{"type":"onset","executionModel":"stateless","spanId":"00f067aa0ba902b7","scriptName":"shop","scriptTags":[],"info":{"type":"fetch","method":"GET","url":"http://x/","headers":[]}}"#,
    );
    assert!(
        matches!(onset, Ok(EventKind::Onset(o)) if o.info.kind() == "fetch" && o.script_name.as_deref() == Some("shop"))
    );
    for kind in [
        "scheduled",
        "alarm",
        "queue",
        "email",
        "trace",
        "fetch",
        "later",
    ] {
        let bare =
            format!(r#"{{"type":"onset","spanId":"00f067aa0ba902b7","info":{{"type":"{kind}"}}}}"#);
        let known = if kind == "later" { "unknown" } else { kind };
        assert!(
            matches!(read(&bare), Ok(EventKind::Onset(o)) if o.info.kind() == known),
            "{kind}"
        );
    }
    let log = read(r#"{"type":"log","level":"info","message":["x"]}"#);
    assert!(matches!(log, Ok(EventKind::Log(log)) if log.message == r#"["x"]"#));
    let unknown = read(r#"{"type":"later","what":["x"]}"#);
    assert!(matches!(unknown, Ok(EventKind::Unknown)));
    let returned = read(r#"{"type":"return","info":{"type":"fetch","statusCode":200}}"#);
    let status = Some(ReturnInfo::Fetch { status_code: 200 });
    assert!(matches!(returned, Ok(EventKind::Return { info }) if info == status));
    let attributes = read(
        r#"{"type":"attributes","info":[{"name":"list","value":["a",1]},{"name":"none","value":null},{"name":"big","value":9223372036854775808}]}"#,
    );
    let Ok(EventKind::Attributes { info }) = attributes else {
        panic!("{attributes:?}");
    };
    assert_eq!(info[0].value, AttributeValue::from(r#"["a",1]"#.to_owned()));
    assert!(matches!(info[1].value, AttributeValue::Float64(value) if value.is_nan()));
    assert_eq!(
        info[2].value,
        AttributeValue::Float64(9_223_372_036_854_775_808.0)
    );
    for (json, value) in [
        (r#"["stop","length"]"#, ["stop", "length"].into()),
        (r#"["NaN","length"]"#, ["NaN", "length"].into()),
        (r#"[true]"#, [true].into()),
        (r#"[1,2]"#, [1, 2].into()),
        (
            r#"[1,2.5,"Infinity","-Infinity"]"#,
            [1.0, 2.5, f64::INFINITY, f64::NEG_INFINITY].into(),
        ),
        // What is no list of ours is its JSON.
        ("[]", "[]".into()),
        ("[[1]]", "[[1]]".into()),
        (r#"["a",null]"#, r#"["a",null]"#.into()),
        (r#"[true,1]"#, r#"[true,1]"#.into()),
        (r#"[{"a":1}]"#, r#"[{"a":1}]"#.into()),
    ] as [(&str, AttributeValue); 10]
    {
        let event = read(&format!(
            r#"{{"type":"attributes","info":[{{"name":"k","value":{json}}}]}}"#
        ));
        let Ok(EventKind::Attributes { info }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(info[0].value, value, "{json}");
    }
    let nan = read(r#"{"type":"attributes","info":[{"name":"k","value":[1,null,"NaN"]}]}"#);
    let Ok(EventKind::Attributes { info }) = nan else {
        panic!("{nan:?}");
    };
    assert_eq!(info[0].value.to_string(), "[1.0, NaN, NaN]");
}

#[test]
fn what_is_not_a_tail_event_is_an_error_and_not_a_panic() {
    let deep = "[".repeat(100_000);
    let cases = [
        "",
        "{}",
        "null",
        "[1]",
        "{\"event\":{}}",
        "\u{0}",
        deep.as_str(),
    ];
    for line in cases {
        assert!(Event::from_line(line).is_err());
    }
}

#[test]
fn a_call_without_a_parent_stands_below_an_onset_of_its_own() {
    let (feed, events) = feed();
    open(&feed, span(SESSION), None, SpanKind::Client, 0);
    close(&feed, span(SESSION), 1_000);
    let events = events.drain();
    let EventKind::Onset(onset) = &events[0].event else {
        panic!("{:?}", events[0]);
    };
    assert!(onset.span_id.is_valid() && onset.span_id.0 != SESSION);
    assert_eq!(events[0].span_context.span_id, None);
    assert_eq!(events[1].span_context.span_id, Some(onset.span_id));
    let kinds: Vec<_> = outline(&events)
        .iter()
        .map(|o| o[..o.len() - 2].to_owned())
        .collect();
    assert_eq!(
        kinds,
        ["onset", "spanOpen", "spanClose", "return", "outcome"]
    );
}

#[test]
fn a_server_span_with_a_name_of_its_own_says_it_in_the_onset() {
    let (feed, events) = feed();
    Opening {
        span: span(SESSION),
        parent: None,
        name: "DB.query",
        kind: SpanKind::Server,
        time: at(0),
        attributes: &[],
    }
    .report(&feed);
    let line = events.try_recv().unwrap().to_line();
    let attributes =
        r#""info":{"type":"jsrpc"},"attributes":[{"name":"span.name","value":"DB.query"}]}"#;
    assert!(line.contains(attributes), "{line}");
}

#[test]
fn an_outcome_waits_for_the_last_span_and_a_return_for_the_server_span() {
    let (feed, events) = feed();
    open(&feed, span(2), Some(1), SpanKind::Server, 0);
    open(&feed, span(3), Some(2), SpanKind::Client, 1_000);
    close(&feed, span(2), 2_000);
    close(&feed, span(3), 3_000);
    let events = events.drain();
    let expected = [
        "onset 1",
        "spanOpen 2",
        "return 2",
        "spanClose 3",
        "outcome 2",
    ];
    assert_eq!(outline(&events), expected);
    assert_sequences(&events, INVOCATION);
}

#[test]
fn concurrent_invocations_interleave_each_with_its_own_numbers() {
    let (feed, events) = feed();
    let feed = Arc::new(feed);
    let threads: Vec<_> = (1..=8_u128)
        .map(|n| {
            let feed = Arc::clone(&feed);
            std::thread::spawn(move || {
                let root = in_invocation(n as u64 * 1_000, InvocationId(n));
                open(&*feed, root, None, SpanKind::Client, 0);
                for i in 1..100 {
                    let call = in_invocation(root.context.span_id.0 + i, InvocationId(n));
                    open(
                        &*feed,
                        call,
                        Some(root.context.span_id.0),
                        SpanKind::Client,
                        i,
                    );
                    feed.rename(call, "renamed");
                    close(&*feed, call, i);
                }
                close(&*feed, root, 1_000);
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let events = events.drain();
    assert_eq!(events.len(), 8 * (1 + 1 + 99 * 4 + 1 + 2));
    (1..=8).for_each(|n| assert_sequences(&events, InvocationId(n)));
    let last = |n| events.iter().rfind(|e| e.invocation_id == InvocationId(n));
    let ended = |n| matches!(last(n).map(|e| &e.event), Some(EventKind::Outcome { .. }));
    assert!((1..=8).all(ended));
}

#[test]
fn invocations_that_never_end_are_given_up_oldest_first() {
    let limits = FeedLimits {
        invocations: 3,
        spans: 100,
    };
    let feed = Feed::with(limits, None);
    let events = feed.queue(QueueLimits::default());
    for n in 1..=5 {
        open(
            &feed,
            in_invocation(n, InvocationId(n.into())),
            None,
            SpanKind::Server,
            0,
        );
    }
    // Of an invocation that was given up: not known any more.
    close(&feed, in_invocation(1, InvocationId(1)), 1);
    close(&feed, in_invocation(5, InvocationId(5)), 1);
    let given_up: Vec<u128> = events
        .drain()
        .iter()
        .filter(|e| matches!(&e.event, EventKind::Outcome { outcome, .. } if outcome == "unknown"))
        .map(|e| e.invocation_id.0)
        .collect();
    assert_eq!(given_up, [1, 2]);
    let stats = feed.stats();
    assert_eq!((stats.evicted, stats.unknown), (2, 1));
}

#[test]
fn spans_that_never_end_are_bounded_in_one_invocation_too() {
    let limits = FeedLimits {
        invocations: 3,
        spans: 10,
    };
    let feed = Feed::with(limits, None);
    let events = feed.queue(QueueLimits::default());
    for n in 1..=1_000 {
        open(&feed, span(n), None, SpanKind::Internal, 0);
    }
    assert!(feed.stats().evicted > 0);
    assert!(events.drain().len() > 1_000);
}

#[test]
fn a_reader_that_joins_late_sees_what_begins_later_and_one_that_leaves_costs_nothing() {
    let feed = Feed::new();
    open(&feed, span(1), None, SpanKind::Server, 0);
    let events = feed.queue(QueueLimits::default());
    close(&feed, span(1), 1);
    assert_eq!(events.drain().len(), 0);
    let other = in_invocation(2, InvocationId(2));
    open(&feed, other, None, SpanKind::Server, 0);
    assert_eq!(events.drain().len(), 1);
    drop(events);
    close(&feed, other, 1);
    assert_eq!(feed.stats().unknown, 1);
}

#[test]
fn nothing_that_a_terminal_would_act_on_is_in_a_line() {
    let (feed, events) = feed();
    let hostile = "\u{1b}[2J\u{9b}31m\n\0\u{7f}\u{202e}\u{2028}\u{feff}\u{e0041}é";
    open(&feed, span(1), None, SpanKind::Server, 0);
    feed.rename(span(1), hostile);
    feed.attributes(span(1), &[Attribute::new(hostile, hostile)]);
    fail(&feed, span(1), hostile, hostile, 1);
    let mut found = 0;
    for event in events.drain() {
        let line = event.to_line();
        let visible = |c: char| c == 'é' || (' '..='~').contains(&c);
        assert!(line.chars().all(visible), "{line}");
        let read = Event::from_line(&line).unwrap();
        if let EventKind::Attributes { info } = read.event {
            found += usize::from(info.iter().any(|a| a.value.as_str() == Some(hostile)));
        }
    }
    assert_eq!(found, 3, "the text itself is unchanged");
}
