//! A callee and a caller over real sockets, directly or with a proxy in between, and what both report.
//!
//! Everything of a test runs on the test's own thread, on a local runtime, as the library's objects do.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod raw;
pub mod relay;
pub mod words;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binding_span::{
    Attribute, AttributeValue, Dropped, Sinks, SpanClose, SpanKind, SpanOpen, SpanRef, SpanSink,
};
use js_rpc::{
    Address, Args, Binding, CallBuilder, CallError, ConnectOptions, Connection, Context, Listener,
    Proxy, Reply, RpcLimits, Server, Service, ServiceResult, async_trait,
};
use tail::{FinishedSpan, Recorder};
use tokio::sync::Notify;
pub use words::{WIRES, Wire};

/// How long a test waits for what must happen, on a machine that has other things to do as well.
pub const SOON: Duration = Duration::from_secs(30);

/// The binding that every test's service is served as.
pub const BINDING: &str = "S";

#[allow(unused_imports, reason = "not every test binary has a service")]
pub use js_rpc::service_fn as service;

/// The spans of one process, in memory; whoever waits for one is woken.
#[derive(Default)]
pub struct Spans {
    recorder: Recorder,
    count: AtomicUsize,
    /// Whether somebody looks at spans as they change.
    live: AtomicBool,
    /// Each change that was reported, in order.
    told: Mutex<Vec<String>>,
    changed: Notify,
}

impl Spans {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn sinks(self: &Arc<Self>) -> Sinks {
        Arc::new([Arc::clone(self) as Arc<dyn SpanSink>])
    }

    /// From now on somebody looks at spans as they change, or nobody does any more.
    pub fn look(&self, live: bool) {
        self.live.store(live, Relaxed);
    }

    /// Each name, attribute and count of drops that was reported, of whatever span, in order.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until something was reported.
    pub async fn hears(&self, what: &str) {
        self.wait(|| self.told().iter().any(|told| told == what))
            .await;
    }

    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
        self.changed.notify_waiters();
    }

    /// Those that have ended, in that order.
    pub fn now(&self) -> Vec<FinishedSpan> {
        self.recorder.spans()
    }

    /// The one that ended last.
    pub fn last(&self) -> FinishedSpan {
        self.now().pop().expect("a span has ended")
    }

    pub fn open(&self) -> usize {
        self.recorder.open_spans()
    }

    /// Those that have ended, as soon as there are `n` and none is open.
    pub async fn ended(&self, n: usize) -> Vec<FinishedSpan> {
        let ready = || self.open() == 0 && self.count.load(Relaxed) >= n;
        self.wait(ready).await;
        assert_eq!(self.now().len(), n, "{:#?}", self.now());
        self.now()
    }

    /// Waits until none is open: a session's span closes when its callee has said all.
    pub async fn closed(&self) {
        self.wait(|| self.open() == 0).await;
    }

    async fn wait(&self, ready: impl Fn() -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if ready() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(SOON, wait).await.is_err() {
            let (open, told) = (self.open(), self.told());
            panic!("{open} are open; told: {told:#?}; ended: {:#?}", self.now());
        }
    }
}

impl SpanSink for Spans {
    fn live(&self) -> bool {
        self.live.load(Relaxed)
    }

    fn open(&self, open: &SpanOpen<'_>) {
        self.recorder.open(open);
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.recorder.rename(span, name);
        self.tell(format!("name {name}"));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.recorder.attributes(span, attributes);
        for attribute in attributes {
            self.tell(format!("{} {}", attribute.key, attribute.value));
        }
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.recorder.dropped(span, dropped);
        self.tell(format!("dropped {dropped}"));
    }

    fn close(&self, close: &SpanClose<'_>) {
        self.recorder.close(close);
        self.count.fetch_add(1, Relaxed);
        self.changed.notify_waiters();
    }
}

/// What was said of a span, besides what its own process knew from the beginning.
pub fn said(span: &FinishedSpan) -> Vec<(&str, AttributeValue)> {
    let own = |key: &str| key.starts_with("rpc.") || key.starts_with("jsrpc.");
    let attributes = span.attributes.iter().filter(|a| !own(&a.key));
    attributes
        .map(|a| (a.key.as_ref(), a.value.clone()))
        .collect()
}

/// How the caller reaches the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Unix,
    Tcp,
    /// Over unix sockets through another server, which passes calls on.
    Proxied,
}

pub const WAYS: [Way; 3] = [Way::Unix, Way::Tcp, Way::Proxied];

impl Wire {
    /// Default limits under which calls travel like that, whichever side has them.
    pub fn limits(self) -> RpcLimits {
        RpcLimits {
            one_message: self == Self::OneMessage,
            ..RpcLimits::default()
        }
    }
}

/// A callee that serves [`BINDING`], and a connection to it.
pub struct World {
    pub way: Way,
    pub wire: Wire,
    /// Where the caller connects to.
    pub address: Address,
    pub connection: Connection,
    /// What the caller reported.
    pub caller: Arc<Spans>,
    /// What the proxy reported, if there is one.
    pub proxy: Arc<Spans>,
    /// What the callee reported.
    pub callee: Arc<Spans>,
    dir: tempfile::TempDir,
}

/// A private directory for sockets.
pub fn socket_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("js-rpc").tempdir().unwrap()
}

pub fn unix(dir: &tempfile::TempDir, name: &str) -> Address {
    Address::Unix(dir.path().join(name))
}

/// Serves on this thread until the test ends.
pub async fn serve(server: Server, address: &Address) -> Address {
    let listener = Listener::bind(address).await.unwrap();
    let bound = listener.address().clone();
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    bound
}

impl World {
    pub async fn of(way: Way, service: impl Service) -> Self {
        Self::over(way, Wire::OneMessage, service).await
    }

    pub async fn over(way: Way, wire: Wire, service: impl Service) -> Self {
        let server = Server::new().service(BINDING, service);
        Self::with(way, server, |proxy| proxy, wire.limits()).await
    }

    pub async fn with(
        way: Way,
        server: Server,
        change: impl FnOnce(Proxy) -> Proxy,
        limits: RpcLimits,
    ) -> Self {
        let [caller, proxy, callee] = std::array::from_fn(|_| Spans::new());
        let wire = match limits.one_message {
            true => Wire::OneMessage,
            false => Wire::ThreeCalls,
        };
        let dir = socket_dir();
        let at = match way {
            Way::Tcp => "127.0.0.1:0".parse().unwrap(),
            Way::Unix | Way::Proxied => unix(&dir, "callee"),
        };
        let mut address = serve(server.sinks(callee.sinks()), &at).await;
        if way == Way::Proxied {
            let on = change(Proxy::new(address, BINDING, ConnectOptions::default()));
            let front = Server::new().proxy(BINDING, on).sinks(proxy.sinks());
            address = serve(front.limits(limits.clone()), &unix(&dir, "proxy")).await;
        }
        let options = ConnectOptions {
            sinks: caller.sinks(),
            limits,
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&address, options).await.unwrap();
        Self {
            way,
            wire,
            address,
            connection,
            caller,
            proxy,
            callee,
            dir,
        }
    }

    pub fn binding(&self) -> Binding {
        self.connection.binding(BINDING)
    }

    /// A call without arguments.
    pub fn call(&self, method: &str) -> CallBuilder {
        self.binding().call(method, ())
    }

    /// The result of a call whose span has then ended, and that span.
    pub async fn one(&self, call: CallBuilder) -> (Result<Reply, CallError>, FinishedSpan) {
        let before = self.caller.now().len();
        let outcome = call.await;
        let after = self.caller.now();
        assert_eq!(after.len(), before + 1, "one call is one span: {after:#?}");
        (outcome, self.caller.last())
    }

    /// The caller's span of a call without arguments that succeeds.
    pub async fn span_of(&self, method: &str) -> FinishedSpan {
        let (outcome, span) = self.one(self.call(method)).await;
        outcome.unwrap();
        span
    }

    /// The span that the callee's is a child of when the caller's is this one: the proxy's, if there
    /// is one.
    pub async fn above_callee(&self, span: &FinishedSpan) -> FinishedSpan {
        if self.way != Way::Proxied {
            return span.clone();
        }
        let child = |s: &FinishedSpan| s.parent == Some(span.context.span_id);
        self.proxy.wait(|| self.proxy.now().iter().any(child)).await;
        let found = self.proxy.now().into_iter().find(child).unwrap();
        assert_eq!(found.kind, SpanKind::Client);
        found
    }
}

/// Runs a test of a service each way, in one message and in three calls.
pub async fn every_way<S: Service>(service: impl Fn() -> S, test: impl AsyncFn(&World)) {
    for (way, wire) in WAYS
        .into_iter()
        .flat_map(|way| WIRES.map(|wire| (way, wire)))
    {
        println!("way: {way:?}, {wire:?}"); // shown when the test fails
        let world = World::over(way, wire, service()).await;
        tokio::time::timeout(SOON * 3, test(&world))
            .await
            .expect("the test hangs");
    }
}

/// Waits until nothing holds `object` any more.
pub async fn released<T: ?Sized>(object: &std::rc::Weak<T>) {
    let gone = async {
        while object.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone)
        .await
        .expect("nothing is held");
}

/// Lets a few turns of the runtime pass: what should not happen has had its chance.
pub async fn a_while() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Both sides of a join of many.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures::future::join_all(futures).await
}

/// A service shared with the test, which can see when the callee let go of it.
pub struct Shared<S: ?Sized>(pub Rc<S>);

#[async_trait(?Send)]
impl<S: Service + ?Sized> Service for Shared<S> {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        self.0.call(method, args, cx).await
    }

    async fn get(&self, property: &str, cx: &Context) -> ServiceResult {
        self.0.get(property, cx).await
    }
}
