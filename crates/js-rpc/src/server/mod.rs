//! The callee: listeners, connections, bindings, sessions, and how all of it ends.

mod bindings;
mod entry;
#[cfg(feature = "fetch")]
mod http;
mod tail;

use std::future::Future;
use std::io;
use std::rc::Rc;

use binding_span::Sinks;
use binding_span_schema::call_capnp::named_bindings;
use capnp_rpc::rpc_twoparty_capnp::Side;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{AcceptStats, Acceptor, Admitted, Quota, RefusedBy};
use crate::object::Service;
use crate::observers::Observers;
use crate::opening::{self, Opening};
use crate::proxy::Proxy;
use crate::shared::Shared;
use crate::stream::Listener;
use crate::streaming::Streams;
use crate::{RpcLimits, network};
use entry::{Entrypoint, NamedBindings, Port};

/// Connections that are let in before those that are open have their turn.
const TURN: usize = 8;

pub(crate) use bindings::Entry;
pub use bindings::{Begun, Bindings};
pub use tail::TailReceiver;

/// Serves bindings on listeners.
///
/// ```no_run
/// # use js_rpc::{Listener, Server, Service};
/// # async fn run(gateway: impl Service) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"unix:/run/callee.sock".parse()?).await?;
/// let server = Server::new().service("AI", gateway);
/// server.serve([listener], std::future::pending()).await;
/// # Ok(()) }
/// ```
pub struct Server {
    bindings: Bindings,
    sinks: Sinks,
    limits: RpcLimits,
    quota: Option<Quota>,
    accepts: AcceptStats,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server without bindings.
    pub fn new() -> Self {
        Self {
            bindings: Bindings::default(),
            sinks: binding_span::no_sinks(),
            limits: RpcLimits::default(),
            quota: None,
            accepts: AcceptStats::default(),
        }
    }

    /// Serves a service as the binding `name`.
    #[must_use]
    pub fn service(self, name: &str, service: impl Service) -> Self {
        self.bindings.service(name, service);
        self
    }

    /// Passes calls of the binding `name` on to another callee.
    #[must_use]
    pub fn proxy(self, name: &str, proxy: Proxy) -> Self {
        self.bindings.proxy(name, proxy);
        self
    }

    /// Takes tail events as the service `name`: a workerd's `streamingTails` can name it.
    #[must_use]
    pub fn tail(self, name: &str, receiver: impl TailReceiver) -> Self {
        self.bindings.tail(name, receiver);
        self
    }

    /// What is served, as a handle that changes it while the server runs.
    pub fn bindings(&self) -> Bindings {
        self.bindings.clone()
    }

    /// Where spans go, besides to the current `tracing` subscriber.
    #[must_use]
    pub fn sinks(mut self, sinks: Sinks) -> Self {
        self.sinks = sinks;
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: RpcLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Shares the number of connections with other acceptors; otherwise that of the limits is the
    /// server's own.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Counts whom it lets in, and whom not. What connections then do is counted in
    /// [`NetworkLimits::stats`](crate::NetworkLimits::stats).
    #[must_use]
    pub fn count_accepts(mut self, stats: &AcceptStats) -> Self {
        self.accepts = stats.clone();
        self
    }

    /// Serves until `shutdown` completes; then stops accepting, lets calls in flight finish within
    /// [`RpcLimits::drain`], and closes, for which each connection has
    /// [`NetworkLimits::close`](crate::NetworkLimits::close), whatever its peer does. Returns how many
    /// calls it had to abandon.
    ///
    /// It belongs to one thread, on a `tokio` runtime that can spawn local tasks.
    pub async fn serve(
        self,
        listeners: impl IntoIterator<Item = Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> usize {
        let stop = CancellationToken::new();
        let close = CancellationToken::new();
        // Also when this future is dropped.
        let _ends = (stop.clone().drop_guard(), close.clone().drop_guard());
        let running = Rc::new(Running {
            bindings: self.bindings,
            shared: Shared::new(self.sinks, self.limits),
            #[cfg(feature = "fetch")]
            stop: stop.clone(),
            close: close.clone(),
        });
        running.bindings.run(&running.shared);
        let tasks = TaskTracker::new();
        let own = || Quota::new(&running.shared.limits);
        let quota = self.quota.unwrap_or_else(own);
        for listener in listeners {
            let acceptor = Acceptor::new(listener, quota.clone(), self.accepts.clone());
            let accepting = accept_all(acceptor, Rc::clone(&running), tasks.clone(), stop.clone());
            tasks.spawn_local(accepting);
        }
        shutdown.await;
        // Listeners go first, and with them the sockets' files.
        stop.cancel();
        running.shared.drain();
        let drain = running.shared.limits.drain;
        let _ = tokio::time::timeout(drain, running.shared.idle()).await;
        let abandoned = running.shared.in_flight();
        close.cancel();
        tasks.close();
        // Each connection has that long; once more for those that are about to begin with it.
        let close = running.shared.limits.network.close * 2;
        let _ = tokio::time::timeout(close, tasks.wait()).await;
        abandoned
    }
}

/// What the connections of a running server share.
pub(crate) struct Running {
    bindings: Bindings,
    pub(crate) shared: Rc<Shared>,
    /// Nothing begins any more.
    #[cfg(feature = "fetch")]
    stop: CancellationToken,
    close: CancellationToken,
}

/// Accepts until it is stopped.
async fn accept_all(
    mut acceptor: Acceptor,
    running: Rc<Running>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let at = Rc::new(At {
        only: acceptor.fixed_binding().map(Rc::from),
        #[cfg(feature = "fetch")]
        pages: http::Pages::of(acceptor.address()),
    });
    for count in 1.. {
        // Each has much to do at first, and whoever calls meanwhile would wait for all of it.
        if count % TURN == 0 {
            tokio::task::yield_now().await;
        }
        let admitted = tokio::select! {
            () = stop.cancelled() => return,
            admitted = acceptor.accept() => admitted,
        };
        let running = Rc::clone(&running);
        let at = Rc::clone(&at);
        tasks.spawn_local(async move {
            let peer = admitted.peer();
            if let Err(error) = connection(admitted, &at, running).await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
        });
    }
}

/// What a listener makes of its connections.
struct At {
    /// The only binding that it serves, if it has one.
    only: Option<Rc<str>>,
    #[cfg(feature = "fetch")]
    pages: http::Pages,
}

/// A connection's streams end with it.
struct Ends(Streams);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn connection(admitted: Admitted, at: &At, running: Rc<Running>) -> io::Result<()> {
    let (client, key) = (admitted.id(), admitted.key());
    let (accepted, slot) = admitted.into_parts();
    let limit = running.shared.limits.connect;
    // Apart, so that an open connection does not keep the room that a handshake needs.
    let opened = tokio::time::timeout(
        limit,
        Box::pin(async {
            let (mut read, mut write) = network::split(accepted.open().await?);
            let opening = opening::accept(&mut read, &mut write).await?;
            #[cfg(not(feature = "fetch"))]
            if let Opening::Http(_) = opening {
                let status = "421 Misdirected Request";
                opening::refuse(&mut write, status, opening::NOT_HTTP).await?;
                return Err(io::Error::other("a plain HTTP request"));
            }
            io::Result::Ok((read, write, opening))
        }),
    );
    let opened = tokio::select! {
        opened = opened => opened,
        () = running.close.cancelled() => return Ok(()),
    };
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (read, write, opening) = opened.inspect_err(|_| slot.stats().refuse(RefusedBy::Opening))?;
    let sessions = network::OpenSessions::default();
    let streams = Streams::new(running.shared.limits.network.stream_bytes);
    // However the connection ends.
    let _ends = Ends(streams.clone());
    let port = Port {
        running: Rc::clone(&running),
        only: at.only.clone(),
        sessions: sessions.clone(),
        observers: Observers::default(),
        streams,
        client,
    };
    let bootstrap = match opening {
        Opening::Connect(name) => {
            let name = port.only.as_deref().unwrap_or(&name);
            network::untyped(Entrypoint::bootstrap(&port, name))
        }
        Opening::Bare => {
            let named: named_bindings::Client = capnp_rpc::new_client(NamedBindings(port));
            network::untyped(named)
        }
        #[cfg(feature = "fetch")]
        Opening::Http(begun) => return http::serve(port, at.pages, begun, read, write).await,
        #[cfg(not(feature = "fetch"))]
        Opening::Http(_) => return Ok(()),
    };
    let limits = &running.shared.limits;
    let (system, _) = network::system(
        read,
        write,
        Side::Server,
        Some(bootstrap),
        sessions,
        Some(key),
        limits,
    );
    let disconnector = system.get_disconnector();
    let mut system = std::pin::pin!(system);
    tokio::select! {
        ended = &mut system => return ended.map_err(io::Error::other),
        () = running.close.cancelled() => {}
    }
    // The system is polled on, so that what is queued for the peer is written.
    let flushed = async { tokio::join!(disconnector, system) };
    let _ = tokio::time::timeout(limits.network.close, flushed).await;
    Ok(())
}
