//! One call: built, sent, awaited; its span, its deadline, its result.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use binding_span::{CallScope, Policy, SpanContext};
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::capability::{RemotePromise, Response};
use futures::future::LocalBoxFuture;
use js_value::Value;
use serde::de::DeserializeOwned;

use crate::client::connection::Binding;
use crate::client::session::{ClientSession, Upstream};
use crate::payload::{Args, ConvertError, Payload};
use crate::server::target::Home;
use crate::service::Service;
use crate::shared::Shared;
use crate::stub::{Remote, Stub, Via};
use crate::telemetry::{CallInfo, CallSpan, Parent, Place};
use crate::wire::{self, Operation};
use crate::{CallError, service};

/// What is called.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    name: String,
    operation: Operation,
}

impl Method {
    pub(crate) fn of(name: &str, operation: Operation) -> Self {
        Self {
            name: name.to_owned(),
            operation,
        }
    }

    /// The elements of its path; none for the target itself.
    fn path(&self) -> Vec<&str> {
        match self.name.as_str() {
            "" => Vec::new(),
            name => name.split('.').collect(),
        }
    }
}

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
    Binding(Binding),
    Stub(js_rpc_target::Client, Via),
    Service(Rc<dyn Service>),
}

impl CallBuilder {
    pub(crate) fn on_binding(
        binding: Binding,
        method: Method,
        args: Result<Args, ConvertError>,
    ) -> Self {
        Self::new(On::Binding(binding), method, args)
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

    /// Opens the span and sends the call. Dropping what is returned cancels it.
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
            On::Binding(binding) => Route::open(&binding, &method, remote),
            On::Stub(target, via) => Route::through(target, via, &method, remote),
            On::Service(service) => return PendingCall::local(service, method, args),
        };
        let args = args.map_err(|error| CallError::Arguments(error.to_string()));
        let limit = deadline.unwrap_or(route.owner.shared().limits.call);
        match args.and_then(|args| route.send(&method, &args)) {
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

/// Where a call goes, and who owns its span.
struct Route {
    target: js_rpc_target::Client,
    owner: Owner,
}

/// Who owns the span of a call.
enum Owner {
    /// The call opens the session; its span is the session's.
    Session(Rc<ClientSession>),
    /// A later call, with a span of its own.
    Call { span: CallSpan, via: Via },
}

impl Route {
    fn open(binding: &Binding, method: &Method, remote: Option<Place>) -> Self {
        let shared = binding.connection().shared();
        let parent = remote.map_or(Parent::Current, Parent::Given);
        let info = method.info(binding.name());
        let span = CallSpan::client(parent, &info, shared.sinks());
        let (upstream, target) = Upstream::open(binding);
        let session = ClientSession::new(upstream, binding, span);
        Self {
            target,
            owner: Owner::Session(session),
        }
    }

    fn through(
        target: js_rpc_target::Client,
        via: Via,
        method: &Method,
        remote: Option<Place>,
    ) -> Self {
        let span = match (&via, remote) {
            (via, Some(place)) => {
                let info = method.info(via.binding());
                CallSpan::client(Parent::Called(place), &info, via.shared().sinks())
            }
            (Via::Result(session), None) => {
                let info = method.info(&session.binding);
                CallSpan::client(
                    Parent::Session(&session.span()),
                    &info,
                    via.shared().sinks(),
                )
            }
            (Via::Argument(argument), None) => {
                let info = method.info(&argument.binding);
                let parent = Parent::CalledBack(argument.root.get());
                CallSpan::client(parent, &info, argument.shared.sinks())
            }
        };
        Self {
            target,
            owner: Owner::Call { span, via },
        }
    }

    fn send(
        &self,
        method: &Method,
        args: &Args,
    ) -> Result<RemotePromise<js_rpc_target::call_results::Owned>, CallError> {
        let mut request = self.target.call_request();
        let mut params = request.get();
        wire::write_path(&method.path(), params.reborrow());
        match method.operation {
            Operation::Call => {
                wire::write_args(args, params.reborrow(), |stub| self.owner.export(stub))
                    .map_err(CallError::Arguments)?;
            }
            Operation::Get => params.reborrow().init_operation().set_get_property(()),
        }
        if let Some(context) = self.owner.span_context() {
            binding_span::wire::write_span_context(&context, params.init_caller_span());
        }
        Ok(request.send())
    }
}

impl Method {
    fn info<'a>(&'a self, binding: &'a str) -> CallInfo<'a> {
        CallInfo {
            binding,
            method: &self.name,
            operation: &self.operation,
        }
    }
}

impl Via {
    fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Result(session) => session.shared(),
            Self::Argument(argument) => &argument.shared,
        }
    }

    fn binding(&self) -> &Rc<str> {
        match self {
            Self::Result(session) => &session.binding,
            Self::Argument(argument) => &argument.binding,
        }
    }

    fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::Result(session) => &session.policy,
            Self::Argument(argument) => &argument.policy,
        }
    }

    /// A home for objects of ours that go out this way: they keep the session alive.
    fn home(&self, root: &CallSpan) -> Home {
        Home::new(
            Rc::clone(self.shared()),
            Rc::clone(self.binding()),
            match self {
                Self::Result(session) => Rc::clone(session) as _,
                Self::Argument(argument) => Rc::clone(&argument.session),
            },
            Some(root.reference()),
        )
    }
}

impl Owner {
    fn via(&self) -> Via {
        match self {
            Self::Session(session) => Via::Result(Rc::clone(session)),
            Self::Call { via, .. } => via.clone(),
        }
    }

    fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Session(session) => session.shared(),
            Self::Call { via, .. } => via.shared(),
        }
    }

    fn span_context(&self) -> Option<SpanContext> {
        match self {
            Self::Session(session) => session.span().context(),
            Self::Call { span, .. } => span.context(),
        }
    }

    fn export(&self, stub: &Stub) -> js_rpc_target::Client {
        let home = match self {
            Self::Session(session) => self.via().home(&session.span()),
            Self::Call { span, via } => via.home(span),
        };
        stub.export(&home)
    }

    fn with_span<R>(&mut self, change: impl FnOnce(&mut CallSpan, &Policy) -> R) -> R {
        match self {
            Self::Session(session) => session.with_span(|span| change(span, &session.policy)),
            Self::Call { span, via } => change(span, via.policy()),
        }
    }

    /// Settles the span with how the call ended.
    fn settle(&mut self, error: Option<&CallError>) {
        self.with_span(|span, _| match error {
            None => span.succeeded(),
            Some(error) => span.failed(error),
        });
        // A call that we gave up on is cancelled by dropping its session at once.
        let given_up = matches!(error, Some(CallError::Deadline(_)));
        if let Self::Session(session) = self
            && !given_up
        {
            session.answered();
        }
    }
}

type Answer = Response<js_rpc_target::call_results::Owned>;

/// A call on its way. Await it for the result; drop it to cancel it.
#[must_use = "dropping a pending call cancels it"]
pub struct PendingCall {
    future: LocalBoxFuture<'static, Result<Reply, CallError>>,
    /// What pipelined calls go to. It holds the answer open, so it goes when the result is there.
    pipeline: Option<(js_rpc_target::call_results::Pipeline, Via)>,
}

impl PendingCall {
    fn remote(
        owner: Owner,
        sent: RemotePromise<js_rpc_target::call_results::Owned>,
        limit: Duration,
    ) -> Self {
        let via = owner.via();
        Self {
            future: Box::pin(receive(owner, sent.promise, limit)),
            pipeline: Some((sent.pipeline, via)),
        }
    }

    fn failed(mut owner: Owner, error: CallError) -> Self {
        owner.settle(Some(&error));
        Self {
            future: Box::pin(async { Err(error) }),
            pipeline: None,
        }
    }

    /// A call of an object in this process: no wire, no span, nobody to enrich.
    fn local(service: Rc<dyn Service>, method: Method, args: Result<Args, ConvertError>) -> Self {
        let future = async move {
            let args = args.map_err(|error| CallError::Arguments(error.to_string()))?;
            let cx = service::Context {
                scope: CallScope::outside(),
                binding: "".into(),
                caller: None,
            };
            let outcome = match method.operation {
                Operation::Call => service.call(&method.name, args, &cx).await,
                Operation::Get => service.get(&method.name, &cx).await,
            };
            let payload = outcome.map_err(|error| CallError::Thrown(Box::new(error)))?;
            Ok(Reply {
                payload,
                disposer: None,
            })
        };
        Self {
            future: Box::pin(future),
            pipeline: None,
        }
    }

    /// The result as an object, before it is there: calls of it are sent at once. Fails later, in
    /// those calls, if the result is nothing that can be called. `None` if the call was never sent.
    pub fn pipelined(&self) -> Option<Stub> {
        let (pipeline, via) = self.pipeline.as_ref()?;
        let target = pipeline.get_call_pipeline();
        Some(Stub::imported(target, via.clone()))
    }
}

impl Future for PendingCall {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(self.future.as_mut().poll(cx));
        self.pipeline = None;
        Poll::Ready(outcome)
    }
}

async fn receive(
    mut owner: Owner,
    promise: capnp::capability::Promise<Answer, capnp::Error>,
    limit: Duration,
) -> Result<Reply, CallError> {
    let outcome = match tokio::time::timeout(limit, promise).await {
        Ok(Ok(answer)) => read(&mut owner, &answer),
        Ok(Err(error)) => Err(CallError::from(error)),
        Err(_) => Err(CallError::Deadline(limit)),
    };
    owner.settle(outcome.as_ref().err());
    outcome
}

/// Reads the result, then applies the enrichment, also if the result cannot be read. In this order: how
/// much of a message may be read is limited, and a hostile enrichment must not use that up.
fn read(owner: &mut Owner, answer: &Answer) -> Result<Reply, CallError> {
    let results = answer.get()?;
    let reply = read_reply(owner, results);
    if results.has_binding_span_enrichment() {
        owner.with_span(|span, policy| {
            if span.is_watched() {
                span.enrich_from(results.get_binding_span_enrichment(), policy);
            }
        });
    }
    reply
}

fn read_reply(
    owner: &Owner,
    results: js_rpc_target::call_results::Reader<'_>,
) -> Result<Reply, CallError> {
    let unreadable = |error: capnp::Error| CallError::Result(error.extra);
    let result = results.get_result().map_err(unreadable)?;
    let limits = &owner.shared().limits.decode;
    let (value, targets) = wire::read_value(result, limits).map_err(unreadable)?;
    let import = |target| Stub::imported(target, owner.via());
    let disposer = match results.get_has_disposer() {
        true => results.get_call_pipeline().ok().map(import),
        false => None,
    };
    Ok(Reply {
        payload: Payload {
            value,
            stubs: targets.into_iter().map(import).collect(),
        },
        disposer,
    })
}

/// The result of a call.
#[derive(Debug, Clone)]
pub struct Reply {
    payload: Payload,
    /// Held until the reply is dropped: dropping it runs the disposer of the object at the callee.
    #[allow(dead_code, reason = "held for its drop")]
    disposer: Option<Stub>,
}

impl Reply {
    /// The value; `Value::Stub(n)` in it is `stubs()[n]`.
    pub fn value(&self) -> &Value {
        &self.payload.value
    }

    /// The stubs in the value, in order of appearance.
    pub fn stubs(&self) -> &[Stub] {
        &self.payload.stubs
    }

    /// The result as a type of yours, which may contain [`Stub`]s.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, ConvertError> {
        self.payload.parse()
    }

    /// The value as JSON, in the mapping that `js_value` documents.
    pub fn to_json(&self) -> Result<serde_json::Value, ConvertError> {
        self.payload.to_json()
    }

    /// The value and its stubs.
    pub fn into_payload(self) -> Payload {
        self.payload
    }
}

/// A failed call in a service is what that service throws, unless it does something else about it.
impl From<CallError> for js_value::JsError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Thrown(error) => *error,
            other => Self::error(other.to_string()),
        }
    }
}
