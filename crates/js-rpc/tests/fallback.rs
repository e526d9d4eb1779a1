//! Peers of which one knows calls in one message and the other does not, next to each other and with a proxy between
//! them: every call works, runs once, and costs what it says.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binding_span::{AttributeValue::Int64, Enrichment, Outcome};
use binding_span_schema::call_capnp::{call_target, callable_object, named_bindings};
use binding_span_schema::js_rpc_capnp as wire;
use capnp::Error;
use capnp::capability::FromClientHook;
use common::relay::{ONE_MESSAGE, Relay};
use common::{
    BINDING, SOON, Spans, WIRES, Wire, a_while, raw, said, serve, service, socket_dir, unix,
};
use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, JsError, Payload, Proxy, Server, Service,
    ServiceResult, Stub, async_trait, reply,
};

/// Counts what runs, by method.
#[derive(Default, Clone)]
struct Counting(Rc<RefCell<BTreeMap<String, u32>>>);

impl Counting {
    fn take(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut *self.0.borrow_mut())
            .into_iter()
            .collect()
    }
}

#[async_trait(?Send)]
impl Service for Counting {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        *self.0.borrow_mut().entry(method.to_owned()).or_default() += 1;
        cx.enrich(
            Enrichment::new()
                .name(format!("callee.{method}"))
                .attribute("a", 1),
        );
        match method {
            "make" => reply(&Stub::new(self.clone())),
            "call" => {
                let stub: Stub = args.first()?;
                Ok(stub.call("back", (7,)).await?.into_payload())
            }
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                externals: args.externals,
            }),
            "throw" => Err(JsError::type_error("no")),
            "slow" => std::future::pending().await,
            _ => reply(&args.first::<Option<i64>>()?),
        }
    }
}

/// Where the calls go.
struct Setting {
    connection: Connection,
    relay: Relay,
    caller: Arc<Spans>,
    proxy: Option<Arc<Spans>>,
    #[allow(dead_code, reason = "held for its drop")]
    dir: tempfile::TempDir,
}

async fn setting(
    caller_wire: Wire,
    to: Address,
    proxied: bool,
    connect: Option<&str>,
    dir: tempfile::TempDir,
) -> Setting {
    let (mut to, caller, proxy) = (to, Spans::new(), proxied.then(Spans::new));
    if let Some(spans) = &proxy {
        let on = Proxy::new(to, BINDING, ConnectOptions::default());
        let front = Server::new().proxy(BINDING, on).sinks(spans.sinks());
        to = serve(front, &unix(&dir, "front")).await;
    }
    let relay = Relay::to(&to, &dir).await;
    let options = ConnectOptions {
        sinks: caller.sinks(),
        limits: caller_wire.limits(),
        connect: connect.map(str::to_owned),
        ..ConnectOptions::default()
    };
    Setting {
        connection: Connection::connect(&relay.address, options).await.unwrap(),
        relay,
        caller,
        proxy,
        dir,
    }
}

/// Who calls, who is called, whether a proxy that knows both is between them, and what the caller opens with.
fn all_settings() -> impl Iterator<Item = (Wire, Wire, bool, Option<&'static str>)> {
    let wires = WIRES
        .into_iter()
        .flat_map(|caller| WIRES.map(|callee| (caller, callee)));
    wires.flat_map(|(caller, callee)| {
        let ways = [
            (false, None),
            (false, Some(BINDING)),
            (true, None),
            (true, Some(BINDING)),
        ];
        ways.map(|(proxied, connect)| (caller, callee, proxied, connect))
    })
}

#[tokio::test(flavor = "local")]
async fn whoever_calls_whomever_each_call_runs_once_and_is_enriched() {
    for (caller, callee, proxied, connect) in all_settings() {
        println!("{caller:?} calls {callee:?}, proxied: {proxied}, connect: {connect:?}");
        let (dir, counting) = (socket_dir(), Counting::default());
        let server = Server::new().service(BINDING, counting.clone());
        let address = serve(server.limits(callee.limits()), &unix(&dir, "callee")).await;
        let it = setting(caller, address, proxied, connect, dir).await;
        // As the caller's calls travel; the next peer is the proxy, which knows both.
        let next = if proxied { Wire::OneMessage } else { callee };
        let travels = match (caller, next) {
            (Wire::OneMessage, Wire::OneMessage) => Wire::OneMessage,
            _ => Wire::ThreeCalls,
        };
        tokio::time::timeout(SOON, calls(&it, &counting))
            .await
            .expect("it hangs");

        // It was asked once, whatever it answered, and called in one way.
        let pings = usize::from(caller == Wire::OneMessage);
        assert_eq!(it.relay.pings(), pings);
        let asked = it.relay.asked();
        let invoked = asked.contains(&(ONE_MESSAGE, 0));
        assert_eq!(invoked, travels == Wire::OneMessage);

        // What a call said that threw comes as far as there are values for it.
        let error = it
            .connection
            .binding(BINDING)
            .call("throw", ())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "TypeError: no");
        it.caller.closed().await;
        let span = it.caller.last();
        let told = (travels, callee) == (Wire::OneMessage, Wire::OneMessage);
        assert_eq!(span.renamed(), told, "{span:#?}");
        if let Some(proxy) = &it.proxy {
            proxy.closed().await;
            assert_eq!(proxy.last().renamed(), callee == Wire::OneMessage);
        }
        assert_eq!(counting.take(), [("throw".into(), 1)]);
    }
}

async fn calls(it: &Setting, counting: &Counting) {
    let binding = it.connection.binding(BINDING);
    // Several at once on a connection of which nothing is known yet.
    let first = common::all((0..5).map(|n| binding.call("run", (n,)).send())).await;
    for (n, outcome) in first.into_iter().enumerate() {
        assert_eq!(outcome.unwrap().parse::<usize>().unwrap(), n);
    }
    it.caller.closed().await;
    for span in it.caller.now() {
        assert_eq!((&*span.name, span.outcome), ("callee.run", Outcome::Ok));
        assert_eq!(said(&span), [("a", Int64(1))]);
    }
    // An object in a result, and one that is called before it is there.
    let made = binding.call("make", ()).send();
    let ahead = made.pipelined().expect("a result ahead");
    let early = ahead.call("early", (3,)).send();
    let (made, early) = tokio::join!(made, early);
    assert_eq!(early.unwrap().parse::<i64>().unwrap(), 3);
    let made: Stub = made.unwrap().parse().unwrap();
    made.call("late", (4,)).await.unwrap();
    // One in an argument, which is called, and comes back.
    let called = Rc::new(Cell::new(0));
    let count = Rc::clone(&called);
    let own = Stub::new(service(async move |_: &str, args: Args, _: &Context| {
        count.set(count.get() + 1);
        reply(&args.first::<i64>()?)
    }));
    let back = binding.call("call", (own.clone(),)).await.unwrap();
    assert_eq!((back.parse::<i64>().unwrap(), called.get()), (7, 1));
    let again: Stub = binding.call("echo", (own,)).await.unwrap().parse().unwrap();
    again.call("any", (1,)).await.unwrap();
    assert_eq!(called.get(), 2);
    // And an object of the callee's in an argument for it.
    let back = binding.call("call", (made.clone(),)).await.unwrap();
    assert_eq!(back.parse::<i64>().unwrap(), 7);
    // One that is dropped ends, and is not made again.
    let slow = binding.call("slow", ()).send();
    a_while().await;
    drop(slow);
    drop((ahead, made, again));
    it.caller.closed().await;
    let expected = [
        ("back", 1),
        ("call", 2),
        ("early", 1),
        ("echo", 1),
        ("late", 1),
        ("make", 1),
        ("run", 5),
        ("slow", 1),
    ];
    let expected = expected.map(|(method, times)| (method.to_owned(), times));
    assert_eq!(counting.take(), expected);
}

/// A callee by hand, whose results are disposed of: `dispose` is dropped with what has the disposer.
struct Raw(Rc<Cell<u32>>);

struct Disposer(Rc<Cell<u32>>);

impl Drop for Disposer {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

const STUB: [u8; 4] = [0xff, 0x0f, 0x5c, 0x01];
const THREE: [u8; 4] = [0xff, 0x0f, 0x49, 0x06];

impl Raw {
    fn fill(&self, mut results: wire::js_rpc_target::call_results::Builder<'_>) {
        let mut value = results.reborrow().init_result();
        value.set_v8_serialized(&STUB);
        let stub = value.init_externals(1).get(0);
        // Whoever is called in one message has objects that are.
        let object: callable_object::Client = capnp_rpc::new_client(Plain);
        stub.init_rpc_target().set_cap(object.cast_to());
        results.set_has_disposer(true);
        let disposer = Disposer(Rc::clone(&self.0));
        let disposer: callable_object::Client = capnp_rpc::new_client(disposer);
        results.set_call_pipeline(disposer.cast_to());
    }

    fn again(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// An object that answers 3, however it is called.
struct Plain;

macro_rules! answers_three {
    ($name:ty) => {
        impl wire::external_pusher::Server for $name {}
        impl wire::js_rpc_target::Server for $name {
            async fn call(
                self: Rc<Self>,
                _: wire::js_rpc_target::CallParams,
                mut results: wire::js_rpc_target::CallResults,
            ) -> Result<(), Error> {
                results.get().init_result().set_v8_serialized(&THREE);
                Ok(())
            }
        }
        impl call_target::Server for $name {
            async fn invoke(
                self: Rc<Self>,
                _: call_target::InvokeParams,
                mut results: call_target::InvokeResults,
            ) -> Result<(), Error> {
                let mut returned = results.get().init_returned();
                returned.reborrow().init_result().set_v8_serialized(&THREE);
                Ok(())
            }
        }
        impl callable_object::Server for $name {}
    };
}

answers_three!(Plain);
answers_three!(Disposer);

impl wire::workerd_debug_port::Server for Raw {
    async fn get_entrypoint(
        self: Rc<Self>,
        _: wire::workerd_debug_port::GetEntrypointParams,
        mut results: wire::workerd_debug_port::GetEntrypointResults,
    ) -> Result<(), Error> {
        results
            .get()
            .set_entrypoint(capnp_rpc::new_client(self.again()));
        Ok(())
    }
}

impl wire::workerd_bootstrap::Server for Raw {
    async fn start_event(
        self: Rc<Self>,
        _: wire::workerd_bootstrap::StartEventParams,
        mut results: wire::workerd_bootstrap::StartEventResults,
    ) -> Result<(), Error> {
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client(self.again()));
        Ok(())
    }
}

impl wire::event_dispatcher::Server for Raw {
    async fn js_rpc_session(
        self: Rc<Self>,
        _: wire::event_dispatcher::JsRpcSessionParams,
        mut results: wire::event_dispatcher::JsRpcSessionResults,
    ) -> Result<(), Error> {
        results
            .get()
            .set_top_level(capnp_rpc::new_client(self.again()));
        results
            .get()
            .set_session(capnp_rpc::new_client(self.again()));
        Ok(())
    }
}

impl wire::js_rpc_session::Server for Raw {}
impl wire::external_pusher::Server for Raw {}

impl wire::js_rpc_target::Server for Raw {
    async fn call(
        self: Rc<Self>,
        _: wire::js_rpc_target::CallParams,
        mut results: wire::js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        self.fill(results.get());
        Ok(())
    }
}

impl call_target::Server for Raw {
    async fn invoke(
        self: Rc<Self>,
        _: call_target::InvokeParams,
        mut results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        self.fill(results.get().init_returned());
        Ok(())
    }

    async fn ping(
        self: Rc<Self>,
        _: call_target::PingParams,
        _: call_target::PingResults,
    ) -> Result<(), Error> {
        Ok(())
    }
}

impl named_bindings::Server for Raw {}

#[tokio::test(flavor = "local")]
async fn a_result_is_disposed_of_once_when_it_is_let_go_of() {
    for (caller, callee, proxied, _) in all_settings().filter(|it| it.3.is_none()) {
        println!("{caller:?} calls {callee:?}, proxied: {proxied}");
        let (dir, disposed) = (socket_dir(), Rc::new(Cell::new(0)));
        let raw_callee = Raw(Rc::clone(&disposed));
        let address = match callee {
            Wire::OneMessage => {
                let port: named_bindings::Client = capnp_rpc::new_client(raw_callee);
                raw::serve(port, &dir)
            }
            Wire::ThreeCalls => {
                let port: wire::workerd_debug_port::Client = capnp_rpc::new_client(raw_callee);
                raw::serve(port, &dir)
            }
        };
        let it = setting(caller, address, proxied, None, dir).await;
        for round in 1..3 {
            let reply = it
                .connection
                .binding(BINDING)
                .call("open", ())
                .await
                .unwrap();
            a_while().await;
            let stub: Stub = reply.parse().unwrap();
            a_while().await;
            assert_eq!(disposed.get(), round - 1, "too early");
            assert_eq!(stub.call("x", ()).await.unwrap().parse::<i64>().unwrap(), 3);
            drop(stub);
            let gone = async {
                while disposed.get() < round {
                    a_while().await;
                }
            };
            tokio::time::timeout(SOON, gone)
                .await
                .expect("it is disposed of");
            assert_eq!(disposed.get(), round);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_remembers_how_its_peer_is_called_and_a_new_one_asks_again() {
    let (dir, counting) = (socket_dir(), Counting::default());
    let server = Server::new().service(BINDING, counting.clone());
    let address = serve(
        server.limits(Wire::ThreeCalls.limits()),
        &unix(&dir, "callee"),
    )
    .await;
    let relay = Relay::to(&address, &dir).await;
    for round in 1..4 {
        let connection = Connection::connect(&relay.address, ConnectOptions::default())
            .await
            .unwrap();
        assert_eq!(relay.pings(), round - 1, "nobody called");
        let began = Instant::now();
        for binding in ["S", "S", "NOWHERE", "S"] {
            let _ = connection.binding(binding).call("run", ()).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "at once");
        assert_eq!(relay.pings(), round);
        assert_eq!(counting.take(), [("run".into(), 3)]);
    }
}

#[tokio::test(flavor = "local")]
async fn who_gives_up_while_the_peer_is_asked_does_not_call_and_leaves_the_asking_to_others() {
    let (dir, counting) = (socket_dir(), Counting::default());
    let server = Server::new().service(BINDING, counting.clone());
    let address = serve(server, &unix(&dir, "callee")).await;
    let connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    let binding = connection.binding(BINDING);
    let given_up = binding.call("never", ()).send();
    let waits = binding.call("run", (1,)).send();
    drop(given_up);
    assert_eq!(waits.await.unwrap().parse::<i64>().unwrap(), 1);
    let alone = binding.call("never", ()).send();
    drop(alone);
    binding.call("run", (1,)).await.unwrap();
    let ran = counting.take();
    assert!(ran.contains(&("run".into(), 2)), "{ran:?}");
}
