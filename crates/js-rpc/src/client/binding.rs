//! A service behind a connection: where calls begin.

use std::rc::Rc;
use std::sync::Arc;

use binding_span::Policy;

use super::connection::Connection;
use super::destination::{Destination, Upstream};
use crate::CallError;
use crate::object::http::FETCH;
use crate::object::{Args, ByteStream, CallBuilder, ConvertError, IntoArgs, Method, Operation};

/// What a workerd says of a call of `fetch`.
const RESERVED: &str = "is a reserved method and cannot be called over RPC";

const NO_FETCH: &str =
    "a workerd takes no HTTP requests by RPC; send them to a socket of it, by HTTP";

/// A service behind a connection, and how far its enrichment is trusted. Cheap to clone.
#[derive(Clone)]
pub struct Binding(Rc<Destination>);

impl Connection {
    /// A binding behind this connection: the service's name, or `service#Entrypoint` for a named
    /// entrypoint of a workerd. Whether it exists shows in the first call.
    pub fn binding(&self, name: &str) -> Binding {
        let name = name.into();
        Binding::to(Destination {
            upstream: Upstream::Connection(self.clone()),
            policy: self.shared().default_policy(&name),
            deadline: self.shared().limits.call,
            service: Rc::clone(&name),
            name,
        })
    }
}

impl Binding {
    pub(crate) fn to(destination: Destination) -> Self {
        Self(Rc::new(destination))
    }

    /// The same under a policy. Clones share the names that it has seen.
    #[must_use]
    pub fn with_policy(self, policy: Arc<Policy>) -> Self {
        let mut destination = Rc::unwrap_or_clone(self.0);
        destination.policy = policy;
        Self::to(destination)
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Calls a method in a session of its own; a path of several elements is written with dots.
    /// Nothing is sent before the builder is awaited or [sent](CallBuilder::send).
    ///
    /// The session's span is opened as `jsRpcSession` below the current `tracing` span, enriched by
    /// the callee, and closed when the last stub of the result is dropped.
    pub fn call(&self, method: &str, args: impl IntoArgs) -> CallBuilder {
        self.builder(Method::of(method, Operation::Call), args.into_args())
    }

    /// Has the binding answer an HTTP request whose URL is whole, as a Worker's `env.SVC.fetch()` does. Bodies are
    /// streams; the call's span is open until the response's has ended. Of a callee's service that is
    /// [`Service::fetch`](crate::Service::fetch).
    ///
    /// What a response says is for whoever asked: also a status of 500 is a response here. To give the call a
    /// deadline or a parent, make it with [`call`](Self::call), `"fetch"` and
    /// [`Args::from_request`](crate::Args::from_request).
    ///
    /// # Errors
    /// Why there is no response. A workerd answers [`CallError::Unimplemented`]: it takes no requests by RPC.
    pub async fn fetch(
        &self,
        request: http::Request<ByteStream>,
    ) -> Result<http::Response<ByteStream>, CallError> {
        self.fetch_with(request, |call| call).await
    }

    /// The same with a call that is changed before it is made.
    pub(crate) async fn fetch_with(
        &self,
        request: http::Request<ByteStream>,
        change: impl FnOnce(CallBuilder) -> CallBuilder,
    ) -> Result<http::Response<ByteStream>, CallError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let call = self.builder(
            Method::of(FETCH, Operation::Call),
            Args::from_request(request),
        );
        let reply = change(call.http(method, path)).await;
        let reply = reply.map_err(|error| match error {
            CallError::Thrown(thrown) if thrown.message.contains(RESERVED) => {
                CallError::Unimplemented(NO_FETCH.into())
            }
            other => other,
        })?;
        let response = reply.into_payload().into_response();
        response.map_err(|error| CallError::Result(error.to_string()))
    }

    /// Reads a property; a path of several elements is written with dots.
    pub fn get(&self, property: &str) -> CallBuilder {
        self.builder(Method::of(property, Operation::Get), Ok(Args::none()))
    }

    fn builder(&self, method: Method, args: Result<Args, ConvertError>) -> CallBuilder {
        CallBuilder::new(Rc::clone(&self.0) as _, method, args)
    }
}
