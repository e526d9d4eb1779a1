//! How a call passes: on the path of every call that leaves, with bytes in place of values.
//!
//! Values pass undecoded. Every target that crosses, in either direction, is wrapped so that its calls have
//! spans too. What the callee says is applied to the span, and said on as far as the policy accepted it.
//!
//! A stream is received on one side and sent on the other, no faster than it is read there. Its bytes count for the
//! span of the call that brought it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::CallScope;
use binding_span_schema::js_rpc_capnp::external_pusher;
use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params, call_results};
use binding_span_schema::js_rpc_capnp::js_value as wire_value;
use capnp::Error;

use super::{Forward, Proxy};
use crate::beside::{Beside, Inward, Outward};
use crate::client::{
    Ahead, ArgumentStreams, ClientSession, Content, Made, Onward, Outgoing, Route, Target, Via,
};
use crate::deadlines::Deadline;
use crate::object::Operation;
use crate::observers::Observers;
use crate::serve::{Answer, Answers, Arrival, Held, Incoming, Params, Served, exported};
use crate::shared::Shared;
use crate::streaming::{Flow, Streams, Transfer};
use crate::telemetry::{CallSpan, Parent, Place};
use crate::wire::{self, Wire};
use crate::{CallError, ClientId};

/// A session that is passed on: ours to the callee, and what keeps the one that we serve open.
struct Session {
    client: Rc<ClientSession>,
    /// How calls go to what the caller gave along.
    to_caller: Via,
    shared: Rc<Shared>,
    /// The name under which we serve it.
    binding: Rc<str>,
    /// Whose it is: where its calls have to wait, they wait for each other.
    from: ClientId,
    /// Those of whoever called.
    observers: Observers,
    caller_streams: Streams,
    forward: Forward,
    deadline: Duration,
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

/// The top level of a session that workerd's calls opened, before its one call.
struct TopLevel {
    proxy: Rc<Proxy>,
    streams: Streams,
    arrival: Cell<Option<Arrival>>,
}

pub(super) fn top_level(proxy: &Rc<Proxy>, arrival: Arrival) -> js_rpc_target::Client {
    exported(TopLevel {
        proxy: Rc::clone(proxy),
        streams: arrival.streams.clone(),
        arrival: Cell::new(Some(arrival)),
    })
}

impl Answers for TopLevel {
    fn streams(&self) -> Option<&Streams> {
        Some(&self.streams)
    }

    async fn answer(&self, params: Params, answer: Answer) -> Result<(), Error> {
        let arrival = self.arrival.take().ok_or_else(|| {
            wire::refused("the top level of a session takes one call; open another session")
        })?;
        open(&self.proxy, arrival, params, answer).await
    }
}

/// Passes on a call that opens a session.
pub(super) async fn open(
    proxy: &Proxy,
    arrival: Arrival,
    params: Params,
    answer: Answer,
) -> Result<(), Error> {
    let incoming = match Incoming::read(&params) {
        Ok(incoming) => incoming,
        Err(error) => return answer.refused(error),
    };
    let Arrival {
        shared,
        binding,
        keep,
        observers,
        streams,
        client: from,
    } = arrival;
    let to = proxy.destination(&shared, &binding);
    let parent = Parent::Given(Place::remote(incoming.caller));
    let span = CallSpan::client(parent, &incoming.info(&binding), shared.sinks());
    let onward = onward(proxy.forward, &incoming);
    let scope = onward.scope.clone();
    let served = Served::new(keep, Some(span.reference()));
    let (policy, deadline) = (Arc::clone(&to.policy), to.deadline);
    let route = Route::to_session(to, span, onward);
    let Route::Session { session, .. } = &route else {
        return answer.refused(Error::failed("a session is not open".into()));
    };
    let session = Rc::new(Session {
        client: Rc::clone(session),
        to_caller: Via::argument(
            Rc::clone(&shared),
            Rc::clone(&binding),
            policy,
            served,
            streams.clone(),
            params.wire(),
        ),
        shared,
        binding,
        from,
        observers,
        caller_streams: streams,
        forward: proxy.forward,
        deadline,
    });
    let passing = Passing {
        session,
        direction: Direction::ToCallee,
        opens: true,
    };
    passing.pass(route, scope, incoming, params, answer).await
}

impl Session {
    /// Those of the connection to which calls go in that direction. `None`: it is not open.
    fn streams(&self, direction: Direction) -> Option<&Streams> {
        match direction {
            Direction::ToCallee => self.client.streams(),
            Direction::ToCaller => Some(&self.caller_streams),
        }
    }
}

/// What a call that is passed on says to its caller.
fn onward(forward: Forward, incoming: &Incoming) -> Onward {
    match forward {
        Forward::Accepted => Onward {
            scope: CallScope::detached(),
            live: incoming.observer.is_some(),
        },
        Forward::Nothing => Onward::default(),
    }
}

/// A target that crossed: its calls are passed on, each with a span.
struct Wrapped {
    target: Target,
    session: Rc<Session>,
    direction: Direction,
}

impl Answers for Wrapped {
    /// Whoever calls it is on the other side.
    fn streams(&self) -> Option<&Streams> {
        self.session.streams(self.direction.back())
    }

    async fn answer(&self, params: Params, answer: Answer) -> Result<(), Error> {
        let incoming = match Incoming::read(&params) {
            Ok(incoming) => incoming,
            Err(error) => return answer.refused(error),
        };
        let session = &self.session;
        let info = incoming.info(&session.binding);
        let sinks = session.shared.sinks();
        let span = match incoming.caller {
            // The trace is whoever called's; the invocation is the session's.
            Some(caller) => {
                let invocation = session.client.call.span().reference().invocation;
                let place = Place {
                    parent: Some(caller),
                    invocation: Some(invocation),
                };
                CallSpan::client(Parent::Called(place), &info, sinks)
            }
            None => {
                let parent = session.client.call.span();
                CallSpan::client(Parent::Session(parent), &info, sinks)
            }
        };
        let onward = onward(session.forward, &incoming);
        let scope = onward.scope.clone();
        let via = match self.direction {
            Direction::ToCallee => Via::Result(Rc::clone(&session.client)),
            Direction::ToCaller => session.to_caller.clone(),
        };
        let route = Route::onward(self.target.clone(), via, span, onward);
        let passing = Passing {
            session: Rc::clone(session),
            direction: self.direction,
            opens: false,
        };
        passing.pass(route, scope, incoming, params, answer).await
    }
}

/// How a value passes from one side to the other.
struct Crossing<'a> {
    /// Where calls of its targets go, which is where it comes from.
    direction: Direction,
    /// How the peer that it comes from is called, and the one that it goes to.
    from: Wire,
    to: Wire,
    /// What takes streams where it goes to, if anything does.
    pusher: &'a dyn Fn() -> Option<external_pusher::Client>,
    /// What its streams keep open, and as what their bytes count.
    transfer: &'a dyn Fn() -> Rc<Transfer>,
    flow: Flow,
}

/// What is beside a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Nothing,
    Objects,
    /// And objects, perhaps.
    Streams,
}

/// One call on its way through.
#[derive(Clone)]
struct Passing {
    session: Rc<Session>,
    direction: Direction,
    opens: bool,
}

impl Passing {
    async fn pass(
        self,
        route: Route,
        scope: CallScope,
        mut incoming: Incoming,
        params: Params,
        mut answer: Answer,
    ) -> Result<(), Error> {
        if let Some(observer) = incoming.observer.take()
            && scope.is_call()
        {
            self.session.observers.push(scope.updates(), observer);
        }
        let mut limit = self.session.deadline;
        if let Some(given) = incoming.time_left.map(Deadline::within)
            && given < limit
        {
            answer.set_given(given);
            limit = given;
        }
        answer.set_wants_pipeline(incoming.wants_pipeline);
        let bytes = Bytes {
            size: size(&params).unwrap_or_default(),
            operation: incoming.operation,
            wire: params.wire(),
            params: Some(params),
            passing: self,
            pusher: incoming.pusher.take(),
            streams: ArgumentStreams::default(),
            answer,
            holds: Holds::Nothing,
        };
        let deadline = Deadline::after(limit);
        let made = Made {
            client: bytes.passing.session.from,
            begun: false,
        };
        let outgoing = Outgoing::new(route, bytes, deadline, incoming.wants_pipeline, made);
        let (outcome, bytes) = run(outgoing).await;
        bytes.finish(outcome, &scope)
    }

    /// A target found in a message that goes `direction`, wrapped for its receiver.
    fn wrap(&self, target: Target, direction: Direction) -> js_rpc_target::Client {
        exported(Wrapped {
            target,
            session: Rc::clone(&self.session),
            direction,
        })
    }

    /// Copies a value's bytes as they are. Targets in it are wrapped; streams are received on the one side and sent to
    /// the other.
    fn copy_value(
        &self,
        from: wire_value::Reader<'_>,
        mut to: wire_value::Builder<'_>,
        crossing: &Crossing<'_>,
    ) -> Result<Holds, Error> {
        to.set_v8_serialized(from.get_v8_serialized()?);
        let beside = Beside::of(from)?;
        if beside.is_empty() {
            return Ok(Holds::Nothing);
        }
        let direction = crossing.direction;
        let gone = || Error::disconnected("the connection is over".into());
        let inward = Inward {
            streams: self.session.streams(direction).ok_or_else(gone)?,
            wire: crossing.from,
            // That of the other side counts.
            transfer: &Rc::default,
        };
        let outward = Outward {
            streams: self.session.streams(direction.back()).ok_or_else(gone)?,
            wire: crossing.to,
            pusher: crossing.pusher,
            transfer: crossing.transfer,
            flow: crossing.flow,
        };
        let mut holds = Holds::Objects;
        let mut copies = to.init_externals(beside.len() as u32);
        for (i, beside) in beside.into_iter().enumerate() {
            let copy = copies.reborrow().get(i as u32);
            match beside {
                Beside::Stub(target) => {
                    let wrapped = self.wrap(Target::There(target), direction);
                    copy.init_rpc_target().set_cap(wrapped);
                }
                Beside::Readable(source, encoding) => {
                    holds = Holds::Streams;
                    outward.readable(&inward.readable(source, encoding), copy)?;
                }
                Beside::Writable(to) => {
                    holds = Holds::Streams;
                    outward.writable(&inward.writable(to), copy)?;
                }
            }
        }
        Ok(holds)
    }
}

/// Sends a call and receives its answer.
async fn run(mut outgoing: Outgoing<Bytes>) -> (Result<(), CallError>, Bytes) {
    let sent = match outgoing.try_send() {
        Some(sent) => sent,
        None => outgoing.send().await,
    };
    let mut sent = match sent {
        Ok(sent) => sent,
        Err(error) => {
            let error = outgoing.fail(error);
            return (Err(error), outgoing.into_content());
        }
    };
    // The message is not needed any more, and the call may take long.
    outgoing.content.params = None;
    // Calls that do not wait for the result go on at once.
    let ahead = sent.pipeline.take().map(Ahead::of);
    if let Some(ahead) = &ahead
        && let Err(error) = outgoing.content.pipeline(ahead)
    {
        let error = outgoing.fail(error.into());
        return (Err(error), outgoing.into_content());
    }
    let outcome = outgoing.receive(sent).await;
    if let (Some(ahead), Err(CallError::Deadline(_))) = (ahead, &outcome) {
        // Also if whoever called still holds the result that it will not have.
        ahead.end();
    }
    (outcome, outgoing.into_content())
}

/// Bytes of the arguments.
fn size(params: &Params) -> Result<usize, Error> {
    let operation = params.call()?.get_operation();
    match operation.which()? {
        call_params::operation::CallWithArgs(value) if operation.has_call_with_args() => {
            Ok(value?.get_v8_serialized()?.len())
        }
        _ => Ok(0),
    }
}

/// A call of bytes.
struct Bytes {
    size: usize,
    operation: Operation,
    /// Until they were sent.
    params: Option<Params>,
    passing: Passing,
    /// How whoever called does it, and what takes streams there, if the call itself names it.
    wire: Wire,
    pusher: Option<external_pusher::Client>,
    /// Those of the arguments.
    streams: ArgumentStreams,
    answer: Answer,
    /// What came with the result.
    holds: Holds,
}

impl Content for Bytes {
    type Output = ();
    type Read = ();

    fn size(&self) -> usize {
        self.size
    }

    fn write(
        &self,
        mut to: call_params::Builder<'_>,
        route: &Route,
        pusher: &dyn Fn() -> external_pusher::Client,
    ) -> Result<(), CallError> {
        let params = self.params.as_ref().ok_or(CallError::Canceled)?;
        self.copy_params(params, to.reborrow(), route, pusher)
            .map_err(|error| self.impassable(error, CallError::Refused))
    }

    fn read(&mut self, from: call_results::Reader<'_>, route: &Route) -> Result<(), CallError> {
        self.streams.keep();
        self.copy_results(from, route)
            .map_err(|error| self.impassable(error, CallError::Result))
    }

    async fn finish(&self, (): (), _route: &Route) -> Result<(), CallError> {
        Ok(())
    }
}

impl Bytes {
    /// Why a value cannot pass: an error of its own kind between our own peers; to workerd a text that it shows as
    /// a TypeError.
    fn impassable(&self, error: Error, kind: fn(String) -> CallError) -> CallError {
        match CallError::from(error) {
            CallError::Thrown(error) if self.answer.carries_all() => kind(error.message),
            other => other,
        }
    }

    fn pipeline(&mut self, ahead: &Ahead) -> Result<(), Error> {
        let target = Target::Ahead(ahead.clone());
        let wrapped = self.passing.wrap(target, self.passing.direction);
        self.answer.pipeline(wrapped)
    }

    fn copy_params(
        &self,
        from: &Params,
        mut to: call_params::Builder<'_>,
        route: &Route,
        pusher: &dyn Fn() -> external_pusher::Client,
    ) -> Result<(), Error> {
        let from = from.call()?;
        wire::copy_method(from, to.reborrow())?;
        let mut operation = to.init_operation();
        if self.operation == Operation::Get {
            operation.set_get_property(());
        } else if from.get_operation().has_call_with_args()
            && let call_params::operation::CallWithArgs(value) = from.get_operation().which()?
        {
            let to = operation.init_call_with_args();
            let keep = || Rc::clone(&self.passing.session) as _;
            let crossing = Crossing {
                direction: self.passing.direction.back(),
                from: self.wire,
                to: route.wire(),
                pusher: &|| Some(pusher()),
                transfer: &|| self.streams.transfer(route, Some(keep())),
                flow: Flow::Sent,
            };
            self.passing.copy_value(value?, to, &crossing)?;
        }
        Ok(())
    }

    fn copy_results(&mut self, from: call_results::Reader<'_>, route: &Route) -> Result<(), Error> {
        let direction = self.passing.direction;
        let wants_pipeline = self.answer.wants_pipeline();
        let mut to = self.answer.results()?;
        to.set_has_disposer(from.get_has_disposer());
        if from.has_result() {
            let value = to.reborrow().init_result();
            let keep = || Rc::clone(&self.passing.session) as _;
            let session = &self.passing.session;
            let peer = || session.streams(direction.back())?.peer();
            let crossing = Crossing {
                direction,
                from: route.wire(),
                to: self.wire,
                pusher: &|| self.pusher.clone().or_else(peer),
                transfer: &|| route.transfer(Some(keep())),
                flow: Flow::Received,
            };
            let from = from.get_result()?;
            self.holds = self.passing.copy_value(from, value, &crossing)?;
        }
        // What is called before the result is there has its target; what is disposed of has none otherwise.
        if from.get_has_disposer() && !wants_pipeline {
            let disposer = Target::There(from.get_call_pipeline()?);
            to.set_call_pipeline(self.passing.wrap(disposer, direction));
            self.holds = self.holds.max(Holds::Objects);
        }
        Ok(())
    }

    fn finish(self, outcome: Result<(), CallError>, scope: &CallScope) -> Result<(), Error> {
        let Self {
            mut answer,
            passing,
            holds,
            ..
        } = self;
        if let Err(error) = outcome {
            return answer.failed(&error, &scope.drain());
        }
        let may_go_on = match passing.opens {
            true => holds != Holds::Nothing,
            // An object's call is over when its streams are.
            false => holds == Holds::Streams,
        };
        let late = may_go_on && answer.carries_all() && scope.is_call();
        let said = if late {
            let observers = passing.session.observers.clone();
            answer.set_session(Held::client(scope, &observers, passing.session as _));
            scope.said()
        } else {
            scope.drain()
        };
        answer.enrich(&said);
        Ok(())
    }
}
