//! The tree that people see, as files of text.

mod support;

use binding_span::{Attribute, DropReason, Dropped, InvocationId, SpanId, SpanKind, SpanSink};
use support::{Opening, assert_golden, at, close, fail, in_invocation, open, span};
use tail::{Event, Feed, QueueLimits, Recorder, Tree, TreeStyle};

/// The lines that a callee's process writes for what `calls` reports.
fn lines(calls: impl FnOnce(&Feed)) -> String {
    let feed = Feed::new();
    let events = feed.queue(QueueLimits::default());
    calls(&feed);
    let lines = events.drain();
    lines.iter().map(|event| event.to_line() + "\n").collect()
}

/// A caller's session with a select, a call on a held stub, and a failure of its own.
fn caller() -> Recorder {
    let spans = Recorder::new();
    let select = span(1);
    open(&spans, select, None, SpanKind::Client, 0);
    spans.rename(select, "d1.query");
    spans.attributes(
        select,
        &[
            Attribute::new("cloudflare.binding.type", "D1"),
            Attribute::new(
                "db.query.text",
                "select name from users where id = ?1 and note = \"x\"",
            ),
            Attribute::new("db.response.returned_rows", 1),
            Attribute::new("cloudflare.d1.response.sql_duration_ms", 0.25),
            Attribute::new("cached", false),
            Attribute::new("gen_ai.response.finish_reasons", ["stop", "le\u{202e}ngth"]),
        ],
    );
    let mut dropped = Dropped::default();
    dropped.add(DropReason::DeniedKey, 1);
    dropped.add(DropReason::StringTooLong, 1_200);
    spans.dropped(select, &dropped);
    let held = span(2);
    open(&spans, held, Some(1), SpanKind::Client, 1_000);
    close(&spans, held, 1_640);
    close(&spans, select, 3_140);

    let failing = in_invocation(5, InvocationId(5));
    open(&spans, failing, None, SpanKind::Client, 10_000);
    spans.rename(failing, "d1.exec");
    fail(
        &spans,
        failing,
        "Error",
        "D1_ERROR: no such table: nope",
        1_260_000,
    );
    spans
}

fn callee() -> String {
    lines(|feed| {
        let serving = in_invocation(11, InvocationId(11));
        let method = [Attribute::new("jsrpc.method", "query")];
        Opening {
            span: serving,
            parent: Some(1),
            name: "DB.query",
            kind: SpanKind::Server,
            time: at(500),
            attributes: &method,
        }
        .report(feed);
        let statement = in_invocation(12, InvocationId(11));
        Opening {
            span: statement,
            parent: Some(11),
            name: "sqlite.step",
            kind: SpanKind::Internal,
            time: at(700),
            attributes: &[],
        }
        .report(feed);
        feed.attributes(statement, &[Attribute::new("rows", 1)]);
        close(feed, statement, 900);
        close(feed, serving, 2_600);
        open(
            feed,
            in_invocation(13, InvocationId(13)),
            Some(5),
            SpanKind::Server,
            11_000,
        );
    })
}

fn both() -> Tree {
    let mut tree: Tree = caller().spans().iter().collect();
    let read = tree.add_lines("callee", callee().as_bytes()).unwrap();
    assert_eq!((read.events, read.skipped), (8, 0));
    tree
}

#[test]
fn two_processes_are_one_tree() {
    assert_golden("two_processes.txt", &both().render(TreeStyle::plain()));
}

#[test]
fn verbose_shows_ids() {
    let shown = both().render(TreeStyle::plain().verbose(true));
    assert_golden("two_processes_verbose.txt", &shown);
}

#[test]
fn colours_say_nothing_that_words_do_not() {
    let shown = both().render(TreeStyle::coloured());
    assert_golden("two_processes_coloured.txt", &shown.replace('\u{1b}', "^["));
    let mut plain = String::new();
    for (i, part) in shown.split('\u{1b}').enumerate() {
        let skip = if i == 0 {
            0
        } else {
            part.find('m').unwrap() + 1
        };
        plain += &part[skip..];
    }
    assert_eq!(plain, both().render(TreeStyle::plain()));
}

#[test]
fn many_attributes_are_folded_and_long_values_shortened() {
    let spans = Recorder::new();
    open(&spans, span(1), None, SpanKind::Internal, 0);
    let many: Vec<_> = (0..256)
        .map(|i| Attribute::new(format!("key.{i}"), i))
        .collect();
    spans.attributes(
        span(1),
        &[Attribute::new("db.query.text", "select 1, ".repeat(2_000))],
    );
    spans.attributes(span(1), &many);
    close(&spans, span(1), 5);
    let tree: Tree = spans.spans().iter().collect();
    assert_golden("many_attributes.txt", &tree.render(TreeStyle::plain()));
    let verbose = tree.render(TreeStyle::plain().verbose(true));
    assert_eq!(verbose.lines().count(), 1 + 1 + 257);
}

#[test]
fn hostile_names_and_values_are_shown_and_do_nothing() {
    let hostile = "\u{1b}[2J\u{9b}31m\r\n\0\u{7f}\u{202e}evil\u{2028}\u{feff}";
    let spans = Recorder::new();
    open(&spans, span(1), None, SpanKind::Client, 0);
    spans.rename(span(1), hostile);
    spans.attributes(span(1), &[Attribute::new(hostile, hostile)]);
    open(&spans, span(2), Some(1), SpanKind::Client, 0);
    spans.rename(span(2), "x  3 ms  ok");
    close(&spans, span(2), 7);
    fail(&spans, span(1), hostile, hostile, 7);
    let mut tree: Tree = spans.spans().iter().collect();
    let served = lines(|feed| {
        let serving = in_invocation(3, InvocationId(3));
        open(feed, serving, Some(1), SpanKind::Server, 1);
        feed.rename(serving, hostile);
        close(feed, serving, 2);
    });
    tree.add_lines(hostile, served.as_bytes()).unwrap();
    let shown = tree.render(TreeStyle::plain().verbose(true));
    assert_golden("hostile.txt", &shown);
    let shown = shown.replace(['\n', '●', '→', '│', '╰', '─', '├', '✗', '⚠', 'µ'], "");
    assert!(shown.chars().all(|c| (' '..='~').contains(&c)), "{shown}");
}

#[test]
fn a_client_stream_shows_its_calls_and_not_the_onset_in_front() {
    let text = lines(|feed| {
        open(feed, span(1), None, SpanKind::Client, 0);
        feed.rename(span(1), "first");
        open(feed, span(2), Some(1), SpanKind::Client, 2_000);
        close(feed, span(2), 4_000);
        close(feed, span(1), 5_000);
    });
    let mut tree = Tree::new();
    tree.add_lines("worker", text.as_bytes()).unwrap();
    let expected = "● jsRpcSession → first  5 ms  ok  [worker]\n\
                    ╰─● jsRpcCall  2 ms  ok  [worker]\n";
    assert_eq!(tree.render(TreeStyle::plain()), expected);
}

#[test]
fn the_onset_of_another_stream_does_not_hide_the_span_it_names_in_any_order() {
    let outer = lines(|feed| {
        open(
            feed,
            in_invocation(1, InvocationId(1)),
            Some(9),
            SpanKind::Server,
            0,
        );
        close(feed, in_invocation(1, InvocationId(1)), 9_000);
    });
    // Another run of work whose first span is a child of span 1.
    let inner = lines(|feed| {
        open(
            feed,
            in_invocation(2, InvocationId(2)),
            Some(1),
            SpanKind::Client,
            1_000,
        );
        close(feed, in_invocation(2, InvocationId(2)), 2_000);
    });
    let expected = "● jsRpcSession  9 ms  ok  [a]\n╰─● jsRpcCall  1 ms  ok  [a]\n";
    for order in [[&outer, &inner], [&inner, &outer]] {
        let mut tree = Tree::new();
        for text in order {
            tree.add_lines("a", text.as_bytes()).unwrap();
        }
        assert_eq!(tree.render(TreeStyle::plain()), expected);
    }
}

#[test]
fn a_burst_is_a_list_and_what_has_details_stands_apart() {
    let spans = Recorder::new();
    for n in 1..=4 {
        let call = in_invocation(n, InvocationId(n.into()));
        open(&spans, call, None, SpanKind::Client, n);
        if n == 3 {
            spans.attributes(call, &[Attribute::new("rows", 1)]);
        }
        close(&spans, call, n + 1);
    }
    let tree: Tree = spans.spans().iter().collect();
    let line = "● jsRpcSession  1 µs  ok\n";
    let expected = format!("{line}{line}\n{line}    rows = 1\n\n{line}");
    assert_eq!(tree.render(TreeStyle::plain()), expected);
}

#[test]
fn a_span_of_this_process_replaces_what_its_own_tail_says() {
    let text = lines(|feed| {
        open(feed, span(1), None, SpanKind::Client, 0);
        close(feed, span(1), 640);
    });
    let recorder = Recorder::new();
    open(&recorder, span(1), None, SpanKind::Client, 0);
    close(&recorder, span(1), 640);
    let mut before: Tree = recorder.spans().iter().collect();
    before.add_lines("self", text.as_bytes()).unwrap();
    let mut after = Tree::new();
    after.add_lines("self", text.as_bytes()).unwrap();
    recorder
        .spans()
        .iter()
        .for_each(|span| after.add_span(span));
    for tree in [before, after] {
        assert_eq!(
            tree.render(TreeStyle::plain()),
            "● jsRpcSession  640 µs  ok\n"
        );
    }
}

#[test]
fn what_was_lost_is_said_below_the_tree() {
    let feed = Feed::new();
    let events = feed.queue(QueueLimits {
        events: 4,
        bytes: usize::MAX / 2,
    });
    open(&feed, span(1), Some(9), SpanKind::Server, 0);
    (0..1_500).for_each(|i| feed.attributes(span(1), &[Attribute::new("i", i)]));
    close(&feed, span(1), 1_000);
    let mut tree = Tree::new();
    events
        .drain()
        .iter()
        .for_each(|event| tree.add_event("callee", event));
    let shown = tree.render(TreeStyle::plain());
    let note = "⚠ 1,497 tail events were lost: spans may be incomplete";
    assert_eq!(shown.lines().last(), Some(note));
}

#[test]
fn lines_that_are_not_events_are_skipped_and_counted() {
    let good = lines(|feed| {
        open(feed, span(1), Some(9), SpanKind::Server, 0);
        close(feed, span(1), 1_000);
    });
    let long = "x".repeat(tail::MAX_LINE + 10);
    let text = format!("garbage\n\n{long}\n{good}{{\"spanContext\":");
    let mut tree = Tree::new();
    let mut bytes = text.into_bytes();
    bytes.extend(b"\xff\xfe\n");
    let read = tree.add_lines("callee", &bytes[..]).unwrap();
    assert_eq!((read.events, read.skipped), (3, 3));
    assert_eq!(tree.len(), 1);
}

#[test]
fn circles_and_chains_without_end_are_shown_on_a_small_stack() {
    let shown = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(|| {
            let mut tree = Tree::new();
            let opened = |id: u64, parent: u64| {
                let line = format!(
                    r#"{{"spanContext":{{"traceId":"{}","spanId":"{}"}},"invocationId":"{}","timestamp":"2026-11-22T07:18:14.585Z","sequence":1,"event":{{"type":"spanOpen","name":"s{id}","spanId":"{}"}}}}"#,
                    support::TRACE, SpanId(parent), support::INVOCATION, SpanId(id)
                );
                Event::from_line(&line).unwrap()
            };
            tree.add_event("x", &opened(1, 2));
            tree.add_event("x", &opened(2, 1));
            tree.add_event("x", &opened(3, 3));
            (10..20_000).for_each(|id| tree.add_event("x", &opened(id, id - 1)));
            tree.render(TreeStyle::plain())
        })
        .unwrap()
        .join()
        .unwrap();
    let lines = shown.lines().filter(|line| !line.is_empty());
    assert_eq!(lines.count(), 3 + 19_990);
    assert!(shown.len() < 8 * 1024 * 1024, "{}", shown.len());
}
