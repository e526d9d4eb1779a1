//! A capability through which a peer calls, in one message or as workerd does.

use std::rc::Rc;

use binding_span_schema::call_capnp::{call_target, callable_object};
use binding_span_schema::js_rpc_capnp::{external_pusher, js_rpc_target};
use capnp::Error;
use capnp::capability::FromClientHook;

use super::answer::Answer;
use super::incoming::Params;
use crate::streaming::Streams;

/// What answers the calls of a capability.
pub(crate) trait Answers: 'static {
    /// Answers one call, however it travels.
    fn answer(&self, params: Params, answer: Answer) -> impl Future<Output = Result<(), Error>>;

    /// Those of the connection by which its calls come. `None`: its arguments have none.
    fn streams(&self) -> Option<&Streams> {
        None
    }
}

struct Exported<T>(T);

/// A capability whose calls `callee` answers.
pub(crate) fn exported(callee: impl Answers) -> js_rpc_target::Client {
    let target: callable_object::Client = capnp_rpc::new_client(Exported(callee));
    target.cast_to()
}

impl<T: Answers> external_pusher::Server for Exported<T> {
    async fn push_byte_stream(
        self: Rc<Self>,
        params: external_pusher::PushByteStreamParams,
        results: external_pusher::PushByteStreamResults,
    ) -> Result<(), Error> {
        match self.0.streams() {
            Some(streams) => streams.answer_push(&params, results),
            None => Err(Error::unimplemented("it takes no streams".into())),
        }
    }
}

impl<T: Answers> js_rpc_target::Server for Exported<T> {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        results: js_rpc_target::CallResults,
    ) -> Result<(), Error> {
        let (params, answer) = (Params::ThreeCalls(params), Answer::three_calls(results));
        self.0.answer(params, answer).await
    }
}

impl<T: Answers> call_target::Server for Exported<T> {
    async fn invoke(
        self: Rc<Self>,
        params: call_target::InvokeParams,
        results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let (params, answer) = (Params::OneMessage(params), Answer::one_message(results));
        self.0.answer(params, answer).await
    }

    async fn ping(
        self: Rc<Self>,
        _params: call_target::PingParams,
        _results: call_target::PingResults,
    ) -> Result<(), Error> {
        Ok(())
    }
}

impl<T: Answers> callable_object::Server for Exported<T> {}
