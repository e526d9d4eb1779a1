//! Calls as HTTP: through the caller's own path, and what of it is refused.

mod http;
mod util;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::thread;

use http::{Http, http_of};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use util::{World, attribute, opened};

fn query(sql: &str) -> String {
    json!([{"queries": [{"sql": sql}]}]).to_string()
}

const QUERY: &str = "/v1/call/DB/query";

#[test]
fn a_call_by_http_is_a_call_as_any_other_with_its_span_below_the_trace_parent() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0", "--tail", "tail.jsonl"]);
    let mut http = Http::tcp(&http_of(&mut caller));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    let answer = http.post(QUERY, &parent, &query("select a from t"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.body.pointer("/results/queryResults/0/data/rows");
    assert_eq!(rows, Some(&json!([[1], [2], [3]])));
    assert!(answer.head.contains("content-type: application/json"));
    assert!(!answer.head.contains("access-control"), "{answer:?}");
    // The same connection again; a header that is not valid is ignored.
    let answer = http.post(QUERY, "traceparent: nonsense\r\n", &query("select 1"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(caller.stop().success());

    let events = world.tail("tail.jsonl");
    let (ours, other): (Vec<_>, Vec<_>) = events
        .into_iter()
        .partition(|event| event["spanContext"]["traceId"] == trace);
    for events in [&ours, &other] {
        let spans = opened(events);
        assert_eq!(spans.len(), 1, "one call, one span: {spans:?}");
        assert_eq!(spans[0].0, "jsRpcSession");
        assert_eq!(attribute(events, "span.name"), Some(json!("d1.query")));
        assert_eq!(attribute(events, "jsrpc.binding"), Some(json!("DB")));
    }
    let parents = ours.iter().map(|event| &event["spanContext"]["spanId"]);
    assert!(
        parents.into_iter().any(|id| id == "b7ad6b7169203331"),
        "{ours:?}"
    );
}

#[test]
fn how_a_call_ends_is_the_status() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let silent = UnixListener::bind(world.path("silent.sock")).unwrap();
    let rude = UnixListener::bind(world.path("rude.sock")).unwrap();
    thread::spawn(move || rude.incoming().for_each(drop));
    let config = format!(
        "http = 'unix:./http.sock'\ntail = 'tail.jsonl'\n[bind.DB]\nto = '{}'\n\
         [bind.SILENT]\nto = 'unix:silent.sock'\ndeadline = '300ms'\n\
         [bind.RUDE]\nto = 'unix:rude.sock'\n[bind.DOWN]\nto = 'unix:down.sock'\n",
        world.unix("callee.sock")
    );
    std::fs::write(world.path("caller.toml"), config).unwrap();
    let caller = world
        .start(util::caller(), &["serve", "--config", "caller.toml"])
        .ready();
    let mut http = Http::unix(&world.path("http.sock"));
    let cases = [
        ("DB/query", "[]", 500, "TypeError", "queries"),
        ("DB/nothing", "[1]", 500, "TypeError", "nothing"),
        (
            "XY/query",
            "[]",
            404,
            "binding",
            "there is: DB, DOWN, RUDE, SILENT",
        ),
        (
            "SILENT/a.b",
            "[]",
            504,
            "deadline",
            "deadline of 300ms passed",
        ),
        (
            "RUDE/run",
            "[]",
            503,
            "unavailable",
            "connection lost before the call was sent",
        ),
        (
            "DOWN/run",
            "[]",
            503,
            "unavailable",
            "is the callee running?",
        ),
        ("DB/query", "", 400, "body", "not JSON"),
        ("DB/query", "[1,", 400, "body", "not JSON: EOF"),
        ("DB/query", "{}", 400, "body", "JSON array of arguments"),
        (
            "DB/query",
            "[1, {\"$date\": 7}]",
            400,
            "body",
            "argument 2 is not a value",
        ),
        ("DB/query", "[{\"$stub\": 0}]", 400, "arguments", "external"),
        ("DB/a..b", "[]", 400, "path", "/v1/call/BINDING/METHOD"),
        ("DB/query?get", "[]", 400, "path", "behind a ?"),
    ];
    for (path, body, status, name, says) in cases {
        let answer = http.post(&format!("/v1/call/{path}"), "", body);
        let error = &answer.body["error"];
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(error["name"], name, "{path}: {answer:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says), "{path}: {message}");
    }
    drop(silent);
    assert!(caller.stop().success());
    assert!(!world.path("http.sock").exists(), "the socket is removed");
    let outcomes: Vec<Json> = world
        .tail("tail.jsonl")
        .into_iter()
        .filter(|event| event["event"]["type"] == "spanClose")
        .map(|event| event["event"]["outcome"].clone())
        .collect();
    assert!(
        outcomes.contains(&json!("exceededWallTime")),
        "{outcomes:?}"
    );
}

/// What is refused, where a request that a program makes would be answered.
#[test]
fn what_a_web_page_could_send_is_refused_before_anything_is_called() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let mut caller = world.caller(&[
        "--http",
        "127.0.0.1:0",
        "--http-host",
        "caller.internal",
        "--tail",
        "tail.jsonl",
    ]);
    let address = http_of(&mut caller);
    let (json, body) = ("Content-Type: application/json\r\n", query("select 1"));
    let cases = [
        ("POST", QUERY, "Host: localhost:1\r\n", json, 200, ""),
        ("POST", QUERY, "Host: [::1]\r\n", json, 200, ""),
        ("POST", QUERY, "Host: caller.internal\r\n", json, 200, ""),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "Content-Type: Application/JSON; charset=utf-8\r\n",
            200,
            "",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nSec-Fetch-Mode: cors\r\n",
            json,
            200,
            "",
        ),
        ("POST", QUERY, "", json, 421, "host"),
        ("POST", QUERY, "Host: evil.example\r\n", json, 421, "host"),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nHost: localhost\r\n",
            json,
            421,
            "host",
        ),
        (
            "POST",
            "http://evil.example/v1/call/DB/query",
            "Host: localhost\r\n",
            json,
            421,
            "host",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nOrigin: http://localhost\r\n",
            json,
            403,
            "origin",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nOrigin: null\r\n",
            json,
            403,
            "origin",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
            json,
            403,
            "origin",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\nSec-Fetch-Site: same-origin\r\n",
            json,
            403,
            "origin",
        ),
        (
            "OPTIONS",
            QUERY,
            "Host: localhost\r\nOrigin: https://evil.example\r\n",
            json,
            403,
            "origin",
        ),
        ("OPTIONS", QUERY, "Host: localhost\r\n", json, 405, "method"),
        ("GET", QUERY, "Host: localhost\r\n", json, 405, "method"),
        ("PUT", QUERY, "Host: localhost\r\n", json, 405, "method"),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "",
            415,
            "content-type",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "Content-Type: text/plain\r\n",
            415,
            "content-type",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            415,
            "content-type",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
            415,
            "content-type",
        ),
        (
            "POST",
            QUERY,
            "Host: localhost\r\n",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            415,
            "content-type",
        ),
        ("POST", "/", "Host: localhost\r\n", json, 404, "path"),
        ("GET", "/v1/calls", "Host: localhost\r\n", json, 404, "path"),
    ];
    let mut answered = 0;
    for (method, path, host, more, status, name) in cases {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\n{host}{more}Content-Length: {length}\r\n\r\n");
        let answer = Http::tcp(&address).send(format!("{head}{body}").as_bytes());
        assert_eq!(answer.status, status, "{head}{answer:?}");
        match status {
            200 => answered += 1,
            _ => assert_eq!(answer.body["error"]["name"], name, "{head}{answer:?}"),
        }
        assert_eq!(answer.head.contains("allow: post"), status == 405);
        assert!(!answer.head.contains("access-control"), "{answer:?}");
    }
    assert!(caller.stop().success());
    let spans = opened(&world.tail("tail.jsonl"));
    assert_eq!(spans.len(), answered, "what was refused was not called");
}

#[test]
fn bodies_and_heads_have_a_size() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0"]);
    let address = http_of(&mut caller);
    let head =
        format!("POST {QUERY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    let said = format!("{head}Content-Length: 8388609\r\n\r\n");
    assert_eq!(Http::tcp(&address).send(said.as_bytes()).status, 413);
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n800001\r\n").into_bytes();
    chunked.resize(chunked.len() + 0x80_0001, b' ');
    assert_eq!(Http::tcp(&address).send(&chunked).status, 413);
    // Just as long as it may be.
    let mut whole = query("select 1");
    whole.extend(std::iter::repeat_n(' ', 0x80_0000 - whole.len()));
    assert_eq!(Http::tcp(&address).post(QUERY, "", &whole).status, 200);
    let long = format!("{head}X: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(Http::tcp(&address).send(long.as_bytes()).status, 431);
    let many = format!("[{}0]", "0,".repeat(1 << 20));
    let answer = Http::tcp(&address).post(QUERY, "", &many);
    assert_eq!(answer.status, 413, "{answer:?}");
    let deep = format!("[{}{}]", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(Http::tcp(&address).post(QUERY, "", &deep).status, 400);
    assert!(caller.stop().success());
}

/// A body of 7 MiB: ten are more than all that may be there at once.
fn long(body: &str) -> String {
    body.to_owned() + &" ".repeat((7 << 20) - body.len())
}

#[test]
fn the_memory_of_long_bodies_is_given_back_however_a_request_ends() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let silent = UnixListener::bind(world.path("silent.sock")).unwrap();
    let silent_at = format!("SILENT={}", world.unix("silent.sock"));
    let more = ["--http", "127.0.0.1:0", "--bind", &silent_at];
    let mut caller = world.caller(&[&more[..], &["--deadline", "5s"]].concat());
    let address = http_of(&mut caller);
    let head = |path: &str, length: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    let values = format!("[{}0]", "0,".repeat(1 << 20));
    let cases = [
        (QUERY, long(&query("select 1")), 200),
        (QUERY, long("[]"), 500),
        ("/v1/call/DB/nothing", long("[]"), 500),
        (QUERY, long("[1,"), 400),
        (QUERY, long("[{\"$date\": 7}]"), 400),
        (QUERY, long(&values), 413),
    ];
    for (path, body, status) in &cases {
        for i in 0..10 {
            let answer = Http::tcp(&address).post(path, "", body);
            assert_eq!(answer.status, *status, "{path}, {i}: {answer:?}");
        }
    }
    let body = long("[]");
    let length = format!("Content-Length: {}", body.len());
    for _ in 0..10 {
        // Gone within its body, before an answer, and with the wrong end of a part.
        let mut gone = TcpStream::connect(&address).unwrap();
        gone.write_all(head(QUERY, &length).as_bytes()).unwrap();
        gone.write_all(&body.as_bytes()[..4 << 20]).unwrap();
        drop(gone);
        let mut gone = TcpStream::connect(&address).unwrap();
        let _ = gone.write_all((head("/v1/call/SILENT/run", &length) + &body).as_bytes());
        drop(gone);
        let parts = head(QUERY, "Transfer-Encoding: chunked") + "400000\r\n" + &body;
        let _ = TcpStream::connect(&address)
            .unwrap()
            .write_all(parts.as_bytes());
    }
    // One that a deadline ends.
    let answer = Http::tcp(&address).post("/v1/call/SILENT/run", "", &body);
    assert_eq!(answer.status, 504, "{answer:?}");
    // All of it is there for who comes now: as much as one client may have.
    let whole: Vec<_> = (0..4)
        .map(|_| {
            let mut http = TcpStream::connect(&address).unwrap();
            http.write_all(head(QUERY, &length).as_bytes()).unwrap();
            http.write_all(&body.as_bytes()[..7 << 19]).unwrap();
            http
        })
        .collect();
    let answer = Http::tcp(&address).post(QUERY, "", &(query("select 1") + &" ".repeat(1 << 20)));
    assert_eq!(answer.status, 200, "{answer:?}");
    for mut http in whole {
        http.write_all(&body.as_bytes()[7 << 19..]).unwrap();
        assert_eq!(Http(Box::new(http)).receive().status, 500);
    }
    drop(silent);
    assert!(caller.stop().success());
}

#[test]
fn a_body_that_is_arriving_when_the_caller_stops_is_waited_for() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0"]);
    let address = http_of(&mut caller);
    let mut http = Http::tcp(&address);
    // Its connection is there, and the binding is known.
    assert_eq!(http.post(QUERY, "", &query("select 1")).status, 200);
    let body = query("select a from t");
    let (half, rest) = body.split_at(10);
    let length = body.len();
    let head = format!(
        "POST {QUERY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{half}"
    );
    http.0.write_all(head.as_bytes()).unwrap();
    thread::sleep(std::time::Duration::from_millis(200));
    caller.signal(Signal::TERM);
    caller.line("finishing the calls in flight");
    thread::sleep(std::time::Duration::from_millis(200));
    let answer = http.send(rest.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(caller.end().success());
}

#[test]
fn http_is_off_unless_asked_for_and_not_for_other_machines() {
    let world = World::new();
    let bind = format!("DB={}", world.unix("callee.sock"));
    for (at, code, says) in [
        ("*:0", 78, "or say --insecure"),
        ("192.0.2.1:1", 78, "or say --insecure"),
        ("nowhere", 2, "there is no port"),
        ("tls:localhost:1", 2, "leave out tls:"),
    ] {
        let args = ["serve", "--http", at, "--bind", &bind];
        let done = world.run(util::caller(), &args);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    let args = ["serve", "--http", "*:0", "--bind", &bind, "--insecure"];
    let caller = world.start(util::caller(), &args).ready();
    assert!(caller.stop().success());
    let mut caller = world.caller(&[]);
    caller.signal(Signal::TERM);
    assert!(!caller.rest().contains("HTTP"));
}

#[test]
fn a_request_in_flight_is_answered_when_the_caller_stops() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    // As long as a busy machine needs.
    let more = [
        "--http",
        "127.0.0.1:0",
        "--tail",
        "stderr",
        "--drain",
        "50s",
    ];
    let mut caller = world.caller(&more);
    let address = http_of(&mut caller);
    let slow = "with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000000) \
                select count(*) from c";
    let call = thread::spawn(move || Http::tcp(&address).post(QUERY, "", &query(slow)));
    caller.line("spanOpen");
    assert!(caller.stop().success());
    let answer = call.join().unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_client_that_goes_away_cancels_its_call() {
    let world = World::new();
    let silent = UnixListener::bind(world.path("callee.sock")).unwrap();
    let mut caller = world.caller(&["--http", "127.0.0.1:0", "--tail", "stderr"]);
    let mut http = Http::tcp(&http_of(&mut caller));
    let head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]";
    let request = format!("POST {QUERY} HTTP/1.1\r\n{head}");
    http.0.write_all(request.as_bytes()).unwrap();
    caller.line("spanOpen");
    drop(http);
    let closed = caller.line("spanClose");
    assert!(closed.contains("canceled"), "{closed}");
    drop(silent);
    assert!(caller.stop().success());
}
