//! How calls fail, what the span of a failed call says, and what goes on regardless.

mod common;

use std::rc::Rc;
use std::time::{Duration, Instant};

use binding_span::{AttributeValue::Int64, Enrichment, Outcome};
use common::relay::Relay;
use common::{BINDING, SOON, Spans, Way, Wire, World, every_way, service, socket_dir, unix};
use js_rpc::{
    Args, CallError, ConnectOptions, Connection, Context, JsError, Listener, Proxy, RpcLimits,
    Server, Service, Stub, Value, nothing, reply, unknown_method,
};
use tokio::sync::Notify;

/// Tells when a method began, and when it was dropped without returning.
#[derive(Default)]
struct Watch {
    began: Notify,
    abandoned: Notify,
    go_on: Notify,
}

struct Guard(Rc<Watch>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abandoned.notify_one();
    }
}

fn slow(watch: &Rc<Watch>) -> impl Service + use<> {
    let watch = Rc::clone(watch);
    service(
        async move |method: &str, args: Args, _: &Context| match method {
            "slow" => {
                let guard = Guard(Rc::clone(&watch));
                watch.began.notify_one();
                watch.go_on.notified().await;
                std::mem::forget(guard);
                reply(&"done")
            }
            "throw" => {
                let (name, message): (String, String) = args.parse()?;
                Err(JsError::new(name, message))
            }
            "panic" => panic!("on purpose"),
            "stub" => reply(&Stub::new(slow(&watch))),
            "odd" => reply(&Some(3)),
            "quick" => nothing(),
            _ => unknown_method(method),
        },
    )
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it hangs")
}

#[tokio::test(flavor = "local")]
async fn an_error_arrives_with_its_class_and_message_and_is_the_spans_error() {
    // What JavaScript lacks has no place in a text.
    let watch = Rc::default();
    every_way(
        || slow(&watch),
        async |world: &World| {
            for (class, message, shown) in [
                ("TypeError", "no", "TypeError: no"),
                ("RangeError", "a: b\nc", "RangeError: a: b\nc"),
                ("Error", "", "Error"),
                ("QuotaError", "full", "QuotaError: full"),
                ("Error", "remote exception: x", "Error: remote exception: x"),
            ] {
                let call = world.binding().call("throw", (class, message));
                let (outcome, span) = world.one(call).await;
                let error = outcome.unwrap_err();
                assert_eq!(error.to_string(), shown);
                let CallError::Thrown(thrown) = &error else {
                    panic!("{error:?}")
                };
                assert_eq!(span.outcome, Outcome::Exception);
                let told = span.error.as_ref().unwrap();
                assert_eq!((&told.kind, &told.message), (&thrown.name, &thrown.message));
                assert_eq!(span.get("error.type").unwrap().as_str(), Some(error.kind()));
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn an_unknown_binding_or_method_says_what_there_is() {
    let watch = Rc::default();
    every_way(
        || slow(&watch),
        async |world: &World| {
            let nowhere = world.connection.binding("NOWHERE").call("x", ());
            let (outcome, span) = world.one(nowhere).await;
            let error = outcome.unwrap_err();
            let says = "there is no binding \"NOWHERE\" here; there is: S";
            let kind = span.get("error.type").unwrap().as_str();
            match (world.wire, &error) {
                (Wire::OneMessage, CallError::Refused(why)) => {
                    assert_eq!((&**why, kind), (says, Some("refused")));
                    assert!(error.did_not_run());
                }
                (Wire::ThreeCalls, CallError::Thrown(thrown)) => {
                    assert_eq!((&*thrown.message, kind), (says, Some("Error")));
                }
                _ => panic!("{error:?}"),
            }
            assert_eq!(span.outcome, Outcome::Exception);
            assert_eq!(span.error.unwrap().message, says);
            let error = world.call("nope").await.unwrap_err().to_string();
            let expected = "TypeError: The RPC receiver does not implement the method \"nope\".";
            assert_eq!(error, expected);
            let error = world.binding().get("nope").await.unwrap_err().to_string();
            assert!(
                error.contains("does not implement the property \"nope\""),
                "{error}"
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_method_that_panics_costs_its_own_call() {
    let watch: Rc<Watch> = Rc::default();
    std::panic::set_hook(Box::new(|_| ()));
    every_way(
        || slow(&watch),
        async |world: &World| {
            let other = world.call("slow").send();
            let (other, ()) = tokio::join!(other, async {
                watch.began.notified().await;
                let error = world.call("panic").await.unwrap_err().to_string();
                assert_eq!(error, "Error: internal error: the method panicked");
                watch.go_on.notify_one();
            });
            assert_eq!(other.unwrap().parse::<String>().unwrap(), "done");
            world.call("quick").await.unwrap();
            let servers = world.callee.ended(3).await;
            assert_eq!(servers[0].outcome, Outcome::Exception);
        },
    )
    .await;
    let _ = std::panic::take_hook();
}

#[tokio::test(flavor = "local")]
async fn a_deadline_fails_the_call_and_ends_it_at_the_callee() {
    let watch: Rc<Watch> = Rc::default();
    // Long enough to reach the callee, also through a proxy on a busy machine.
    let limit = Duration::from_millis(200);
    every_way(
        || slow(&watch),
        async |world: &World| {
            let (outcome, span) = world.one(world.call("slow").deadline(limit)).await;
            assert!(matches!(outcome, Err(CallError::Deadline(l)) if l == limit));
            assert_eq!(span.outcome, Outcome::ExceededWallTime);
            assert_eq!(span.get("error.type").unwrap().as_str(), Some("deadline"));
            soon(watch.abandoned.notified()).await;
            let server = &world.callee.ended(1).await[0];
            match world.wire {
                // The callee knows of it, and answers a little before.
                Wire::OneMessage => {
                    assert!(span.duration() >= limit * 7 / 10, "{:?}", span.duration());
                    assert_eq!(server.outcome, Outcome::ExceededWallTime);
                    assert!(server.duration() < limit, "{:?}", server.duration());
                }
                // It is told to stop.
                Wire::ThreeCalls => {
                    assert!(span.duration() >= limit);
                    assert_eq!(server.outcome, Outcome::Canceled);
                }
            }

            // On a held stub as well, and the session goes on.
            let stub: Stub = world.call("stub").await.unwrap().parse().unwrap();
            let (outcome, span) = world.one(stub.call("slow", ()).deadline(limit)).await;
            assert!(matches!(outcome, Err(CallError::Deadline(l)) if l == limit));
            assert_eq!(span.outcome, Outcome::ExceededWallTime);
            soon(watch.abandoned.notified()).await;
            stub.call("quick", ()).await.unwrap();
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn without_a_deadline_of_its_own_a_call_has_the_connections_and_behind_a_proxy_that_ones() {
    for (way, wire) in both(&[Way::Unix, Way::Proxied]) {
        let watch: Rc<Watch> = Rc::default();
        let limits = RpcLimits {
            call: Duration::from_millis(200),
            ..wire.limits()
        };
        let server = Server::new().service(BINDING, slow(&watch));
        let world = World::with(way, server, |proxy| proxy, limits).await;
        let error = soon(world.call("slow").into_future()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "deadline of 200ms passed without an answer"
        );
        soon(watch.abandoned.notified()).await;
    }
    // The proxy's alone.
    for (way, wire) in both(&[Way::Proxied]) {
        let watch: Rc<Watch> = Rc::default();
        let server = Server::new().service(BINDING, slow(&watch));
        let short = |proxy: Proxy| proxy.deadline(Duration::from_millis(200));
        let world = World::with(way, server, short, wire.limits()).await;
        let (outcome, span) = world.one(world.call("slow")).await;
        let error = outcome.unwrap_err();
        let says = error.to_string();
        assert!(says.contains("deadline of 200ms passed"), "{says}");
        match wire {
            Wire::OneMessage => {
                assert!(matches!(error, CallError::Deadline(_)), "{error:?}");
                assert_eq!(span.outcome, Outcome::ExceededWallTime);
            }
            // A text, and the caller's own did not pass.
            Wire::ThreeCalls => assert_eq!(span.outcome, Outcome::Exception),
        }
        soon(watch.abandoned.notified()).await;
        let proxy = &world.proxy.ended(1).await[0];
        assert_eq!(proxy.outcome, Outcome::ExceededWallTime);
    }
}

/// Each way in one message and in three calls.
fn both(ways: &[Way]) -> impl Iterator<Item = (Way, Wire)> {
    let wires = |way| [(way, Wire::OneMessage), (way, Wire::ThreeCalls)];
    ways.iter().copied().flat_map(wires)
}

#[tokio::test(flavor = "local")]
async fn dropping_a_call_cancels_it_at_the_callee_and_closes_its_span_as_canceled() {
    let watch: Rc<Watch> = Rc::default();
    every_way(
        || slow(&watch),
        async |world: &World| {
            let pending = world.call("slow").send();
            watch.began.notified().await;
            drop(pending);
            let span = &world.caller.ended(1).await[0];
            assert_eq!((span.outcome, &span.error), (Outcome::Canceled, &None));
            soon(watch.abandoned.notified()).await;
            assert_eq!(world.callee.ended(1).await[0].outcome, Outcome::Canceled);

            let stub: Stub = world.call("stub").await.unwrap().parse().unwrap();
            let pending = stub.call("slow", ()).send();
            watch.began.notified().await;
            drop(pending);
            soon(watch.abandoned.notified()).await;
            stub.call("quick", ()).await.unwrap();
            assert_eq!(world.caller.now()[1].outcome, Outcome::Canceled);
        },
    )
    .await;
}

/// Says what it does, and does it for ever.
fn busy(watch: &Rc<Watch>) -> impl Service + use<> {
    let watch = Rc::clone(watch);
    service(async move |_: &str, _: Args, cx: &Context| {
        cx.enrich(Enrichment::new().name("half.done").attribute("rows", 3));
        let _child = cx.child_span("work");
        watch.began.notify_one();
        std::future::pending().await
    })
}

#[tokio::test(flavor = "local")]
async fn what_an_abandoned_call_said_is_on_the_callees_own_span_and_its_children_are_canceled() {
    let watch: Rc<Watch> = Rc::default();
    every_way(
        || busy(&watch),
        async |world: &World| {
            let pending = world.call("run").send();
            watch.began.notified().await;
            drop(pending);
            let callee = world.callee.ended(2).await;
            for (span, name) in callee.iter().zip(["work", "half.done"]) {
                assert_eq!((span.outcome, &*span.name), (Outcome::Canceled, name));
            }
            assert_eq!(callee[0].parent, Some(callee[1].context.span_id));
            assert_eq!(callee[1].get("rows").unwrap(), &Int64(3));
            let caller = &world.caller.ended(1).await[0];
            assert_eq!(
                (caller.outcome, caller.renamed()),
                (Outcome::Canceled, false)
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_call_that_is_late_has_said_what_it_was() {
    let watch: Rc<Watch> = Rc::default();
    every_way(
        || busy(&watch),
        async |world: &World| {
            let late = world.call("run").deadline(Duration::from_millis(300));
            let (outcome, span) = world.one(late).await;
            assert!(
                matches!(outcome, Err(CallError::Deadline(_))),
                "{outcome:?}"
            );
            let callee = world.callee.ended(2).await;
            assert_eq!(callee[0].outcome, Outcome::Canceled, "the child");
            let own = &callee[1];
            let told = world.wire == Wire::OneMessage;
            assert_eq!((span.renamed(), own.renamed()), (told, !told));
            let tells = if told { &span } else { own };
            assert_eq!(tells.get("rows").unwrap(), &Int64(3));
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_method_that_never_ends_has_the_time_that_its_server_gives_it() {
    let limit = Duration::from_millis(150);
    let mine = [None, Some(Duration::from_secs(20)), Some(Duration::MAX)];
    let cases = both(&common::WAYS).flat_map(|it| mine.map(|mine| (it, mine)));
    for ((way, wire), mine) in cases {
        println!("{way:?}, {wire:?}, {mine:?}");
        let watch: Rc<Watch> = Rc::default();
        let server = Server::new().service(BINDING, busy(&watch));
        let server = server.limits(RpcLimits {
            handler: limit,
            ..RpcLimits::default()
        });
        let world = World::with(way, server, |proxy| proxy, wire.limits()).await;
        let mut call = world.call("run");
        if let Some(mine) = mine {
            call = call.deadline(mine);
        }
        let began = Instant::now();
        let (outcome, span) = soon(world.one(call)).await;
        assert!(began.elapsed() >= limit && began.elapsed() < SOON / 2);
        let error = outcome.unwrap_err();
        match (wire, &error) {
            (Wire::OneMessage, CallError::Deadline(l)) => {
                assert_eq!(*l, limit);
                assert_eq!(span.outcome, Outcome::ExceededWallTime);
                assert_eq!(span.name, "half.done");
            }
            (Wire::ThreeCalls, CallError::Thrown(thrown)) => {
                let says = "deadline of 150ms passed without an answer";
                assert_eq!(thrown.message, says);
                assert_eq!(span.outcome, Outcome::Exception);
            }
            _ => panic!("{error:?}"),
        }
        let callee = world.callee.ended(2).await;
        let outcomes = [callee[0].outcome, callee[1].outcome];
        assert_eq!(outcomes, [Outcome::Canceled, Outcome::ExceededWallTime]);
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_lost_in_the_middle_of_calls_fails_them_at_once_and_the_next_one_works() {
    let watch: Rc<Watch> = Rc::default();
    let world = World::of(Way::Unix, slow(&watch)).await;
    let dir = socket_dir();
    let relay = Relay::to(&world.address, &dir).await;
    let spans = Spans::new();
    let options = || ConnectOptions {
        sinks: spans.sinks(),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&relay.address, options())
        .await
        .unwrap();
    let binding = connection.binding(BINDING);
    let stub: Stub = binding.call("stub", ()).await.unwrap().parse().unwrap();
    let calls = [
        binding.call("slow", ()).send(),
        stub.call("slow", ()).send(),
    ];
    watch.began.notified().await;
    let cut = Instant::now();
    relay.cut();
    for outcome in common::all(calls).await {
        assert!(
            matches!(outcome, Err(CallError::Disconnected(_))),
            "{outcome:?}"
        );
    }
    assert!(cut.elapsed() < SOON / 2, "nobody waited for a deadline");
    soon(connection.ended()).await;
    assert!(connection.is_lost());
    let error = binding.call("quick", ()).await.unwrap_err();
    assert!(matches!(error, CallError::Disconnected(_)), "{error:?}");
    assert!(stub.call("quick", ()).await.is_err());
    soon(watch.abandoned.notified()).await;

    let again = Connection::connect(&relay.address, options())
        .await
        .unwrap();
    again.binding(BINDING).call("quick", ()).await.unwrap();
    drop(stub);
    for span in spans.ended(6).await {
        if span.outcome != Outcome::Ok {
            assert_eq!(
                span.get("error.type").unwrap().as_str(),
                Some("disconnected")
            );
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_proxy_says_that_its_callee_is_gone_and_finds_it_when_it_is_back() {
    let dir = socket_dir();
    let at = unix(&dir, "callee");
    let start = async || {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let listener = Listener::bind(&at).await.unwrap();
        let server = Server::new().service(BINDING, slow(&Rc::default()));
        let stopped = async move { drop(stopped.await) };
        (
            stop,
            tokio::task::spawn_local(server.serve([listener], stopped)),
        )
    };
    let proxy = Proxy::new(at.clone(), BINDING, ConnectOptions::default());
    let front = Server::new().proxy(BINDING, proxy);
    let front = common::serve(front, &unix(&dir, "front")).await;
    for wire in common::WIRES {
        let options = ConnectOptions {
            limits: wire.limits(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&front, options).await.unwrap();
        let quick = || connection.binding(BINDING).call("quick", ()).into_future();
        let gone = |error: CallError| match wire {
            Wire::OneMessage => {
                assert!(matches!(error, CallError::Unavailable(_)), "{error:?}");
                assert!(error.did_not_run());
                let says = error.to_string();
                assert!(says.starts_with("cannot connect to unix:"), "{says}");
            }
            // What workerd has for it.
            Wire::ThreeCalls => assert!(matches!(error, CallError::Disconnected(_)), "{error:?}"),
        };
        let error = soon(quick()).await.unwrap_err();
        let says = error.to_string();
        assert!(says.contains("is the callee running?"), "{says}");
        gone(error);
        for _ in 0..2 {
            let (stop, stopped) = start().await;
            soon(quick()).await.unwrap();
            stop.send(()).unwrap();
            assert_eq!(soon(stopped).await.unwrap(), 0);
            gone(soon(quick()).await.unwrap_err());
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_server_that_shuts_down_finishes_what_is_in_flight_and_takes_nothing_new() {
    for way in [Way::Unix, Way::Tcp] {
        let watch: Rc<Watch> = Rc::default();
        let dir = socket_dir();
        let at = match way {
            Way::Tcp => "127.0.0.1:0".parse().unwrap(),
            _ => unix(&dir, "callee"),
        };
        let listener = Listener::bind(&at).await.unwrap();
        let address = listener.address().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = Server::new().service(BINDING, slow(&watch));
        let serving = server.serve([listener], async move { drop(stopped.await) });
        let serving = tokio::task::spawn_local(serving);
        let connection = Connection::connect(&address, ConnectOptions::default())
            .await
            .unwrap();
        let binding = connection.binding(BINDING);
        let in_flight = binding.call("slow", ()).send();
        watch.began.notified().await;
        stop.send(()).unwrap();
        common::a_while().await;
        let error = binding.call("quick", ()).await.unwrap_err();
        assert!(error.to_string().contains("shutting down"), "{error}");
        assert!(
            Connection::connect(&address, ConnectOptions::default())
                .await
                .is_err()
        );
        assert!(!serving.is_finished());
        watch.go_on.notify_one();
        let done: String = soon(in_flight).await.unwrap().parse().unwrap();
        assert_eq!(done, "done");
        assert_eq!(soon(serving).await.unwrap(), 0, "none abandoned");
        soon(connection.ended()).await;
        assert!(!dir.path().join("callee").exists());
    }
}

#[tokio::test(flavor = "local")]
async fn a_server_does_not_wait_longer_than_it_was_told_and_says_how_many_calls_it_left() {
    let watch: Rc<Watch> = Rc::default();
    let dir = socket_dir();
    let listener = Listener::bind(&unix(&dir, "callee")).await.unwrap();
    let address = listener.address().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::new().service(BINDING, slow(&watch));
    let server = server.limits(RpcLimits {
        drain: Duration::from_millis(20),
        ..RpcLimits::default()
    });
    let serving = server.serve([listener], async move { drop(stopped.await) });
    let serving = tokio::task::spawn_local(serving);
    let connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    let calls = [0, 1].map(|_| connection.binding(BINDING).call("slow", ()).send());
    watch.began.notified().await;
    common::a_while().await;
    stop.send(()).unwrap();
    assert_eq!(soon(serving).await.unwrap(), 2);
    for outcome in soon(common::all(calls)).await {
        assert!(
            matches!(outcome, Err(CallError::Disconnected(_))),
            "{outcome:?}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn what_cannot_be_sent_is_said_and_never_reaches_the_callee() {
    let watch = Rc::default();
    every_way(
        || slow(&watch),
        async |world: &World| {
            let shared = Value::View(Box::new(js_value::View {
                kind: js_value::ViewKind::Uint8Array,
                buffer: js_value::ViewBuffer::Shared(77),
                offset: 0,
                length: 1,
            }));
            let call = world.binding().call("quick", Args::from(vec![shared]));
            let (outcome, span) = world.one(call).await;
            let error = outcome.unwrap_err();
            assert!(matches!(error, CallError::Arguments(_)), "{error:?}");
            assert_eq!(span.get("error.type").unwrap().as_str(), Some("arguments"));
            assert!(world.callee.now().is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn arguments_and_results_of_another_shape_are_type_errors() {
    let watch = Rc::default();
    every_way(
        || slow(&watch),
        async |world: &World| {
            let call = world.binding().call("throw", (1, 2));
            let error = call.await.unwrap_err().to_string();
            assert!(error.starts_with("TypeError: argument 1: "), "{error}");
            let reply = world.call("odd").await.unwrap();
            let error = reply.parse::<String>().unwrap_err().to_string();
            assert!(error.contains('3') || error.contains("number"), "{error}");
        },
    )
    .await;
}
