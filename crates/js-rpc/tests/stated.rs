//! A call that returned and of which the callee says that it failed: it counts as failed on every span, and its
//! result still reaches the program.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use binding_span::{CallScope, Enrichment, Outcome, SpanClose, SpanOpen, SpanRef, SpanSink};
use binding_span_schema::call_capnp::call_target;
use capnp::Error;
use common::{
    BINDING, SOON, Spans, World, a_while, every_way, raw, said, serve, service, socket_dir, unix,
};
use js_rpc::{
    CallError, Client, ConnectOptions, Connection, Context, LazyConnection, Policy, PolicyConfig,
    Proxy, Server, Service, ServiceResult, Stub, async_trait, nothing, reply,
};
use tail::FinishedSpan;

fn failing() -> impl Service {
    service(async |_: &str, _, cx: &Context| {
        let said = Enrichment::new().name("d1.query");
        cx.enrich(said.attribute("error.message", "no such table: t"));
        cx.enrich(Enrichment::new().attribute("error.type", "SQLITE_ERROR"));
        reply(&serde_json::json!({"success": false}))
    })
}

fn error(span: &FinishedSpan) -> (&str, &str) {
    let error = span.error.as_ref().expect("the span failed");
    (&error.kind, &error.message)
}

const NO_TABLE: (&str, &str) = ("SQLITE_ERROR", "no such table: t");

#[tokio::test(flavor = "local")]
async fn a_stated_error_fails_the_spans_of_both_sides_and_of_proxies_between_and_no_result() {
    every_way(failing, async |world: &World| {
        let (reply, span) = world.one(world.call("run")).await;
        let reply = reply.unwrap();
        let stated = reply.stated_error().expect("the call failed");
        assert_eq!((&*stated.kind, &*stated.message), NO_TABLE);
        let value = reply.to_json().unwrap();
        assert_eq!(value, serde_json::json!({"success": false}));
        let server = world.callee.ended(1).await.remove(0);
        let proxied = world.above_callee(&span).await;
        for span in [&span, &server, &proxied] {
            assert_eq!(span.outcome, Outcome::Exception, "{span:#?}");
            assert_eq!(error(span), NO_TABLE);
            // The message is what went wrong with the span, and not on it once more.
            let keys: Vec<&str> = said(span).iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, ["error.type"]);
        }
        assert_eq!(span.name, "d1.query");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stated_error_is_told_also_where_nobody_records_spans_and_to_other_threads() {
    let dir = socket_dir();
    let server = Server::new().service(BINDING, failing());
    let address = serve(server, &unix(&dir, "callee")).await;
    let connection = Connection::connect(&address, ConnectOptions::default());
    let reply = connection.await.unwrap().binding(BINDING).call("run", ());
    let reply = reply.await.unwrap();
    assert_eq!(reply.stated_error().unwrap().kind, "SQLITE_ERROR");
    let client = Client::connect(address, ConnectOptions::default()).await;
    let reply = client.unwrap().call(BINDING, "run", ()).await.unwrap();
    assert_eq!(reply.stated_error().unwrap().message, "no such table: t");
}

#[tokio::test(flavor = "local")]
async fn policy_decides_whether_a_stated_error_counts() {
    let (dir, spans) = (socket_dir(), Spans::new());
    let server = Server::new().service(BINDING, failing());
    let address = serve(server, &unix(&dir, "callee")).await;
    let options = ConnectOptions {
        sinks: spans.sinks(),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, options).await.unwrap();
    let policy = Arc::new(Policy::new(PolicyConfig {
        attributes: false,
        ..PolicyConfig::default()
    }));
    let binding = connection.binding(BINDING).with_policy(policy);
    let reply = binding.call("run", ()).await.unwrap();
    assert_eq!(reply.stated_error(), None);
    assert_eq!(spans.ended(1).await[0].outcome, Outcome::Ok);
}

#[tokio::test(flavor = "local")]
async fn a_callee_cannot_state_an_end_that_is_not_its_own_nor_a_class_without_bounds() {
    let long = "x".repeat(65);
    for (stated, kind) in [
        ("deadline", "Error"),
        ("canceled", "Error"),
        ("two words", "Error"),
        (&long, "Error"),
        ("...", "Error"),
        (
            "java.net.UnknownHostException",
            "java.net.UnknownHostException",
        ),
        ("503", "503"),
    ] {
        let stated = stated.to_owned();
        let stating = service(async move |_: &str, _, cx: &Context| {
            cx.enrich(Enrichment::new().attribute("error.type", stated.clone()));
            nothing()
        });
        let world = World::of(common::Way::Unix, stating).await;
        let span = world.span_of("run").await;
        assert_eq!(span.outcome, Outcome::Exception);
        assert_eq!(error(&span), (kind, ""));
    }
}

#[tokio::test(flavor = "local")]
async fn a_thrown_message_is_for_its_caller_and_spans_have_the_one_that_was_stated() {
    let stating = |message: Option<&'static str>| {
        move || {
            service(async move |_: &str, _, cx: &Context| {
                let mut said = Enrichment::new().attribute("error.type", "E");
                if let Some(message) = message {
                    said.set_attribute("error.message", message);
                }
                cx.enrich(said);
                Err(js_rpc::JsError::range_error("too far"))
            })
        }
    };
    for (message, shown) in [(Some("mine"), "mine"), (None, "too far")] {
        every_way(stating(message), async |world: &World| {
            let (outcome, span) = world.one(world.call("run")).await;
            let thrown = outcome.unwrap_err().to_string();
            assert_eq!(thrown, "RangeError: too far");
            let expected = match world.wire {
                // With an exception alone nothing is carried beside it.
                common::Wire::ThreeCalls => ("RangeError", "too far"),
                common::Wire::OneMessage => ("RangeError", shown),
            };
            assert_eq!(error(&span), expected);
            assert_eq!(span.outcome, Outcome::Exception);
            assert_eq!(span.get("error.message"), None);
            for callee in world.callee.now() {
                assert_eq!(error(&callee), ("RangeError", shown));
            }
        })
        .await;
    }
}

/// Returns an object, and keeps its call to say more.
#[derive(Clone, Default)]
struct Holding(Rc<RefCell<Option<CallScope>>>);

#[async_trait(?Send)]
impl Service for Holding {
    async fn call(&self, _: &str, _: js_rpc::Args, cx: &Context) -> ServiceResult {
        self.0.replace(Some(cx.scope().clone()));
        reply(&Stub::new(service(async |_: &str, _, _: &Context| {
            nothing()
        })))
    }
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_fails_after_the_return_fails_its_span() {
    for proxied in [false, true] {
        let way = match proxied {
            false => common::Way::Unix,
            true => common::Way::Proxied,
        };
        let holding = Holding::default();
        let world = World::of(way, holding.clone()).await;
        let held: Stub = world.call("run").await.unwrap().parse().unwrap();
        let scope = holding.0.take().unwrap();
        let late = Enrichment::new().attribute("error.type", "cut_short");
        scope.enrich(late.attribute("error.message", "after 7 of 9"));
        world.caller.hears("error.type cut_short").await;
        drop((held, scope));
        let callers = [Some(&world.caller), proxied.then_some(&world.proxy)];
        for spans in callers.into_iter().flatten() {
            let span = spans.ended(1).await.remove(0);
            assert_eq!(span.outcome, Outcome::Exception);
            assert_eq!(error(&span), ("cut_short", "after 7 of 9"));
        }
    }
}

/// Says something after the return, and has it heard before the answer is read.
struct Overtaking {
    marked: bool,
}

impl call_target::Server for Overtaking {
    async fn ping(
        self: Rc<Self>,
        _: call_target::PingParams,
        _: call_target::PingResults,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn invoke(
        self: Rc<Self>,
        params: call_target::InvokeParams,
        mut results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let observer = params.get()?.get_observer()?;
        let mut request = observer.enriched_request();
        let newer = Enrichment::new().name("newer").attribute("a", 2);
        binding_span::write(&newer, || request.get().init_enrichment());
        request.get().set_returned(self.marked);
        request.send().promise.await?;
        let older = Enrichment::new().name("older").attribute("a", 1);
        binding_span::write(&older, || results.get().init_enrichment());
        let value = js_rpc::Value::from(1);
        let mut result = results.get().init_returned().init_result();
        result.set_v8_serialized(&js_value::encode(&value).unwrap());
        Ok(())
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_said_after_the_return_replaces_the_answer_also_if_it_is_heard_before_it() {
    for (marked, name, a) in [(true, "newer", 2), (false, "older", 1)] {
        let (dir, spans) = (socket_dir(), Spans::new());
        let target: call_target::Client = capnp_rpc::new_client(Overtaking { marked });
        let address = raw::serve(target, &dir);
        spans.look(true);
        let options = ConnectOptions {
            sinks: spans.sinks(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&address, options).await.unwrap();
        let called = connection.binding(BINDING).call("run", ()).await.unwrap();
        assert_eq!(called.parse::<i64>().unwrap(), 1);
        let span = spans.ended(1).await.remove(0);
        assert_eq!(span.name, name);
        assert_eq!(span.get("a"), Some(&a.into()));
    }
}

/// A sink that lets go of a result when its call is reported as returned, and calls when a span closes.
#[derive(Default)]
struct Meddling;

thread_local! {
    static HELD: RefCell<Option<Stub>> = const { RefCell::new(None) };
    static CLOSED: Cell<usize> = const { Cell::new(0) };
}

impl SpanSink for Meddling {
    fn open(&self, _: &SpanOpen<'_>) {}
    fn rename(&self, _: SpanRef, _: &str) {}
    fn attributes(&self, _: SpanRef, _: &[binding_span::Attribute]) {}

    fn returned(&self, _: SpanRef, _: Outcome, _: Option<binding_span::ErrorInfo<'_>>) {
        meddle();
    }

    fn close(&self, _: &SpanClose<'_>) {
        CLOSED.set(CLOSED.get() + 1);
        meddle();
    }
}

fn meddle() {
    // Taken first: what follows is reported as well.
    if let Some(held) = HELD.take() {
        // A span of the session that is being reported: it opens, and closes when it is dropped.
        drop(held.call("more", ()).send());
    }
}

#[tokio::test(flavor = "local")]
async fn a_sink_may_call_and_end_the_session_that_it_is_told_of() {
    let dir = socket_dir();
    let server = Server::new().service(BINDING, Holding::default());
    let address = serve(server, &unix(&dir, "callee")).await;
    let options = ConnectOptions {
        sinks: Arc::new([Arc::new(Meddling) as Arc<dyn SpanSink>]),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, options).await.unwrap();
    let call = connection.binding(BINDING).call("run", ()).send();
    HELD.set(call.pipelined());
    let held: Stub = call.await.unwrap().parse().unwrap();
    HELD.set(Some(held));
    connection.binding(BINDING).call("run", ()).await.unwrap();
    a_while().await;
    assert!(CLOSED.get() >= 3, "{}", CLOSED.get());
}

#[tokio::test(flavor = "local")]
async fn calls_of_a_result_whose_call_was_never_sent_fail_as_it_does() {
    let (dir, spans) = (socket_dir(), Spans::new());
    let options = ConnectOptions {
        sinks: spans.sinks(),
        ..ConnectOptions::default()
    };
    let nowhere = LazyConnection::new(unix(&dir, "nobody"), options);
    let call = nowhere.binding(BINDING).call("run", ()).send();
    let stub = call.pipelined().unwrap();
    let (first, second) = futures::join!(call, stub.call("more", ()).send());
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(matches!(error, CallError::Unavailable(_)), "{error:?}");
        assert!(error.to_string().starts_with("cannot connect to unix:"));
    }
    drop(stub);
    // A call that could not connect has its span as well.
    let spans = spans.ended(2).await;
    assert!(spans.iter().all(|span| error(span).0 == "unavailable"));

    // One that nobody waits for any more takes its result with it.
    let call = nowhere.binding(BINDING).call("run", ()).send();
    let stub = call.pipelined().unwrap();
    drop(call);
    let error = stub.call("more", ()).await.unwrap_err();
    assert!(matches!(error, CallError::Canceled), "{error:?}");
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_is_lost_before_the_first_call_was_sent_ran_nothing() {
    let dir = socket_dir();
    let path = dir.path().join("closing");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let at = LazyConnection::new(js_rpc::Address::Unix(path), ConnectOptions::default());
    let error = at.binding(BINDING).call("run", ()).await.unwrap_err();
    assert!(matches!(error, CallError::Unavailable(_)), "{error:?}");
    assert!(error.did_not_run());
    let text = error.to_string();
    assert!(text.contains("before the call was sent"), "{text}");
    assert!(!text.contains("nothing was said"), "{text}");
}

#[tokio::test(flavor = "local")]
async fn what_a_proxy_cannot_pass_on_is_refused_and_no_error_of_the_application() {
    let dir = socket_dir();
    let target: call_target::Client = capnp_rpc::new_client(Many);
    let callee = raw::serve(target, &dir);
    let proxy = Proxy::new(callee, BINDING, ConnectOptions::default());
    let spans = Spans::new();
    let front = Server::new().proxy(BINDING, proxy).sinks(spans.sinks());
    let address = serve(front, &unix(&dir, "proxy")).await;

    let connection = Connection::connect(&address, ConnectOptions::default());
    let connection = connection.await.unwrap();
    let error = connection.binding(BINDING).call("run", ()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Result(_)), "{error:?}");
    assert!(error.to_string().contains("more than 1024 stubs"));

    let target: call_target::Client = raw::connect(&address).await;
    let mut request = target.invoke_request();
    request.get().set_binding(BINDING);
    let mut params = request.get().init_params();
    params.set_method_name("run");
    let args = params.init_operation().init_call_with_args();
    args.init_externals(1).get(0).init_readable_stream();
    let answer = tokio::time::timeout(SOON, request.send().promise).await;
    let answer = answer.unwrap().unwrap();
    let failure = answer.get().unwrap().get_failure().unwrap();
    use binding_span_schema::call_capnp::failure::Kind;
    assert_eq!(failure.get_kind().unwrap(), Kind::Refused);
    let message = failure.get_message().unwrap().to_string().unwrap();
    assert!(
        message.contains("a ReadableStream that was not pushed, which is not supported"),
        "{message}"
    );
    let kinds: Vec<_> = spans.ended(2).await;
    let kinds: Vec<&str> = kinds.iter().map(error_kind).collect();
    assert_eq!(kinds, ["result", "refused"]);
}

fn error_kind(span: &FinishedSpan) -> &str {
    error(span).0
}

/// Returns more stubs than may be.
struct Many;

impl call_target::Server for Many {
    async fn ping(
        self: Rc<Self>,
        _: call_target::PingParams,
        _: call_target::PingResults,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn invoke(
        self: Rc<Self>,
        _: call_target::InvokeParams,
        mut results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        results
            .get()
            .init_returned()
            .init_result()
            .init_externals(1025);
        Ok(())
    }
}
