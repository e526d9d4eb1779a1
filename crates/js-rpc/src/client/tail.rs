//! Streams of tail events to a peer that takes them: a Worker's `tailStream()` handler, or another caller.

use std::rc::Rc;
use std::time::Duration;

use binding_span_schema::tail_stream_capnp::{tail_event, tail_stream_target};
use capnp::struct_list;
use futures::channel::oneshot;
use futures::future::{Either, select};

use crate::CallError;
use crate::client::connection::Connection;
use crate::client::line::Line;

/// The stream of one invocation's tail events. Dropped after the outcome was reported, it waits in the
/// background for the receiver to be done; dropped before, the receiver loses the rest.
///
/// The first report holds the onset and nothing else; the one that holds the outcome is the last.
pub struct TailStream {
    target: tail_stream_target::Client,
    limit: Duration,
    /// Held for its drop, which ends the stream.
    _end: oneshot::Sender<()>,
    /// Held for its drop: the stream needs the line.
    _line: Rc<Line>,
}

impl Connection {
    /// Opens a stream of tail events to a service, or to `service#Entrypoint`. Whether it takes them shows
    /// in the first report.
    pub fn tail_stream(&self, name: &str) -> TailStream {
        let line = self.line();
        let entrypoint = line.entrypoint(name);
        let start = entrypoint.start_event_request().send();
        let dispatcher = start.pipeline.get_dispatcher();
        let opened = dispatcher.tail_stream_session_request().send();
        let target = opened.pipeline.get_top_level();
        let forget = line.forget_entrypoint(name);
        let (end, ended) = oneshot::channel::<()>();
        let limits = &self.shared().limits;
        let (limit, linger) = (limits.call, limits.linger);
        line.background(Box::pin(async move {
            // The question stays open until it returns: to finish it earlier would cancel it.
            let over = async move {
                if opened.promise.await.is_err() {
                    forget();
                }
            };
            let over = std::pin::pin!(over);
            if let Either::Right((_, over)) = select(over, ended).await {
                let _ = tokio::time::timeout(linger, over).await;
            }
            drop((opened.pipeline, start));
        }));
        TailStream {
            target,
            limit,
            _end: end,
            _line: line,
        }
    }
}

impl TailStream {
    /// Reports events, which `fill` writes into a list of `count`. Returns whether the receiver wants more.
    ///
    /// # Errors
    /// As for a call, which has [`RpcLimits::call`](crate::RpcLimits) to return.
    pub async fn report(
        &self,
        count: u32,
        fill: impl FnOnce(struct_list::Builder<'_, tail_event::Owned>),
    ) -> Result<bool, CallError> {
        let mut request = self.target.report_request();
        fill(request.get().init_events(count));
        let answer = tokio::time::timeout(self.limit, request.send().promise).await;
        let answer = answer.map_err(|_| CallError::Deadline(self.limit))??;
        Ok(!answer.get()?.get_stop())
    }
}
