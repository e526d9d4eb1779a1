//! Something of ours that a peer calls: the top level of a session, or a stub.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use binding_span::{Enrichment, SpanRef};
use binding_span_schema::js_rpc_capnp::{external_pusher, js_rpc_target};
use capnp::Error;
use futures::FutureExt;
use js_value::JsError;
use tracing::Instrument;

use crate::error::exception;
use crate::payload::{Args, Payload};
use crate::server::pipeline::ResultTarget;
use crate::service::{Context, Service, ServiceResult};
use crate::shared::{KeepAlive, Shared};
use crate::stub::{Argument, Via};
use crate::telemetry::{CallInfo, CallSpan, Place};
use crate::wire::{self, Operation};
use crate::{CallError, Stub};

/// Where a target stands: the server, the binding, the session that it keeps open.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) shared: Rc<Shared>,
    binding: Rc<str>,
    session: KeepAlive,
    /// The first span of the session in this process, below which later calls come if their caller
    /// does not tell its span.
    root: Rc<Cell<Option<SpanRef>>>,
}

impl Home {
    pub(crate) fn new(
        shared: Rc<Shared>,
        binding: Rc<str>,
        session: KeepAlive,
        root: Option<SpanRef>,
    ) -> Self {
        Self {
            shared,
            binding,
            session,
            root: Rc::new(Cell::new(root)),
        }
    }

    /// A stub of a capability that came in.
    fn import(&self, target: js_rpc_target::Client) -> Stub {
        let argument = Argument {
            shared: Rc::clone(&self.shared),
            binding: Rc::clone(&self.binding),
            policy: Arc::clone(&self.shared.policy),
            session: Rc::clone(&self.session),
            root: Rc::clone(&self.root),
        };
        Stub::imported(target, Via::Argument(Rc::new(argument)))
    }
}

/// A service as a target.
pub(crate) struct ServiceTarget {
    service: Rc<dyn Service>,
    home: Home,
    /// The top level of a session takes one call.
    calls_left: Cell<Option<u32>>,
}

impl ServiceTarget {
    pub(crate) fn top_level(service: Rc<dyn Service>, home: Home) -> js_rpc_target::Client {
        Self::client(service, home, Some(1))
    }

    pub(crate) fn stub(service: Rc<dyn Service>, home: Home) -> js_rpc_target::Client {
        Self::client(service, home, None)
    }

    fn client(service: Rc<dyn Service>, home: Home, calls: Option<u32>) -> js_rpc_target::Client {
        capnp_rpc::new_client(Self {
            service,
            home,
            calls_left: Cell::new(calls),
        })
    }

    fn take_call(&self) -> Result<(), Error> {
        match self.calls_left.get() {
            Some(0) => Err(wire::refused(
                "the top level of a session takes one call; open another session",
            )),
            Some(left) => {
                self.calls_left.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl external_pusher::Server for ServiceTarget {}

impl js_rpc_target::Server for ServiceTarget {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        self.take_call()?;
        let _in_flight = self.home.shared.enter();
        let request = Request::read(params.get()?, &self.home)?;
        // The message is not needed any more, and the call may take long.
        drop(params);
        request.serve(&*self.service, &self.home, results).await
    }
}

/// A call that came in.
struct Request {
    method: String,
    operation: Operation,
    args: Args,
    caller: Option<binding_span::SpanContext>,
}

impl Request {
    fn read(params: js_rpc_target::call_params::Reader<'_>, home: &Home) -> Result<Self, Error> {
        let (values, stubs) = wire::read_args(params, &home.shared.limits.decode)?;
        Ok(Self {
            method: wire::read_path(params)?.join("."),
            operation: wire::read_operation(params)?,
            args: Args {
                values,
                stubs: stubs
                    .into_iter()
                    .map(|target| home.import(target))
                    .collect(),
            },
            caller: wire::read_caller(params),
        })
    }

    async fn serve(
        self,
        service: &dyn Service,
        home: &Home,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        let mut span = self.open_span(home);
        let cx = Context {
            scope: span.scope(),
            binding: Rc::clone(&home.binding),
            caller: self.caller,
        };
        let scope = cx.scope.clone();
        let outcome = {
            let method = async {
                match self.operation {
                    Operation::Call => service.call(&self.method, self.args, &cx).await,
                    Operation::Get => service.get(&self.method, &cx).await,
                }
            };
            // A method that panics costs its own call, not its connection's others.
            let contained = std::panic::AssertUnwindSafe(method).catch_unwind();
            let traced = contained.instrument(span.tracing().clone());
            scope.scope(traced).await.unwrap_or_else(|_| panicked())
        };
        let said = scope.drain();
        match outcome.and_then(|payload| write(payload, &said, home, &mut results)) {
            Ok(()) => {
                span.dropped(&said);
                span.succeeded();
                Ok(())
            }
            Err(error) => Err(throw(&mut span, &said, error)),
        }
    }

    fn open_span(&self, home: &Home) -> CallSpan {
        let info = CallInfo {
            binding: &home.binding,
            method: &self.method,
            operation: &self.operation,
        };
        // Below the caller's span; a caller that does not tell it gets its calls below the session's.
        let root = home.root.get();
        let place = Place {
            parent: self.caller.or(root.map(|root| root.context)),
            invocation: root.map(|root| root.invocation),
        };
        let span = CallSpan::server(place, &info, home.shared.sinks());
        if root.is_none() {
            home.root.set(Some(span.reference()));
        }
        span
    }
}

fn panicked() -> ServiceResult {
    Err(JsError::error("internal error: the method panicked"))
}

/// Fills the results: the value, what pipelined calls go to, and the enrichment.
fn write(
    payload: Payload,
    said: &Enrichment,
    home: &Home,
    results: &mut js_rpc_target::CallResults,
) -> Result<(), JsError> {
    let mut results = results.get();
    let payload = Rc::new(payload);
    wire::write_result(&payload, results.reborrow(), |stub| stub.export(home))
        .map_err(|error| JsError::type_error(format!("the result cannot be sent: {error}")))?;
    results.set_call_pipeline(ResultTarget::of(&payload, home));
    binding_span::write(said, || results.init_binding_span_enrichment());
    Ok(())
}

/// A call that throws has no results that could carry what was said: it goes to the callee's own span
/// of the same trace.
fn throw(span: &mut CallSpan, said: &Enrichment, error: JsError) -> Error {
    if !said.is_silent() {
        span.apply(said);
    }
    let exception = exception(&error);
    span.failed(&CallError::Thrown(Box::new(error)));
    exception
}
