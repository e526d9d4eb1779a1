//! A database whose SQL runs in processes of its own, which the kernel bounds and which can be killed.
//!
//! One process writes, a few read. Each runs one call at a time, which travels there and back as the bytes that the
//! peer sent and gets; this process looks into small ones only, to describe them. Clients share the workers fairly
//! ([`Turns`](fair::Turns)), and a call ends soon after its time is up, its caller has gone or others wait, whatever it
//! computes: a worker that does not stop is killed and replaced.

mod database;
mod fair;
mod lane;
mod process;
mod protocol;
mod slot;
mod state;
mod status;
mod worker;

use js_value::{DecodeLimits, EncodeOptions, ErrorForm, JsError, Value};

use super::request::QueryRequest;

pub use database::{CannotOpen, IsolatedDatabase, Isolation};
pub use process::WorkerProgram;
pub use status::{DatabaseStatus, WhyReplaced};
pub use worker::{ARGUMENT, run_if_asked};

/// The argument of `query`, from the bytes of a call's arguments.
fn read_request(arguments: &[u8], limits: &DecodeLimits) -> Result<QueryRequest, JsError> {
    let values = match arguments {
        [] => Vec::new(),
        bytes => js_value::decode_args(bytes, limits).map_err(|error| {
            JsError::type_error(format!("arguments that cannot be read: {error}"))
        })?,
    };
    let argument = values.first().unwrap_or(&Value::Undefined);
    Ok(QueryRequest::from_value(argument)?)
}

/// A value as results travel: errors in it keep their properties.
fn encode(value: &Value) -> Vec<u8> {
    let options = EncodeOptions {
        errors: ErrorForm::Native,
    };
    // What we make has no more depth than can be written, and no stubs.
    js_value::encode_with(value, options).map_or_else(|_| Vec::new(), |encoded| encoded.bytes)
}
