//! A call before it is sent: what is called, on what, with what, until when.

use std::future::IntoFuture;
use std::rc::Rc;
use std::time::Duration;

use binding_span::SpanContext;

use crate::CallError;
use crate::client::connection::Destination;
use crate::client::method::Method;
use crate::client::pending::PendingCall;
use crate::client::reply::Reply;
use crate::client::route::Route;
use crate::payload::{Args, ConvertError};
use crate::service::Service;
use crate::stub::{Remote, Target, Via};
use crate::telemetry::Place;

/// A call that has not been sent. Await it for the result, or [`send`](Self::send) it.
#[must_use = "nothing is sent before the call is awaited or sent"]
pub struct CallBuilder {
    on: On,
    method: Method,
    args: Result<Args, ConvertError>,
    deadline: Option<Duration>,
    parent: Option<SpanContext>,
}

enum On {
    Binding(Destination),
    Stub(Target, Via),
    Service(Rc<dyn Service>),
}

impl CallBuilder {
    pub(crate) fn on_binding(
        to: Destination,
        method: Method,
        args: Result<Args, ConvertError>,
    ) -> Self {
        Self::new(On::Binding(to), method, args)
    }

    pub(crate) fn on_stub(
        remote: &Remote,
        method: Method,
        args: Result<Args, ConvertError>,
    ) -> Self {
        let on = On::Stub(remote.target.clone(), remote.via.clone());
        Self::new(on, method, args)
    }

    pub(crate) fn on_service(
        service: Rc<dyn Service>,
        method: Method,
        args: Result<Args, ConvertError>,
    ) -> Self {
        Self::new(On::Service(service), method, args)
    }

    fn new(on: On, method: Method, args: Result<Args, ConvertError>) -> Self {
        Self {
            on,
            method,
            args,
            deadline: None,
            parent: None,
        }
    }

    /// Gives the call so long from now on; [`RpcLimits::call`](crate::RpcLimits) by default. Then it
    /// is cancelled and fails with [`CallError::Deadline`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Makes the call's span a child of this one, instead of the current `tracing` span.
    pub fn parent(mut self, parent: SpanContext) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Opens the span and sends the call; while as many calls are on their way on the connection as
    /// [may be](crate::NetworkLimits::in_flight) it waits, and is sent when it is its turn. Dropping what is
    /// returned cancels it.
    pub fn send(self) -> PendingCall {
        let Self {
            on,
            method,
            args,
            deadline,
            parent,
        } = self;
        let remote = parent.map(|parent| Place::remote(Some(parent)));
        let route = match on {
            On::Binding(to) => Route::open(to, &method, remote),
            On::Stub(target, via) => Route::through(target, via, &method, remote),
            On::Service(service) => return PendingCall::local(service, method, args, deadline),
        };
        let limit = deadline.unwrap_or(route.owner.shared().limits.call);
        let args = match args {
            Ok(args) => args,
            Err(error) => {
                let error = CallError::Arguments(error.to_string());
                return PendingCall::failed(route.owner, error);
            }
        };
        let Some(room) = route.room() else {
            return PendingCall::waiting(route, method, args, limit);
        };
        match route.send(room, &method, &args) {
            Ok(sent) => PendingCall::remote(route.owner, sent, limit),
            Err(error) => PendingCall::failed(route.owner, error),
        }
    }
}

impl IntoFuture for CallBuilder {
    type Output = Result<Reply, CallError>;
    type IntoFuture = PendingCall;

    fn into_future(self) -> PendingCall {
        self.send()
    }
}
