//! Requests that no program sends, to `caller serve --http`: each has the one answer that it deserves, none
//! hides a second one, and an honest client is served beside them.

mod http;
mod util;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::{Http, http_of};
use serde_json::json;
use util::{Daemon, LIMIT, World, opened};

const PATH: &str = "/v1/call/DB/query";

/// The head of a call, with more headers.
fn head(more: &str) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\n{more}\r\n"
    )
}

/// A head, and the body that it says the length of.
fn whole(more: &str, body: &str) -> String {
    head(&format!("{more}Content-Length: {}\r\n", body.len())) + body
}

fn query(sql: &str) -> String {
    json!([{"queries": [{"sql": sql}]}]).to_string()
}

/// What would be called if it were taken for a request of its own.
fn hidden() -> String {
    whole("", "[]").replace("query", "hidden")
}

/// All that is answered, as statuses and the text.
fn answers(address: &str, request: &[u8]) -> (Vec<u16>, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // It may be refused, and closed, before all of it is written.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = |part: &str| part.get(..3).and_then(|status| status.parse().ok());
    let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(status);
    (statuses.collect(), text)
}

/// Each with what it is answered, once; nothing where the connection is only closed.
fn cases() -> Vec<(&'static str, String, Option<u16>)> {
    let (two, chunked) = ("Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n");
    let end = "0\r\n\r\n";
    let raw = |more: &str, body: &str| head(more) + body;
    let hides = |more: &str| raw(more, end) + &hidden();
    let plain = whole("", &query("select 1"));
    let span = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    vec![
        // Lengths on which two readers could differ.
        (
            "a length and chunks",
            hides(&format!("Content-Length: 4\r\n{chunked}")),
            Some(400),
        ),
        (
            "chunks of another name",
            hides("Transfer-Encoding: xchunked\r\n"),
            Some(400),
        ),
        (
            "chunks, and then none",
            hides(&format!("{chunked}Transfer-Encoding: identity\r\n")),
            Some(400),
        ),
        (
            "a space before the colon",
            hides("Transfer-Encoding : chunked\r\n"),
            Some(400),
        ),
        (
            "another space behind it",
            hides("Transfer-Encoding:\u{b}chunked\r\n"),
            Some(400),
        ),
        (
            "chunks in HTTP/1.0",
            hides(chunked).replace("1.1", "1.0"),
            Some(400),
        ),
        (
            "two lengths",
            raw(&format!("{two}Content-Length: 3\r\n"), "[] "),
            Some(400),
        ),
        (
            "a list of lengths",
            raw("Content-Length: 2, 2\r\n", "[]"),
            Some(400),
        ),
        (
            "a length with a sign",
            raw("Content-Length: +2\r\n", "[]"),
            Some(400),
        ),
        (
            "a negative length",
            raw("Content-Length: -1\r\n", "[]"),
            Some(400),
        ),
        (
            "a length beyond all",
            raw("Content-Length: 99999999999999999999\r\n", "[]"),
            Some(400),
        ),
        (
            "a chunk beyond all",
            raw(chunked, "ffffffffffffffffff\r\n"),
            Some(400),
        ),
        // Lines on which two readers could differ.
        (
            "a bare CR",
            raw(&format!("X: y\rZ: y\r\n{two}"), "[]"),
            Some(400),
        ),
        (
            "a line that goes on",
            raw(&format!("X: y\r\n z\r\n{two}"), "[]"),
            Some(400),
        ),
        ("a NUL", raw(&format!("X: \0\r\n{two}"), "[]"), Some(400)),
        (
            "the other HTTP",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            None,
        ),
        // Much of what nobody looks at.
        (
            "a long extension of a chunk",
            raw(
                chunked,
                &format!("2;{}\r\n[]\r\n{end}", "x".repeat(200_000)),
            ),
            Some(400),
        ),
        (
            "many extensions",
            raw(
                chunked,
                &format!("1;{}\r\n \r\n", "x".repeat(1000)).repeat(400),
            ),
            Some(400),
        ),
        (
            "a long trailer",
            raw(
                chunked,
                &format!("2\r\n[]\r\n0\r\nX: {}\r\n\r\n", "y".repeat(200_000)),
            ),
            Some(400),
        ),
        (
            "many trailers",
            raw(
                chunked,
                &format!("2\r\n[]\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5000)),
            ),
            Some(400),
        ),
        (
            "many headers",
            raw(&format!("{}{two}", "X: y\r\n".repeat(101)), "[]"),
            Some(431),
        ),
        // Bodies.
        ("deep arrays", whole("", &"[".repeat(400_000)), Some(400)),
        (
            "deep objects",
            whole("", &"{\"a\":".repeat(60_000)),
            Some(400),
        ),
        // A string that JavaScript can have: an argument like any other, which D1 does not take.
        ("half a character", whole("", "[\"\\ud800\"]"), Some(500)),
        ("a number beyond all", whole("", "[1e999999]"), Some(400)),
        (
            "a hundred thousand digits",
            whole("", &format!("[{}]", "9".repeat(100_000))),
            Some(400),
        ),
        (
            "a million digits",
            whole(
                "",
                &format!("[{{\"$bigint\":\"{}\"}}]", "9".repeat(1_000_000)),
            ),
            Some(400),
        ),
        (
            "a prototype",
            whole("", "[{\"__proto__\":{\"queries\":[]}}]"),
            Some(500),
        ),
        // Names.
        (
            "a path upwards",
            plain.replace("DB/query", "DB/../x"),
            Some(400),
        ),
        (
            "a line in a name",
            plain.replace("query", "a%0d%0aX:%20y"),
            Some(500),
        ),
        (
            "a prototype's method",
            plain.replace("query", "constructor.__proto__"),
            Some(500),
        ),
        // What is ignored is no reason to refuse.
        (
            "two parents",
            whole(
                &format!("traceparent: 00-{span}\r\n").repeat(2),
                &query("select 1"),
            ),
            Some(200),
        ),
        (
            "a parent of a later form",
            whole(&format!("traceparent: ff-{span}\r\n"), &query("select 1")),
            Some(200),
        ),
        (
            "a parent of all zeros",
            whole(
                &format!("traceparent: 00-{:032}-{:016}-01\r\n", 0, 0),
                &query("select 1"),
            ),
            Some(200),
        ),
        (
            "a long parent",
            whole(
                &format!("traceparent: 00-{span}-{}\r\n", "a".repeat(20_000)),
                &query("select 1"),
            ),
            Some(200),
        ),
        (
            "another protocol",
            plain.replace(
                "close\r\n",
                "Upgrade\r\nUpgrade: h2c\r\nConnection: close\r\n",
            ),
            Some(200),
        ),
    ]
}

fn start(world: &World) -> (Daemon, Daemon, String) {
    world.database();
    let callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0", "--tail", "tail.jsonl"]);
    let address = http_of(&mut caller);
    (callee, caller, address)
}

#[test]
fn what_two_readers_could_read_differently_is_one_request_or_none() {
    let world = World::new();
    let (callee, caller, address) = start(&world);
    let mut honest = Http::tcp(&address);
    let mut called = 0;
    for (name, request, status) in cases() {
        let (statuses, text) = answers(&address, request.as_bytes());
        assert_eq!(statuses, Vec::from_iter(status), "{name}: {text}");
        assert!(
            !text.contains("\r\nX: y"),
            "{name}: a header of theirs: {text}"
        );
        called += usize::from(matches!(status, Some(200 | 500)));
        assert_eq!(
            honest.post(PATH, "", &query("select 1")).status,
            200,
            "{name}"
        );
        called += 1;
    }
    let invalid = [head("Content-Length: 5\r\n").as_bytes(), b"[\"\xff\"]"].concat();
    assert_eq!(answers(&address, &invalid).0, [400]);
    assert!(caller.stop().success());
    assert!(callee.stop().success());
    let events = world.tail("tail.jsonl");
    assert_eq!(opened(&events).len(), called, "nothing else was called");
    assert!(!util::read(&world.path("tail.jsonl")).contains("hidden"));
}

/// Bytes of a process in memory, at most so far, as the kernel counts them: not to the page.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn bodies_that_never_end_hold_a_bounded_memory_and_nobody_else_up() {
    let world = World::new();
    let (callee, caller, address) = start(&world);
    let before = peak(&caller);
    // Each of 60 sends 4 MiB of a body of 8 MiB, and waits.
    let part = [
        head("Content-Length: 8388608\r\n").as_bytes(),
        &vec![b' '; 4 << 20],
    ]
    .concat();
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // Refused while it is written, once there are too many.
        let _ = stream.write_all(&part);
        held.push(stream);
    }
    let answer = Http::tcp(&address).post(PATH, "", &query("select 1"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let held_up = peak(&caller).saturating_sub(before);
    println!("{held_up} bytes for 240 MiB");
    assert!(held_up < 160 << 20, "{held_up} bytes");
    drop(held);
    // There is room again.
    let long = format!("{}{}", query("select 1"), " ".repeat(7 << 20));
    let since = std::time::Instant::now();
    while Http::tcp(&address).post(PATH, "", &long).status != 200 {
        assert!(
            since.elapsed() < LIMIT,
            "it does not notice that they are gone"
        );
    }
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}
