//! A statement that runs past its deadline still has a name and a text on its caller's span.

use serde_json::{Value as Json, json};

use crate::scene::{post, until};
use crate::spans::{self, Span};
use crate::util::{LIMIT, World, request};

/// Runs until it is stopped.
const ENDLESS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";

#[track_caller]
fn named(world: &World, file: &str, class: &str) {
    let find = || {
        let spans = spans::read(&world.path(file)).into_iter();
        spans
            .filter(Span::is_called)
            .find(|span| span.outcome.is_some())
    };
    until("the span closes", || find().is_some());
    let span = find().unwrap();
    assert_eq!(span.name, "d1.query", "{span:?}");
    assert_eq!(
        span.outcome.as_deref(),
        Some("exceededWallTime"),
        "{span:?}"
    );
    assert_eq!(span.error_type(), Some(class), "{span:?}");
    let text = span.get("db.query.text").unwrap();
    assert!(text.starts_with("with recursive c(x) as"), "{span:?}");
    assert_eq!(span.get("db.operation.name"), Some("SELECT"), "{span:?}");
}

#[test]
fn a_statement_past_the_callers_deadline_is_named() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--tail", "callee.jsonl"]);
    let http = world.unix("caller.http");
    let caller = world.caller(&[
        "--tail",
        "caller.jsonl",
        "--http",
        &http,
        "--deadline",
        "2s",
    ]);
    let direct = ["--deadline", "1s", "--tail", "direct.jsonl"];
    let done = world.query(&world.unix("callee.sock"), ENDLESS, &direct);
    assert_eq!(done.code, Some(124), "{done:?}");
    let says = "caller: deadline of 1s passed without an answer";
    assert_eq!(done.last_line(), says, "{done:?}");
    named(&world, "direct.jsonl", "deadline");

    let through = ["--deadline", "1s", "--tail", "through.jsonl"];
    let done = world.query(&world.unix("caller.sock"), ENDLESS, &through);
    assert_eq!((done.code, done.last_line()), (Some(124), says), "{done:?}");
    named(&world, "through.jsonl", "deadline");
    named(&world, "caller.jsonl", "deadline");

    let args: Json = serde_json::from_str(&request(ENDLESS)).unwrap();
    let ended = post(
        &world.path("caller.http"),
        "/v1/call/DB/query",
        &json!([args]),
    )
    .end();
    assert_eq!(ended.code, "504", "{ended:?}");
    assert_eq!(
        ended.text,
        "deadline: deadline of 2s passed without an answer"
    );
    // The statement was stopped: the next one does not wait for it.
    let began = std::time::Instant::now();
    world
        .query(&world.unix("caller.sock"), "select 1", &[])
        .json();
    assert!(began.elapsed() < LIMIT / 2);
    assert!(caller.stop().success() && callee.stop().success());
    let served = spans::read(&world.path("callee.jsonl"));
    let called = spans::read(&world.path("caller.jsonl"));
    let called: Vec<&Span> = called
        .iter()
        .filter(|span| span.error_type().is_some())
        .collect();
    assert_eq!(called.len(), 2, "{called:#?}");
    for span in called {
        assert_eq!(span.name, "d1.query", "{span:?}");
        assert!(span.get("db.query.text").is_some(), "{span:?}");
    }
    let late: Vec<&Span> = served
        .iter()
        .filter(|span| span.error_type().is_some())
        .collect();
    assert_eq!(late.len(), 3, "{late:#?}");
    for span in late {
        assert_eq!(
            span.outcome.as_deref(),
            Some("exceededWallTime"),
            "{span:?}"
        );
        assert_eq!(
            span.get("db.query.text"),
            None,
            "it went to the caller: {span:?}"
        );
    }
}

#[test]
fn a_statement_past_the_callees_own_limit_is_named() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--limit-handler", "700ms", "--tail", "callee.jsonl"]);
    let caller = world.caller(&["--tail", "caller.jsonl"]);
    let done = world.query(
        &world.unix("caller.sock"),
        ENDLESS,
        &["--tail", "call.jsonl"],
    );
    assert_eq!(done.code, Some(124), "{done:?}");
    let says = "caller: deadline of 700ms passed without an answer";
    assert_eq!(done.last_line(), says, "{done:?}");
    named(&world, "call.jsonl", "deadline");
    named(&world, "caller.jsonl", "deadline");
    assert!(caller.stop().success() && callee.stop().success());
}
