//! What a callee says reaches its caller's span: merged, coerced, within the caps. Each over real
//! sockets, directly and through a proxy.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use binding_span::{AttributeValue, AttributeValue::*, DropReason, Enrichment, Maybe};
use common::{Wire, World, every_way, said, service};
use js_rpc::{Args, Stub, Value, attribute_value, enrich, nothing, reply};

/// A service whose every method says this.
fn saying(say: fn(&js_rpc::Context)) -> impl js_rpc::Service {
    service(async move |_: &str, _, cx: &js_rpc::Context| {
        say(cx);
        reply(&1)
    })
}

fn text(text: &str) -> AttributeValue {
    String(text.to_owned().into())
}

#[tokio::test(flavor = "local")]
async fn several_calls_of_enrich_merge() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(
            Enrichment::new()
                .name("first")
                .attribute("a", 1)
                .attribute("b", "x"),
        );
        cx.enrich(Enrichment::new().attribute("a", 2.5).attribute("c", true));
        enrich(Enrichment::new().name("second").attribute("b", "y"));
        enrich(Enrichment::new().attribute("d", 4));
    };
    every_way(
        || saying(say),
        async |world: &World| {
            let span = world.span_of("run").await;
            assert_eq!(span.original_name, "jsRpcSession");
            assert_eq!(span.name, "second");
            let expected = [
                ("a", Float64(2.5)),
                ("b", text("y")),
                ("c", Bool(true)),
                ("d", Int64(4)),
            ];
            assert_eq!(said(&span), expected);
            assert!(span.dropped.is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn attributes_alone_leave_the_name() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(Enrichment::new().attribute("a", 1));
    };
    every_way(
        || saying(say),
        async |world: &World| {
            let span = world.span_of("run").await;
            assert_eq!(span.name, "jsRpcSession");
            assert_eq!(said(&span), [("a", Int64(1))]);
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_name_alone_leaves_the_attributes() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(Enrichment::new().name("only"));
    };
    every_way(
        || saying(say),
        async |world: &World| {
            let span = world.span_of("run").await;
            assert_eq!(span.name, "only");
            assert_eq!(said(&span), []);
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_is_rejected_leaves_what_was_said_before() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(
            Enrichment::new()
                .name("kept")
                .attribute("a", "kept")
                .attribute("b", 1),
        );
        cx.enrich(Enrichment::new().name("x".repeat(257)));
        cx.enrich(Enrichment::new().attribute("a", "x".repeat(128 * 1024 + 1)));
        // Not rejected, just nothing:
        cx.enrich(Enrichment::new().name(""));
        cx.enrich(Enrichment::new().attribute("b", Maybe(None::<i64>)));
        cx.enrich(Enrichment::new().attribute("b", &serde_json::Value::Null));
    };
    every_way(
        || saying(say),
        async |world: &World| {
            let span = world.span_of("run").await;
            assert_eq!(span.name, "kept");
            assert_eq!(said(&span), [("a", text("kept")), ("b", Int64(1))]);
            assert_eq!(span.dropped.count(DropReason::Callee), 2);
            assert_eq!(span.dropped.total(), 2);
        },
    )
    .await;
}

/// 2^53 and 2^63.
const P53: f64 = 9_007_199_254_740_992.0;
const P63: f64 = 9_223_372_036_854_775_808.0;

#[tokio::test(flavor = "local")]
async fn javascript_numbers_become_integers_where_they_are_integers_of_64_bits() {
    let cases = [
        (P53 - 1.0, Int64((1 << 53) - 1)),
        (P53, Int64(1 << 53)),
        (P53 + 2.0, Int64((1 << 53) + 2)),
        (-P53, Int64(-(1 << 53))),
        (-P63, Int64(i64::MIN)),
        (-P63 - 2048.0, Float64(-P63 - 2048.0)),
        (P63 - 1024.0, Int64(i64::MAX - 1023)),
        (P63, Float64(P63)),
        (1.5, Float64(1.5)),
        (0.0, Int64(0)),
        (-0.0, Int64(0)),
        (f64::MIN_POSITIVE, Float64(f64::MIN_POSITIVE)),
        (f64::INFINITY, Float64(f64::INFINITY)),
        (f64::NEG_INFINITY, Float64(f64::NEG_INFINITY)),
    ];
    let echo = || {
        service(async |_: &str, args: Args, cx: &js_rpc::Context| {
            let number = args.values[0].as_f64().unwrap();
            let value = AttributeValue::from_number(number);
            cx.enrich(Enrichment::new().attribute("n", value));
            nothing()
        })
    };
    every_way(echo, async |world: &World| {
        for (number, expected) in &cases {
            let args = Args::from(vec![Value::Number(*number)]);
            let (_, span) = world.one(world.binding().call("run", args)).await;
            assert_eq!(span.get("n"), Some(expected), "{number}");
        }
        let args = Args::from(vec![Value::Number(f64::NAN)]);
        let (_, span) = world.one(world.binding().call("run", args)).await;
        let Some(Float64(nan)) = span.get("n") else {
            panic!("{span:#?}")
        };
        assert!(nan.is_nan());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn javascript_arrays_become_lists_where_their_elements_are_of_one_type() {
    let number = Value::Number;
    let cases = [
        (
            vec!["stop".into(), "length".into()],
            Some(["stop", "length"].into()),
        ),
        (
            vec![Value::Bool(true), Value::Bool(false)],
            Some([true, false].into()),
        ),
        (vec![number(1.0), number(-0.0)], Some([1_i64, 0].into())),
        (vec![number(1.0), number(2.5)], Some([1.0, 2.5].into())),
        (vec![number(P63), number(1.0)], Some([P63, 1.0].into())),
        (vec![], None),
        (vec![number(1.0), "a".into()], None),
        (vec!["a".into(), Value::Null], None),
        (vec![Value::Undefined, "a".into()], None),
        (vec![Value::Array(vec!["a".into()]), "a".into()], None),
    ];
    let echo = || {
        service(async |_: &str, args: Args, cx: &js_rpc::Context| {
            cx.enrich(Enrichment::new().attribute("list", attribute_value(&args.values[0])));
            cx.enrich(Enrichment::new().attribute("long", vec![0_i64; 65]));
            nothing()
        })
    };
    every_way(echo, async |world: &World| {
        for (elements, expected) in &cases {
            let args = Args::from(vec![Value::Array(elements.clone())]);
            let (_, span) = world.one(world.binding().call("run", args)).await;
            assert_eq!(span.get("list"), expected.as_ref(), "{elements:?}");
            assert_eq!(span.get("long"), None);
            assert_eq!(
                span.dropped.to_string(),
                "callee=1",
                "skipped is not dropped"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn json_and_rust_values_keep_what_they_are() {
    let cases = [
        ("9007199254740993", Some(Int64((1 << 53) + 1))),
        ("9223372036854775807", Some(Int64(i64::MAX))),
        ("9223372036854775808", Some(Float64(P63))),
        ("-9223372036854775808", Some(Int64(i64::MIN))),
        ("18446744073709551615", Some(Float64(2.0 * P63))),
        ("1.0", Some(Int64(1))),
        ("1e3", Some(Int64(1000))),
        ("-0", Some(Int64(0))),
        ("1.5", Some(Float64(1.5))),
        (r#""""#, Some(text(""))),
        (r#""\u0000é""#, Some(text("\0é"))),
        ("false", Some(Bool(false))),
        ("null", None),
        ("[1, 2]", Some([1_i64, 2].into())),
        ("[1, 2.5]", Some([1.0, 2.5].into())),
        (r#"["stop", "length"]"#, Some(["stop", "length"].into())),
        ("[true, false]", Some([true, false].into())),
        ("[1]", Some(Int64(1))), // a list of one travels as its element
        ("[]", None),
        (r#"[1, "a"]"#, None),
        ("{}", None),
    ];
    let echo = || {
        service(async |_: &str, args: Args, cx: &js_rpc::Context| {
            let json: std::string::String = args.first()?;
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            cx.enrich(Enrichment::new().attribute("json", &json));
            cx.enrich(Enrichment::new().attribute("rust", 2.0)); // a typed value keeps its type
            cx.enrich(Enrichment::new().attribute("unsigned", u64::MAX));
            nothing()
        })
    };
    every_way(echo, async |world: &World| {
        for (json, expected) in &cases {
            let (_, span) = world.one(world.binding().call("run", (json,))).await;
            assert_eq!(span.get("json"), expected.as_ref(), "{json}");
            assert_eq!(span.get("rust"), Some(&Float64(2.0)));
            assert_eq!(span.get("unsigned"), Some(&Float64(2.0 * P63)));
            assert!(span.dropped.is_empty(), "skipped is not dropped");
        }
    })
    .await;
}

/// A case at a cap: what is said, how many attributes arrive, how much is dropped, whether renamed.
type Cap = (&'static str, fn() -> Enrichment, usize, u64, bool);

fn many(n: usize) -> Enrichment {
    let key = |i| format!("k{i}");
    (0..n).fold(Enrichment::new(), |e, i| e.attribute(key(i), 1))
}

/// Two keys of one byte with texts that fill 256 KiB, less some bytes.
fn full(less: usize) -> Enrichment {
    let text = |less: usize| "x".repeat(128 * 1024 - 1 - less);
    Enrichment::new()
        .attribute("a", text(0))
        .attribute("b", text(less))
}

const CAPS: &[Cap] = &[
    ("256 attributes", || many(256), 256, 0, false),
    ("257 attributes", || many(257), 256, 1, false),
    (
        "a 257th that replaces",
        || many(256).attribute("k0", 2),
        256,
        0,
        false,
    ),
    (
        "a key of 256 bytes",
        || Enrichment::new().attribute("k".repeat(256), 1),
        1,
        0,
        false,
    ),
    (
        "a key of 257 bytes",
        || Enrichment::new().attribute("k".repeat(257), 1),
        0,
        1,
        false,
    ),
    (
        "an empty key",
        || Enrichment::new().attribute("", 1),
        0,
        1,
        false,
    ),
    (
        "a key of 128 characters, 256 bytes",
        || Enrichment::new().attribute("é".repeat(128), 1),
        1,
        0,
        false,
    ),
    (
        "a key of 129 characters, 258 bytes",
        || Enrichment::new().attribute("é".repeat(129), 1),
        0,
        1,
        false,
    ),
    (
        "a text of 128 KiB",
        || Enrichment::new().attribute("k", "x".repeat(131_072)),
        1,
        0,
        false,
    ),
    (
        "a text of 128 KiB and a byte",
        || Enrichment::new().attribute("k", "x".repeat(131_073)),
        0,
        1,
        false,
    ),
    (
        "a text of 64 Ki characters of two bytes",
        || Enrichment::new().attribute("k", "é".repeat(65_536)),
        1,
        0,
        false,
    ),
    (
        "one character more",
        || Enrichment::new().attribute("k", "é".repeat(65_537)),
        0,
        1,
        false,
    ),
    (
        "a name of 256 bytes",
        || Enrichment::new().name("n".repeat(256)),
        0,
        0,
        true,
    ),
    (
        "a name of 257 bytes",
        || Enrichment::new().name("n".repeat(257)),
        0,
        1,
        false,
    ),
    ("256 KiB in all", || full(0), 2, 0, false),
    (
        "a name of one byte more than 256 KiB in all",
        || full(0).name("n"),
        2,
        1,
        false,
    ),
    (
        "a name of one byte that just fits",
        || full(1).name("n"),
        2,
        0,
        true,
    ),
    (
        "a scalar, 9 bytes with its key, that just fits",
        || full(9).attribute("c", true),
        3,
        0,
        false,
    ),
    (
        "a scalar that does not",
        || full(8).attribute("c", true),
        2,
        1,
        false,
    ),
    (
        "a replaced value does not count",
        || full(0).attribute("a", 1).attribute("c", "x"),
        3,
        0,
        false,
    ),
];

#[tokio::test(flavor = "local")]
async fn each_cap_holds_at_its_limit_and_drops_one_past_it() {
    let table = || {
        service(async |_: &str, args: Args, cx: &js_rpc::Context| {
            let i: usize = args.first()?;
            cx.enrich(CAPS[i].1());
            nothing()
        })
    };
    every_way(table, async |world: &World| {
        for (i, (case, _, attributes, dropped, renamed)) in CAPS.iter().enumerate() {
            let (outcome, span) = world.one(world.binding().call("run", (i,))).await;
            assert!(outcome.is_ok(), "{case}: never an error for the call");
            assert_eq!(said(&span).len(), *attributes, "{case}");
            assert_eq!(
                span.dropped.count(DropReason::Callee) as u64,
                *dropped,
                "{case}"
            );
            assert_eq!(span.dropped.total(), *dropped, "{case}");
            assert_eq!(span.renamed(), *renamed, "{case}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn nobody_writes_the_count_of_drops_but_the_library() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(Enrichment::new().attribute("binding_span.dropped", 1000));
        cx.enrich(Enrichment::new().attribute("", 1).attribute("", 2));
    };
    every_way(
        || saying(say),
        async |world: &World| {
            let span = world.span_of("run").await;
            assert_eq!(said(&span), []);
            assert_eq!(span.dropped.count(DropReason::Callee), 3);
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_caller_adds_its_own_drops_to_those_of_the_callee() {
    let say = |cx: &js_rpc::Context| {
        cx.enrich(
            Enrichment::new()
                .attribute("", 1)
                .attribute("service.name", "you"),
        );
    };
    let world = World::of(common::Way::Unix, saying(say)).await;
    let span = world.span_of("run").await;
    assert_eq!(span.dropped.count(DropReason::Callee), 1);
    assert_eq!(span.dropped.count(DropReason::DeniedKey), 1);
    // The callee's own span has the reason.
    let own = &world.callee.ended(1).await[0];
    assert_eq!(own.dropped.count(DropReason::KeyEmpty), 1);
    assert_eq!(own.dropped.total(), 1);

    // Through a proxy, which dropped the one and was told of the other, both are the callee's.
    let world = World::of(common::Way::Proxied, saying(say)).await;
    let span = world.span_of("run").await;
    assert_eq!(span.dropped.count(DropReason::Callee), 2);
    let proxy = &world.proxy.ended(1).await[0];
    assert_eq!(proxy.dropped.count(DropReason::Callee), 1);
    assert_eq!(proxy.dropped.count(DropReason::DeniedKey), 1);
}

/// Every call says who it is before and after all of them are in the callee at once.
fn crowd(size: usize) -> impl js_rpc::Service {
    let barrier = Rc::new(tokio::sync::Barrier::new(size));
    service(
        async move |method: &str, args: Args, cx: &js_rpc::Context| {
            if method == "stub" {
                return reply(&Stub::new(crowd(64)));
            }
            let i: i64 = args.first()?;
            cx.enrich(
                Enrichment::new()
                    .name(format!("n{i}"))
                    .attribute("before", i),
            );
            barrier.wait().await;
            enrich(
                Enrichment::new()
                    .attribute("after", i)
                    .attribute(format!("only{i}"), true),
            );
            reply(&i)
        },
    )
}

/// That each span has what its own call said and nothing else; the method is the call's number.
fn assert_not_mixed(spans: &[tail::FinishedSpan]) {
    assert_eq!(spans.len(), 64);
    for span in spans {
        let Some(String(method)) = span.get("jsrpc.method") else {
            panic!("{span:#?}")
        };
        let i: i64 = method.parse().unwrap();
        let only = format!("only{i}");
        let expected = [
            ("before", Int64(i)),
            ("after", Int64(i)),
            (only.as_str(), Bool(true)),
        ];
        assert_eq!(said(span), expected);
        assert_eq!(span.name, format!("n{i}"));
    }
}

#[tokio::test(flavor = "local")]
async fn of_64_concurrent_calls_on_one_connection_none_is_mixed() {
    every_way(
        || crowd(64),
        async |world: &World| {
            let calls = (0..64).map(|i: i64| world.binding().call(&i.to_string(), (i,)).send());
            for (i, outcome) in common::all(calls).await.into_iter().enumerate() {
                assert_eq!(outcome.unwrap().parse::<usize>().unwrap(), i);
            }
            assert_not_mixed(&world.caller.now());
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn of_64_concurrent_calls_on_one_held_stub_none_is_mixed() {
    every_way(
        || crowd(1),
        async |world: &World| {
            let stub: Stub = world.call("stub").await.unwrap().parse().unwrap();
            let calls = (0..64).map(|i: i64| stub.call(&i.to_string(), (i,)).send());
            assert!(common::all(calls).await.iter().all(Result::is_ok));
            assert_not_mixed(&world.caller.now());
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn after_the_return_nobody_hears() {
    let heard: Rc<Cell<Option<[bool; 2]>>> = Rc::default();
    let go = Rc::new(tokio::sync::Notify::new());
    let late = || {
        let (heard, go) = (Rc::clone(&heard), Rc::clone(&go));
        service(async move |_: &str, _, cx: &js_rpc::Context| {
            cx.enrich(Enrichment::new().name("in time"));
            let (cx, heard, go) = (cx.clone(), Rc::clone(&heard), Rc::clone(&go));
            let work = async move {
                go.notified().await;
                let late = || Enrichment::new().name("late");
                heard.set(Some([cx.enrich(late()), enrich(late())]));
            };
            tokio::task::spawn_local(js_rpc::current().scope(work));
            nothing()
        })
    };
    every_way(late, async |world: &World| {
        assert_eq!(world.span_of("run").await.name, "in time");
        go.notify_one();
        common::a_while().await;
        assert_eq!(heard.take(), Some([false, false]));
        assert_eq!(world.caller.last().name, "in time");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn outside_of_a_call_nobody_hears() {
    assert!(!enrich(Enrichment::new().name("nobody")));
    assert!(!js_rpc::current().enrich(Enrichment::new().name("nobody")));
}

#[tokio::test(flavor = "local")]
async fn a_scope_carries_enrich_into_tasks_and_threads() {
    let spread = || {
        service(async |_: &str, _, cx: &js_rpc::Context| {
            let say = |key: &'static str| enrich(Enrichment::new().attribute(key, true));
            let scope = js_rpc::current();
            let task = scope.scope(async move { say("local task") });
            assert!(tokio::task::spawn_local(task).await.unwrap());
            let scope = cx.scope().clone();
            let blocking = move || scope.in_scope(|| say("blocking"));
            assert!(tokio::task::spawn_blocking(blocking).await.unwrap());
            let scope = cx.scope().clone();
            let thread = std::thread::spawn(move || scope.in_scope(|| say("thread")));
            assert!(thread.join().unwrap());
            // Without it they are outside of the call.
            let lost = tokio::task::spawn_blocking(move || say("lost"));
            assert!(!lost.await.unwrap());
            let lost = tokio::task::spawn_local(async move { say("lost") });
            assert!(!lost.await.unwrap());
            assert!(say("here"));
            nothing()
        })
    };
    every_way(spread, async |world: &World| {
        let span = world.span_of("run").await;
        let keys: Vec<&str> = said(&span).iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["local task", "blocking", "thread", "here"]);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_call_that_throws_after_enriching_has_told_it() {
    let throwing = || {
        service(async |_: &str, _, cx: &js_rpc::Context| {
            cx.enrich(Enrichment::new().name("half.done").attribute("rows", 3));
            cx.enrich(Enrichment::new().attribute("", 1));
            Err(js_rpc::JsError::range_error("too far"))
        })
    };
    every_way(throwing, async |world: &World| {
        let (outcome, span) = world.one(world.call("run")).await;
        assert_eq!(outcome.unwrap_err().to_string(), "RangeError: too far");
        let server = &world.callee.ended(1).await[0];
        let error = ("error.type", text("RangeError"));
        let told = match world.wire {
            Wire::OneMessage => {
                let rows = ("rows", Int64(3));
                assert_eq!((&*span.name, said(&span)), ("half.done", vec![rows, error]));
                assert_eq!(span.dropped.count(DropReason::Callee), 1);
                assert_eq!(span.dropped.total(), 1);
                assert_eq!(server.name, "S.run");
                assert_eq!(server.get("rows"), None);
                span
            }
            // Its caller has a text alone: it is kept on the callee's own span.
            Wire::ThreeCalls => {
                assert_eq!((&*span.name, said(&span)), ("jsRpcSession", vec![error]));
                assert!(span.dropped.is_empty());
                assert_eq!(server.name, "half.done");
                assert_eq!(server.get("rows"), Some(&Int64(3)));
                span
            }
        };
        assert_eq!(told.outcome, binding_span::Outcome::Exception);
        let error = told.error.unwrap();
        assert_eq!(
            (error.kind, error.message),
            ("RangeError".into(), "too far".into())
        );
        assert_eq!(server.context.trace_id, told.context.trace_id);
        assert_eq!(server.original_name, "S.run");
        assert_eq!(server.dropped.count(DropReason::KeyEmpty), 1);
        assert_eq!(server.outcome, binding_span::Outcome::Exception);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_failure_that_is_a_result_is_enriched() {
    let failing = || {
        service(async |_: &str, _, cx: &js_rpc::Context| {
            cx.enrich(
                Enrichment::new()
                    .name("d1.query")
                    .attribute("error.type", "SQLITE_ERROR"),
            );
            reply(&serde_json::json!({"success": false, "error": {"message": "no such table"}}))
        })
    };
    every_way(failing, async |world: &World| {
        let span = world.span_of("run").await;
        assert_eq!(span.name, "d1.query");
        // It counts, since the call itself did not fail.
        assert_eq!(said(&span), [("error.type", text("SQLITE_ERROR"))]);
        assert_eq!(span.outcome, binding_span::Outcome::Exception);
    })
    .await;
}
