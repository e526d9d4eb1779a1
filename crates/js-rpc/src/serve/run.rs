//! One call of a service of ours, from its parameters to its answer. Its end is told however it ends: returned,
//! thrown, past its deadline, abandoned.

use std::rc::Rc;
use std::time::Duration;

use binding_span::{CallScope, Enrichment};
use capnp::Error;
use futures::FutureExt;
use js_value::JsError;
use tracing::Instrument;

use super::answer::Answer;
use super::incoming::{Incoming, Params};
use super::result::ResultTarget;
use super::{Home, export};
use crate::CallError;
use crate::deadlines::Deadline;
use crate::object::Operation;
use crate::object::{Args, Context, Payload, Service, ServiceResult};
use crate::shared::Shared;
use crate::telemetry::{CallSpan, Place};
use crate::wire;

/// Serves a call. `opens` a session: what its result holds may go on saying what it was.
pub(crate) async fn serve(
    service: &dyn Service,
    home: &Home,
    params: Params,
    mut answer: Answer,
    opens: bool,
) -> Result<(), Error> {
    let _in_flight = home.shared.enter();
    let (mut incoming, args) = match read(&params, home) {
        Ok(read) => read,
        Err(error) => return answer.refused(error),
    };
    // The message is not needed any more, and the call may take long.
    drop(params);
    let running = Running::start(&incoming, home);
    if let Some(observer) = incoming.observer.take() {
        home.observers.push(running.scope.updates(), observer);
    }
    answer.set_wants_pipeline(incoming.wants_pipeline);
    let limit = time(&incoming, &home.shared, &mut answer);
    let outcome = running.run(service, incoming, args, home, limit).await;
    let outcome = outcome.and_then(|payload| {
        let payload = Rc::new(payload);
        let written = write(&payload, home, &mut answer);
        written.map(|()| payload)
    });
    match outcome {
        Ok(payload) => {
            running.returned(&payload, home, answer, opens);
            Ok(())
        }
        Err(error) => running.failed(&error, answer),
    }
}

/// Reads what is asked for, and with what.
fn read(params: &Params, home: &Home) -> Result<(Incoming, Args), Error> {
    let incoming = Incoming::read(params)?;
    let (values, stubs) = wire::read_args(params.call()?, &home.shared.limits.decode)?;
    let import = |target| (home.import)(home, params.wire(), target);
    let stubs = stubs.into_iter().map(import).collect();
    Ok((incoming, Args { values, stubs }))
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
    span: CallSpan,
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
            span,
            scope,
            ended: false,
        }
    }

    async fn run(
        &self,
        service: &dyn Service,
        incoming: Incoming,
        args: Args,
        home: &Home,
        limit: Duration,
    ) -> Result<Payload, CallError> {
        let cx = Context {
            scope: self.scope.clone(),
            binding: Rc::clone(&home.binding),
            caller: incoming.caller,
        };
        let method = async {
            match incoming.operation {
                Operation::Call => service.call(&incoming.method, args, &cx).await,
                Operation::Get => service.get(&incoming.method, &cx).await,
            }
        };
        // A method that panics costs its own call, not its connection's others.
        let contained = std::panic::AssertUnwindSafe(method).catch_unwind();
        let traced = contained.instrument(self.span.tracing());
        let scoped = self.scope.scope(traced);
        let ended = Deadline::after(limit).hold(&home.shared.deadlines, scoped);
        let result = ended.await?.unwrap_or_else(|_| panicked());
        result.map_err(|error| CallError::Thrown(Box::new(error)))
    }

    fn returned(mut self, payload: &Payload, home: &Home, mut answer: Answer, opens: bool) {
        let said = if opens && answer.carries_all() && !payload.stubs.is_empty() {
            // In this order nothing is lost between the answer and the observer that comes after it.
            answer.set_session(home.session.hold(&self.scope, &home.observers));
            self.scope.said()
        } else {
            self.scope.drain()
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
        match answer.carries_all() {
            true => self.span.dropped(&said),
            false => self.apply(&said),
        }
        self.span.failed(error);
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

fn panicked() -> ServiceResult {
    Err(JsError::error("internal error: the method panicked"))
}

/// Fills in the value, and what pipelined calls go to.
fn write(payload: &Rc<Payload>, home: &Home, answer: &mut Answer) -> Result<(), CallError> {
    let unsent = |why: String| {
        let error = JsError::type_error(format!("the result cannot be sent: {why}"));
        CallError::Thrown(Box::new(error))
    };
    let wants_pipeline = answer.wants_pipeline();
    let mut results = answer
        .results()
        .map_err(|error| unsent(error.to_string()))?;
    wire::write_result(payload, results.reborrow(), |stub| export(stub, home)).map_err(unsent)?;
    if wants_pipeline {
        results.set_call_pipeline(ResultTarget::of(payload, home));
    }
    Ok(())
}
