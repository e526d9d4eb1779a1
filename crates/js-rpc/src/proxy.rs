//! Passing calls on: the caller as a sidecar. It owns the spans of calls that others make.
//!
//! Values pass as the bytes that they are, undecoded. What is looked at is everything around them:
//! every target that crosses, in either direction, is wrapped so that its calls have spans too, and a
//! result's enrichment is applied to the span and forwarded only as the policy accepted it.
//!
//! Streams and other externals that are not targets are refused: they are pushed to the receiver ahead of
//! the call, and whoever received them here could not read them. So the caller's pusher is not passed on
//! either.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Enrichment, Policy};
use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params, call_results};
use binding_span_schema::js_rpc_capnp::{external_pusher, js_value as wire_value};
use capnp::Error;
use capnp::capability::Response;

use crate::client::{ClientSession, ConnectOptions, Connection, Destination, Link, Redial, Room};
use crate::error::pass_on;
use crate::session::SessionGuard;
use crate::shared::Shared;
use crate::stub::{Ahead, Target};
use crate::telemetry::{CallInfo, CallSpan, Parent, Place};
use crate::wire::{self, Operation};
use crate::{Address, CallError, RpcLimits};

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
/// It connects when the first session needs it, and again after the connection was lost. A call is
/// never sent twice.
pub struct Proxy {
    address: Address,
    remote: String,
    policy: Arc<Policy>,
    forward: Forward,
    deadline: Option<Duration>,
    options: ConnectOptions,
    connection: Redial,
}

impl Proxy {
    /// Passes calls on to the binding `remote` at `address`. Sinks and limits are the server's; of
    /// `options` only the rest counts, and where its connections are counted
    /// ([`NetworkLimits::stats`](crate::NetworkLimits::stats)).
    pub fn new(address: Address, remote: impl Into<String>, options: ConnectOptions) -> Self {
        Self {
            address,
            remote: remote.into(),
            policy: Arc::default(),
            forward: Forward::default(),
            deadline: None,
            options,
            connection: Redial::default(),
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

    /// A connection that is up, and room for a session on it, within the time that a call has.
    async fn connect(&self, shared: &Shared) -> Result<(Connection, Room), CallError> {
        let options = || ConnectOptions {
            sinks: Arc::clone(shared.sinks()),
            limits: self.limits(&shared.limits),
            ..self.options.clone()
        };
        let limit = self.deadline.unwrap_or(shared.limits.call);
        let connected = async {
            let connection = self.connection.get(&self.address, options).await?;
            let room = Room::wait_for_session(&connection).await?;
            Ok((connection, room))
        };
        let connected = tokio::time::timeout(limit, connected).await;
        connected.unwrap_or_else(|_| {
            let error = CallError::Deadline(limit);
            self.connection.link().given_up(&error);
            Err(error)
        })
    }

    /// The server's limits, and counters that are not the server's.
    fn limits(&self, of_server: &RpcLimits) -> RpcLimits {
        let mut limits = of_server.clone();
        limits.network.stats = self.options.limits.network.stats.clone();
        limits
    }

    /// The top level of a session that is passed on.
    pub(crate) fn open_session(
        self: &Rc<Self>,
        shared: Rc<Shared>,
        binding: Rc<str>,
        guard: SessionGuard,
    ) -> js_rpc_target::Client {
        capnp_rpc::new_client(TopLevel {
            proxy: Rc::clone(self),
            shared,
            binding,
            guard: Cell::new(Some(guard)),
        })
    }
}

/// The top level of a session before its one call.
struct TopLevel {
    proxy: Rc<Proxy>,
    shared: Rc<Shared>,
    binding: Rc<str>,
    guard: Cell<Option<SessionGuard>>,
}

impl external_pusher::Server for TopLevel {}

impl js_rpc_target::Server for TopLevel {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        let guard = self.guard.take().ok_or_else(|| {
            wire::refused("the top level of a session takes one call; open another session")
        })?;
        let _in_flight = self.shared.enter();
        let incoming = Incoming::read(params.get()?)?;
        let place = Place::remote(incoming.caller);
        let info = incoming.info(&self.binding);
        let mut span = CallSpan::client(Parent::Given(place), &info, self.shared.sinks());
        let (connection, mut room) = match self.proxy.connect(&self.shared).await {
            Ok(connected) => connected,
            Err(error) => {
                span.failed(&error);
                return Err(pass_on(&error));
            }
        };
        let remote = Destination {
            connection,
            name: self.proxy.remote.as_str().into(),
            policy: Arc::clone(&self.proxy.policy),
        };
        let session = Session::new(&self, &remote, span, guard);
        // It was given for a session.
        let target = room.line.take().map(|line| session.client.open(line));
        let target = target.ok_or_else(|| pass_on(&CallError::Canceled))?;
        let onward = Onward {
            target: Target::There(target),
            session,
            direction: Direction::ToCallee,
        };
        onward
            .pass(SpanOf::Session, Some(room), &incoming, params, results)
            .await
    }
}

/// A session that is passed on: ours to the callee, and what keeps the one that we serve open.
struct Session {
    client: Rc<ClientSession>,
    shared: Rc<Shared>,
    /// The name under which we serve it.
    binding: Rc<str>,
    forward: Forward,
    deadline: Duration,
    #[allow(dead_code, reason = "held for its drop")]
    guard: SessionGuard,
}

impl Session {
    /// A session that is not open yet.
    fn new(top: &TopLevel, remote: &Destination, span: CallSpan, guard: SessionGuard) -> Rc<Self> {
        Rc::new(Self {
            client: ClientSession::new(remote, span),
            shared: Rc::clone(&top.shared),
            binding: Rc::clone(&top.binding),
            forward: top.proxy.forward,
            deadline: top.proxy.deadline.unwrap_or(top.shared.limits.call),
            guard,
        })
    }
}

/// Which way a target's calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Calls of what the callee gave out.
    ToCallee,
    /// Calls of what the caller gave along.
    ToCaller,
}

impl Direction {
    fn back(self) -> Self {
        match self {
            Self::ToCallee => Self::ToCaller,
            Self::ToCaller => Self::ToCallee,
        }
    }
}

/// A target that crossed: its calls are passed on, each with a span.
struct Wrapped(Onward);

#[derive(Clone)]
struct Onward {
    target: Target,
    session: Rc<Session>,
    direction: Direction,
}

/// Whose span a call is.
enum SpanOf {
    Session,
    Call(CallSpan),
}

impl external_pusher::Server for Wrapped {}

impl js_rpc_target::Server for Wrapped {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        let session = &self.0.session;
        let _in_flight = session.shared.enter();
        let incoming = Incoming::read(params.get()?)?;
        let info = incoming.info(&session.binding);
        let span = match incoming.caller {
            // The trace is whoever called's; the invocation is the session's.
            Some(caller) => {
                let invocation = session.client.span().reference().invocation;
                let place = Place {
                    parent: Some(caller),
                    invocation: Some(invocation),
                };
                CallSpan::client(Parent::Called(place), &info, session.shared.sinks())
            }
            None => {
                let parent = session.client.span();
                CallSpan::client(Parent::Session(&parent), &info, session.shared.sinks())
            }
        };
        let onward = self.0.clone();
        onward
            .pass(SpanOf::Call(span), None, &incoming, params, results)
            .await
    }
}

/// What is read of a call that is passed on.
struct Incoming {
    path: Vec<String>,
    method: String,
    operation: Operation,
    caller: Option<binding_span::SpanContext>,
}

impl Incoming {
    fn read(params: call_params::Reader<'_>) -> Result<Self, Error> {
        let path = wire::read_path(params)?;
        Ok(Self {
            method: path.join("."),
            path,
            operation: wire::read_operation(params)?,
            caller: wire::read_caller(params),
        })
    }

    fn info<'a>(&'a self, binding: &'a str) -> CallInfo<'a> {
        CallInfo {
            binding,
            method: &self.method,
            operation: &self.operation,
        }
    }
}

impl Onward {
    /// A target found in a message that goes `direction`, wrapped for its receiver.
    fn wrap(&self, target: Target, direction: Direction) -> js_rpc_target::Client {
        capnp_rpc::new_client(Wrapped(Self {
            target,
            session: Rc::clone(&self.session),
            direction,
        }))
    }

    async fn pass(
        self,
        mut span: SpanOf,
        room: Option<Room>,
        incoming: &Incoming,
        params: js_rpc_target::CallParams,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        let target = self.target.get();
        let target = target.ok_or_else(|| pass_on(&CallError::Canceled))?;
        let mut request = target.call_request();
        if let Err(error) = self.copy_params(&span, incoming, params.get()?, request.get()) {
            let failed = CallError::from(error.clone());
            span.with(&self.session, |span| span.failed(&failed));
            return Err(error);
        }
        drop(params);
        let sent = request.send();
        drop((room, target));
        // Calls that do not wait for the result go on at once.
        let ahead = Ahead::of(sent.pipeline.get_call_pipeline());
        let pipeline = self.wrap(Target::Ahead(ahead.clone()), self.direction);
        results.get().set_call_pipeline(pipeline);
        results.set_pipeline()?;
        drop(sent.pipeline);
        let limit = self.session.deadline;
        let outcome = match tokio::time::timeout(limit, sent.promise).await {
            Ok(Ok(answer)) => self.copy_results(&span, &answer, results),
            Ok(Err(error)) => Err(CallError::from(error)),
            Err(_) => {
                // Also if whoever called still holds the result that it will not have.
                ahead.end();
                Err(CallError::Deadline(limit))
            }
        };
        let error = outcome.as_ref().err();
        span.with(&self.session, |span| match error {
            None => span.succeeded(),
            Some(error) => span.failed(error),
        });
        if let SpanOf::Session = span
            && !matches!(error, Some(CallError::Deadline(_)))
        {
            self.session.client.answered();
        }
        outcome.map_err(|error| pass_on(&error))
    }

    fn copy_params(
        &self,
        span: &SpanOf,
        incoming: &Incoming,
        from: call_params::Reader<'_>,
        mut to: call_params::Builder<'_>,
    ) -> Result<(), Error> {
        wire::write_path(&incoming.path, to.reborrow());
        let mut operation = to.reborrow().init_operation();
        match from.get_operation().which()? {
            call_params::operation::GetProperty(()) => operation.set_get_property(()),
            call_params::operation::CallWithArgs(_)
                if !from.get_operation().has_call_with_args() => {}
            call_params::operation::CallWithArgs(value) => {
                let to = operation.init_call_with_args();
                self.copy_value(value?, to, self.direction.back())?;
            }
        }
        let context = match span {
            SpanOf::Session => self.session.client.span().context(),
            SpanOf::Call(span) => span.context(),
        };
        if let Some(context) = context {
            binding_span::wire::write_span_context(&context, to.init_caller_span());
        }
        Ok(())
    }

    fn copy_results(
        &self,
        span: &SpanOf,
        answer: &Response<call_results::Owned>,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), CallError> {
        let from = answer.get()?;
        let mut to = results.get();
        // The result first: how much of a message may be read is limited, and a hostile enrichment must
        // not use that up.
        let copied = match from.has_result() {
            true => {
                let value = to.reborrow().init_result();
                from.get_result()
                    .and_then(|from| self.copy_value(from, value, self.direction))
            }
            false => Ok(()),
        };
        if from.has_binding_span_enrichment() {
            let accepted = span.enrich(&self.session, from, copied.is_ok());
            if self.session.forward == Forward::Accepted {
                binding_span::write(&accepted, || to.reborrow().init_binding_span_enrichment());
            }
        }
        to.set_has_disposer(from.get_has_disposer());
        Ok(copied?)
    }

    /// Copies a value's bytes as they are; targets in it are wrapped, their calls going `direction`.
    fn copy_value(
        &self,
        from: wire_value::Reader<'_>,
        mut to: wire_value::Builder<'_>,
        direction: Direction,
    ) -> Result<(), Error> {
        to.set_v8_serialized(from.get_v8_serialized()?);
        if !from.has_externals() {
            return Ok(());
        }
        let externals = from.get_externals()?;
        wire::check_externals(externals.len())?;
        let mut copies = to.init_externals(externals.len());
        for (i, external) in externals.iter().enumerate() {
            let wrapped = self.wrap(Target::There(wire::read_stub(external)?), direction);
            let copy = copies.reborrow().get(i as u32);
            copy.init_rpc_target().set_cap(wrapped);
        }
        Ok(())
    }
}

impl SpanOf {
    fn with<R>(&mut self, session: &Session, change: impl FnOnce(&mut CallSpan) -> R) -> R {
        match self {
            Self::Session => session.client.with_span(change),
            Self::Call(span) => change(span),
        }
    }

    /// Applies what the policy accepts of a result's enrichment; returns that.
    fn enrich(
        &self,
        session: &Session,
        results: call_results::Reader<'_>,
        returned: bool,
    ) -> Enrichment {
        let said = results.get_binding_span_enrichment();
        let policy = &session.client.policy;
        match self {
            Self::Session => session.client.span().enrich_from(said, policy, returned),
            Self::Call(span) => span.enrich_from(said, policy, returned),
        }
    }
}
