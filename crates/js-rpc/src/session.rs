//! How long a session lasts on the callee's side: until nothing that came through it is held.

use std::cell::Cell;
use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::js_rpc_session;
use futures::channel::oneshot;

use crate::network::{NetworkStats, OpenSession};

/// Keeps a session open; everything that came through it holds a clone. When the last is dropped,
/// the session capability resolves, which tells the caller.
#[derive(Clone)]
pub(crate) struct SessionGuard(#[allow(dead_code, reason = "held for its drop")] Rc<Over>);

struct Over {
    told: Cell<Option<oneshot::Sender<()>>>,
    #[allow(dead_code, reason = "counted as open until it is dropped")]
    counted: OpenSession,
}

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(over) = self.told.take() {
            // Nobody waits any more if the caller dropped its session.
            let _ = over.send(());
        }
    }
}

struct Ended;

impl js_rpc_session::Server for Ended {}

/// A new session: what keeps it open, and the capability that tells its end. That capability must be
/// a promise from the start: to workerd a settled one means that the connection is lost.
pub(crate) fn open(stats: &NetworkStats) -> (SessionGuard, js_rpc_session::Client) {
    let (over, is_over) = oneshot::channel();
    let client = capnp_rpc::new_future_client(async move {
        let _ = is_over.await;
        Ok(capnp_rpc::new_client::<js_rpc_session::Client, _>(Ended))
    });
    let guard = SessionGuard(Rc::new(Over {
        told: Cell::new(Some(over)),
        counted: stats.session(),
    }));
    (guard, client)
}
