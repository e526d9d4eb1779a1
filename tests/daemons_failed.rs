//! Calls that returned a failure, and daemons that are signalled: what an operator and a script see.

mod http;
mod util;

use std::process::Command;
use std::thread;
use std::time::Duration;

use http::{Http, http_of};
use js_rpc::{Address, Context, Listener, Server, Value};
use rustix::process::Signal;
use serde_json::json;
use util::{World, request};

const WRONG: &str = "select no from nowhere";
const SAYS: &str = "no such table: nowhere: SQLITE_ERROR";

#[test]
fn a_failed_statement_is_a_failed_call_wherever_calls_are_shown_and_counted() {
    let world = World::new();
    world.database();
    let args = ["--tail", "served.jsonl", "--admin"];
    let callee = world.callee(&[&args[..], &[&world.unix("served.sock")]].concat());
    let (http, admin) = (["--http", "127.0.0.1:0"], world.unix("admin.sock"));
    let more = [&http[..], &["--tail", "called.jsonl", "--admin", &admin]].concat();
    let listen = world.unix("caller.sock");
    let bind = format!("DB={}", world.unix("callee.sock"));
    let args = [&["serve", "--listen", &listen, "--bind", &bind], &more[..]].concat();
    let mut caller = world.start(util::caller(), &args);
    let at = http_of(&mut caller);

    // The exit code of what the callee threw; the result is there for who reads it.
    let done = world.query(&listen, WRONG, &["--tail", "own.jsonl"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let result: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(result["success"], json!(false));
    assert!(
        done.stderr.contains(&format!("SQLITE_ERROR: {SAYS}")),
        "{done:?}"
    );
    assert!(!done.stderr.contains(" ok"), "{done:?}");
    assert!(!done.stderr.contains("error.message"), "{done:?}");

    let body = json!([{"queries": [{"sql": WRONG}]}]).to_string();
    let answer = Http::tcp(&at).post("/v1/call/DB/query", "", &body);
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(answer.body["success"], json!(false), "{answer:?}");
    assert!(
        answer
            .head
            .contains("binding-span-error-type: sqlite_error"),
        "{answer:?}"
    );
    let good = json!([{"queries": [{"sql": "select 1"}]}]).to_string();
    let answer = Http::tcp(&at).post("/v1/call/DB/query", "", &good);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.head.contains("error-type"), "{answer:?}");

    for (socket, side) in [("admin.sock", "client"), ("served.sock", "server")] {
        let text = util::metrics(&world, socket);
        for line in [
            format!(
                "calls_total{{side=\"{side}\",binding=\"DB\",method=\"query\",outcome=\"ok\"}} 1\n"
            ),
            format!(
                "calls_total{{side=\"{side}\",binding=\"DB\",method=\"query\",outcome=\"exception\"}} 2\n"
            ),
            format!(
                "call_errors_total{{side=\"{side}\",binding=\"DB\",error_type=\"SQLITE_ERROR\"}} 2\n"
            ),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
    let tail = ["tail", "--connect", &admin, "--since", "1h", "--no-follow"];
    let shown = world.run(util::caller(), &[&tail[..], &["--errors"]].concat());
    assert_eq!(shown.stdout.matches("● d1.query").count(), 2, "{shown:?}");
    assert!(!shown.stdout.contains("  ok\n"), "{shown:?}");
    assert!(shown.stdout.contains(SAYS), "{shown:?}");

    assert!(caller.stop().success());
    assert!(callee.stop().success());
    for (name, failed) in [("own.jsonl", 1), ("called.jsonl", 2), ("served.jsonl", 2)] {
        let events = world.tail(name);
        let of = |kind: &str| -> Vec<_> {
            let of = events
                .iter()
                .filter(|event| event["event"]["type"] == *kind);
            of.map(|event| &event["event"]).collect()
        };
        let exceptions = of("exception");
        let stated: Vec<_> = exceptions
            .iter()
            .filter(|it| it["message"].as_str().unwrap().starts_with(SAYS))
            .collect();
        assert!(stated.len() >= failed, "{name}: {events:#?}");
        let outcomes = of("outcome");
        let outcomes = outcomes.iter().filter(|it| it["outcome"] == "exception");
        assert_eq!(outcomes.count(), failed, "{name}: {events:#?}");
    }
}

#[test]
fn numbers_are_printed_as_javascript_prints_them_and_integers_lose_nothing() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0"]);
    let mut http = Http::tcp(&http_of(&mut caller));
    let at = world.unix("caller.sock");
    for (sql, printed, rounded) in [
        ("select 9223372036854775807", "[9223372036854776000]", true),
        (
            "select -9223372036854775807",
            "[-9223372036854776000]",
            true,
        ),
        ("select 9007199254740993", "[9007199254740992]", true),
        ("select 1e21", "[1e+21]", false),
        ("select -0.0", "[0]", false),
        ("select 1e-7", "[1e-7]", false),
    ] {
        let done = world.query(&at, sql, &["--no-tree"]);
        assert!(
            done.stdout.contains(&format!("[{printed}]")),
            "{sql}: {done:?}"
        );
        let says = done.stdout.contains("\"rounded_integers\":1");
        assert_eq!(says, rounded, "{sql}: {done:?}");
    }
    let keeps = |params: &str| {
        let sql = "select cast(?1 as text), typeof(?1), ?1 = 9007199254740993";
        format!("{{\"queries\":[{{\"sql\":\"{sql}\",\"params\":[{params}]}}]}}")
    };
    let rows = json!([["9007199254740993", "integer", 1]]);
    for given in ["9007199254740993", "{\"$bigint\":\"9007199254740993\"}"] {
        let done = world.call(&at, &["--no-tree", "DB.query", &keeps(given)]);
        assert_eq!(done.rows(), rows);
        let answer = http.post("/v1/call/DB/query", "", &format!("[{}]", keeps(given)));
        let found = answer.body.pointer("/results/queryResults/0/data/rows");
        assert_eq!(found, Some(&rows));
    }
    let done = world.call(
        &at,
        &["--no-tree", "DB.query", &keeps("9223372036854775809")],
    );
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("an INTEGER has 64 bits"), "{done:?}");
}

#[test]
fn a_callee_answers_as_it_is_told_and_a_failed_statement_is_a_failed_call_all_the_same() {
    let world = World::new();
    world.database();
    let exact = "select 9007199254740993 as n, 7 as m";
    for (integers, printed) in [
        ("number", "[[9007199254740992,7]]"),
        ("text", "[[\"9007199254740993\",7]]"),
        ("bigint", "[[9007199254740993,7]]"),
    ] {
        let callee = world.callee(&["--d1-reply", "new", "--d1-integers", integers]);
        let at = world.unix("callee.sock");
        let done = world.query(&at, exact, &["--no-tree"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains(printed), "{done:?}");
        assert!(
            done.stdout.starts_with("{\"results\":[{\"meta\":"),
            "{done:?}"
        );
        let says = done.stdout.contains("\"rounded_integers\":1");
        assert_eq!(says, integers == "number", "{done:?}");
        let done = world.query(&at, WRONG, &[]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert_eq!(done.stdout, "");
        assert!(done.stderr.contains(SAYS), "{done:?}");
        assert!(done.stderr.contains("d1.query"), "{done:?}");
        assert!(done.stderr.contains("SQLITE_ERROR"), "{done:?}");
        assert!(callee.stop().success());
    }
}

#[test]
fn every_bound_of_a_database_is_a_setting_of_its_table_and_of_all() {
    let world = World::new();
    let recursive = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)";
    let scan = format!("{recursive} select i from n");
    let large = format!("select '{}'", "x".repeat(2000));
    let params = |n: usize| json!({"queries": [{"sql": "select ?, ?, ?", "params": vec![1; n]}]});
    let sql = |text: &str| json!({"queries": [{"sql": text}]});
    // (key, value, a call beyond it, what the error has)
    let bounds = [
        ("max-parameters", "2", params(3), "too many SQL variables"),
        ("max-columns", "2", sql("select 1, 2, 3"), "max_columns"),
        ("max-sql", "'1KB'", sql(&large), "statement too long"),
        (
            "max-value",
            "'1KB'",
            sql("select zeroblob(2000)"),
            "string or blob too big",
        ),
        (
            "max-statements",
            "1",
            json!({"queries": [{"sql": "select 1"}, {"sql": "select 1"}]}),
            "max_statements",
        ),
        ("max-rows", "99", sql(&scan), "max_result_rows"),
        ("max-result", "'1KB'", sql(&scan), "max_result_bytes"),
        (
            "max-size",
            "'64KiB'",
            sql("create table t as select randomblob(200000)"),
            "max_database_bytes",
        ),
    ];
    let listen = world.unix("callee.sock");
    let mut file = format!("listen = [\"{listen}\"]\n");
    for (key, value, ..) in &bounds {
        let path = world.text(&format!("{key}.sqlite"));
        let name = key.replace('-', "_");
        file += &format!("[d1.{name}]\npath = \"{path}\"\ncreate = true\n{key} = {value}\n");
        file += &format!("[d1.{name}_default]\npath = \"{path}2\"\ncreate = true\n");
    }
    std::fs::write(world.path("callee.toml"), &file).unwrap();
    let config = world.text("callee.toml");
    let callee = world.start(util::callee(), &["--config", &config]).ready();
    for (key, _, call, has) in &bounds {
        let name = key.replace('-', "_");
        let ask = |name: &str| {
            let method = format!("{name}.query");
            world.call(&listen, &["--no-tree", &method, &call.to_string()])
        };
        let done = ask(&name);
        assert_eq!(done.code, Some(1), "{key}: {done:?}");
        assert!(done.stdout.contains(has), "{key}: {done:?}");
        let done = ask(&format!("{name}_default"));
        assert_eq!(done.code, Some(0), "{key}: {done:?}");
    }
    assert!(callee.stop().success());
    // For all databases, by an option and by a variable.
    let mut command = util::callee();
    command.env("BINDING_SPAN_D1_MAX_ROWS", "99");
    let args = [
        "--listen",
        &listen,
        "--d1",
        &world.db(),
        "--d1-create",
        "--d1-max-columns",
        "2",
    ];
    let callee = world.start(command, &args).ready();
    for (text, has) in [
        (scan.as_str(), "max_result_rows"),
        ("select 1, 2, 3", "max_columns"),
    ] {
        let done = world.query(&listen, text, &["--no-tree"]);
        assert!(done.stdout.contains(has), "{done:?}");
    }
    assert!(callee.stop().success());
    for (option, value, has) in [
        ("--d1-max-parameters", "40000", "SQLite takes 32766 at most"),
        ("--d1-max-value", "2GB", "SQLite takes 1GB at most"),
        ("--d1-reply", "old", "possible values: legacy, new"),
        (
            "--d1-integers",
            "exact",
            "possible values: number, text, bigint",
        ),
    ] {
        let args = ["--listen", &listen, "--d1", &world.db(), option, value];
        let done = world.run(util::callee(), &args);
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.stderr.contains(has), "{done:?}");
    }
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one_and_drains() {
    for first in [Signal::TERM, Signal::INT] {
        let world = World::new();
        let database = world.database();
        let mut callee = world.callee(&["--tail", "stderr"]);
        database.execute_batch("begin immediate").unwrap();
        let (at, sql) = (
            world.unix("callee.sock"),
            request("insert into t values (4)"),
        );
        let call = thread::spawn(move || {
            let mut command: Command = util::caller();
            command.args(["call", "--no-tree", "--connect", &at, "DB.query", &sql]);
            util::finish(&mut command, None)
        });
        callee.line("sqlite.transaction");
        callee.signal(first);
        callee.line("finishing the calls in flight");
        for _ in 0..3 {
            callee.signal(Signal::TERM);
            thread::sleep(Duration::from_millis(50));
        }
        database.execute_batch("commit").unwrap();
        let done = call.join().unwrap();
        assert_eq!(done.json()["success"], json!(true), "{first:?}");
        assert!(callee.end().success());
    }
}

/// Serves a binding LOOP, whose every method returns a list that contains itself, until the test ends.
fn serve_loop(at: &str) {
    let at: Address = at.parse().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let looping = js_rpc::service_fn(async |_: &str, _, _: &Context| {
                Ok(Value::Array(vec![Value::BackRef(0)]).into())
            });
            let listener = Listener::bind(&at).await.unwrap();
            ready.send(()).unwrap();
            let server = Server::new().service("LOOP", looping);
            server.serve([listener], std::future::pending()).await;
        });
    });
    is_ready.recv().unwrap();
}

#[test]
fn a_result_that_json_cannot_express_is_not_blamed_on_the_callee() {
    let world = World::new();
    let at = world.unix("loop.sock");
    serve_loop(&at);
    let says = "the call returned, but its result cannot be written as JSON";
    let done = world.call(&at, &["LOOP.any"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(74), ""),
        "{done:?}"
    );
    assert!(
        done.last_line().starts_with(&format!("caller: {says}")),
        "{done:?}"
    );
    assert!(
        done.stderr.contains("ok"),
        "the call's span did not fail: {done:?}"
    );

    let bind = format!("LOOP={at}");
    let args = ["serve", "--http", "127.0.0.1:0", "--bind", &bind];
    let mut caller = world.start(util::caller(), &args);
    let mut http = Http::tcp(&http_of(&mut caller));
    let answer = http.post("/v1/call/LOOP/any", "", "[]");
    assert_eq!(answer.status, 500, "{answer:?}");
    let error = &answer.body["error"];
    assert_eq!(error["name"], json!("json"));
    assert!(
        error["message"].as_str().unwrap().starts_with(says),
        "{answer:?}"
    );
}

#[test]
fn an_outage_of_the_callee_is_logged_once_and_its_end() {
    let world = World::new();
    world.database();
    let callee = world.callee(&[]);
    let mut caller = world.caller(&[]);
    let at = world.unix("caller.sock");
    world.query(&at, "select 1", &[]).json();
    callee.kill();
    let line = caller.line("lost the callee of DB at unix:");
    assert!(line.contains("the next call connects again"), "{line}");
    for _ in 0..3 {
        assert_eq!(world.query(&at, "select 1", &[]).code, Some(69));
    }
    let callee = world.callee(&[]);
    world.query(&at, "select 1", &[]).json();
    caller.line("the callee of DB at unix:");
    caller.signal(Signal::TERM);
    let said = caller.rest();
    assert_eq!(said.matches("lost the callee").count(), 1, "{said}");
    assert_eq!(said.matches("cannot reach").count(), 0, "{said}");
    assert_eq!(said.matches("is back").count(), 1, "{said}");
    assert!(callee.stop().success());
}

#[test]
fn a_call_that_cannot_connect_has_a_span_and_connecting_counts_against_its_deadline() {
    let world = World::new();
    let nowhere = world.unix("nowhere.sock");
    let done = world.call(&nowhere, &["--verbose", "--tail", "tail.jsonl", "DB.query"]);
    assert_eq!(done.code, Some(69), "{done:?}");
    assert!(done.stderr.contains("jsRpcSession"), "{done:?}");
    assert!(
        done.last_line().contains("cannot connect to unix:"),
        "{done:?}"
    );
    let events = world.tail("tail.jsonl");
    let error = util::attribute(&events, "error.type");
    assert_eq!(error, Some(json!("unavailable")));
    assert_eq!(util::opened(&events).len(), 1);

    let _silent = std::os::unix::net::UnixListener::bind(world.path("silent.sock")).unwrap();
    let silent = world.unix("silent.sock");
    for more in [&["--connect-name", "DB"][..], &[]] {
        let args = [more, &["--deadline", "500ms", "DB.query"]].concat();
        let done = world.call(&silent, &args);
        assert_eq!(done.code, Some(124), "{done:?}");
    }
}
