//! One call of a service of ours, from its parameters to its answer. Its end is told however it ends: returned,
//! thrown, past its deadline, abandoned.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use binding_span::{CallScope, ERROR_MESSAGE, ERROR_TYPE, Enrichment};
use capnp::Error;
use futures::FutureExt;
use js_value::{JsError, Value};
use tokio::sync::Mutex;
use tracing::Instrument;

use super::answer::Answer;
use super::incoming::{Incoming, Params};
use super::result::ResultTarget;
use super::{Held, Home, export};
use crate::CallError;
use crate::beside::{Beside, Inward, Outward};
use crate::deadlines::Deadline;
use crate::error::reason;
use crate::object::Operation;
use crate::object::{
    Args, ByteService, ByteStream, Context, External, Payload, Service, ServiceResult, Stub,
};
use crate::offload::LARGE;
use crate::shared::Shared;
use crate::streaming::{Flow, Transfer};
use crate::telemetry::{self, CallSpan, HttpInfo, Place};
use crate::wire::{self, EncodedValue, Wire};

/// What a call is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a binding, by one message, which opens a session: what its result holds may go on saying what it was.
    Opens,
    /// Of a binding, in a session that is open.
    TopLevel,
    /// Of an object.
    Object,
}

/// Serves a call.
pub(crate) async fn serve(
    service: &dyn Service,
    home: &Home,
    params: Params,
    mut answer: Answer,
    kind: Kind,
) -> Result<(), Error> {
    let opens = kind == Kind::Opens;
    let _in_flight = home.shared.enter();
    let bytes = service.as_bytes();
    let transfer = LazyTransfer::default();
    let (mut incoming, given) = match read(&params, home, bytes, kind) {
        Ok(read) => read,
        Err(error) => return answer.refused(error),
    };
    // The message is not needed any more, and the call may take long.
    let wire = params.wire();
    drop(params);
    let import = |beside| import(beside, home, wire, &transfer);
    let given = match given.ready(home, opens, import).await {
        Ok(given) => given,
        Err(error) => return answer.refused(error),
    };
    let running = Running::start(&incoming, home);
    if let Some(observer) = incoming.observer.take() {
        home.observers.push(running.scope.updates(), observer);
    }
    answer.set_wants_pipeline(incoming.wants_pipeline);
    let limit = time(&incoming, &home.shared, &mut answer);
    let pusher = incoming.pusher.take();
    let outcome = running
        .run(service, incoming, given, home, limit, kind)
        .await;
    let outcome = match outcome {
        Ok(returned) => {
            let (returned, encoded) = returned.encode().await;
            let streams = Outward {
                streams: &home.streams,
                wire,
                pusher: &|| pusher.clone().or_else(|| home.streams.peer()),
                transfer: &|| transfer.get(),
                flow: Flow::Sent,
            };
            let written = write(&returned, encoded, home, &streams, &mut answer);
            written.map(|()| returned)
        }
        Err(error) => Err(error),
    };
    let late = match &outcome {
        Ok(returned) if returned.has_externals() => Late::of(kind, &transfer),
        _ => Late::Nothing,
    };
    transfer.outlasts(&running, home, late);
    match outcome {
        Ok(_) => {
            running.returned(late, home, answer);
            Ok(())
        }
        Err(error) => running.failed(&error, answer),
    }
}

/// Until when a call that returned may go on saying what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Not at all.
    Nothing,
    /// As long as its session is held, which it opened.
    Session,
    /// Until its streams have ended.
    Streams,
}

impl Late {
    /// Of a call whose result has objects or streams.
    fn of(kind: Kind, transfer: &LazyTransfer) -> Self {
        match (kind, transfer.0.get()) {
            (Kind::Opens, _) => Self::Session,
            (_, Some(_)) => Self::Streams,
            (_, None) => Self::Nothing,
        }
    }
}

/// Ends what is said of a call.
struct Seals(CallScope);

impl Drop for Seals {
    fn drop(&mut self) {
        self.0.seal();
    }
}

/// The streams of a call, if it has any.
#[derive(Default)]
struct LazyTransfer(OnceCell<Rc<Transfer>>);

impl LazyTransfer {
    fn get(&self) -> Rc<Transfer> {
        Rc::clone(self.0.get_or_init(Rc::default))
    }

    /// Keeps the call's span and its session open until they have ended.
    fn outlasts(&self, running: &Running, home: &Home, late: Late) {
        let Some(transfer) = self.0.get() else {
            return;
        };
        let (span, session) = (Rc::clone(&running.span), Rc::clone(&home.session));
        let in_flight = home.shared.enter();
        let seals = (late == Late::Streams).then(|| Seals(running.scope.clone()));
        transfer.then(move |said| {
            span.apply(&said);
            drop((span, session, in_flight, seals));
        });
    }
}

/// What came beside an argument.
fn import(beside: Beside, home: &Home, wire: Wire, transfer: &LazyTransfer) -> External {
    let streams = Inward {
        streams: &home.streams,
        wire,
        transfer: &|| transfer.get(),
    };
    streams.import(beside, |target| (home.import)(home, wire, target))
}

/// The arguments of a call, as they were taken from its message.
enum Taken<'s> {
    Values(Vec<Value>, Vec<Beside>),
    /// Values that are large and are still to be read.
    Unread(Vec<u8>, Vec<Beside>),
    Bytes(&'s dyn ByteService, Vec<u8>),
}

/// The arguments of a call, as its service takes them.
enum Given<'s> {
    Values(Args),
    Bytes(&'s dyn ByteService, Vec<u8>),
}

impl<'s> Taken<'s> {
    /// Reads what is large elsewhere. Calls of one object begin in the order in which they came; one that `opens` a
    /// session is before or after no other.
    async fn ready(
        self,
        home: &Home,
        opens: bool,
        import: impl Fn(Beside) -> External,
    ) -> Result<Given<'s>, Error> {
        let order = &home.session.order;
        Ok(match self {
            Self::Unread(bytes, beside) => {
                let _order = order.lock().await;
                // Apart, since few calls need it.
                let limits = &home.shared.limits.decode;
                let read = Box::pin(wire::read_large_args(bytes, &beside, limits));
                let values = read.await?;
                let externals = beside.into_iter().map(import).collect();
                Given::Values(Args { values, externals })
            }
            Self::Values(values, beside) => {
                in_order(order, opens).await;
                let externals = beside.into_iter().map(import).collect();
                Given::Values(Args { values, externals })
            }
            Self::Bytes(service, bytes) => {
                in_order(order, opens).await;
                Given::Bytes(service, bytes)
            }
        })
    }
}

/// Waits for the calls of the same object that are being read.
async fn in_order(order: &Mutex<()>, opens: bool) {
    if !opens && order.try_lock().is_err() {
        drop(order.lock().await);
    }
}

/// What a call returned.
enum Returned {
    Value(Rc<Payload>),
    Bytes(Vec<u8>),
}

impl Returned {
    /// Writes what is large elsewhere.
    async fn encode(self) -> (Self, Option<Result<EncodedValue, String>>) {
        match self {
            Self::Value(payload) if payload.value.is_larger_than(LARGE) => {
                let payload = Rc::unwrap_or_clone(payload);
                let (payload, encoded) = Box::pin(wire::encode_large_result(payload)).await;
                (Self::Value(Rc::new(payload)), Some(encoded))
            }
            small => (small, None),
        }
    }

    fn has_externals(&self) -> bool {
        matches!(self, Self::Value(payload) if !payload.externals.is_empty())
    }
}

/// Reads what is asked for, and with what.
fn read<'s>(
    params: &Params,
    home: &Home,
    bytes: Option<&'s dyn ByteService>,
    kind: Kind,
) -> Result<(Incoming, Taken<'s>), Error> {
    let incoming = Incoming::read(params)?;
    let calls = incoming.operation == Operation::Call && !incoming.may_fetch(kind);
    if let (Some(service), true) = (bytes, calls) {
        let args = wire::copy_args(params.call()?)?;
        return Ok((incoming, Taken::Bytes(service, args)));
    }
    if let Some((bytes, beside)) = wire::large_args(params.call()?)? {
        return Ok((incoming, Taken::Unread(bytes, beside)));
    }
    let (values, beside) = wire::read_args(params.call()?, &home.shared.limits.decode)?;
    Ok((incoming, Taken::Values(values, beside)))
}

/// How long the call may take: its caller's time, less what the answer needs, or a service's own.
fn time(incoming: &Incoming, shared: &Shared, answer: &mut Answer) -> Duration {
    let own = shared.limits.handler;
    match incoming.time_left.map(Deadline::within) {
        Some(given) if given < own => {
            answer.set_given(given);
            given
        }
        _ => own,
    }
}

/// A call that is being served. Dropped before it ended, it was abandoned.
struct Running {
    span: Rc<CallSpan>,
    scope: CallScope,
    ended: bool,
}

impl Running {
    fn start(incoming: &Incoming, home: &Home) -> Self {
        let info = incoming.info(&home.binding);
        // Below the caller's span; a caller that does not tell it gets its calls below the session's.
        let root = home.session.root.get();
        let place = Place {
            parent: incoming.caller.or(root.map(|root| root.context)),
            invocation: root.map(|root| root.invocation),
        };
        let span = CallSpan::server(place, &info, home.shared.sinks());
        if root.is_none() {
            home.session.root.set(Some(span.reference()));
        }
        let scope = span.scope();
        Self {
            span: Rc::new(span),
            scope,
            ended: false,
        }
    }

    async fn run(
        &self,
        service: &dyn Service,
        incoming: Incoming,
        given: Given<'_>,
        home: &Home,
        limit: Duration,
        kind: Kind,
    ) -> Result<Returned, CallError> {
        let cx = Context {
            scope: self.scope.clone(),
            binding: Rc::clone(&home.binding),
            caller: incoming.caller,
            client: home.client,
        };
        let may_fetch = incoming.may_fetch(kind);
        let method = async {
            let method = &incoming.method;
            let payload = match (given, incoming.operation) {
                (Given::Bytes(service, args), _) => {
                    return service.call(method, args, &cx).await.map(Returned::Bytes);
                }
                (Given::Values(args), Operation::Call) if may_fetch => match args.into_request() {
                    Ok(request) => self.fetch(service, request?, &cx).await,
                    Err(args) => service.call(method, args, &cx).await,
                },
                (Given::Values(args), Operation::Call) => service.call(method, args, &cx).await,
                (Given::Values(_), Operation::Get) => service.get(method, &cx).await,
            };
            payload.map(|payload| Returned::Value(Rc::new(payload)))
        };
        // A method that panics costs its own call, not its connection's others.
        let contained = std::panic::AssertUnwindSafe(method).catch_unwind();
        let traced = contained.instrument(self.span.tracing());
        let scoped = self.scope.scope(traced);
        let ended = Deadline::after(limit).hold(&home.shared.deadlines, scoped);
        let result = ended.await?.unwrap_or_else(|_| panicked());
        result.map_err(|error| CallError::Thrown(Box::new(error)))
    }

    /// The call is an HTTP request. What is known of that is said on both spans.
    async fn fetch(
        &self,
        service: &dyn Service,
        request: http::Request<ByteStream>,
        cx: &Context,
    ) -> ServiceResult {
        let asked = HttpInfo {
            method: request.method(),
            path: request.uri().path(),
        };
        let mut known = asked.attributes();
        cx.enrich(known.clone());
        let response = service.fetch(request, cx).await;
        if let Ok(response) = &response {
            let said = telemetry::responded(response.status());
            cx.enrich(said.clone());
            known.merge(said);
            let failed = telemetry::failed_response(response.status());
            if let Some(error) = failed.filter(|_| self.scope.said().stated_error().is_none()) {
                cx.enrich(
                    Enrichment::new()
                        .attribute(ERROR_TYPE, error.kind)
                        .attribute(ERROR_MESSAGE, error.message),
                );
            }
        }
        self.span.apply(&known);
        response.map(Payload::from_response)
    }

    fn returned(mut self, late: Late, home: &Home, mut answer: Answer) {
        let session = match late {
            Late::Session if answer.carries_all() => {
                Some(home.session.hold(&self.scope, &home.observers))
            }
            Late::Streams if answer.carries_all() => {
                let session = Rc::clone(&home.session) as _;
                Some(Held::client(&self.scope, &home.observers, session))
            }
            _ => None,
        };
        // In this order nothing is lost between the answer and the observer that comes after it.
        let said = match session {
            Some(session) => {
                answer.set_session(session);
                self.scope.said()
            }
            None => self.scope.drain(),
        };
        answer.enrich(&said);
        self.ended = true;
        self.span.dropped(&said);
        self.span.returned(said.stated_error().as_ref());
    }

    /// A peer that has only workerd's results gets a text alone: what was said goes to the callee's own span of
    /// the same trace.
    fn failed(mut self, error: &CallError, answer: Answer) -> Result<(), Error> {
        let said = self.scope.drain();
        self.ended = true;
        let stated = said.stated_error();
        match answer.carries_all() {
            true => self.span.dropped(&said),
            false => {
                let mut rest = said.clone();
                rest.remove_stated_error();
                self.apply(&rest);
            }
        }
        self.span.failed(error, stated.as_ref());
        answer.failed(error, &said)
    }

    fn apply(&self, said: &Enrichment) {
        if !said.is_silent() {
            self.span.apply(said);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.apply(&self.scope.drain());
        }
    }
}

fn panicked() -> Result<Returned, JsError> {
    Err(JsError::error("internal error: the method panicked"))
}

/// Fills in the value, and what pipelined calls go to.
fn write(
    returned: &Returned,
    encoded: Option<Result<EncodedValue, String>>,
    home: &Home,
    streams: &Outward<'_>,
    answer: &mut Answer,
) -> Result<(), CallError> {
    let unsent = |why: String| {
        let error = JsError::type_error(format!("the result cannot be sent: {why}"));
        CallError::Thrown(Box::new(error))
    };
    let wants_pipeline = answer.wants_pipeline();
    let mut results = answer
        .results()
        .map_err(|error| unsent(error.to_string()))?;
    let export = |stub: &Stub| export(stub, home);
    let pipeline = match returned {
        Returned::Value(payload) => {
            let encoded = encoded.unwrap_or_else(|| wire::encode_result(payload));
            let encoded = encoded.map_err(unsent)?;
            let written = encoded.write(results.reborrow().init_result(), |external, to| {
                streams.export(external, to, export)
            });
            written.map_err(|error| unsent(reason(&error)))?;
            wants_pipeline.then(|| ResultTarget::of(payload, home))
        }
        Returned::Bytes(bytes) => {
            let result = results.reborrow().init_result();
            result
                .init_v8_serialized(bytes.len() as u32)
                .copy_from_slice(bytes);
            wants_pipeline.then(|| ResultTarget::unread(bytes.clone(), home))
        }
    };
    if let Some(target) = pipeline {
        results.set_call_pipeline(target);
    }
    Ok(())
}
