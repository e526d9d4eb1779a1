//! One connection on the wire. A [`Connection`](super::Connection) has one at a time for new sessions; those
//! that it had before live as long as their sessions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use binding_span_schema::call_capnp::call_target;
use binding_span_schema::js_rpc_capnp::workerd_debug_port::{
    get_entrypoint_params, get_entrypoint_results,
};
use binding_span_schema::js_rpc_capnp::{workerd_bootstrap, workerd_debug_port};
use capnp::capability::{FromClientHook, Request};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::channel::mpsc;
use futures::future::{LocalBoxFuture, WeakShared};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio_util::sync::DropGuard;

use crate::error::reason;
use crate::network::{Gate, OpenSessions};
use crate::stream::{Stream, Trust};
use crate::streaming::Streams;
use crate::wire::Wire;
use crate::{Address, CallError, RpcLimits, network, opening};

/// Entrypoints that a line remembers; asking for one again costs a message, no more.
const MAX_KNOWN: usize = 256;

pub(crate) struct Line {
    bootstrap: Bootstrap,
    /// The bootstrap as our own peers have it.
    target: call_target::Client,
    /// How the peer is called, once that is known.
    wire: Rc<Cell<Option<Wire>>>,
    asking: RefCell<Option<WeakShared<Asking>>>,
    /// Futures that the line's task drives besides the RPC system.
    background: mpsc::UnboundedSender<LocalBoxFuture<'static, ()>>,
    lost: Rc<Cell<bool>>,
    gate: Rc<Gate>,
    streams: Streams,
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

type Asking = LocalBoxFuture<'static, Result<Wire, CallError>>;

type Known = Rc<RefCell<HashMap<String, workerd_bootstrap::Client>>>;

/// Where a line goes, and how.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) address: Address,
    pub(super) trust: Trust,
    /// The binding to ask for in the opening.
    pub(super) connect: Option<String>,
    pub(super) limits: RpcLimits,
    pub(super) loss: Loss,
}

/// Why the last line of a connection was lost, if it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Loss(Rc<RefCell<Option<String>>>);

impl Loss {
    pub(super) fn take(&self) -> Option<String> {
        self.0.take()
    }

    /// The line ended by itself, with this for a result. Peace on it is no loss.
    fn set(&self, ended: Result<(), capnp::Error>) {
        let why = match ended {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => reason(&error),
        };
        let idle = why.contains("nothing happened for");
        self.0.replace((!idle).then_some(why));
    }
}

impl Dial {
    /// Connects. `open` is held while the line is open.
    pub(super) async fn dial(&self, open: Rc<DropGuard>) -> Result<Rc<Line>, CallError> {
        let failed = |reason: String| CallError::cannot_connect(&self.address, &reason);
        let limit = self.limits.connect;
        let opened = tokio::time::timeout(limit, async {
            let stream = Stream::connect(&self.address, &self.trust).await?;
            let (mut read, mut write) = network::split(stream);
            if let Some(name) = &self.connect {
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
        let sessions = OpenSessions::default();
        let (mut system, gate) = network::system(
            read,
            write,
            Side::Client,
            None,
            sessions,
            None,
            &self.limits,
        );
        let target: call_target::Client = system.bootstrap(Side::Server);
        let bootstrap = match self.connect {
            Some(_) => Bootstrap::Fixed(target.clone().cast_to()),
            None => Bootstrap::ByName {
                port: target.clone().cast_to(),
                known: Known::default(),
            },
        };
        let wire = (!self.limits.one_message).then_some(Wire::ThreeCalls);
        gate.keep(1);
        let (background, futures) = mpsc::unbounded();
        let lost = Rc::new(Cell::new(false));
        let streams = Streams::new(self.limits.network.stream_bytes);
        // A peer of our own takes those in the results of calls of objects that it was given.
        streams.set_peer(target.clone().cast_to());
        let end = End {
            lost: Rc::clone(&lost),
            gate: Rc::clone(&gate),
            streams: streams.clone(),
            loss: self.loss.clone(),
            _open: open,
        };
        tokio::task::spawn_local(drive(system, futures, end));
        Ok(Rc::new(Line {
            bootstrap,
            target,
            wire: Rc::new(Cell::new(wire)),
            asking: RefCell::default(),
            background,
            lost,
            gate,
            streams,
        }))
    }
}

impl Line {
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    pub(crate) fn gate(&self) -> &Rc<Gate> {
        &self.gate
    }

    pub(crate) const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Hands a future to the line's task. Without one, when the line is lost, it is dropped.
    pub(crate) fn background(&self, future: LocalBoxFuture<'static, ()>) {
        let _ = self.background.unbounded_send(future);
    }

    /// How the peer is called, if that is known.
    pub(super) fn wire(&self) -> Option<Wire> {
        self.wire.get()
    }

    /// Asks the peer how it is called, unless that is known. It is asked once, whoever waits for the answer, and
    /// with a call that does nothing, so that no call of anybody's runs twice.
    pub(super) async fn ask_wire(&self) -> Result<Wire, CallError> {
        if let Some(wire) = self.wire.get() {
            return Ok(wire);
        }
        let running = self.asking.borrow().as_ref().and_then(WeakShared::upgrade);
        let asking = running.filter(|asking| asking.peek().is_none());
        let asking = asking.unwrap_or_else(|| {
            let mut ping = self.target.ping_request();
            ping.get().set_pusher(self.streams.pusher());
            let answered = ping.send().promise;
            let known = Rc::clone(&self.wire);
            let ask = async move {
                let wire = match answered.await.map_err(CallError::from) {
                    Ok(_) => Wire::OneMessage,
                    // The question is no call of anybody's: nothing ran.
                    Err(error @ (CallError::Disconnected(_) | CallError::Protocol(_))) => {
                        let why = error.to_string();
                        let why = why.strip_prefix("connection lost: ").unwrap_or(&why);
                        return Err(CallError::Unavailable(format!(
                            "connection lost before the call was sent: {why}"
                        )));
                    }
                    Err(error @ CallError::Overloaded(_)) => return Err(error),
                    // It does not know the interface, in whatever words.
                    Err(_) => Wire::ThreeCalls,
                };
                known.set(Some(wire));
                Ok(wire)
            };
            let asking = ask.boxed_local().shared();
            self.asking.replace(asking.downgrade());
            asking
        });
        asking.await
    }

    /// The bootstrap as our own peers have it.
    pub(super) fn call_target(&self) -> call_target::Client {
        self.target.clone()
    }

    /// Whether the bootstrap stands for several services, each with a name.
    pub(super) const fn is_by_name(&self) -> bool {
        matches!(self.bootstrap, Bootstrap::ByName { .. })
    }

    /// Forgets an entrypoint, when called: one that could not be had stays broken, and what refused it
    /// may have passed. It does not hold the line.
    pub(crate) fn forget_entrypoint(&self, name: &str) -> impl FnOnce() + use<> {
        let known = match &self.bootstrap {
            Bootstrap::ByName { known, .. } => Rc::downgrade(known),
            Bootstrap::Fixed(_) => Weak::new(),
        };
        let name = name.to_owned();
        move || {
            let known = known.upgrade();
            // Dropped outside of the borrow.
            drop(known.and_then(|known| known.borrow_mut().remove(&name)));
        }
    }

    /// Whether the callee answers here what it was asked elsewhere. Who has too many connections closes one
    /// only after it was made.
    pub(super) async fn takes_over(&self, from: &Self) -> Result<(), CallError> {
        if self.ask_wire().await? == Wire::OneMessage {
            return Ok(());
        }
        let (Bootstrap::ByName { port, .. }, Bootstrap::ByName { known, .. }) =
            (&self.bootstrap, &from.bootstrap)
        else {
            // It answered the opening.
            return Ok(());
        };
        let name = known.borrow().keys().next().cloned().unwrap_or_default();
        let answer = ask(port, &name).send().promise.await;
        match answer.map_err(CallError::from) {
            Err(error @ (CallError::Disconnected(_) | CallError::Protocol(_))) => Err(error),
            // Whatever it said.
            _ => Ok(()),
        }
    }

    pub(crate) fn entrypoint(&self, name: &str) -> workerd_bootstrap::Client {
        let (port, known) = match &self.bootstrap {
            Bootstrap::Fixed(bootstrap) => return bootstrap.clone(),
            Bootstrap::ByName { port, known } => (port, known),
        };
        if let Some(entrypoint) = known.borrow().get(name) {
            return entrypoint.clone();
        }
        let entrypoint = ask(port, name).send().pipeline.get_entrypoint();
        let mut known = known.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name.to_owned(), entrypoint.clone());
        // And the bootstrap.
        self.gate.keep(known.len() + 1);
        entrypoint
    }
}

type Entrypoint = Request<get_entrypoint_params::Owned, get_entrypoint_results::Owned>;

/// Asks for an entrypoint by its name, `service` or `service#Entrypoint`.
fn ask(port: &workerd_debug_port::Client, name: &str) -> Entrypoint {
    let (service, entrypoint) = name.split_once('#').unwrap_or((name, ""));
    let mut request = port.get_entrypoint_request();
    request.get().set_service(service);
    if !entrypoint.is_empty() {
        request.get().set_entrypoint(entrypoint);
    }
    request
}

/// What ends with a line, however that ends.
struct End {
    lost: Rc<Cell<bool>>,
    gate: Rc<Gate>,
    streams: Streams,
    loss: Loss,
    _open: Rc<DropGuard>,
}

impl End {
    fn now(&self) {
        self.lost.set(true);
        self.gate.end();
        self.streams.end();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.now();
    }
}

/// The line's task: the RPC system, and what runs beside it. Ends when the line is lost or nobody holds
/// it any more.
async fn drive(
    system: RpcSystem<Side>,
    mut futures: mpsc::UnboundedReceiver<LocalBoxFuture<'static, ()>>,
    end: End,
) {
    let disconnector = system.get_disconnector();
    let mut system = tokio::task::spawn_local(system);
    let mut background = FuturesUnordered::new();
    let mut held = true;
    loop {
        tokio::select! {
            ended = &mut system => return end.loss.set(ended.unwrap_or(Ok(()))),
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
    end.now();
    // A peer that does not read must not keep us: what is queued for it has a second.
    let _ = tokio::time::timeout(Duration::from_secs(1), disconnector).await;
    system.abort();
}
