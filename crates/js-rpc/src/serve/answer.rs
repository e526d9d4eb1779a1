//! The answer to a call, however it travels.

use std::time::Duration;

use binding_span::Enrichment;
use binding_span_schema::call_capnp::{call_session, call_target};
use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_results};
use capnp::Error;

use super::failed::failed;
use crate::CallError;
use crate::error::{pass_on, write_failure};

/// The answer to one call, to be filled.
pub(crate) struct Answer {
    results: Results,
    /// Whether the place for a result was made.
    opened: bool,
    /// The time that the call has because of its caller.
    given: Option<Duration>,
    /// Whether the result may be called before it is there.
    wants_pipeline: bool,
    /// Whether such calls have something to go to already.
    pipelined: bool,
}

enum Results {
    ThreeCalls(js_rpc_target::CallResults),
    OneMessage(call_target::InvokeResults),
}

impl Answer {
    /// To a caller that calls as workerd does.
    pub(crate) const fn three_calls(results: js_rpc_target::CallResults) -> Self {
        Self::new(Results::ThreeCalls(results))
    }

    /// To one of our own peers, who say whether they want a pipeline.
    pub(crate) const fn one_message(results: call_target::InvokeResults) -> Self {
        let mut answer = Self::new(Results::OneMessage(results));
        answer.wants_pipeline = false;
        answer
    }

    const fn new(results: Results) -> Self {
        Self {
            results,
            opened: false,
            given: None,
            wants_pipeline: true,
            pipelined: false,
        }
    }

    pub(crate) const fn wants_pipeline(&self) -> bool {
        self.wants_pipeline
    }

    /// Whether the result may be called before it is there, which workerd always may.
    pub(crate) const fn set_wants_pipeline(&mut self, wants: bool) {
        self.wants_pipeline = wants;
    }

    /// Takes note of the time that the call has because of its caller, who need not be told of it.
    pub(crate) const fn set_given(&mut self, given: Duration) {
        self.given = Some(given);
    }

    /// Whether enrichment reaches the caller although the call failed, and while its result is held.
    pub(crate) const fn carries_all(&self) -> bool {
        matches!(self.results, Results::OneMessage(_))
    }

    /// Where the result goes.
    pub(crate) fn results(&mut self) -> Result<call_results::Builder<'_>, Error> {
        match &mut self.results {
            Results::ThreeCalls(results) => Ok(results.get()),
            Results::OneMessage(results) => match std::mem::replace(&mut self.opened, true) {
                true => results.get().get_returned(),
                false => Ok(results.get().init_returned()),
            },
        }
    }

    /// Lets calls of the result go to `target` from now on.
    pub(crate) fn pipeline(&mut self, target: js_rpc_target::Client) -> Result<(), Error> {
        self.results()?.set_call_pipeline(target);
        self.pipelined = true;
        match &mut self.results {
            Results::ThreeCalls(results) => results.set_pipeline(),
            Results::OneMessage(results) => results.set_pipeline(),
        }
    }

    /// Says that the result is held, and how.
    pub(crate) fn set_session(&mut self, session: call_session::Client) {
        if let Results::OneMessage(results) = &mut self.results {
            results.get().set_session(session);
        }
    }

    /// Carries what was said about the caller's span.
    pub(crate) fn enrich(&mut self, said: &Enrichment) {
        match &mut self.results {
            Results::ThreeCalls(results) => {
                binding_span::write(said, || results.get().init_binding_span_enrichment());
            }
            Results::OneMessage(results) => {
                binding_span::write(said, || results.get().init_enrichment());
            }
        }
    }

    /// The call failed, with what was said before.
    pub(crate) fn failed(mut self, error: &CallError, said: &Enrichment) -> Result<(), Error> {
        let wants_pipeline = self.wants_pipeline && !self.pipelined;
        if self.carries_all() && wants_pipeline {
            self.results()?.set_call_pipeline(failed(error));
        }
        let Results::OneMessage(results) = &mut self.results else {
            return Err(pass_on(error));
        };
        let told = matches!(error, CallError::Deadline(limit) if Some(*limit) == self.given);
        let mut failure = results.get().init_failure();
        write_failure(error, failure.reborrow());
        if told {
            failure.set_limit(0);
        }
        self.enrich(said);
        Ok(())
    }

    /// The call cannot be run as it came.
    pub(crate) fn refused(self, error: Error) -> Result<(), Error> {
        if !self.carries_all() {
            return Err(error);
        }
        let why = match CallError::from(error) {
            CallError::Thrown(error) => CallError::Refused(error.message),
            other => other,
        };
        self.failed(&why, &Enrichment::new())
    }
}
