//! The result of a call as a target, for calls that did not wait for it: `stub.make().increment()`.

use std::rc::Rc;

use async_trait::async_trait;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use js_value::{JsError, Value};

use super::{Home, ServiceTarget, export};
use crate::object::Operation;
use crate::object::{Args, Context, Payload, Service, ServiceResult, Stub};

/// A value whose properties can be read and whose stubs can be called by path.
pub(crate) struct ResultTarget(Rc<Payload>);

impl ResultTarget {
    /// The target of a result. A value that has nothing to call or to read has one, too, which says so:
    /// a call of a null capability would reach JavaScript as an internal error.
    pub(crate) fn of(payload: &Rc<Payload>, home: &Home) -> js_rpc_target::Client {
        let stub = match &payload.value {
            Value::Stub(n) => payload.stubs.get(*n as usize),
            _ => None,
        };
        match stub {
            Some(stub) => export(stub, home),
            None => ServiceTarget::stub(Rc::new(Self(Rc::clone(payload))), home.clone()),
        }
    }

    /// Follows a path to a stub, and what is left of the path behind it; or to a value.
    fn find<'p>(&self, path: &'p str) -> Result<Found<'_, 'p>, JsError> {
        let mut value = &self.0.value;
        let mut rest = path;
        loop {
            if let Value::Stub(n) = value {
                let stub = self.0.stubs.get(*n as usize);
                let stub = stub.ok_or_else(|| JsError::type_error("a stub that is not there"))?;
                return Ok(Found::Stub(stub, rest));
            }
            if rest.is_empty() {
                return Ok(Found::Value(value));
            }
            let (name, behind) = rest.split_once('.').unwrap_or((rest, ""));
            value = value.get(name).ok_or_else(|| {
                JsError::type_error(format!(
                    "The result has no property {name:?} (of {path:?})."
                ))
            })?;
            rest = behind;
        }
    }
}

enum Found<'v, 'p> {
    Stub(&'v Stub, &'p str),
    Value(&'v Value),
}

#[async_trait(?Send)]
impl Service for ResultTarget {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match self.find(method)? {
            Found::Stub(stub, rest) => stub.serve(rest, Operation::Call, args, cx).await,
            Found::Value(_) => Err(JsError::type_error(format!(
                "{method:?} is not a function."
            ))),
        }
    }

    async fn get(&self, property: &str, cx: &Context) -> ServiceResult {
        match self.find(property)? {
            Found::Stub(stub, "") => Ok(stub.clone().into()),
            Found::Stub(stub, rest) => stub.serve(rest, Operation::Get, Args::none(), cx).await,
            Found::Value(value) => Ok(Payload {
                value: value.clone(),
                stubs: self.0.stubs.clone(),
            }),
        }
    }
}
