//! The live tail: `caller tail` and other readers of `GET /tail`, on running daemons.

mod reporter;
mod util;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use binding_span::{Attribute, SpanSink};
use reporter::{Reporter, busy, close, open, span};
use rustix::process::Signal;
use tail::{Event, EventKind, FeedLine, Notice};
use util::{Daemon, World, caller};

/// A caller with an admin port at `admin.sock` that takes others' tail events, and its reporter.
fn reported(world: &World, more: &[&str]) -> (Daemon, Reporter) {
    let admin = world.unix("admin.sock");
    let options = ["--admin", &admin, "--tail-from", reporter::SERVICE];
    let daemon = world.caller(&[&options, more].concat());
    let reporter = Reporter::connect(&world.unix("caller.sock"));
    (daemon, reporter)
}

/// `caller tail` that follows `admin.sock`, and writes to a file.
fn follow(world: &World, out: &str, more: &[&str]) -> Daemon {
    follow_at(world, &world.unix("admin.sock"), out, more)
}

fn follow_at(world: &World, admin: &str, out: &str, more: &[&str]) -> Daemon {
    let out = File::create(world.path(out)).unwrap();
    let mut command = caller();
    command.args(["tail", "--connect", admin]).args(more);
    let mut daemon = Daemon::spawn(command.stdin(Stdio::null()).stdout(out));
    daemon.line("following");
    daemon
}

/// What is there already, with a filter.
fn past(world: &World, more: &[&str]) -> String {
    let admin = world.unix("admin.sock");
    let args = ["tail", "--connect", &admin, "--since", "1h", "--no-follow"];
    let done = world.run(caller(), &[&args, more].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
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

/// Events that lines of JSON have, and those that they say were lost.
fn counted(text: &str) -> (u64, u64) {
    let (mut events, mut lost) = (0, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        // Most of a hundred thousand lines need no parser.
        if line.starts_with(r#"{"spanContext":"#) && !line.contains("droppedEvents") {
            events += 1;
            continue;
        }
        match FeedLine::read(line).unwrap() {
            Some(FeedLine::Event(Event {
                event: EventKind::StreamDiagnostic { diagnostic },
                ..
            })) => lost += diagnostic.count,
            Some(FeedLine::Notice(Notice::DroppedEvents { count })) => lost += count,
            Some(FeedLine::Notice(Notice::Hello { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    (events, lost)
}

/// Waits until the last line of a file does.
fn until_last(world: &World, file: &str, enough: impl Fn(&str) -> bool) {
    let end = Instant::now() + util::LIMIT;
    let mut file = File::open(world.path(file)).unwrap();
    loop {
        let size = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(size.saturating_sub(4096)))
            .unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        if text.ends_with('\n') && text.lines().next_back().is_some_and(&enough) {
            return;
        }
        assert!(Instant::now() < end, "it ends with:\n{text}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads `GET /tail` by hand, from its first line on.
fn raw(world: &World, query: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(world.path("admin.sock")).unwrap();
    stream.set_read_timeout(Some(util::LIMIT)).unwrap();
    write!(
        stream,
        "GET /tail{query} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    reader
}

#[test]
fn spans_are_seen_opening_renamed_tagged_and_closing_over_unix_and_tcp() {
    for at in ["unix", "tcp"] {
        let world = World::new();
        world.database();
        let _callee = world.callee(&[]);
        let listen = world.unix("caller.sock");
        let bind = format!("DB={}", world.unix("callee.sock"));
        let admin = match at {
            "unix" => world.unix("admin.sock"),
            _ => "127.0.0.1:0".to_owned(),
        };
        let args = [
            "serve",
            "--listen",
            &listen,
            "--bind",
            &bind,
            "--tail",
            "tail.jsonl",
            "--admin",
            &admin,
        ];
        let mut daemon = world.start(caller(), &args);
        let line = daemon.line("admin port at ");
        let admin = line.split_once("port at ").unwrap().1.split(": GET").next();
        let (admin, daemon) = (admin.unwrap(), daemon.ready());

        let people = follow_at(&world, admin, "people", &["--count", "2", "--for", "1m"]);
        let json = follow_at(&world, admin, "json", &["--json", "--count", "2"]);
        world.query(&listen, "select a from t", &[]).json();
        world.query(&listen, "select nope from t", &[]);
        assert!(people.end().success() && json.end().success());
        assert!(daemon.stop().success());

        let people = util::read(&world.path("people"));
        for part in [
            "  ○ jsRpcSession  DB.query\n",
            "  │ jsRpcSession → d1.query\n",
            "db.response.returned_rows = 3",
            "SQLITE_ERROR",
            "  ● d1.query  ",
            " ms  ok\n",
        ] {
            assert!(people.contains(part), "{part:?} in {people}");
        }
        // Programs get the lines that the file has; it ended before the last invocation did.
        let (json, file) = ["json", "tail.jsonl"]
            .map(|name| util::read(&world.path(name)))
            .into();
        assert!(file.starts_with(&json), "{json}\n{file}");
        assert_eq!(json.lines().count(), file.lines().count() - 2, "{json}");
    }
}

#[test]
fn whoever_joins_late_is_told_what_is_open_and_may_ask_for_the_past() {
    let world = World::new();
    let (_daemon, mut reporter) = reported(&world, &[]);
    reporter.report(|feed| busy(feed, 1, 1));
    let held = span(2, 7);
    reporter.report(|feed| {
        open(feed, held, None, "jsRpcSession");
        feed.rename(held, "d1.query");
    });
    // The lines of an invocation that goes on, from the same feed.
    let feed = tail::Feed::new();
    let queue = feed.queue(tail::QueueLimits::default());
    open(&feed, held, None, "jsRpcSession");
    queue.drain();

    let late = follow(&world, "late", &["--count", "1"]);
    close(&feed, held);
    reporter.send(&queue.drain());
    assert!(late.end().success());
    let text = util::read(&world.path("late"));
    let parts = ["○ jsRpcSession", "│ jsRpcSession → d1.query", "● d1.query"];
    let found: Vec<_> = parts.iter().map(|part| text.find(part)).collect();
    assert!(
        found.iter().all(Option::is_some) && found.is_sorted(),
        "{text}"
    );
    assert!(!text.contains("step"), "{text}");

    assert_eq!(past(&world, &[]).matches("● ").count(), 3);
    let nothing = world.run(
        caller(),
        &[
            "tail",
            "--connect",
            &world.unix("admin.sock"),
            "--no-follow",
        ],
    );
    assert_eq!((nothing.code, &*nothing.stdout), (Some(0), ""));
}

#[test]
fn filters_choose_spans_and_all_of_them_have_to_agree() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let _caller = world.caller(&["--admin", &world.unix("admin.sock")]);
    let listen = world.unix("caller.sock");
    world.query(&listen, "select a from t", &[]).json();
    world
        .query(&listen, "select a from t where a > 1", &[])
        .json();
    world.query(&listen, "select nope from t", &[]);
    for (filter, spans) in [
        (&["--binding", "DB"][..], 3),
        (&["--binding", "SHOP"], 0),
        (&["--name", "d1.*"], 3),
        (&["--name", "jsRpcSession"], 3),
        (&["--name", "d1"], 0),
        (&["--errors"], 1),
        (&["--attribute", "db.response.returned_rows"], 2),
        (&["--attribute", "db.response.returned_rows=2"], 1),
        (&["--attribute", "db.query.text=*nope*", "--errors"], 1),
        (
            &["--attribute", "db.response.returned_rows=2", "--errors"],
            0,
        ),
        (&["--min-duration", "1h"], 0),
        (&["--min-duration", "0s", "--binding", "D*"], 3),
    ] {
        let text = past(&world, filter);
        assert_eq!(text.matches("○ ").count(), spans, "{filter:?}\n{text}");
        assert_eq!(text.matches("● ").count(), spans, "{filter:?}\n{text}");
        let json = past(&world, &[filter, &["--json"]].concat());
        assert_eq!(json.matches(r#""type":"spanOpen""#).count(), spans);
        assert_eq!(json.matches(r#""type":"onset""#).count(), spans);
        assert_eq!(json.matches(r#""type":"outcome""#).count(), spans);
    }
}

#[test]
fn what_peers_wrote_does_not_steer_the_terminal() {
    let world = World::new();
    let (_daemon, mut reporter) = reported(&world, &[]);
    let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\n● paid  1 ms  ok\u{202e}";
    reporter.report(|feed| {
        let hostile = span(1, 1);
        open(feed, hostile, None, nasty);
        feed.rename(hostile, nasty);
        feed.attributes(hostile, &[Attribute::new(nasty, nasty)]);
        close(feed, hostile);
    });
    for more in [&[][..], &["--verbose"], &["--json"]] {
        let text = past(&world, more);
        assert!(text.contains("owned"));
        let acts = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        assert_eq!(text.chars().find(acts), None, "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with('●')));
    }
}

#[test]
fn a_reader_that_stops_reading_is_told_exactly_what_it_lost_and_nobody_else_notices() {
    const INVOCATIONS: u128 = 30;
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let (_daemon, mut reporter) = reported(&world, &["--tail-history", "256KiB"]);
    let stopped = follow(&world, "stopped", &["--json"]);
    let _other = follow(&world, "other", &["--json"]);
    stopped.signal(Signal::STOP);
    for n in 1..=INVOCATIONS {
        reporter.report(|feed| busy(feed, n, 200));
        // The other one keeps up, or it would not get here.
        let last = format!("\"invocationId\":\"{n:032x}\"");
        let has_ended = |end: &str| end.contains(&last) && end.contains("\"outcome\",");
        until_last(&world, "other", has_ended);
    }
    let listen = world.unix("caller.sock");
    world.query(&listen, "select a from t", &[]).json();
    let of_call = |end: &str| end.contains("\"outcome\",") && !end.contains(":\"000000000000");
    until_last(&world, "other", of_call);
    let other = util::read(&world.path("other"));
    let (events, lost) = counted(&other);
    // What the callee says while the call runs is one more, if it comes before the answer.
    let of_call = events - INVOCATIONS as u64 * 403;
    assert!((9..=10).contains(&of_call) && lost == 0, "{of_call} {lost}");

    stopped.signal(Signal::CONT);
    let last = other.lines().next_back().unwrap();
    until_last(&world, "stopped", |end| end == last);
    let late = util::read(&world.path("stopped"));
    let (got, lost) = counted(&late);
    assert!(lost > 0, "it lost nothing");
    assert_eq!(got + lost, events, "got {got}, lost {lost}");
}

#[test]
fn of_a_burst_of_a_hundred_thousand_spans_each_reader_gets_or_is_told_it_lost_every_event() {
    const INVOCATIONS: u128 = 100;
    const EVENTS: u64 = 100 * 2003 + 3;
    let world = World::new();
    let (daemon, mut reporter) = reported(&world, &["--tail", "tail.jsonl"]);
    let last = format!("\"invocationId\":\"{:032x}\"", INVOCATIONS + 1);
    let ends = |line: &str| line.contains(&last) && line.contains("\"outcome\",");
    let all_reported = Arc::new(AtomicBool::new(false));
    let readers = [false, true].map(|is_slow| {
        let (mut lines, last) = (raw(&world, ""), last.clone());
        let all_reported = Arc::clone(&all_reported);
        thread::spawn(move || {
            let (mut text, mut line, mut pause_at) = (String::new(), String::new(), 0);
            while !(line.contains(&last) && line.contains("\"outcome\",")) {
                line.clear();
                assert!(lines.read_line(&mut line).unwrap() > 0);
                text += &line;
                // A slow reader reads a little now and then: enough to be kept, far too little to keep up.
                if is_slow && text.len() > pause_at && !all_reported.load(Relaxed) {
                    pause_at = text.len() + 50_000;
                    thread::sleep(Duration::from_millis(250));
                }
            }
            counted(&text)
        })
    });
    for n in 1..=INVOCATIONS {
        reporter.report(|feed| busy(feed, n, 1000));
    }
    all_reported.store(true, Relaxed);
    // What the file lost is told with an outcome that has room.
    let written = "\nbinding_span_tail_queued_events{sink=\"lines\"} 0\n";
    let calm = Instant::now() + util::LIMIT;
    while !util::metrics(&world, "admin.sock").contains(written) {
        assert!(Instant::now() < calm, "the file is still written");
    }
    reporter.report(|feed| busy(feed, INVOCATIONS + 1, 0));
    let [live, slow] = readers.map(|reader| reader.join().unwrap());
    assert!(daemon.stop().success());
    let file = util::read(&world.path("tail.jsonl"));
    assert!(file.lines().any(ends));
    for (name, (got, lost)) in [("file", counted(&file)), ("live", live), ("slow", slow)] {
        println!("{name}: {got} of {EVENTS} events delivered, {lost} lost");
        assert_eq!(got + lost, EVENTS, "{name}: got {got}, lost {lost}");
    }
    assert!(slow.1 > 0, "the slow reader lost nothing");
}

#[test]
fn there_may_be_so_many_readers_and_the_next_one_is_told_so() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let admin = world.unix("admin.sock");
    let _caller = world.caller(&["--admin", &admin, "--tail-readers", "1"]);
    let first = raw(&world, "");
    let refused = world.run(caller(), &["tail", "--connect", &admin]);
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(refused.stderr.contains("--tail-readers"), "{refused:?}");
    drop(first);
    // The daemon notices when it writes.
    let end = Instant::now() + util::LIMIT;
    loop {
        world
            .query(&world.unix("caller.sock"), "select 1", &[])
            .json();
        let again = world.run(caller(), &["tail", "--connect", &admin, "--no-follow"]);
        if again.code == Some(0) {
            break;
        }
        assert!(Instant::now() < end);
    }
}

#[test]
fn a_restarted_daemon_is_followed_again_and_it_is_said_what_may_have_been_missed() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let admin = world.unix("admin.sock");
    let options = ["--admin", &admin];
    let first = world.caller(&options);
    let mut reader = follow(&world, "out", &["--count", "3"]);
    let once = follow(&world, "once", &["--no-reconnect"]);
    let call = || {
        world
            .query(&world.unix("caller.sock"), "select 1", &[])
            .json()
    };
    call();
    assert!(first.stop().success());
    reader.line("ended in order");
    assert!(once.end().success());

    let second = world.caller(&options);
    // It may come before the reader has noticed: it is in the past of the new one.
    call();
    reader.line("restarted, and nothing was missed");
    until(&world, "out", |text| text.matches("● ").count() == 2);
    let once = follow(&world, "once", &["--no-reconnect"]);
    second.kill();
    reader.line("was lost");
    assert_eq!(once.end().code(), Some(69));
    let _third = world.caller(&options);
    reader.line("may have been missed");
    call();
    assert!(reader.end().success());
    assert_eq!(
        util::read(&world.path("out")).matches("● d1.query").count(),
        3
    );
}

#[test]
fn it_ends_when_it_is_interrupted_and_when_nobody_reads_it() {
    let world = World::new();
    let (_daemon, mut reporter) = reported(&world, &[]);
    let interrupted = follow(&world, "out", &[]);
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.end().code(), Some(130));

    let mut command = caller();
    command.args(["tail", "--connect", &world.unix("admin.sock")]);
    let (mut pipe, out) = std::io::pipe().unwrap();
    let mut unread = Daemon::spawn(command.stdin(Stdio::null()).stdout(out));
    drop(command);
    unread.line("following");
    reporter.report(|feed| busy(feed, 1, 1));
    pipe.read_exact(&mut [0; 8]).unwrap();
    drop(pipe);
    let end = Instant::now() + util::LIMIT;
    let unread = thread::spawn(move || unread.end());
    let mut n = 2;
    while !unread.is_finished() {
        assert!(Instant::now() < end);
        reporter.report(|feed| busy(feed, n, 1));
        n += 1;
        thread::sleep(Duration::from_millis(10));
    }
    assert!(unread.join().unwrap().success());
}

#[test]
fn an_address_that_is_no_admin_port_is_said_with_what_to_give_instead() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let http = world.unix("http.sock");
    let _caller = world.caller(&["--http", &http]);
    for (address, code, says) in [
        (world.unix("callee.sock"), 69, "is no admin port"),
        (http, 69, "is no admin port"),
        (
            world.unix("nothing.sock"),
            69,
            "was the daemon started with --admin",
        ),
        ("tls:db.example:1".into(), 2, "an admin port has no TLS"),
    ] {
        let done = world.run(caller(), &["tail", "--connect", &address]);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    let done = world.run(
        caller(),
        &[
            "tail",
            "--connect",
            &world.unix("callee.sock"),
            "--for",
            "5s",
        ],
    );
    assert!(done.stderr.contains("--admin"), "{done:?}");
}
