//! How calls, sessions and connections begin and end when things go wrong around them.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use binding_span::{Enrichment, Outcome};
use binding_span_schema::js_rpc_capnp as wire;
use capnp::Error;
use common::{BINDING, SOON, Spans, Way, World, raw, said, service, socket_dir, unix};
use futures::FutureExt;
use js_rpc::{
    Address, Args, CallError, CallOptions, Client, ConnectOptions, Connection, Context, Listener,
    NetworkLimits, Proxy, RpcLimits, Server, Stub, nothing, reply,
};
use tokio::net::UnixListener;
use tokio::sync::Notify;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(flavor = "local")]
async fn a_deadline_counts_from_when_the_call_is_sent() {
    let ended = Rc::new(Cell::new(false));
    struct End(Rc<Cell<bool>>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let e = Rc::clone(&ended);
    let world = World::of(
        Way::Unix,
        service(async move |_: &str, _, _: &Context| {
            let _end = End(Rc::clone(&e));
            std::future::pending::<()>().await;
            nothing()
        }),
    )
    .await;
    let pending = world.call("run").deadline(ms(200)).send();
    tokio::time::sleep(ms(600)).await;
    common::a_while().await;
    let callee_told = ended.get();
    let Some(out) = pending.into_future().now_or_never() else {
        panic!("more time passes; callee told before: {callee_told}");
    };
    assert!(matches!(out, Err(CallError::Deadline(_))), "{out:?}");
}

async fn stale(proxied: bool) {
    let dir = socket_dir();
    let svc = || {
        service(async |method: &str, _, _: &Context| {
            if method == "long" {
                tokio::time::sleep(ms(500)).await;
            }
            nothing()
        })
    };
    let limits = RpcLimits {
        network: NetworkLimits {
            in_flight: 12,
            ..NetworkLimits::default()
        },
        ..RpcLimits::default()
    };
    let server = Server::new()
        .service("A", svc())
        .service("B", svc())
        .limits(limits);
    let mut address = common::serve(server, &unix(&dir, "callee")).await;
    let connection;
    if proxied {
        // Another listener: the proxy's single upstream connection serves binding B and A.
        let front = Server::new().proxy(
            "A",
            Proxy::new(address.clone(), "A", ConnectOptions::default()),
        );
        address = common::serve(front, &unix(&dir, "front")).await;
        connection = Connection::connect(&address, ConnectOptions::default())
            .await
            .unwrap();
        let a = connection.binding("A");
        // A burst on a fresh upstream connection.
        let outs = common::all((0..40).map(|_| a.call("long", ()).send())).await;
        println!(
            "burst: {:?}",
            outs.iter().map(|o| o.is_ok()).collect::<Vec<_>>()
        );
        common::a_while().await;
        let after = a.call("short", ()).await;
        assert!(after.is_ok(), "idle now, yet: {after:?}");
        return;
    }
    connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    connection.binding("A").call("short", ()).await.unwrap();
    let longs: Vec<_> = (0..12)
        .map(|_| connection.binding("A").call("long", ()).send())
        .collect();
    let first = connection.binding("B").call("short", ()).await;
    println!("while busy: {first:?}");
    for l in longs {
        println!("long: {:?}", l.await.is_ok());
    }
    common::a_while().await;
    let a = connection.binding("A").call("short", ()).await;
    let b = connection.binding("B").call("short", ()).await;
    println!("A {a:?}");
    assert!(first.is_err());
    assert!(b.is_ok(), "idle now, yet: {b:?}");
}

#[tokio::test(flavor = "local")]
async fn an_entrypoint_refused_once_is_asked_for_again() {
    stale(false).await;
}

#[tokio::test(flavor = "local")]
async fn a_proxied_burst_recovers() {
    stale(true).await;
}

#[tokio::test(flavor = "local")]
async fn a_dropped_serve_stops_serving() {
    let dir = socket_dir();
    let address = unix(&dir, "callee");
    let listener = Listener::bind(&address).await.unwrap();
    let server = Server::new().service("S", service(async |_: &str, _, _: &Context| nothing()));
    tokio::select! {
        _ = server.serve([listener], std::future::pending()) => {}
        () = tokio::time::sleep(ms(50)) => {}
    }
    tokio::time::sleep(ms(50)).await;
    let connected = Connection::connect(&address, ConnectOptions::default()).await;
    if let Ok(c) = &connected {
        println!("call: {:?}", c.binding("S").call("x", ()).await);
    }
    assert!(connected.is_err(), "it still listens and serves");
}

fn silent(dir: &tempfile::TempDir) -> Address {
    let path = dir.path().join("silent");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::task::spawn_local(async move {
        let mut held = Vec::new();
        while let Ok((s, _)) = listener.accept().await {
            held.push(s);
        }
    });
    Address::Unix(path)
}

#[tokio::test(flavor = "local")]
async fn proxied_calls_while_the_callee_hangs_fail_together_within_the_deadline() {
    let dir = socket_dir();
    let options = ConnectOptions {
        connect: Some("S".into()),
        ..ConnectOptions::default()
    };
    let proxy = Proxy::new(silent(&dir), "S", options).deadline(ms(400));
    let limits = RpcLimits {
        connect: ms(300),
        ..RpcLimits::default()
    };
    let server = Server::new().proxy("S", proxy).limits(limits);
    let address = common::serve(server, &unix(&dir, "front")).await;
    let connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    let s = connection.binding("S");
    let began = Instant::now();
    let timed = common::all((0..40).map(|_| {
        let call = s.call("run", ());
        async move {
            let out = call.await;
            (began.elapsed(), out.unwrap_err().to_string())
        }
    }))
    .await;
    println!("{timed:#?}");
    let last = timed.iter().map(|t| t.0).max().unwrap();
    // One after the other they would take twelve seconds.
    assert!(
        last < ms(6000),
        "the last of 40 failed after {last:?} (connect 300 ms, deadline 400 ms)"
    );
}

#[tokio::test(flavor = "local")]
async fn a_clients_deadline_covers_connecting_again() {
    let dir = socket_dir();
    let path = dir.path().join("c");
    let address = Address::Unix(path.clone());
    // serve first so that the client can connect; then replace by a silent one
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listener = Listener::bind(&address).await.unwrap();
    let server = Server::new().service("S", service(async |_: &str, _, _: &Context| nothing()));
    let serving = tokio::task::spawn_local(server.serve([listener], async {
        let _ = stopped.await;
    }));
    let options = ConnectOptions {
        connect: Some("S".into()),
        limits: RpcLimits {
            connect: SOON,
            ..RpcLimits::default()
        },
        ..ConnectOptions::default()
    };
    let client = Client::connect(address, options).await.unwrap();
    client.call("S", "run", ()).await.unwrap();
    let _ = stop.send(());
    serving.await.unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    tokio::task::spawn_local(async move {
        let mut held = Vec::new();
        while let Ok((s, _)) = listener.accept().await {
            held.push(s);
        }
    });
    tokio::time::sleep(ms(100)).await;
    let began = Instant::now();
    let options = CallOptions {
        deadline: Some(ms(200)),
        ..CallOptions::default()
    };
    let outs = common::all((0..2).map(|_| async {
        let out = client.call_with("S", "run", (), options).await;
        (began.elapsed(), out.map(|_| ()).unwrap_err().to_string())
    }))
    .await;
    println!("{outs:?}");
    let last = outs.iter().map(|t| t.0).max().unwrap();
    assert!(last < SOON / 2, "deadline 200 ms, took {last:?}");
}

type Fill = Rc<dyn Fn(wire::js_rpc_target::call_results::Builder<'_>)>;
struct Raw(Fill);
impl wire::workerd_debug_port::Server for Raw {
    async fn get_entrypoint(
        self: Rc<Self>,
        _: wire::workerd_debug_port::GetEntrypointParams,
        mut results: wire::workerd_debug_port::GetEntrypointResults,
    ) -> Result<(), Error> {
        results
            .get()
            .set_entrypoint(capnp_rpc::new_client(Self(Rc::clone(&self.0))));
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
            .set_dispatcher(capnp_rpc::new_client(Self(Rc::clone(&self.0))));
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
            .set_top_level(capnp_rpc::new_client(Self(Rc::clone(&self.0))));
        results
            .get()
            .set_session(capnp_rpc::new_client(Self(Rc::clone(&self.0))));
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
        (self.0)(results.get());
        Ok(())
    }
}

fn raw_callee(
    dir: &tempfile::TempDir,
    fill: impl Fn(wire::js_rpc_target::call_results::Builder<'_>) + 'static,
) -> Address {
    let port: wire::workerd_debug_port::Client = capnp_rpc::new_client(Raw(Rc::new(fill)));
    raw::serve(port, dir)
}

const STUB: [u8; 4] = [0xff, 0x0f, 0x5c, 0x01];
const THREE: [u8; 4] = [0xff, 0x0f, 0x49, 0x06];

struct Target(Rc<Cell<bool>>);
impl Drop for Target {
    fn drop(&mut self) {
        self.0.set(true);
    }
}
impl wire::external_pusher::Server for Target {}
impl wire::js_rpc_target::Server for Target {
    async fn call(
        self: Rc<Self>,
        _: wire::js_rpc_target::CallParams,
        mut results: wire::js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        results.get().init_result().set_v8_serialized(&THREE);
        Ok(())
    }
}

async fn disposer(via_proxy: bool) -> (bool, bool) {
    let dir = socket_dir();
    let disposed = Rc::new(Cell::new(false));
    let d = Rc::clone(&disposed);
    let mut address = raw_callee(&dir, move |mut results| {
        let mut value = results.reborrow().init_result();
        value.set_v8_serialized(&STUB);
        let mut externals = value.init_externals(1);
        let never = Rc::new(Cell::new(false));
        externals
            .reborrow()
            .get(0)
            .init_rpc_target()
            .set_cap(capnp_rpc::new_client(Target(never)));
        results.set_call_pipeline(capnp_rpc::new_client(Target(Rc::clone(&d))));
        results.set_has_disposer(true);
    });
    if via_proxy {
        let server = Server::new().proxy(
            BINDING,
            Proxy::new(address, BINDING, ConnectOptions::default()),
        );
        address = common::serve(server, &unix(&dir, "front")).await;
    }
    let connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    let r = connection.binding(BINDING).call("open", ()).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    assert!(!disposed.get(), "too early");
    let stub: Stub = r.parse().unwrap();
    tokio::time::sleep(ms(50)).await;
    let while_held = disposed.get();
    stub.call("x", ()).await.unwrap();
    drop(stub);
    for _ in 0..1000 {
        if disposed.get() {
            break;
        }
        common::a_while().await;
    }
    (while_held, disposed.get())
}

#[tokio::test(flavor = "local")]
async fn an_object_is_not_disposed_while_its_stub_is_held() {
    let direct = disposer(false).await;
    let proxied = disposer(true).await;
    println!("(while held, after): direct {direct:?} proxied {proxied:?}");
    assert_eq!((direct, proxied), ((false, true), (false, true)));
}

#[tokio::test(flavor = "local")]
async fn a_client_does_not_dispose_before_the_stub_is_used() {
    let dir = socket_dir();
    let disposed = Rc::new(Cell::new(false));
    let d = Rc::clone(&disposed);
    let address = raw_callee(&dir, move |mut results| {
        let mut value = results.reborrow().init_result();
        value.set_v8_serialized(&STUB);
        let mut externals = value.init_externals(1);
        let never = Rc::new(Cell::new(false));
        externals
            .reborrow()
            .get(0)
            .init_rpc_target()
            .set_cap(capnp_rpc::new_client(Target(never)));
        results.set_call_pipeline(capnp_rpc::new_client(Target(Rc::clone(&d))));
        results.set_has_disposer(true);
    });
    let client = Client::connect(address, ConnectOptions::default())
        .await
        .unwrap();
    let r = client.call(BINDING, "open", ()).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    assert!(!disposed.get(), "disposed although the RemoteReply is held");
    drop(r);
}

#[tokio::test(flavor = "local")]
async fn a_local_stub_keeps_a_deadline() {
    let stub = Stub::new(service(async |_: &str, _, _: &Context| {
        std::future::pending::<()>().await;
        nothing()
    }));
    let call = stub.call("x", ()).deadline(ms(50));
    let out = tokio::time::timeout(ms(500), call).await;
    assert!(matches!(out, Ok(Err(CallError::Deadline(_)))), "{out:?}");
}

#[tokio::test(flavor = "local")]
async fn error_type_is_of_low_cardinality() {
    let junk = "x".repeat(20_000);
    let world = World::of(
        Way::Unix,
        service(async move |_: &str, _: Args, _: &Context| {
            Err(js_rpc::JsError::new(
                format!("DOMException({junk} \u{1b}[31m)"),
                "m",
            ))
        }),
    )
    .await;
    let (out, span) = world.one(world.call("x")).await;
    let kind = out.unwrap_err().kind().to_owned();
    println!("{:?}", span.error.as_ref().map(|e| e.kind.len()));
    assert!(kind.len() < 100, "error.type of {} bytes", kind.len());
}

#[tokio::test(flavor = "local")]
async fn a_stub_number_in_a_value_is_always_among_the_stubs() {
    let dir = socket_dir();
    let address = raw_callee(&dir, |mut results| {
        results.reborrow().init_result().set_v8_serialized(&STUB);
    });
    let connection = Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap();
    let out = connection.binding(BINDING).call("x", ()).await;
    if let Ok(r) = &out {
        println!("value {:?}, stubs {}", r.value(), r.externals().len());
    }
    assert!(
        out.is_err(),
        "Value::Stub(0) without stubs()[0]: indexing as documented panics"
    );
}

#[tokio::test(flavor = "local")]
async fn enrichment_counts_also_when_a_proxy_cannot_pass_the_result() {
    let dir = socket_dir();
    let address = raw_callee(&dir, |mut results| {
        let mut value = results.reborrow().init_result();
        value.set_v8_serialized(&STUB);
        value.init_externals(1).get(0).init_readable_stream();
        let said = Enrichment::new().name("named").attribute("a", 1);
        binding_span::write(&said, || results.reborrow().init_binding_span_enrichment());
    });
    let (direct, proxied) = (Spans::new(), Spans::new());
    let options = ConnectOptions {
        sinks: direct.sinks(),
        ..ConnectOptions::default()
    };
    let c = Connection::connect(&address, options).await.unwrap();
    println!("direct: {:?}", c.binding(BINDING).call("x", ()).await);
    let server = Server::new()
        .proxy(
            BINDING,
            Proxy::new(address, BINDING, ConnectOptions::default()),
        )
        .sinks(proxied.sinks());
    let front = common::serve(server, &unix(&dir, "front")).await;
    let c = Connection::connect(&front, ConnectOptions::default())
        .await
        .unwrap();
    println!("proxied: {:?}", c.binding(BINDING).call("x", ()).await);
    let span = proxied.ended(1).await.remove(0);
    assert_eq!(direct.last().name, "named");
    assert_eq!(span.name, "named", "the proxy's span; {:?}", span.outcome);
}

#[tokio::test(flavor = "local")]
async fn callbacks_and_pipelines_through_a_proxy_leave_nothing() {
    let kept: Rc<RefCell<Vec<Stub>>> = Rc::default();
    let k = Rc::clone(&kept);
    let world = World::of(
        Way::Proxied,
        service(async move |m: &str, args: Args, _: &Context| match m {
            "subscribe" => {
                let cb: Stub = args.first()?;
                cb.call("hi", ()).await?;
                reply(&Stub::new(service(
                    async move |_: &str, _: Args, _: &Context| {
                        Ok(cb.call("later", ()).await?.into_payload())
                    },
                )))
            }
            "keep" => {
                k.borrow_mut().push(args.first()?);
                nothing()
            }
            "fail" => Err(js_rpc::JsError::error("no")),
            "hang" => {
                std::future::pending::<()>().await;
                nothing()
            }
            _ => js_rpc::unknown_method(m),
        }),
    )
    .await;
    for _ in 0..50 {
        let me = Stub::new(service(async |_: &str, _: Args, _: &Context| reply(&1)));
        let sub: Stub = world
            .binding()
            .call("subscribe", (me.clone(),))
            .await
            .unwrap()
            .parse()
            .unwrap();
        sub.call("x", ()).await.unwrap();
        drop(sub);
        let p = world.binding().call("subscribe", (me.clone(),)).send();
        let early = p.pipelined().unwrap();
        let q = early.call("x", ()).send();
        drop(p);
        println!("{:?}", q.await.is_ok());
        drop(early);
        let p = world.binding().call("fail", ()).send();
        let early = p.pipelined().unwrap();
        let q = early.call("y", ()).send();
        assert!(q.await.is_err());
        assert!(p.await.is_err());
        let p = world.binding().call("hang", (me,)).send();
        let early = p.pipelined().unwrap();
        let q = early.call("y", ()).send();
        tokio::time::sleep(ms(3)).await;
        drop((p, early));
        drop(q);
    }
    for _ in 0..400 {
        if world.caller.open() + world.proxy.open() + world.callee.open() == 0 {
            break;
        }
        tokio::time::sleep(ms(50)).await;
    }
    println!(
        "open {} {} {}",
        world.caller.open(),
        world.proxy.open(),
        world.callee.open()
    );
    assert_eq!(
        (world.caller.open(), world.proxy.open(), world.callee.open()),
        (0, 0, 0)
    );
}

thread_local! { static HELD: RefCell<Option<Stub>> = const { RefCell::new(None) }; static MODE: Cell<u8> = const { Cell::new(0) }; }
struct Reenter;
impl binding_span::SpanSink for Reenter {
    fn rename(&self, _: binding_span::SpanRef, _: &str) {
        act();
    }
    fn attributes(&self, _: binding_span::SpanRef, _: &[binding_span::Attribute]) {}
    fn open(&self, _: &binding_span::SpanOpen<'_>) {}
    fn close(&self, _: &binding_span::SpanClose<'_>) {}
}
fn act() {
    match MODE.get() {
        1 => drop(HELD.take()),
        2 => {
            let stub = HELD.with_borrow(|h| h.clone());
            if let Some(s) = stub {
                drop(s.call("x", ()).send());
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "local")]
async fn a_sink_may_call_from_within_a_report() {
    let dir = socket_dir();
    let s = service(async |_: &str, _: Args, cx: &Context| {
        cx.enrich(Enrichment::new().name("n"));
        nothing()
    });
    let address = common::serve(Server::new().service(BINDING, s), &unix(&dir, "c")).await;
    let options = ConnectOptions {
        sinks: std::sync::Arc::new([std::sync::Arc::new(Reenter) as _]),
        ..ConnectOptions::default()
    };
    let c = Connection::connect(&address, options).await.unwrap();
    for mode in [1, 2] {
        let p = c.binding(BINDING).call("x", ()).send();
        HELD.set(p.pipelined());
        MODE.set(mode);
        println!("mode {mode}: {:?}", p.await.is_ok());
        MODE.set(0);
        HELD.take();
    }
}

#[tokio::test(flavor = "local")]
async fn a_callers_method_does_not_make_a_huge_span_name() {
    let world = World::of(
        Way::Unix,
        service(async |_: &str, _, _: &Context| nothing()),
    )
    .await;
    world.call(&"m".repeat(5_000_000)).await.unwrap();
    let spans = world.callee.ended(1).await;
    println!(
        "name {} attributes {:?}",
        spans[0].name.len(),
        spans[0]
            .attributes
            .iter()
            .map(|a| (a.key.to_string(), format!("{:?}", a.value).len()))
            .collect::<Vec<_>>()
    );
    assert!(spans[0].name.len() < 1000);
}

#[tokio::test(flavor = "local")]
async fn spans_close_once_and_in_order_when_everything_is_dropped_at_once() {
    let begun = Rc::new(Notify::new());
    let begins = Rc::clone(&begun);
    let world = World::of(
        Way::Proxied,
        service(async move |_: &str, _, _: &Context| {
            let begins = Rc::clone(&begins);
            reply(&Stub::new(service(
                async move |_: &str, _: Args, _: &Context| {
                    begins.notify_one();
                    std::future::pending::<()>().await;
                    nothing()
                },
            )))
        }),
    )
    .await;
    let stub: Stub = world.call("open").await.unwrap().parse().unwrap();
    let p = stub.call("x", ()).send();
    begun.notified().await;
    drop(stub);
    drop(p);
    for spans in [&world.caller, &world.proxy, &world.callee] {
        let s = spans.ended(2).await;
        println!(
            "{:?}",
            s.iter()
                .map(|s| (s.name.clone(), s.outcome))
                .collect::<Vec<_>>()
        );
    }
    assert_eq!(world.caller.now()[0].name, "jsRpcCall");
    assert_eq!(world.caller.now()[0].outcome, Outcome::Canceled);
    assert_eq!(world.caller.now()[1].outcome, Outcome::Ok);
    let _ = said(&world.caller.last());
}

#[tokio::test(flavor = "local")]
async fn draining_delivers_every_result() {
    for (tcp, proxied) in [(false, false), (false, true), (true, false)] {
        let dir = socket_dir();
        let at = match tcp {
            true => "127.0.0.1:0".parse().unwrap(),
            false => unix(&dir, "callee"),
        };
        let listener = Listener::bind(&at).await.unwrap();
        let address = listener.address().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let begun = Rc::new(Cell::new(0));
        let count = Rc::clone(&begun);
        let big = service(async move |_: &str, _, _: &Context| {
            count.set(count.get() + 1);
            tokio::time::sleep(ms(200)).await;
            reply(&"x".repeat(300_000))
        });
        let mut server = Server::new().service(BINDING, big);
        if proxied {
            let up = common::serve(server, &unix(&dir, "up")).await;
            server =
                Server::new().proxy(BINDING, Proxy::new(up, BINDING, ConnectOptions::default()));
        }
        let serving = tokio::task::spawn_local(server.serve([listener], async {
            let _ = stopped.await;
        }));
        let c = Connection::connect(&address, ConnectOptions::default())
            .await
            .unwrap();
        let b = c.binding(BINDING);
        let calls: Vec<_> = (0..40).map(|_| b.call("x", ()).send()).collect();
        while begun.get() < calls.len() {
            tokio::time::sleep(ms(1)).await;
        }
        let _ = stop.send(());
        let outs = common::all(calls).await;
        let bad: Vec<_> = outs.iter().filter_map(|o| o.as_ref().err()).collect();
        assert_eq!(serving.await.unwrap(), 0, "calls abandoned");
        assert!(
            bad.is_empty(),
            "tcp {tcp}, proxied {proxied}: {} of 40 lost: {:?}",
            bad.len(),
            bad.first()
        );
    }
}
