//! The two daemons together: a callee on a real database, a caller that passes calls on.

mod util;

use serde_json::{Value as Json, json};
use util::{World, attribute, attributes, caller, finish, opened, request};

/// What a callee of D1 says of every call that reads.
const TOLD: [&str; 12] = [
    "db.system.name",
    "db.namespace",
    "db.operation.name",
    "db.query.text",
    "cloudflare.binding.type",
    "db.response.returned_rows",
    "cloudflare.d1.response.rows_read",
    "cloudflare.d1.response.rows_written",
    "cloudflare.d1.response.changes",
    "cloudflare.d1.response.last_row_id",
    "cloudflare.d1.response.changed_db",
    "cloudflare.d1.response.size_after",
];

#[test]
fn a_call_straight_to_a_callee_and_one_through_a_caller_have_the_same_result() {
    let world = World::new();
    world.database();
    let (_callee, _caller) = (world.callee(&[]), world.caller(&[]));
    for socket in ["callee.sock", "caller.sock"] {
        let done = world.query(&world.unix(socket), "select a from t order by a", &[]);
        assert_eq!(done.rows(), json!([[1], [2], [3]]), "{socket}");
        // The tree, on the other stream.
        assert!(
            done.stderr.contains("● jsRpcSession → d1.query"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr.contains("db.response.returned_rows"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn the_callers_span_is_renamed_and_tagged_in_the_tail_in_shape_and_order() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let caller = world.caller(&["--tail", "tail.jsonl"]);
    world
        .query(&world.unix("caller.sock"), "select a from t", &[])
        .json();
    assert!(caller.stop().success());

    let events = world.tail("tail.jsonl");
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "onset",
            "spanOpen",
            "attributes",
            "spanUpdate",
            "attributes",
            "attributes",
            "spanClose",
            "return",
            "outcome"
        ]
    );
    for (i, event) in events.iter().enumerate() {
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "spanContext",
                "invocationId",
                "timestamp",
                "sequence",
                "event"
            ]
        );
        assert_eq!(event["sequence"], json!(i));
        assert_eq!(event["invocationId"], events[0]["invocationId"]);
        assert_eq!(
            event["spanContext"]["traceId"],
            events[0]["spanContext"]["traceId"]
        );
    }
    assert_eq!(events[1]["event"]["name"], json!("jsRpcSession"));
    assert_eq!(
        events[3]["event"]["info"],
        json!({"type": "name", "name": "d1.query"})
    );
    assert_eq!(
        events[4]["event"]["info"],
        json!([{"name": "span.name", "value": "d1.query"}])
    );
    let told = attributes(&events[5..6]);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..12], TOLD);
    assert_eq!(attribute(&events, "db.namespace"), Some(json!("shop")));
    assert_eq!(
        attribute(&events, "db.response.returned_rows"),
        Some(json!(3))
    );
    assert_eq!(
        attribute(&events, "cloudflare.d1.response.changed_db"),
        Some(json!(false))
    );
    assert_eq!(events[6]["event"]["outcome"], json!("ok"));
}

#[test]
fn the_callees_spans_are_children_of_the_callers_span() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--tail", "callee.jsonl"]);
    let caller = world.caller(&["--tail", "caller.jsonl"]);
    world
        .query(&world.unix("caller.sock"), "select a from t", &[])
        .json();
    assert!(caller.stop().success() && callee.stop().success());

    let (caller, callee) = (world.tail("caller.jsonl"), world.tail("callee.jsonl"));
    let (session, id, _) = opened(&caller).remove(0);
    assert_eq!(session, "jsRpcSession");
    assert_eq!(callee[0]["event"]["type"], json!("onset"));
    assert_eq!(
        callee[0]["spanContext"]["spanId"],
        json!(id),
        "the onset names the caller's span"
    );
    assert_eq!(
        callee[0]["spanContext"]["traceId"],
        caller[0]["spanContext"]["traceId"]
    );
    let spans = opened(&callee);
    let own = callee[0]["event"]["spanId"].as_str().unwrap();
    let (name, _, parent) = spans.last().unwrap();
    assert_eq!(name, "sqlite.transaction");
    let known: Vec<&str> = spans
        .iter()
        .map(|(_, id, _)| id.as_str())
        .chain([own])
        .collect();
    assert!(known.contains(&parent.as_deref().unwrap()), "{spans:?}");
    // Nothing of them is in the caller's own tail.
    assert_eq!(opened(&caller).len(), 1);
}

#[test]
fn tail_events_can_go_to_stderr() {
    let world = World::new();
    world.database();
    let mut callee = world.callee(&["--tail", "stderr"]);
    let done = world.query(
        &world.unix("callee.sock"),
        "select 1",
        &["--tail", "stderr", "--no-tree"],
    );
    done.json();
    let events: Vec<Json> = done
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(attribute(&events, "span.name"), Some(json!("d1.query")));
    let outcome = callee.line("\"outcome\"");
    serde_json::from_str::<Json>(&outcome).unwrap();
}

#[test]
fn a_callee_listens_on_several_addresses_and_understands_both_openings() {
    let world = World::new();
    world.database();
    let mut callee = world.callee(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0,binding=DB",
    ]);
    let address = |line: String| {
        let at = line
            .split(' ')
            .find(|word| word.starts_with("127."))
            .unwrap();
        at.trim_end_matches(',').to_owned()
    };
    let (by_name, fixed) = (
        address(callee.line("127.0.0.1:")),
        address(callee.line("127.0.0.1:")),
    );
    let unix = world.unix("callee.sock");
    let cases: [(&str, &[&str]); 6] = [
        (&unix, &[]),
        (&unix, &["--connect-name", "DB"]),
        (&by_name, &[]),
        (&by_name, &["--connect-name", "DB"]),
        (&fixed, &[]),
        // Some tools hard-wire the name that they send.
        (&fixed, &["--connect-name", "whatever"]),
    ];
    for (address, more) in cases {
        let done = world.query(address, "select 1", more);
        assert_eq!(done.rows(), json!([[1]]), "{address} {more:?}");
    }
    let unknown = world.query(&by_name, "select 1", &["--connect-name", "X", "--no-tree"]);
    assert_eq!(unknown.code, Some(1));
    assert_eq!(
        unknown.stderr,
        "the callee refused the call: there is no binding \"X\" here; there is: DB\n"
    );
}

#[test]
fn an_address_for_one_binding_is_a_fence_on_both_daemons() {
    let world = World::new();
    world.database();
    let (only, of_caller) = (world.unix("only.sock"), world.unix("only-caller.sock"));
    let other = format!("OTHER={}", world.text("shop.sqlite"));
    let fenced = format!("{only},binding=DB");
    let _callee = world.callee(&["--listen", &fenced, "--d1", &other]);
    let bind = format!("OTHER={}", world.unix("callee.sock"));
    let fenced = format!("{of_caller},binding=DB");
    let more = [
        "--listen",
        &fenced,
        "--bind",
        &bind,
        "--tail-from",
        "events",
    ];
    let _caller = world.caller(&more);
    let request = request("select 1");
    for address in [&only, &of_caller] {
        assert_eq!(world.query(address, "select 1", &[]).rows(), json!([[1]]));
        for name in ["OTHER", "events", "DB#x"] {
            let method = format!("{name}.query");
            let done = world.call(address, &["--no-tree", &method, &request]);
            let says = format!("there is no binding \"{name}\" here; there is: DB\n");
            assert!(done.stderr.ends_with(&says), "{address} {name}: {done:?}");
            assert_eq!(done.code, Some(1), "{done:?}");
        }
    }
}

#[test]
fn a_caller_trusts_a_callee_as_far_as_it_is_told() {
    // Options; the names that the tree of the one who called shows.
    let renamed = "jsRpcSession → d1.query";
    let cases: [(&[&str], &[&str], &[&str]); 7] = [
        (&[], &[renamed, "db.namespace", "cloudflare.d1"], &[]),
        (
            &["--rename", "off"],
            &["jsRpcSession", "db.namespace"],
            &["d1.query"],
        ),
        (&["--rename", "x.*,d1.*"], &[renamed], &[]),
        (
            &["--rename", "x.*"],
            &["jsRpcSession", "db.namespace"],
            &["d1.query"],
        ),
        (&["--attributes", "off"], &[renamed], &["db.namespace"]),
        (
            &["--deny", "cloudflare."],
            &[renamed, "db.namespace"],
            &["cloudflare.d1"],
        ),
        (
            &["--forward", "none"],
            &["jsRpcSession"],
            &["d1.query", "db.namespace"],
        ),
    ];
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    for (options, shown, hidden) in cases {
        let caller = world.caller(options);
        let done = world.query(&world.unix("caller.sock"), "select 1", &[]);
        done.json();
        for text in shown {
            assert!(
                done.stderr.contains(text),
                "{options:?}: no {text} in {}",
                done.stderr
            );
        }
        for text in hidden {
            assert!(
                !done.stderr.contains(text),
                "{options:?}: {text} in {}",
                done.stderr
            );
        }
        assert!(caller.stop().success());
    }
}

#[test]
fn a_binding_may_have_another_name_at_the_callee() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    let (listen, bind) = (
        world.unix("x.sock"),
        format!("SHOP={}#DB", world.unix("callee.sock")),
    );
    let _caller = world
        .start(caller(), &["serve", "--listen", &listen, "--bind", &bind])
        .ready();
    let done = world.call(&listen, &["SHOP.query", &request("select 1")]);
    assert_eq!(done.rows(), json!([[1]]));
    let done = world.query(&listen, "select 1", &["--no-tree"]);
    assert_eq!(
        done.stderr,
        "the callee refused the call: there is no binding \"DB\" here; there is: SHOP\n"
    );
}

#[test]
fn a_call_belongs_to_the_trace_that_it_is_told() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let world = World::new();
    world.database();
    let callee = world.callee(&["--tail", "callee.jsonl"]);
    let run = |variable: &str, options: &[&str]| {
        let (connect, request) = (world.unix("callee.sock"), request("select 1"));
        let mut command = caller();
        command
            .env("TRACEPARENT", variable)
            .current_dir(world.path(""));
        command.args([
            "call",
            "--connect",
            &connect,
            "--no-tree",
            "--tail",
            "caller.jsonl",
        ]);
        finish(command.args(options).args(["DB.query", &request]), None)
    };
    // The variable, the option before the variable, and a variable that is ignored.
    run(&parent, &[]).json();
    run(
        "00-11111111111111111111111111111111-2222222222222222-01",
        &["--traceparent", &parent],
    )
    .json();
    let ignored = run("nonsense", &[]);
    ignored.json();
    assert!(
        ignored.stderr.contains("TRACEPARENT is ignored"),
        "{}",
        ignored.stderr
    );
    let wrong = run("", &["--traceparent", "nonsense"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    assert!(callee.stop().success());

    for tail in ["caller.jsonl", "callee.jsonl"] {
        let onsets = world
            .tail(tail)
            .into_iter()
            .filter(|e| e["event"]["type"] == "onset");
        let traces: Vec<bool> = onsets
            .map(|e| e["spanContext"]["traceId"] == json!(trace))
            .collect();
        assert_eq!(traces, [true, true, false], "{tail}");
    }
    let (_, _, parent) = opened(&world.tail("caller.jsonl")).remove(0);
    assert_eq!(parent.as_deref(), Some("b7ad6b7169203331"));
}

#[test]
fn a_write_is_seen_by_the_next_call_and_a_batch_fails_as_a_whole() {
    let world = World::new();
    let database = world.database();
    let _callee = world.callee(&[]);
    let at = world.unix("callee.sock");
    world.query(&at, "insert into t values (4)", &[]).json();
    assert_eq!(
        world.query(&at, "select max(a) from t", &[]).rows(),
        json!([[4]])
    );
    let batch = json!({"queries": [{"sql": "delete from t"}, {"sql": "select nonsense"}]});
    let done = world.call(&at, &["DB.query", &batch.to_string()]);
    assert_eq!(done.answer()["success"], json!(false));
    assert!(done.stderr.contains("d1.batch"), "{}", done.stderr);
    let left: i64 = database
        .query_row("select count(*) from t", (), |row| row.get(0))
        .unwrap();
    assert_eq!(left, 4);
}
