//! Tail events of other processes: what is newer than we are, and what is large.

mod reporter;
mod util;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reporter::{Reporter, open, span};
use tail::{Event, EventKind};
use util::{Daemon, World};

/// A caller with an admin port at `admin.sock` that takes others' tail events, and its reporter.
fn reported(world: &World, more: &[&str]) -> (Daemon, Reporter) {
    let admin = world.unix("admin.sock");
    let options = ["--admin", &admin, "--tail-from", reporter::SERVICE];
    let daemon = world.caller(&[&options, more].concat());
    let reporter = Reporter::connect(&world.unix("caller.sock"));
    (daemon, reporter)
}

/// Waits until a file has lines that do.
fn until(world: &World, file: &str, enough: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + util::LIMIT;
    loop {
        let text = util::read(&world.path(file));
        if enough(&text) {
            return text;
        }
        assert!(Instant::now() < end, "{file} has only:\n{text}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_later_versions_say_is_counted_and_named_and_the_rest_arrives() {
    let world = World::new();
    let (mut caller, mut reporter) = reported(&world, &["--tail", "tail.jsonl"]);
    reporter.report(|feed| open(feed, span(7, 1), None, "fetch"));
    reporter.write(7, 6, |i, event| {
        let event = event.init_event();
        match i {
            0..3 => {
                let mut log = event.init_log();
                log.set_message("[\"said\"]");
                log.set_level(40 + i as u16);
            }
            3 => event.init_span_update().init_status().set_code(9),
            4 => drop(event.init_stream_diagnostics()),
            _ => drop(event.init_return()),
        }
    });
    let text = util::metrics(&world, "admin.sock");
    for (series, count) in [
        ("unknown_members_total{member=\"other\"}", 5),
        ("unknown_members_total{member=\"event\"}", 0),
        ("left_out_events_total{kind=\"unknown\"}", 1),
        ("left_out_events_total{kind=\"tail\"}", 0),
        ("cut_values_total", 0),
    ] {
        let line = format!("\nbinding_span_tail_{series} {count}\n");
        assert!(text.contains(&line), "no {line} in {text}");
    }
    for named in [
        "log.level 40",
        "log.level 42",
        "status 9",
        "streamDiagnostics 0",
    ] {
        caller.line(named);
    }
    assert!(caller.stop().success());
    // All but the one of a kind that is not known.
    assert_eq!(util::read(&world.path("tail.jsonl")).lines().count(), 6);
}

#[test]
fn large_events_of_peers_are_held_within_bounds_and_all_are_accounted_for() {
    const REPORTS: u32 = 60;
    const EVENTS: u32 = 4;
    let world = World::new();
    // A receiver that takes connections and does nothing else.
    let _hangs = std::os::unix::net::UnixListener::bind(world.path("hangs.sock")).unwrap();
    let to = format!("{}#t", world.unix("hangs.sock"));
    let more = ["--tail", "tail.jsonl", "--tail-to", &to];
    let (caller, mut reporter) = reported(&world, &more);
    reporter.report(|feed| open(feed, span(7, 1), None, "fetch"));
    let of_span = |event| {
        let context = span(7, 1).context;
        Arc::new(Event {
            span_context: tail::StreamContext {
                trace_id: context.trace_id,
                span_id: Some(context.span_id),
                trace_flags: None,
            },
            invocation_id: span(7, 1).invocation,
            timestamp: std::time::SystemTime::now(),
            sequence: 9,
            event,
        })
    };
    let log = of_span(EventKind::Log(tail::Log {
        level: "log".into(),
        message: format!("[\"{}\"]", "x".repeat(600 * 1024)),
        truncated: false,
        error_info: None,
    }));
    let events = vec![log; EVENTS as usize];
    (0..REPORTS).for_each(|_| reporter.send(&events));
    let text = util::metrics(&world, "admin.sock");
    let sample = |series: &str| {
        let line = text.lines().find(|line| line.starts_with(series));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse::<u64>()
            .unwrap()
    };
    // Three readers with 16 MiB each, what is on its way, and the program.
    let resident = sample("process_resident_memory_bytes");
    assert!(resident < 200 << 20, "{resident}");
    let slow = "binding_span_tail_lost_events_total{sink=\"peer\",reason=\"slow\"}";
    assert!(sample(slow) > 0, "{text}");
    reporter.send(&[of_span(EventKind::Outcome {
        outcome: "ok".into(),
        cpu_time: 0,
        wall_time: 0,
    })]);
    let lines = until(&world, "tail.jsonl", |text| {
        text.contains("\"type\":\"outcome\"")
    });
    assert!(caller.stop().success());
    let (logs, mut lost) = (lines.matches("\"type\":\"log\"").count() as u64, 0);
    for line in lines.lines().filter(|line| line.contains("droppedEvents")) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        lost += event["event"]["diagnostic"]["count"].as_u64().unwrap();
    }
    assert_eq!(logs + lost, u64::from(REPORTS * EVENTS), "{logs} + {lost}");
}
