//! A connection to a callee, and the bindings behind it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Policy, Sinks, no_sinks};
use binding_span_schema::js_rpc_capnp::{workerd_bootstrap, workerd_debug_port};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;

use crate::shared::Shared;
use crate::stream::{Stream, Trust};
use crate::{Address, CallError, RpcLimits, network, opening};

/// How to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Where spans go, besides to the current `tracing` subscriber. None by default.
    pub sinks: Sinks,
    /// Limits; see there for the defaults.
    pub limits: RpcLimits,
    /// The binding to ask for with `CONNECT`, as workerd does through `capnpConnectHost`. By default
    /// the connection begins with Cap'n Proto, and each binding is asked for by name.
    pub connect: Option<String>,
    /// Whom to talk to; see there for the defaults.
    pub trust: Trust,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            sinks: no_sinks(),
            limits: RpcLimits::default(),
            connect: None,
            trust: Trust::default(),
        }
    }
}

/// A connection to a callee. Cheap to clone; closed when the last clone, binding and stub is dropped.
///
/// It belongs to one thread, on a `tokio` runtime that can spawn local tasks: a
/// [`LocalRuntime`](tokio::runtime::LocalRuntime) or a `LocalSet`. [`Client`](crate::Client) is the
/// handle for other applications.
#[derive(Clone)]
pub struct Connection(Rc<Inner>);

struct Inner {
    shared: Rc<Shared>,
    bootstrap: Bootstrap,
    /// The default policies of the bindings asked for so far, with the names that each has seen.
    policies: RefCell<HashMap<Rc<str>, Arc<Policy>>>,
    /// Futures that the connection's task drives besides the RPC system.
    background: mpsc::UnboundedSender<LocalBoxFuture<'static, ()>>,
    lost: Rc<Cell<bool>>,
    ended: tokio_util::sync::CancellationToken,
    address: String,
}

enum Bootstrap {
    /// Every service by name; the entrypoints asked for so far.
    ByName {
        port: workerd_debug_port::Client,
        known: Known,
    },
    /// One service, which the opening named.
    Fixed(workerd_bootstrap::Client),
}

type Known = Rc<RefCell<HashMap<String, workerd_bootstrap::Client>>>;

/// Bindings that a connection remembers; asking for an entrypoint again costs a message, no more.
const MAX_KNOWN: usize = 256;

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`CallError::Connect`] says where to and why not.
    pub async fn connect(address: &Address, options: ConnectOptions) -> Result<Self, CallError> {
        let failed = |reason: String| CallError::Connect {
            address: address.to_string(),
            reason,
        };
        let limit = options.limits.connect;
        let opened = tokio::time::timeout(limit, async {
            let stream = Stream::connect(address, &options.trust).await?;
            let (mut read, mut write) = network::split(stream);
            if let Some(name) = &options.connect {
                opening::connect(&mut read, &mut write, name)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok((read, write))
        });
        let (read, write) = opened
            .await
            .map_err(|_| failed(format!("no answer within {limit:?}")))?
            .map_err(failed)?;
        let mut system = network::system(read, write, Side::Client, None, &options.limits);
        let bootstrap = match options.connect {
            Some(_) => Bootstrap::Fixed(system.bootstrap(Side::Server)),
            None => Bootstrap::ByName {
                port: system.bootstrap(Side::Server),
                known: Known::default(),
            },
        };
        let (background, futures) = mpsc::unbounded();
        let lost = Rc::new(Cell::new(false));
        let ended = tokio_util::sync::CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let driving = drive(system, futures, Rc::clone(&lost));
        tokio::task::spawn_local(async move {
            driving.await;
            drop(guard);
        });
        Ok(Self(Rc::new(Inner {
            shared: Shared::new(options.sinks, options.limits),
            bootstrap,
            policies: RefCell::default(),
            background,
            lost,
            ended,
            address: address.to_string(),
        })))
    }

    /// The policy of a binding for which nobody gives one: the same one each time it is asked for, so
    /// that its distinct names are counted and not forgotten.
    pub(crate) fn default_policy(&self, name: &Rc<str>) -> Arc<Policy> {
        let mut policies = self.0.policies.borrow_mut();
        if policies.len() >= MAX_KNOWN && !policies.contains_key(name) {
            policies.clear();
        }
        Arc::clone(policies.entry(Rc::clone(name)).or_default())
    }

    /// Whether the connection was lost. Calls on it fail; connect again.
    pub fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    /// Completes when the connection is closed, which it is when it is lost or when nobody holds it.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.0.ended.clone().cancelled_owned()
    }

    /// Where it was made to.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.0.shared
    }

    /// Hands a future to the connection's task. Without one, when the connection is lost, it is
    /// dropped.
    pub(crate) fn background(&self, future: LocalBoxFuture<'static, ()>) {
        let _ = self.0.background.unbounded_send(future);
    }

    /// Forgets an entrypoint, when called: one that could not be had stays broken, and what refused it
    /// may have passed. It does not hold the connection.
    pub(crate) fn forget_entrypoint(&self, name: &str) -> impl FnOnce() + use<> {
        let known = match &self.0.bootstrap {
            Bootstrap::ByName { known, .. } => Rc::downgrade(known),
            Bootstrap::Fixed(_) => std::rc::Weak::new(),
        };
        let name = name.to_owned();
        move || {
            let known = known.upgrade();
            // Dropped outside of the borrow.
            drop(known.and_then(|known| known.borrow_mut().remove(&name)));
        }
    }

    pub(crate) fn entrypoint(&self, name: &str) -> workerd_bootstrap::Client {
        let (port, known) = match &self.0.bootstrap {
            Bootstrap::Fixed(bootstrap) => return bootstrap.clone(),
            Bootstrap::ByName { port, known } => (port, known),
        };
        if let Some(entrypoint) = known.borrow().get(name) {
            return entrypoint.clone();
        }
        let (service, entrypoint) = name.split_once('#').unwrap_or((name, ""));
        let mut request = port.get_entrypoint_request();
        request.get().set_service(service);
        if !entrypoint.is_empty() {
            request.get().set_entrypoint(entrypoint);
        }
        let entrypoint = request.send().pipeline.get_entrypoint();
        let mut known = known.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name.to_owned(), entrypoint.clone());
        entrypoint
    }
}

/// The connection's task: the RPC system, and what runs beside it. Ends when the connection is lost or
/// nobody holds it any more.
async fn drive(
    system: RpcSystem<Side>,
    mut futures: mpsc::UnboundedReceiver<LocalBoxFuture<'static, ()>>,
    lost: Rc<Cell<bool>>,
) {
    let disconnector = system.get_disconnector();
    let mut system = tokio::task::spawn_local(system);
    let mut background = FuturesUnordered::new();
    let mut held = true;
    loop {
        tokio::select! {
            _ = &mut system => {
                lost.set(true);
                return;
            }
            next = futures.next(), if held => match next {
                Some(future) => background.push(future),
                None => held = false,
            },
            Some(()) = background.next(), if !background.is_empty() => {}
        }
        if !held && background.is_empty() {
            break;
        }
    }
    lost.set(true);
    // A peer that does not read must not keep us: what is queued for it has a second.
    let _ = tokio::time::timeout(Duration::from_secs(1), disconnector).await;
    system.abort();
}

/// Where a session goes: a service behind a connection, and how far its enrichment is trusted.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) connection: Connection,
    pub(crate) name: Rc<str>,
    pub(crate) policy: Arc<Policy>,
}
