//! A service behind a connection: where calls begin.

use std::rc::Rc;
use std::sync::Arc;

use binding_span::Policy;

use super::connection::Connection;
use super::destination::{Destination, Upstream};
use crate::object::Operation;
use crate::object::{Args, CallBuilder, ConvertError, IntoArgs, Method};

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

    /// Reads a property; a path of several elements is written with dots.
    pub fn get(&self, property: &str) -> CallBuilder {
        self.builder(Method::of(property, Operation::Get), Ok(Args::none()))
    }

    fn builder(&self, method: Method, args: Result<Args, ConvertError>) -> CallBuilder {
        CallBuilder::new(Rc::clone(&self.0) as _, method, args)
    }
}
