//! How long a session lasts on the callee's side: until nothing that came through it is held.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use binding_span::{CallScope, SpanRef, Updates};
use binding_span_schema::call_capnp::call_session;
use binding_span_schema::js_rpc_capnp::js_rpc_session;
use capnp::Error;
use futures::channel::oneshot;
use tokio::sync::Mutex;

use crate::network::{NetworkStats, OpenHere, OpenSession};
use crate::observers::Observers;
use crate::shared::KeepAlive;
use crate::wire;

/// A session as everything that came through it holds it.
pub(crate) struct Served {
    /// The first span of the session in this process, below which later calls come if their caller
    /// does not tell its span.
    pub(crate) root: Cell<Option<SpanRef>>,
    /// The call whose result is held, which may go on saying what it was.
    late: RefCell<Option<CallScope>>,
    /// Held while the arguments of a call are read elsewhere: later calls of it begin after it.
    pub(crate) order: Mutex<()>,
    #[allow(dead_code, reason = "held for its drop")]
    keep: Keep,
}

/// What lives as long as a session.
#[allow(dead_code, reason = "held for its drop")]
pub(crate) enum Keep {
    /// The promise that tells workerd its end.
    Promise(Promised),
    /// The connection, which is not idle meanwhile.
    Open(OpenHere),
    /// A session of a caller's in which an object of ours was passed along.
    Other(KeepAlive),
}

impl Served {
    pub(crate) fn new(keep: Keep, root: Option<SpanRef>) -> Rc<Self> {
        Rc::new(Self {
            root: Cell::new(root),
            late: RefCell::default(),
            order: Mutex::const_new(()),
            keep,
        })
    }

    /// The call's result is held: what is said from now on counts as well, until the session is over.
    pub(crate) fn hold(
        self: &Rc<Self>,
        scope: &CallScope,
        observers: &Observers,
    ) -> call_session::Client {
        self.late.replace(Some(scope.clone()));
        Held::client(scope, observers, Rc::clone(self) as _)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(scope) = self.late.take() {
            scope.seal();
        }
    }
}

/// A session as its caller holds it.
pub(crate) struct Held {
    /// What its observer will hear.
    updates: Cell<Option<Updates>>,
    observers: Observers,
    #[allow(dead_code, reason = "held for its drop")]
    keep: KeepAlive,
}

impl Held {
    /// For a call that may go on saying what it was, with what its end depends on.
    pub(crate) fn client(
        scope: &CallScope,
        observers: &Observers,
        keep: KeepAlive,
    ) -> call_session::Client {
        capnp_rpc::new_client(Self {
            updates: Cell::new(Some(scope.updates())),
            observers: observers.clone(),
            keep,
        })
    }
}

impl call_session::Server for Held {
    async fn observe(
        self: Rc<Self>,
        params: call_session::ObserveParams,
        _results: call_session::ObserveResults,
    ) -> Result<(), Error> {
        let updates = self.updates.take();
        let updates = updates.ok_or_else(|| wire::refused("a session has one observer"))?;
        self.observers.push(updates, params.get()?.get_observer()?);
        Ok(())
    }
}

/// Keeps a session of workerd's open. When it is dropped, the session capability resolves, which tells the
/// caller.
pub(crate) struct Promised {
    told: Cell<Option<oneshot::Sender<()>>>,
    #[allow(dead_code, reason = "counted as open until it is dropped")]
    counted: OpenSession,
}

impl Drop for Promised {
    fn drop(&mut self) {
        if let Some(over) = self.told.take() {
            // Nobody waits any more if the caller dropped its session.
            let _ = over.send(());
        }
    }
}

struct Ended;

impl js_rpc_session::Server for Ended {}

/// A new session of workerd's: what keeps it open, and the capability that tells its end. That capability must
/// be a promise from the start: to workerd a settled one means that the connection is lost.
pub(crate) fn open_promise(stats: &NetworkStats) -> (Keep, js_rpc_session::Client) {
    let (over, is_over) = oneshot::channel();
    let client = capnp_rpc::new_future_client(async move {
        let _ = is_over.await;
        Ok(capnp_rpc::new_client::<js_rpc_session::Client, _>(Ended))
    });
    let keep = Keep::Promise(Promised {
        told: Cell::new(Some(over)),
        counted: stats.session(),
    });
    (keep, client)
}
