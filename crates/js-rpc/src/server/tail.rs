//! Streams of tail events from a peer: a workerd whose `streamingTails` names us, or another caller.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use binding_span_schema::tail_stream_capnp::{tail_event, tail_stream_target};
use capnp::{Error, struct_list};
use futures::channel::oneshot;

/// Something that takes tail events.
pub trait TailReceiver: 'static {
    /// Events of one invocation, in order; the first time its onset alone. Returns whether more are
    /// wanted. It is on the path of the peer's tail: return at once.
    ///
    /// # Errors
    /// When the message cannot be read; the peer gets that as its report's error.
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> Result<bool, Error>;
}

/// Opens a stream; with it comes what completes when it is over.
pub(crate) fn open(
    receiver: Rc<dyn TailReceiver>,
) -> (tail_stream_target::Client, oneshot::Receiver<()>) {
    let (over, is_over) = oneshot::channel();
    let stream = Stream {
        receiver,
        over: RefCell::new(Some(over)),
        stopped: Cell::new(false),
    };
    (capnp_rpc::new_client(stream), is_over)
}

struct Stream {
    receiver: Rc<dyn TailReceiver>,
    over: RefCell<Option<oneshot::Sender<()>>>,
    stopped: Cell<bool>,
}

impl tail_stream_target::Server for Stream {
    async fn report(
        self: Rc<Self>,
        params: tail_stream_target::ReportParams,
        mut results: tail_stream_target::ReportResults,
    ) -> Result<(), Error> {
        let events = params.get()?.get_events()?;
        if !self.stopped.get() {
            let more = self.receiver.report(events)?;
            self.stopped.set(!more);
        }
        results.get().set_stop(self.stopped.get());
        let outcome = |event: tail_event::Reader<'_>| {
            matches!(event.get_event().which(), Ok(tail_event::event::Outcome(_)))
        };
        if events.iter().any(outcome)
            && let Some(over) = self.over.take()
        {
            // Nobody waits any more if the peer gave up.
            let _ = over.send(());
        }
        Ok(())
    }
}
