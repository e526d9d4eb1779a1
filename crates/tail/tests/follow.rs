//! Spans as lines while they happen, and which of them a filter lets through.

mod support;

use std::sync::Arc;
use std::time::Duration;

use binding_span::{Attribute, DropReason, Dropped, InvocationId, SpanKind, SpanRef, SpanSink};
use support::{Opening, assert_golden, at, close, fail, in_invocation, open};
use tail::{
    AttributeFilter, Event, EventKind, Feed, Filter, LineStyle, QueueLimits, Selection, SpanLines,
};

/// What a feed makes of what is reported, an event every 400 µs.
fn events(report: impl FnOnce(&Feed)) -> Vec<Arc<Event>> {
    let feed = Feed::new();
    let queue = feed.queue(QueueLimits::default());
    report(&feed);
    let drained = queue.drain().into_iter().enumerate();
    drained
        .map(|(i, event)| {
            let timestamp = at(400 * i as u64);
            Arc::new(Event {
                timestamp,
                ..Event::clone(&event)
            })
        })
        .collect()
}

fn call(feed: &Feed, span: SpanRef, parent: Option<u64>, name: &str, kind: SpanKind) {
    let attributes = [
        Attribute::new("rpc.system.name", "capnp"),
        Attribute::new("jsrpc.binding", "DB"),
        Attribute::new("jsrpc.method", "query"),
    ];
    Opening {
        span,
        parent,
        name,
        kind,
        time: at(0),
        attributes: &attributes,
    }
    .report(feed);
}

fn told(feed: &Feed, span: SpanRef, name: &str, rows: i64) {
    feed.rename(span, name);
    let tags = [
        Attribute::new("db.system.name", "sqlite"),
        Attribute::new("db.query.text", "select \"name\" from users"),
        Attribute::new("db.response.returned_rows", rows),
        Attribute::new("cached", false),
    ];
    feed.attributes(span, &tags);
}

/// Two sessions at the same time, one of them with a held stub; a failure; a callee's own spans.
fn busy(feed: &Feed) {
    let (a, b) = (
        in_invocation(0xa1, InvocationId(1)),
        in_invocation(0xb2, InvocationId(2)),
    );
    call(feed, a, None, "jsRpcSession", SpanKind::Client);
    call(feed, b, None, "jsRpcSession", SpanKind::Client);
    told(feed, a, "d1.query", 3);
    let held = in_invocation(0xa2, InvocationId(1));
    call(feed, held, Some(0xa1), "jsRpcCall", SpanKind::Client);
    fail(feed, b, "TypeError", "there is no \"method\"", 1);
    feed.rename(held, "chat words-1");
    close(feed, held, 1);
    let mut dropped = Dropped::default();
    dropped.add(DropReason::DeniedKey, 2);
    feed.dropped(a, &dropped);
    feed.rename(a, "d1.batch");
    close(feed, a, 1);

    let served = in_invocation(0xc3, InvocationId(3));
    call(feed, served, Some(0xa1), "DB.query", SpanKind::Server);
    let step = in_invocation(0xc4, InvocationId(3));
    open(feed, step, Some(0xc3), SpanKind::Internal, 0);
    close(feed, served, 1);
    close(feed, step, 1);
    let slow = in_invocation(0xd5, InvocationId(4));
    call(feed, slow, Some(0xa1), "DB.exec", SpanKind::Server);
    close(feed, slow, 1);
}

fn lines(style: LineStyle, filter: &Filter, events: &[Arc<Event>]) -> String {
    let (mut selection, mut lines) = (Selection::new(filter), SpanLines::new(style));
    let mut passed = Vec::new();
    for event in events {
        selection.event(Arc::clone(event), &mut passed);
    }
    let people = passed.iter().filter(|passed| passed.people);
    people.for_each(|passed| lines.event(&passed.event));
    lines.take()
}

fn all(style: LineStyle) -> String {
    lines(style, &Filter::default(), &events(busy))
}

#[test]
fn lines_show_spans_opening_being_renamed_and_tagged_and_closing() {
    assert_golden("follow.txt", &all(LineStyle::default()));
}

#[test]
fn colours_say_nothing_that_words_do_not() {
    let coloured = all(LineStyle {
        colour: true,
        ..LineStyle::default()
    });
    assert_golden("follow_coloured.txt", &coloured);
    let mut plain = String::new();
    let mut rest = &coloured[..];
    while let Some(at) = rest.find('\u{1b}') {
        plain += &rest[..at];
        rest = &rest[at..][rest[at..].find('m').unwrap() + 1..];
    }
    assert_eq!(plain + rest, all(LineStyle::default()));
}

#[test]
fn lines_are_cut_where_the_terminal_ends_and_say_how_much_more_there_is() {
    let narrow = all(LineStyle {
        width: Some(60),
        ..LineStyle::default()
    });
    assert_golden("follow_narrow.txt", &narrow);
    assert!(narrow.lines().all(|line| line.chars().count() <= 60));
}

#[test]
fn verbose_lines_have_every_attribute_and_whole_ids() {
    let verbose = all(LineStyle {
        verbose: true,
        ..LineStyle::default()
    });
    assert_golden("follow_verbose.txt", &verbose);
}

#[test]
fn what_peers_wrote_does_not_steer_the_terminal_nor_look_like_ours() {
    let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n00:00:00.000  ffffff  ● paid  1 ms  ok\u{202e}";
    let hostile = events(|feed| {
        let span = in_invocation(0xe6, InvocationId(5));
        Opening {
            span,
            parent: None,
            name: nasty,
            kind: SpanKind::Client,
            time: at(0),
            attributes: &[
                Attribute::new("jsrpc.binding", nasty),
                Attribute::new("jsrpc.method", nasty),
            ],
        }
        .report(feed);
        feed.rename(span, nasty);
        feed.rename(span, &"数".repeat(500));
        feed.attributes(
            span,
            &[
                Attribute::new(nasty, nasty),
                Attribute::new("long", "\u{9b}".repeat(100_000)),
            ],
        );
        fail(feed, span, nasty, &nasty.repeat(100), 1);
    });
    for width in [None, Some(80), Some(40)] {
        for (colour, verbose) in [(false, false), (false, true), (true, true)] {
            let style = LineStyle {
                colour,
                verbose,
                width,
            };
            let text = lines(style, &Filter::default(), &hostile);
            let controls = |c: &char| c.is_control() && *c != '\n' && !(colour && *c == '\u{1b}');
            assert_eq!(text.chars().find(controls), None, "{text:?}");
            assert!(!text.contains("\u{1b}]") && !text.contains("\u{1b}[2J"));
            assert!(!text.contains('\u{202e}'));
            let time = |line: &str| line.starts_with("00:00");
            assert!(!text.lines().any(time), "{text}");
        }
    }
    assert_golden(
        "follow_hostile.txt",
        &lines(LineStyle::default(), &Filter::default(), &hostile),
    );
}

/// The spans that people see, by the end of their ids, and those that end.
fn shown(filter: &Filter) -> (Vec<String>, u64) {
    let mut selection = Selection::new(filter);
    let mut passed = Vec::new();
    for event in events(busy) {
        selection.event(event, &mut passed);
    }
    let mut lines = SpanLines::new(LineStyle::default());
    let people = passed.iter().filter(|passed| passed.people);
    people.for_each(|passed| lines.event(&passed.event));
    let text = lines.take();
    let opened = text.lines().filter(|line| line.contains("○"));
    let ids = opened.map(|line| line[18..20].to_owned()).collect();
    (ids, selection.ended())
}

fn name(pattern: &str) -> Filter {
    Filter {
        name: Some(pattern.into()),
        ..Filter::default()
    }
}

fn attribute(key: &str, value: Option<&str>) -> Filter {
    Filter {
        attributes: vec![AttributeFilter {
            key: key.into(),
            value: value.map(str::to_owned),
        }],
        ..Filter::default()
    }
}

#[test]
fn filters_let_through_whom_they_name_from_the_beginning_on() {
    let everybody = ["a1", "b2", "a2", "c3", "c4", "d5"];
    let cases: [(Filter, &[&str]); 17] = [
        (Filter::default(), &everybody),
        (name("d1.query"), &["a1"]),
        (name("d1.b*"), &["a1"]),
        (name("jsRpcSession"), &["b2", "a1", "c4"]),
        (name("d1"), &[]),
        (name("chat*"), &["a2"]),
        (name("DB.*"), &["c3", "d5"]),
        (attribute("db.response.returned_rows", None), &["a1"]),
        (attribute("db.response.returned_rows", Some("3")), &["a1"]),
        (attribute("db.response.returned_rows", Some("4")), &[]),
        (attribute("db.query.text", Some("select*")), &["a1"]),
        (attribute("cached", Some("false")), &["a1"]),
        (
            Filter {
                binding: Some("D?".into()),
                ..Filter::default()
            },
            &everybody,
        ),
        (
            Filter {
                binding: Some("SHOP".into()),
                ..Filter::default()
            },
            &[],
        ),
        (
            Filter {
                errors: true,
                ..Filter::default()
            },
            &["b2"],
        ),
        (
            Filter {
                min_duration: Some(Duration::from_micros(6000)),
                ..Filter::default()
            },
            &["a1"],
        ),
        (
            Filter {
                errors: true,
                ..name("d1.*")
            },
            &[],
        ),
    ];
    for (filter, expected) in cases {
        let (ids, ended) = shown(&filter);
        let (mut sorted, mut wanted) = (ids.clone(), expected.to_vec());
        sorted.sort();
        wanted.sort();
        assert_eq!(sorted, wanted, "{filter:?}");
        assert_eq!(ended, ids.len() as u64, "{filter:?}");
    }
}

#[test]
fn programs_get_the_onset_and_the_outcome_of_what_is_wanted_and_nothing_twice() {
    for filter in [Filter::default(), name("chat*"), name("jsRpcSession")] {
        let mut selection = Selection::new(&filter);
        let (all, mut passed) = (events(busy), Vec::new());
        for event in &all {
            selection.event(Arc::clone(event), &mut passed);
        }
        let programs: Vec<_> = passed.iter().filter(|passed| passed.programs).collect();
        for id in 1..=4 {
            let id = InvocationId(id);
            let own = programs.iter().filter(|p| p.event.invocation_id == id);
            let sequence: Vec<u32> = own.clone().map(|p| p.event.sequence).collect();
            let mut once = sequence.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), sequence.len(), "{filter:?} {sequence:?}");
            if let (Some(first), Some(last)) = (own.clone().next(), own.clone().next_back()) {
                assert!(matches!(first.event.event, EventKind::Onset(_)));
                assert!(matches!(last.event.event, EventKind::Outcome { .. }));
            }
        }
        if filter.name.is_none() {
            let got: Vec<_> = programs.iter().map(|p| Arc::clone(&p.event)).collect();
            assert_eq!(
                got, all,
                "without a filter nothing is missing, and all is in order"
            );
        }
        assert!(programs.len() > 3);
    }
}

#[test]
fn what_is_undecided_is_kept_within_bounds_and_what_is_forgotten_is_counted() {
    let mut selection = Selection::new(&name("never"));
    let mut passed = Vec::new();
    let feed = Feed::new();
    let queue = feed.queue(QueueLimits::default());
    let large = [Attribute::new("large", "x".repeat(100_000))];
    for n in 1..=1000 {
        let span = in_invocation(n, InvocationId(n.into()));
        open(&feed, span, None, SpanKind::Server, 0);
        feed.attributes(span, &large);
        for event in queue.drain() {
            selection.event(event, &mut passed);
        }
    }
    assert!(passed.is_empty());
    let forgotten = selection.forgotten();
    assert!((800..900).contains(&forgotten), "{forgotten}");
}

#[test]
fn the_statement_is_shown_and_what_is_the_same_in_every_call_is_not() {
    let sql =
        "select\n    name, price\n  from product\n where id in (?1) and price > ?2 and stock > 0";
    let called = |tags: &[Attribute], width: Option<usize>| {
        let events = events(|feed| {
            let span = in_invocation(0xa1, InvocationId(1));
            call(feed, span, None, "jsRpcSession", SpanKind::Client);
            feed.attributes(span, tags);
        });
        let style = LineStyle {
            width,
            ..LineStyle::default()
        };
        let text = lines(style, &Filter::default(), &events);
        let told = text.lines().nth(2).unwrap_or_default();
        told.split_once("│ ")
            .map_or("", |(_, told)| told)
            .to_owned()
    };
    let mut tags = vec![
        Attribute::new("db.system.name", "cloudflare-d1"),
        Attribute::new("db.namespace", "shop"),
        Attribute::new("db.query.text", sql),
        Attribute::new("cloudflare.binding.type", "D1"),
        Attribute::new("db.response.returned_rows", 3),
    ];
    let statement = "db.query.text = \"select name, price from product where id in (?1) and price >…\" (77 bytes)";
    assert_eq!(
        called(&tags, None),
        format!("{statement}, db.namespace = \"shop\", db.response.returned_rows = 3, … 2 more")
    );
    tags.push(Attribute::new("error.type", "SQLITE_ERROR"));
    assert_eq!(
        called(&tags, Some(90)),
        "error.type = \"SQLITE_ERROR\", … 5 more"
    );
    // What is the same is better than nothing.
    assert_eq!(
        called(&tags[..1], None),
        "db.system.name = \"cloudflare-d1\""
    );
    // At every width what is said to be left out is said whole.
    let more: Vec<Attribute> = (0..11)
        .map(|i| Attribute::new(format!("key.{i}"), "value"))
        .collect();
    tags.extend(more);
    for width in 45..200 {
        let told = called(&tags, Some(width));
        let shown = told.matches(" = ").count();
        let left = tags.len() - shown;
        let says = match shown {
            0 => format!("… {left} attributes"),
            _ => format!(", … {left} more"),
        };
        assert!(told.ends_with(&says), "{width}: {told}");
        assert!(told.chars().count() + 24 <= width, "{width}: {told}");
    }
}

#[test]
fn a_span_that_opened_before_its_parent_stands_below_it() {
    // As of a sidecar that hears of its own call before it hears of what called it.
    let (below, above) = (
        in_invocation(0xb2, InvocationId(2)),
        in_invocation(0xa1, InvocationId(1)),
    );
    let people = |report: &dyn Fn(&Feed)| {
        let (mut selection, mut passed) = (Selection::new(&Filter::default()), Vec::new());
        for event in events(report) {
            selection.event(event, &mut passed);
        }
        let people = passed.into_iter().filter(|passed| passed.people);
        people.map(|passed| passed.event).collect::<Vec<_>>()
    };
    let mut child = people(&|feed| {
        call(feed, below, Some(0xa1), "jsRpcSession", SpanKind::Client);
        let deeper = in_invocation(0xc3, InvocationId(2));
        call(feed, deeper, Some(0xb2), "jsRpcCall", SpanKind::Client);
        feed.rename(deeper, "chat");
        close(feed, deeper, 1);
        close(feed, below, 1);
    });
    let parent = people(&|feed| {
        call(feed, above, None, "fetch", SpanKind::Server);
        close(feed, above, 1);
    });
    let depths = |text: &str| -> Vec<(String, usize)> {
        let lines = text.lines().filter(|line| !line.starts_with("──"));
        let of = |line: &str| {
            let rest = &line[22..];
            let indent = rest.len() - rest.trim_start().len();
            (line[18..20].to_owned(), indent / 2)
        };
        lines.map(of).collect()
    };
    let expected = |id: &str| ["a1", "b2", "c3"].iter().position(|known| *known == id);
    let late = child.split_off(child.len() - 3);
    // All in one piece: every line is right.
    let mut lines = SpanLines::new(LineStyle::default());
    for event in child.iter().chain(&parent).chain(&late) {
        lines.event(event);
    }
    let all = depths(&lines.take());
    assert!(all.len() > 5, "{all:?}");
    for (id, depth) in &all {
        assert_eq!(Some(*depth), expected(id), "{id} in {all:?}");
    }
    // In pieces, as they come: right from then on.
    let mut lines = SpanLines::new(LineStyle::default());
    child.iter().for_each(|event| lines.event(event));
    for (id, depth) in depths(&lines.take()) {
        assert_eq!(Some(depth + 1), expected(&id), "{id}");
    }
    parent[..1].iter().for_each(|event| lines.event(event));
    late.iter().for_each(|event| lines.event(event));
    for (id, depth) in depths(&lines.take()) {
        assert_eq!(Some(depth), expected(&id), "{id}");
    }
}

#[test]
fn spans_that_claim_to_be_below_themselves_or_endlessly_deep_cost_little() {
    let mut lines = SpanLines::new(LineStyle::default());
    let open = |lines: &mut SpanLines, id: u64, parent: u64| {
        for event in events(|feed| {
            let span = in_invocation(id, InvocationId(u128::from(id)));
            call(feed, span, Some(parent), "x", SpanKind::Client);
        }) {
            lines.event(&event);
        }
    };
    for (id, parent) in [(1, 2), (2, 3), (3, 1), (4, 4)] {
        open(&mut lines, id, parent);
    }
    // Downwards, and upwards.
    for id in 10..20_000 {
        open(&mut lines, id + 1, id);
    }
    for id in (100_000..120_000).rev() {
        open(&mut lines, id + 1, id);
    }
    let text = lines.take();
    assert!(text.lines().all(|line| line.chars().count() < 80));
}
