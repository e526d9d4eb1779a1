//! A service behind a connection: where calls begin.

use std::sync::Arc;

use binding_span::Policy;

use crate::client::call::CallBuilder;
use crate::client::connection::{Connection, Destination};
use crate::client::method::Method;
use crate::payload::{Args, IntoArgs};
use crate::wire::Operation;

/// A service behind a connection, and how far its enrichment is trusted. Cheap to clone.
#[derive(Clone)]
pub struct Binding(Destination);

impl Connection {
    /// A binding behind this connection: the service's name, or `service#Entrypoint` for a named
    /// entrypoint of a workerd. Whether it exists shows in the first call.
    pub fn binding(&self, name: &str) -> Binding {
        let name = name.into();
        Binding(Destination {
            connection: self.clone(),
            policy: self.default_policy(&name),
            name,
        })
    }
}

impl Binding {
    /// The same under a policy. Clones share the names that it has seen.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<Policy>) -> Self {
        self.0.policy = policy;
        self
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
        let method = Method::of(method, Operation::Call);
        CallBuilder::on_binding(self.0.clone(), method, args.into_args())
    }

    /// Reads a property; a path of several elements is written with dots.
    pub fn get(&self, property: &str) -> CallBuilder {
        let method = Method::of(property, Operation::Get);
        CallBuilder::on_binding(self.0.clone(), method, Ok(Args::none()))
    }
}
