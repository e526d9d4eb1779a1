//! Scrapers that are slow, many, or mean no good.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::http::{At, Stream};
use super::util::{self, LIMIT, World};

/// What each of many connections does, and none reads anything.
fn misbehave(at: &At, i: usize) -> Box<dyn Stream> {
    let mut stream = at.connect();
    let scrape = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let said = match i % 4 {
        // Nothing; half a head; something that is not HTTP; more answers than a socket holds.
        0 => String::new(),
        1 => "GET /metrics HTTP/1.1\r\nHost: loc".to_owned(),
        2 => "\0\0\0\0\u{16}\u{3}\u{1}".repeat(100),
        _ => scrape.repeat(200),
    };
    // It may have been closed already.
    let _ = stream.write_all(said.as_bytes());
    stream
}

#[test]
fn a_thousand_bad_scrapers_take_nothing_from_calls() {
    let world = World::new();
    world.database();
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = ["--listen", &listen, "--d1", &db, "--admin", "127.0.0.1:0"];
    let mut callee = world.start(util::callee(), &args);
    let at = At::said_by(&mut callee);
    let callee = callee.ready();
    let before = at.scrape();
    let memory = "process_resident_memory_bytes";

    let call = || {
        let began = Instant::now();
        let done = world.query(&listen, "select a from t", &[]);
        assert!(done.json().is_object());
        began.elapsed()
    };
    let alone = (0..3).map(|_| call()).max().unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let bad: Vec<_> = (0..200).map(|i| misbehave(&at, round * 200 + i)).collect();
        for _ in 0..3 {
            slowest = slowest.max(call());
        }
        for probe in ["/livez", "/readyz"] {
            assert_eq!(at.get(probe).status, 200, "{probe} beside them");
        }
        drop(bad);
    }
    // A program starts, connects and calls in that time, on a machine that has more to do.
    let bar = Duration::from_secs(5) + 10 * alone;
    assert!(slowest < bar, "{slowest:?}; alone {alone:?}");

    // Once they are gone there is room for an honest one.
    let began = Instant::now();
    let answered = loop {
        let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n";
        if let Some(answer) = at.try_send(head) {
            break answer;
        }
        assert!(began.elapsed() < LIMIT, "nobody is let in any more");
    };
    assert_eq!(answered.status, 200);
    let after = at.scrape();
    let refused = after.sum(
        "binding_span_connections_refused_total",
        "listener=\"admin\"",
    );
    assert!(refused >= 500.0, "{refused}");
    let calls = "binding_span_calls_total";
    assert_eq!(after.sum(calls, "") - before.sum(calls, ""), 18.0);
    let grown = after.value(memory) - before.value(memory);
    assert!(grown < 32.0 * 1024.0 * 1024.0, "{grown} bytes");
    assert!(callee.stop().success());
}

#[test]
fn probes_are_answered_beside_idle_connections_and_readers_of_the_tail() {
    let world = World::new();
    world.database();
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = ["--listen", &listen, "--d1", &db, "--admin", "127.0.0.1:0"];
    let mut callee = world.start(util::callee(), &args);
    let at = At::said_by(&mut callee);
    let callee = callee.ready();
    let says = |said: &'static str| {
        let mut stream = at.connect();
        let _ = stream.write_all(said.as_bytes());
        stream
    };
    let tail = "GET /tail HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first: Vec<_> = (0..16).map(|_| says(tail)).collect();
    for reader in &mut first {
        let mut some = [0; 12];
        reader.read_exact(&mut some).unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");
    }
    // More than there may be, of both kinds, and those that come again and again.
    let more: Vec<_> = (0..20).map(|_| says(tail)).collect();
    let idle: Vec<_> = (0..60).map(|_| at.connect()).collect();
    for _ in 0..20 {
        let began = Instant::now();
        for probe in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(at.get(probe).status, 200, "{probe}");
        }
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    let refused = at.get("/tail");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("16 readers"), "{refused:?}");
    // Who reads the tail is not sent away for them, and makes room when it is gone.
    for reader in &mut first {
        assert!(reader.write_all(b"x").is_ok());
    }
    drop((first, more, idle));
    let began = Instant::now();
    let head = "GET /tail HTTP/1.1\r\nHost: localhost\r\n\r\n";
    loop {
        let mut stream = says(head);
        let mut some = [0; 12];
        if stream.read_exact(&mut some).is_ok() && &some == b"HTTP/1.1 200" {
            break;
        }
        assert!(began.elapsed() < LIMIT, "its place is not given back");
    }
    assert!(callee.stop().success());
}

/// How long it takes until this connection is closed; what it does not read stays unread.
fn closed_after(at: &At, said: &str, reads: bool) -> Duration {
    let (mut stream, began) = (at.connect(), Instant::now());
    stream.write_all(said.as_bytes()).unwrap();
    let mut some = [0; 4096];
    while began.elapsed() < LIMIT {
        let open = match reads {
            true => stream.read(&mut some).is_ok_and(|n| n > 0),
            // It is seen by what can no longer be sent; a pause is no event, but nothing else tells.
            false => {
                std::thread::sleep(Duration::from_millis(50));
                stream.write_all(b"x").is_ok()
            }
        };
        if !open {
            return began.elapsed();
        }
    }
    panic!("{said:.30?} is still open after {LIMIT:?}");
}

#[test]
fn who_says_or_reads_nothing_does_not_stay() {
    let world = World::new();
    let caller = world.caller(&["--admin", "unix:admin.sock"]);
    let at = At::socket(&world, "admin.sock");
    let scrape = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let many = scrape.repeat(400);
    let cases = [
        ("", true),
        ("GET /", true),
        // Idle after its answer.
        (scrape, true),
        (many.as_str(), false),
    ];
    std::thread::scope(|scope| {
        let each = cases.map(|(said, reads)| {
            scope.spawn({
                let at = &at;
                move || closed_after(at, said, reads)
            })
        });
        for closed in each {
            let closed = closed.join().unwrap();
            assert!(closed > Duration::from_secs(5), "{closed:?}");
        }
    });
    assert!(caller.stop().success());
}
