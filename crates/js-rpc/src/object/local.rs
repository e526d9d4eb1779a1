//! A service of this process as an object.

use std::rc::Rc;

use binding_span::CallScope;

use super::call::Call;
use super::client_id::ClientId;
use super::method::Operation;
use super::pending::PendingCall;
use super::reply::Reply;
use super::service::{Context, Service};
use super::stub::{Callable, Object};
use crate::CallError;
use crate::deadlines::Deadline;

pub(super) struct Local(pub(super) Rc<dyn Service>);

impl Callable for Local {
    /// No wire, no span of its own and so nothing for its context to enrich. It runs as part of whatever is
    /// current, which the ambient `enrich` still means.
    fn start(&self, call: Call, _pipeline: bool) -> PendingCall {
        let service = Rc::clone(&self.0);
        let deadline = call.deadline.map(Deadline::after);
        let run = run(service, call);
        PendingCall::new(
            async move {
                match deadline {
                    Some(deadline) => deadline.hold_alone(run).await?,
                    None => run.await,
                }
            },
            None,
        )
    }
}

impl Object for Local {
    fn service(self: Rc<Self>) -> Rc<dyn Service> {
        Rc::clone(&self.0)
    }

    fn owner(&self) -> &'static str {
        "ours"
    }
}

async fn run(service: Rc<dyn Service>, call: Call) -> Result<Reply, CallError> {
    let args = call
        .args
        .map_err(|error| CallError::Arguments(error.to_string()))?;
    let cx = Context {
        scope: CallScope::outside(),
        binding: "".into(),
        caller: None,
        client: ClientId::LOCAL,
    };
    let outcome = match call.method.operation {
        Operation::Call => service.call(&call.method.name, args, &cx).await,
        Operation::Get => service.get(&call.method.name, &cx).await,
    };
    let payload = outcome.map_err(|error| CallError::Thrown(Box::new(error)))?;
    Ok(Reply {
        payload,
        disposer: None,
        stated: None,
    })
}
