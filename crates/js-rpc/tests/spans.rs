//! Which spans there are: one for each call, whose child each is, how each ends.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use binding_span::{AttributeValue, Enrichment, Outcome, SpanContext, SpanId, SpanKind, TraceId};
use common::{BINDING, Spans, Way, World, every_way, said, service};
use js_rpc::{Args, ConnectOptions, Connection, Context, Server, Service, Stub, nothing, reply};
use tail::FinishedSpan;

/// A counter as a tree: "make" hands out another, "get" reads a property, anything else is counted.
fn tree() -> impl Service {
    service(async |method: &str, _, cx: &Context| {
        cx.enrich(Enrichment::new().name(format!("tree.{method}")));
        match method {
            "make" => reply(&Stub::new(tree())),
            _ => reply(&method),
        }
    })
}

fn assert_child(child: &FinishedSpan, parent: &FinishedSpan) {
    assert_eq!(child.parent, Some(parent.context.span_id));
    assert_eq!(child.context.trace_id, parent.context.trace_id);
    assert_eq!(child.context.flags, parent.context.flags);
}

#[tokio::test(flavor = "local")]
async fn the_callees_span_is_a_child_of_the_callers() {
    every_way(tree, async |world: &World| {
        let span = world.span_of("a.leaf").await;
        assert_eq!(
            (span.kind, span.parent, span.root),
            (SpanKind::Client, None, true)
        );
        assert_eq!(span.original_name, "jsRpcSession");
        assert_eq!(span.outcome, Outcome::Ok);
        let server = &world.callee.ended(1).await[0];
        assert_eq!((server.kind, server.root), (SpanKind::Server, true));
        assert_eq!(server.name, "S.a.leaf");
        assert_child(server, &world.above_callee(&span).await);
        assert_eq!(server.context.trace_id, span.context.trace_id);
        assert_eq!(server.context.flags, None, "nobody decided");
        for known in [&span, server] {
            let text = |key| known.get(key).and_then(AttributeValue::as_str);
            assert_eq!(text("rpc.system.name"), Some("capnp"));
            assert_eq!(text("rpc.method"), Some("a.leaf"), "kept when renamed");
            assert_eq!(text("jsrpc.binding"), Some(BINDING));
            assert_eq!(text("jsrpc.method"), Some("a.leaf"));
            assert_eq!(text("jsrpc.operation"), Some("call"));
        }
    })
    .await;
}

/// A service that keeps what it is told of its caller's span.
fn keeping(told: &Rc<RefCell<Vec<Option<SpanContext>>>>) -> impl Service {
    let told = Rc::clone(told);
    service(async move |_: &str, _, cx: &Context| {
        told.borrow_mut().push(cx.caller_span());
        nothing()
    })
}

#[tokio::test(flavor = "local")]
async fn a_given_parent_is_the_parent_and_its_flags_travel_if_they_are_set() {
    let told = Rc::default();
    for flags in [None, Some(0), Some(1), Some(0xff)] {
        every_way(
            || keeping(&told),
            async |world: &World| {
                let parent = SpanContext {
                    flags,
                    ..SpanContext::root()
                };
                let (_, span) = world.one(world.call("run").parent(parent)).await;
                assert_eq!(span.parent, Some(parent.span_id));
                assert_eq!(span.context.trace_id, parent.trace_id);
                assert_eq!(span.context.flags, flags);
                assert!(span.root, "the first span of its invocation here");
                let above = world.above_callee(&span).await;
                assert_eq!(told.take(), [Some(above.context)]);
                assert_child(&world.callee.ended(1).await[0], &above);
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_caller_that_records_nothing_passes_a_given_parent_on_and_else_tells_nothing() {
    let told = Rc::default();
    let world = World::of(Way::Unix, keeping(&told)).await;
    let silent = Connection::connect(&world.address, ConnectOptions::default())
        .await
        .unwrap();
    silent.binding(BINDING).call("run", ()).await.unwrap();
    let parent = SpanContext::root();
    let call = silent.binding(BINDING).call("run", ()).parent(parent);
    call.await.unwrap();
    assert_eq!(told.take(), [None, Some(parent)]);
    let servers = world.callee.ended(2).await;
    assert_eq!(servers[0].parent, None);
    assert_eq!(servers[1].parent, Some(parent.span_id));
}

#[tokio::test(flavor = "local")]
async fn a_trace_without_a_span_is_joined_without_a_parent() {
    let told = Rc::default();
    let world = World::of(Way::Unix, keeping(&told)).await;
    let parent = SpanContext {
        trace_id: TraceId::random(),
        span_id: SpanId(0),
        flags: Some(1),
    };
    let (_, span) = world.one(world.call("run").parent(parent)).await;
    assert_eq!(
        (span.parent, span.context.trace_id),
        (None, parent.trace_id)
    );
    assert_eq!(span.context.flags, Some(1));
}

#[tokio::test(flavor = "local")]
async fn a_session_span_lasts_until_the_last_stub_is_dropped_and_later_calls_are_its_children() {
    every_way(tree, async |world: &World| {
        let stub: Stub = world.call("make").await.unwrap().parse().unwrap();
        let again = stub.clone();
        assert_eq!(world.caller.open(), 1, "the session's");
        assert!(world.caller.now().is_empty());

        stub.call("leaf", ()).await.unwrap();
        let call = world.caller.last();
        assert_eq!(call.original_name, "jsRpcCall");
        assert_eq!(call.name, "tree.leaf", "its own, not the session's");
        let inner: Stub = stub.call("make", ()).await.unwrap().parse().unwrap();
        assert_eq!(world.caller.now().len(), 2, "closed when it returned");
        inner.call("deep", ()).await.unwrap();

        drop((stub, inner));
        common::a_while().await;
        assert_eq!(world.caller.open(), 1, "a clone holds it");
        drop(again);
        let spans = world.caller.ended(4).await;
        let session = &spans[3];
        assert_eq!(session.original_name, "jsRpcSession");
        assert_eq!(session.name, "tree.make");
        for call in &spans[..3] {
            assert_child(call, session);
            assert_eq!(call.invocation, session.invocation);
            assert!(!call.root && session.root);
        }
        let servers = world.callee.ended(4).await;
        let calls = [session, &spans[0], &spans[1], &spans[2]];
        for (server, call) in servers.iter().zip(calls) {
            assert_child(server, &world.above_callee(call).await);
            assert_eq!(server.invocation, servers[0].invocation);
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_pipelined_call_is_a_child_of_the_session() {
    every_way(tree, async |world: &World| {
        let pending = world.call("make").send();
        let early = pending.pipelined().unwrap();
        let (made, leaf) = tokio::join!(pending, early.call("leaf", ()));
        leaf.unwrap();
        drop((made, early));
        let spans = world.caller.ended(2).await;
        assert_eq!(
            (&*spans[0].name, &*spans[1].name),
            ("tree.leaf", "tree.make")
        );
        assert_eq!(spans[0].original_name, "jsRpcCall");
        assert_child(&spans[0], &spans[1]);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_property_read_has_a_span_that_says_so() {
    every_way(tree, async |world: &World| {
        let (outcome, span) = world.one(world.binding().get("a.b")).await;
        assert!(outcome.is_err(), "there are none by default");
        let operation = span.get("jsrpc.operation").unwrap();
        assert_eq!(operation.as_str(), Some("getProperty"));
        assert_eq!(span.get("jsrpc.method").unwrap().as_str(), Some("a.b"));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_call_of_a_callers_stub_has_its_spans_the_other_way_round() {
    let calling_back = || {
        service(async |_: &str, args: Args, _: &Context| {
            let (stub,): (Stub,) = args.parse()?;
            Ok(stub.call("back", ()).await?.into_payload())
        })
    };
    every_way(calling_back, async |world: &World| {
        let mine = Stub::new(tree());
        let call = world.binding().call("run", (mine,));
        assert_eq!(call.await.unwrap().parse::<String>().unwrap(), "back");
        // The session lasts until the callee lets go of the stub.
        let callers = world.caller.ended(2).await;
        let (served, session) = (&callers[0], &callers[1]);
        assert_eq!(session.original_name, "jsRpcSession");
        assert_eq!((served.kind, &*served.name), (SpanKind::Server, "S.back"));
        let callees = world.callee.ended(2).await;
        let (client, server) = (&callees[0], &callees[1]);
        assert_eq!(client.kind, SpanKind::Client);
        assert_eq!(client.original_name, "jsRpcCall");
        assert_eq!(client.name, "tree.back", "enriched by the caller's object");
        assert_child(client, server);
        assert_child(server, &world.above_callee(session).await);
        assert_child(served, &world.above_callee(client).await);
        assert_eq!(said(session), []);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_callers_stub_that_is_called_after_the_return_is_still_in_the_trace_of_its_session() {
    let kept: Rc<RefCell<Option<Stub>>> = Rc::default();
    let keeping = || {
        let kept = Rc::clone(&kept);
        service(async move |_: &str, args: Args, _: &Context| {
            *kept.borrow_mut() = Some(args.first()?);
            nothing()
        })
    };
    every_way(keeping, async |world: &World| {
        let call = world.binding().call("keep", (Stub::new(tree()),));
        call.await.unwrap();
        let stub = kept.take().unwrap();
        stub.call("back", ()).await.unwrap();
        drop(stub);
        let callees = world.callee.ended(2).await;
        let (server, client) = (&callees[0], &callees[1]);
        assert_eq!(client.original_name, "jsRpcCall");
        assert_child(client, server);
        assert_eq!(client.invocation, server.invocation);
        let session = world.caller.ended(2).await.remove(1);
        assert_eq!(session.context.trace_id, client.context.trace_id);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spans_of_the_callees_own_are_below_its_call() {
    let working = || {
        service(async |_: &str, _, cx: &Context| {
            let statement = cx.child_span("statement");
            statement.attribute("rows", 3);
            drop(statement);
            let deep = js_rpc::current().child_span("deep");
            tokio::task::yield_now().await;
            drop(deep);
            nothing()
        })
    };
    every_way(working, async |world: &World| {
        world.span_of("run").await;
        let spans = world.callee.ended(3).await;
        let server = &spans[2];
        for (child, name) in spans.iter().zip(["statement", "deep"]) {
            assert_eq!((&*child.name, child.kind), (name, SpanKind::Internal));
            assert_child(child, server);
        }
    })
    .await;
}

/// A callee that passes each call on to another callee and says something before and after.
fn middle(next: Connection) -> impl Service {
    service(async move |method: &str, _, cx: &Context| {
        cx.enrich(Enrichment::new().name(format!("middle.{method}")));
        let below = next.binding(BINDING).call(method, ()).await?;
        js_rpc::enrich(Enrichment::new().attribute("who", "middle"));
        Ok(below.into_payload())
    })
}

#[tokio::test(flavor = "local")]
async fn a_callee_that_calls_another_has_both_in_one_trace_and_mixes_nothing() {
    let bottom = World::of(
        Way::Unix,
        service(async |method: &str, _, cx: &Context| {
            cx.enrich(Enrichment::new().name(format!("bottom.{method}")));
            tokio::task::yield_now().await;
            cx.enrich(Enrichment::new().attribute("who", "bottom"));
            reply(&method)
        }),
    )
    .await;
    let spans = Spans::new();
    let options = ConnectOptions {
        sinks: spans.sinks(),
        ..ConnectOptions::default()
    };
    let next = Connection::connect(&bottom.address, options).await.unwrap();
    let dir = common::socket_dir();
    let server = Server::new()
        .service(BINDING, middle(next))
        .sinks(spans.sinks());
    let address = common::serve(server, &common::unix(&dir, "middle")).await;
    let callers = Spans::new();
    let options = ConnectOptions {
        sinks: callers.sinks(),
        ..ConnectOptions::default()
    };
    let top = Connection::connect(&address, options).await.unwrap();

    let calls = (0..8).map(|i| top.binding(BINDING).call(&format!("m{i}"), ()).send());
    assert!(common::all(calls).await.iter().all(Result::is_ok));

    let tops = callers.ended(8).await;
    let middles = spans.ended(16).await;
    let bottoms = bottom.callee.ended(8).await;
    let who = |span: &FinishedSpan| span.get("who").unwrap().as_str().unwrap().to_owned();
    let below = |spans: &[FinishedSpan], parent: &FinishedSpan| {
        let mut found = spans
            .iter()
            .filter(|s| s.parent == Some(parent.context.span_id));
        let child = found.next().expect("it has a child").clone();
        assert!(found.next().is_none());
        assert_child(&child, parent);
        child
    };
    for top in &tops {
        let method = top.get("rpc.method").unwrap().as_str().unwrap();
        assert_eq!(top.name, format!("middle.{method}"));
        assert_eq!((who(top), said(top).len()), ("middle".into(), 1));
        let server = below(&middles, top);
        let client = below(&middles, &server);
        assert_eq!(
            (server.kind, client.kind),
            (SpanKind::Server, SpanKind::Client)
        );
        assert_eq!(server.invocation, client.invocation);
        assert_eq!(client.name, format!("bottom.{method}"));
        assert_eq!((who(&client), said(&client).len()), ("bottom".into(), 1));
        assert_eq!(below(&bottoms, &client).name, format!("S.{method}"));
    }
}

#[tokio::test(flavor = "local")]
async fn two_calls_are_two_invocations_and_two_traces() {
    every_way(tree, async |world: &World| {
        let [one, two] = [world.span_of("a").await, world.span_of("a").await];
        assert_ne!(one.invocation, two.invocation);
        assert_ne!(one.context.trace_id, two.context.trace_id);
    })
    .await;
}
