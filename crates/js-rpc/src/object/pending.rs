//! A call on its way: its result, and what does not wait for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;

use super::reply::Reply;
use super::stub::Stub;
use crate::CallError;

/// A call on its way. Await it for the result; drop it to cancel it.
#[must_use = "dropping a pending call cancels it"]
pub struct PendingCall {
    future: LocalBoxFuture<'static, Result<Reply, CallError>>,
    /// What pipelined calls go to. It holds the answer open, so it goes when the result is there.
    pipeline: Option<Box<dyn Pipeline>>,
}

/// The result of a call that is not there, as something to call.
pub(crate) trait Pipeline {
    /// The object.
    fn stub(&self) -> Stub;

    /// The call was given up: what was given out fails.
    fn end(&self);
}

impl PendingCall {
    pub(crate) fn new(
        future: impl Future<Output = Result<Reply, CallError>> + 'static,
        pipeline: Option<Box<dyn Pipeline>>,
    ) -> Self {
        let future = Box::pin(future);
        Self { future, pipeline }
    }

    /// The result as an object, before it is there: calls of it are sent at once. Fails later, in
    /// those calls, if the result is nothing that can be called. `None` if the call was not
    /// [sent](super::CallBuilder::send) or failed before it was, or has its result.
    ///
    /// When the call's deadline passes, this ends with it: the callee is told to stop, and calls of it fail
    /// as [`CallError::Canceled`].
    pub fn pipelined(&self) -> Option<Stub> {
        Some(self.pipeline.as_ref()?.stub())
    }
}

impl Future for PendingCall {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(self.future.as_mut().poll(cx));
        if let (Some(pipeline), Err(CallError::Deadline(_))) = (self.pipeline.take(), &outcome) {
            pipeline.end();
        }
        Poll::Ready(outcome)
    }
}
