//! Passing calls on: the caller as a sidecar. It owns the spans of calls that others make.
//!
//! What is looked at is everything around a call's values; [`passing`] tells how they pass.

mod passing;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::Policy;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::Error;

use crate::client::{Binding, ConnectOptions, Destination, Dialer, Link, Redial, Upstream};
use crate::serve::{Answer, Arrival, Params};
use crate::shared::Shared;
use crate::{Address, RpcLimits};

/// What of an enrichment goes on to whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forward {
    /// What the policy accepted.
    #[default]
    Accepted,
    /// Nothing.
    Nothing,
}

/// Where a binding's calls are passed on to, and how its enrichment is trusted.
///
/// It connects when the first session needs it, and again after the connection was lost; a second time for clients
/// that have much on their way. A call is never sent twice.
pub struct Proxy {
    address: Address,
    remote: Rc<str>,
    policy: Arc<Policy>,
    forward: Forward,
    deadline: Option<Duration>,
    options: ConnectOptions,
    connection: Rc<Redial>,
    second: Rc<Redial>,
    /// Made with the first call.
    dialer: OnceCell<Rc<Dialer>>,
}

impl Proxy {
    /// Passes calls on to the binding `remote` at `address`. Sinks and limits are the server's; of
    /// `options` only the rest counts, and where its connections are counted
    /// ([`NetworkLimits::stats`](crate::NetworkLimits::stats)).
    pub fn new(address: Address, remote: impl Into<String>, options: ConnectOptions) -> Self {
        Self {
            address,
            remote: remote.into().into(),
            policy: Arc::default(),
            forward: Forward::default(),
            deadline: None,
            options,
            connection: Rc::default(),
            second: Rc::default(),
            dialer: OnceCell::new(),
        }
    }

    /// The same under a policy.
    #[must_use]
    pub fn policy(mut self, policy: Arc<Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// The same with another choice of what goes on to whoever called.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forward = forward;
        self
    }

    /// The same with a deadline for each call; the server's [`RpcLimits::call`](crate::RpcLimits) by
    /// default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How its connection is doing.
    pub fn link(&self) -> Link {
        self.connection.link().clone()
    }

    /// Where sessions of the binding `name` go.
    fn destination(&self, shared: &Rc<Shared>, name: &Rc<str>) -> Destination {
        let dialer = self.dialer.get_or_init(|| {
            let link = self.connection.link();
            link.log_as(|| format!("the callee of {name} at {}", self.address));
            Rc::new(Dialer {
                address: self.address.clone(),
                options: ConnectOptions {
                    sinks: Arc::clone(shared.sinks()),
                    limits: self.limits(&shared.limits),
                    ..self.options.clone()
                },
                redial: Rc::clone(&self.connection),
                second: Some(Rc::clone(&self.second)),
                shared: Rc::clone(shared),
            })
        });
        Destination {
            upstream: Upstream::Dialer(Rc::clone(dialer)),
            name: Rc::clone(name),
            service: Rc::clone(&self.remote),
            policy: Arc::clone(&self.policy),
            deadline: self.deadline.unwrap_or(shared.limits.call),
        }
    }

    /// The server's limits, and counters that are not the server's.
    fn limits(&self, of_server: &RpcLimits) -> RpcLimits {
        let mut limits = of_server.clone();
        limits.network.stats = self.options.limits.network.stats.clone();
        limits
    }

    /// The binding `name` for calls from within this process.
    pub(crate) fn binding(&self, shared: &Rc<Shared>, name: &Rc<str>) -> Binding {
        Binding::to(self.destination(shared, name))
    }

    /// The top level of a session that workerd's calls opened.
    pub(crate) fn top_level(self: &Rc<Self>, arrival: Arrival) -> js_rpc_target::Client {
        passing::top_level(self, arrival)
    }

    /// Passes on a call that opens a session.
    pub(crate) async fn pass(
        &self,
        arrival: Arrival,
        params: Params,
        answer: Answer,
    ) -> Result<(), Error> {
        passing::open(self, arrival, params, answer).await
    }
}
