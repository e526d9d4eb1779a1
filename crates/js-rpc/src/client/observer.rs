//! What hears enrichment as the callee says it: before the call returns, and while its result is held.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use binding_span_schema::call_capnp::enrichment_observer;
use capnp::Error;
use futures::channel::oneshot;

use super::traced::Traced;

/// How long an update is answered after it came: it bounds how often a callee speaks.
const PACE: Duration = Duration::from_millis(10);

/// Hears what is said of one call.
struct Observer {
    call: Rc<Traced>,
    busy: Cell<bool>,
    /// Dropped with it, when the callee has nothing more to say.
    _over: oneshot::Sender<()>,
}

/// An observer of a call, and what completes when the callee has let go of it.
pub(super) fn observe(call: &Rc<Traced>) -> (enrichment_observer::Client, oneshot::Receiver<()>) {
    call.expect_parts();
    let (over, is_over) = oneshot::channel();
    let client = capnp_rpc::new_client(Observer {
        call: Rc::clone(call),
        busy: Cell::new(false),
        _over: over,
    });
    (client, is_over)
}

impl enrichment_observer::Server for Observer {
    async fn enriched(
        self: Rc<Self>,
        params: enrichment_observer::EnrichedParams,
        _results: enrichment_observer::EnrichedResults,
    ) -> Result<(), Error> {
        if self.busy.replace(true) {
            self.call.drop_update();
            return Ok(());
        }
        let update = params.get()?;
        self.call
            .hear_update(update.get_enrichment(), update.get_returned());
        drop(params);
        tokio::time::sleep(PACE).await;
        self.busy.set(false);
        Ok(())
    }
}
