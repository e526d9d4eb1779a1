//! The result of a call as a target, for calls that did not wait for it: `stub.make().increment()`.

use std::rc::Rc;

use async_trait::async_trait;
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use js_value::{DecodeLimits, JsError, Value};

use super::{Home, ServiceTarget, export};
use crate::object::Operation;
use crate::object::{Args, Context, Payload, Service, ServiceResult, Stub};

/// A value whose properties can be read and whose stubs can be called by path.
pub(crate) struct ResultTarget(Content);

enum Content {
    Value(Rc<Payload>),
    /// A value without stubs that is read when somebody asks for a part of it.
    Unread(Vec<u8>, DecodeLimits),
}

impl ResultTarget {
    /// The target of a result. A value that has nothing to call or to read has one, too, which says so:
    /// a call of a null capability would reach JavaScript as an internal error.
    pub(crate) fn of(payload: &Rc<Payload>, home: &Home) -> js_rpc_target::Client {
        let stub = match &payload.value {
            Value::Stub(n) => payload.stub(*n),
            _ => None,
        };
        match stub {
            Some(stub) => export(stub, home),
            None => ServiceTarget::stub(
                Rc::new(Self(Content::Value(Rc::clone(payload)))),
                home.clone(),
            ),
        }
    }

    /// The same of a result that is there as bytes.
    pub(crate) fn unread(bytes: Vec<u8>, home: &Home) -> js_rpc_target::Client {
        let content = Content::Unread(bytes, home.shared.limits.decode);
        ServiceTarget::stub(Rc::new(Self(content)), home.clone())
    }

    fn payload(&self) -> Result<Rc<Payload>, JsError> {
        match &self.0 {
            Content::Value(payload) => Ok(Rc::clone(payload)),
            Content::Unread(bytes, limits) => {
                let value = js_value::decode(bytes, limits);
                let value = value.map_err(|error| JsError::type_error(error.to_string()))?;
                Ok(Rc::new(value.into()))
            }
        }
    }

    /// Follows a path to a stub, and what is left of the path behind it; or to a value.
    fn find<'v, 'p>(payload: &'v Payload, path: &'p str) -> Result<Found<'v, 'p>, JsError> {
        let mut value = &payload.value;
        let mut rest = path;
        loop {
            if let Value::Stub(n) = value {
                let stub = payload.stub(*n);
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
        let payload = self.payload()?;
        match Self::find(&payload, method)? {
            Found::Stub(stub, rest) => stub.serve(rest, Operation::Call, args, cx).await,
            Found::Value(_) => Err(JsError::type_error(format!(
                "{method:?} is not a function."
            ))),
        }
    }

    async fn get(&self, property: &str, cx: &Context) -> ServiceResult {
        let payload = self.payload()?;
        match Self::find(&payload, property)? {
            Found::Stub(stub, "") => Ok(stub.clone().into()),
            Found::Stub(stub, rest) => stub.serve(rest, Operation::Get, Args::none(), cx).await,
            Found::Value(value) => Ok(Payload {
                value: value.clone(),
                externals: payload.externals.clone(),
            }),
        }
    }
}
