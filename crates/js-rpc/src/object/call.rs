//! A call before it is sent: what is called, on what, with what, until when.

use std::future::IntoFuture;
use std::rc::Rc;
use std::time::{Duration, Instant};

use binding_span::SpanContext;

use super::method::Method;
use super::payload::{Args, ConvertError};
use super::pending::PendingCall;
use super::reply::Reply;
use super::stub::Callable;
use crate::{Begun, CallError, ClientId};

/// What is called, with what, until when, and whose child its span is.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) args: Result<Args, ConvertError>,
    pub(crate) deadline: Option<Duration>,
    /// When the deadline begins, if that was before the call was made.
    pub(crate) since: Option<Instant>,
    pub(crate) parent: Option<SpanContext>,
    /// Whose turn it waits for.
    pub(crate) client: ClientId,
    /// It had begun before a shutdown did.
    pub(crate) begun: bool,
    /// The HTTP request that it is: its method and the path of its URL.
    pub(crate) http: Option<(http::Method, String)>,
}

/// A call that has not been sent. Await it for the result, or [`send`](Self::send) it.
#[must_use = "nothing is sent before the call is awaited or sent"]
pub struct CallBuilder {
    on: Rc<dyn Callable>,
    call: Call,
}

impl CallBuilder {
    pub(crate) fn new(
        on: Rc<dyn Callable>,
        method: Method,
        args: Result<Args, ConvertError>,
    ) -> Self {
        let call = Call {
            method,
            args,
            deadline: None,
            since: None,
            parent: None,
            client: ClientId::LOCAL,
            begun: false,
            http: None,
        };
        Self { on, call }
    }

    /// Gives the call so long from when it is sent, whatever it is spent on: connecting, waiting for its turn,
    /// the callee. [`RpcLimits::call`](crate::RpcLimits) by default. Then it is cancelled and fails with
    /// [`CallError::Deadline`]. A callee of this project is told, and answers a little before.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.call.deadline = Some(deadline);
        self
    }

    /// Counts the deadline from then on: what was done for the call before, connecting for instance, took part of
    /// it.
    pub fn since(mut self, began: Instant) -> Self {
        self.call.since = Some(began);
        self
    }

    /// Makes the call's span a child of this one, instead of the current `tracing` span.
    pub fn parent(mut self, parent: SpanContext) -> Self {
        self.call.parent = Some(parent);
        self
    }

    /// Makes the call on behalf of a client: where calls wait, each client has its turn, however many calls
    /// another has there.
    pub fn client(mut self, client: ClientId) -> Self {
        self.call.client = client;
        self
    }

    /// Makes a call that had begun to arrive before a shutdown began, which lets it finish.
    pub fn begun(mut self, _begun: &Begun) -> Self {
        self.call.begun = true;
        self
    }

    /// Says of which HTTP request it is the call.
    pub(crate) fn http(mut self, method: http::Method, path: String) -> Self {
        self.call.http = Some((method, path));
        self
    }

    /// Opens the span and sends the call, whose result can be called before it is there
    /// ([`PendingCall::pipelined`]); a call that is only awaited does not ask the callee for that. While as many
    /// calls are on their way on the connection as [may be](crate::NetworkLimits::in_flight) it waits, and is
    /// sent when it is its turn. Dropping what is returned cancels it.
    pub fn send(self) -> PendingCall {
        self.on.start(self.call, true)
    }
}

impl IntoFuture for CallBuilder {
    type Output = Result<Reply, CallError>;
    type IntoFuture = PendingCall;

    fn into_future(self) -> PendingCall {
        self.on.start(self.call, false)
    }
}
