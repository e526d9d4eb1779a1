//! A callee and a caller over real sockets, directly or with a proxy in between, and what both report.
//!
//! Everything of a test runs on the test's own thread, on a local runtime, as the library's objects do.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod raw;
pub mod relay;
pub mod spans;
pub mod words;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{AttributeValue, SpanKind};
use js_rpc::{
    Address, Args, Binding, CallBuilder, CallError, ConnectOptions, Connection, Context, Listener,
    Proxy, Reply, RpcLimits, Server, Service, ServiceResult, async_trait,
};
pub use spans::{SOON, Spans};
use tail::FinishedSpan;
pub use words::{WIRES, Wire};

/// The binding that every test's service is served as.
pub const BINDING: &str = "S";

#[allow(unused_imports, reason = "not every test binary has a service")]
pub use js_rpc::service_fn as service;

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
