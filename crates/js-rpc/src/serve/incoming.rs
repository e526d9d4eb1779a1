//! A call that came in, however it travelled: what it asks for, and what stands around its arguments.

use std::time::Duration;

use binding_span::SpanContext;
use binding_span_schema::call_capnp::{call_target, enrichment_observer};
use binding_span_schema::js_rpc_capnp::external_pusher;
use binding_span_schema::js_rpc_capnp::js_rpc_target::{self, call_params};
use capnp::Error;

use super::run::Kind;
use crate::object::Operation;
use crate::object::http::FETCH;
use crate::telemetry::CallInfo;
use crate::wire::{self, Wire};

/// The parameters as they came.
pub(crate) enum Params {
    /// As workerd sends them.
    ThreeCalls(js_rpc_target::CallParams),
    /// With what our own peers say besides.
    OneMessage(call_target::InvokeParams),
}

impl Params {
    /// What both have in common.
    pub(crate) fn call(&self) -> Result<call_params::Reader<'_>, Error> {
        match self {
            Self::ThreeCalls(params) => params.get(),
            Self::OneMessage(params) => params.get()?.get_params(),
        }
    }

    pub(crate) const fn wire(&self) -> Wire {
        match self {
            Self::ThreeCalls(_) => Wire::ThreeCalls,
            Self::OneMessage(_) => Wire::OneMessage,
        }
    }
}

/// What is asked for.
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) operation: Operation,
    /// The caller's span.
    pub(crate) caller: Option<SpanContext>,
    /// After which the caller gives up.
    pub(crate) time_left: Option<Duration>,
    /// Whether the result may be called before it is there.
    pub(crate) wants_pipeline: bool,
    /// Who hears enrichment as it is said.
    pub(crate) observer: Option<enrichment_observer::Client>,
    /// What takes streams in the result, if the call itself names it.
    pub(crate) pusher: Option<external_pusher::Client>,
}

impl Incoming {
    pub(crate) fn read(params: &Params) -> Result<Self, Error> {
        let call = params.call()?;
        let mut incoming = Self {
            method: wire::read_method(call)?,
            operation: wire::read_operation(call)?,
            caller: wire::read_caller(call),
            time_left: None,
            wants_pipeline: true,
            observer: None,
            pusher: None,
        };
        match params {
            Params::ThreeCalls(_) => incoming.pusher = wire::read_pusher(call)?,
            Params::OneMessage(params) => incoming.read_request(params.get()?)?,
        }
        Ok(incoming)
    }

    /// What our own peers say besides.
    fn read_request(&mut self, request: call_target::request::Reader<'_>) -> Result<(), Error> {
        self.wants_pipeline = request.get_wants_pipeline();
        self.time_left = match request.get_time_left() {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        };
        if request.has_observer() {
            self.observer = Some(request.get_observer()?);
        }
        Ok(())
    }

    /// Whether it is an HTTP request, if its arguments are one.
    pub(super) fn may_fetch(&self, kind: Kind) -> bool {
        kind != Kind::Object && self.operation == Operation::Call && self.method == FETCH
    }

    pub(crate) fn info<'a>(&'a self, binding: &'a str) -> CallInfo<'a> {
        CallInfo {
            binding,
            method: &self.method,
            operation: &self.operation,
            http: None,
        }
    }
}
