//! The result of a call.

use binding_span::StatedError;
use js_value::Value;
use serde::de::DeserializeOwned;

use super::byte_stream::{ByteSink, ByteStream};
use super::payload::{ConvertError, External, Payload};
use super::stub::Stub;
use crate::CallError;

/// The result of a call.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) payload: Payload,
    /// Held until the reply is dropped: dropping it runs the disposer of the object at the callee.
    #[allow(dead_code, reason = "held for its drop")]
    pub(crate) disposer: Option<Stub>,
    /// What the callee says went wrong.
    pub(crate) stated: Option<Box<StatedError>>,
}

impl Reply {
    /// The value; `Value::Stub(n)` in it is `stub(n)`.
    pub fn value(&self) -> &Value {
        &self.payload.value
    }

    /// The stub of `Value::Stub(n)`.
    pub fn stub(&self, n: u32) -> Option<&Stub> {
        self.payload.stub(n)
    }

    /// The stream of `Value::ReadableStream(n)`, or of a body that is one.
    pub fn readable(&self, n: u32) -> Option<&ByteStream> {
        self.payload.readable(n)
    }

    /// The end to write to of `Value::WritableStream(n)`.
    pub fn writable(&self, n: u32) -> Option<&ByteSink> {
        self.payload.writable(n)
    }

    /// What the value refers to, in order of appearance.
    pub fn externals(&self) -> &[External] {
        &self.payload.externals
    }

    /// The result as a type of yours, which may contain [`Stub`]s and streams.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, ConvertError> {
        self.payload.parse()
    }

    /// What the callee says went wrong, if the call failed and it answered with a result nevertheless, as D1 does:
    /// its enrichment has an [`error.type`](binding_span::ERROR_TYPE) that the binding's policy accepts.
    pub fn stated_error(&self) -> Option<&StatedError> {
        self.stated.as_deref()
    }

    /// The value as JSON, in the mapping that `js_value` documents.
    pub fn to_json(&self) -> Result<serde_json::Value, ConvertError> {
        self.payload.to_json()
    }

    /// The value and what it refers to.
    pub fn into_payload(self) -> Payload {
        self.payload
    }
}

/// A failed call in a service is what that service throws, unless it does something else about it.
impl From<CallError> for js_value::JsError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Thrown(error) => *error,
            other => Self::error(other.to_string()),
        }
    }
}
