//! The result of a call that failed, for calls of it that did not wait: each fails as it did.

use binding_span::Enrichment;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::Error;

use super::answer::Answer;
use super::exported::{Answers, exported};
use super::incoming::Params;
use crate::CallError;

struct Failed(CallError);

/// What calls of a result go to that is not there.
pub(crate) fn failed(error: &CallError) -> js_rpc_target::Client {
    exported(Failed(error.clone()))
}

impl Answers for Failed {
    async fn answer(&self, _params: Params, answer: Answer) -> Result<(), Error> {
        answer.failed(&self.0, &Enrichment::new())
    }
}
