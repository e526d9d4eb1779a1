//! A connection to a callee, and the bindings behind it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use binding_span::{Sinks, no_sinks};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::line::{Dial, Line, Loss};
use crate::shared::Shared;
use crate::stream::Trust;
use crate::{Address, CallError, RpcLimits};

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
/// Calls that were cancelled leave something behind on a connection. After
/// [many](crate::NetworkLimits::renew) of them new sessions go over a new one, which is made in the
/// background; the old one is closed when its last session is over, and stubs that came over it stay as they
/// are.
///
/// It belongs to one thread, on a `tokio` runtime that can spawn local tasks: a
/// [`LocalRuntime`](tokio::runtime::LocalRuntime) or a `LocalSet`. [`Client`](crate::Client) is the
/// handle for other applications.
#[derive(Clone)]
pub struct Connection(Rc<Inner>);

struct Inner {
    shared: Rc<Shared>,
    dial: Dial,
    address: String,
    /// Where new sessions go.
    line: RefCell<Rc<Line>>,
    renewing: Cell<bool>,
    /// Held by each line while it is open.
    open: Weak<DropGuard>,
    ended: CancellationToken,
    /// Cancelled when nobody holds the connection.
    dropped: CancellationToken,
    _drop: DropGuard,
}

/// How long a new line is not tried for after it could not be had.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] says where to and why not.
    pub async fn connect(address: &Address, options: ConnectOptions) -> Result<Self, CallError> {
        let ended = CancellationToken::new();
        let open = Rc::new(ended.clone().drop_guard());
        let dial = Dial {
            address: address.clone(),
            trust: options.trust,
            connect: options.connect,
            limits: options.limits.clone(),
            loss: Loss::default(),
        };
        let weak = Rc::downgrade(&open);
        let line = dial.dial(open).await?;
        let dropped = CancellationToken::new();
        Ok(Self(Rc::new(Inner {
            shared: Shared::new(options.sinks, options.limits),
            dial,
            address: address.to_string(),
            line: RefCell::new(line),
            renewing: Cell::new(false),
            open: weak,
            ended,
            _drop: dropped.clone().drop_guard(),
            dropped,
        })))
    }

    /// Whether the connection was lost. Calls on it fail; connect again.
    pub fn is_lost(&self) -> bool {
        self.0.line.borrow().is_lost()
    }

    /// Completes when the connection is closed, which it is when it is lost or when nobody holds it.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.0.ended.clone().cancelled_owned()
    }

    /// Why it was lost, once it was; nothing if it was closed in order.
    pub(super) fn loss(&self) -> Loss {
        self.0.dial.loss.clone()
    }

    /// Where it was made to.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.0.shared
    }

    /// Where a new session goes.
    pub(super) fn line(&self) -> Rc<Line> {
        let line = Rc::clone(&self.0.line.borrow());
        if line.gate().is_worn() {
            self.renew(&line);
        }
        line
    }

    /// Makes a new line in place of a worn one, which serves until the new one is there.
    #[cold]
    fn renew(&self, worn: &Rc<Line>) {
        let Some(open) = self.0.open.upgrade() else {
            return;
        };
        if worn.is_lost() || self.0.renewing.replace(true) {
            return;
        }
        let (dial, dropped) = (self.0.dial.clone(), self.0.dropped.clone());
        let (inner, old) = (Rc::downgrade(&self.0), Rc::clone(worn));
        let renewed = async move {
            let limit = dial.limits.connect;
            let dialled = async {
                let line = dial.dial(open).await?;
                let takes_over = tokio::time::timeout(limit, line.takes_over(&old)).await;
                takes_over.unwrap_or(Err(CallError::Deadline(limit)))?;
                Ok::<_, CallError>(line)
            };
            let dialled = dialled.await;
            drop(old);
            if let Err(error) = &dialled {
                tracing::debug!(%error, "a worn connection cannot be replaced yet");
                tokio::time::sleep(RENEW_AGAIN).await;
            }
            let Some(inner) = inner.upgrade() else {
                return;
            };
            inner.renewing.set(false);
            if let Ok(line) = dialled {
                inner.dial.limits.network.stats.renew();
                let old = inner.line.replace(line);
                // Whoever waits for room there has it now.
                old.gate().clear();
            }
        };
        worn.background(Box::pin(async move {
            tokio::select! {
                () = dropped.cancelled() => {}
                () = renewed => {}
            }
        }));
    }
}
