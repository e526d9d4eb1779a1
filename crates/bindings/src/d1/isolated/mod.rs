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

use self::protocol::Kind;
use super::error::QueryError;
use super::http::{Asked, HttpCall};
use super::options::DatabaseOptions;
use super::outcome::QueryOutcome;
use super::reply::reply;
use super::request::QueryRequest;

pub use database::{CannotOpen, IsolatedDatabase, Isolation};
pub use process::WorkerProgram;
pub use status::{DatabaseStatus, WhyReplaced};
pub use worker::{ARGUMENT, run_if_asked};

/// What a call asks for, from its bytes, and how its answer is written.
fn read(kind: &Kind, arguments: &[u8]) -> Result<(QueryRequest, Form), JsError> {
    let values = match (kind, arguments) {
        (Kind::Http(http), body) => {
            let Asked { request, many } = http.read(body)?;
            let http = http.clone();
            return Ok((request, Form::Http { http, many }));
        }
        (Kind::Method, []) => Vec::new(),
        (Kind::Method, bytes) => {
            let values = js_value::decode_args(bytes, &DecodeLimits::default());
            values.map_err(|error| {
                JsError::type_error(format!("arguments that cannot be read: {error}"))
            })?
        }
    };
    let argument = values.first().unwrap_or(&Value::Undefined);
    Ok((QueryRequest::from_value(argument)?, Form::Value))
}

/// How a call's answer is written.
enum Form {
    Value,
    Http { http: HttpCall, many: bool },
}

impl Form {
    fn names_in_rows(&self) -> bool {
        matches!(self, Self::Http { http, .. } if http.names_in_rows())
    }

    /// The answer's bytes. What is thrown is an error, as [`encode`] writes it.
    fn write(
        &self,
        result: Result<QueryOutcome, QueryError>,
        options: &DatabaseOptions,
    ) -> Vec<u8> {
        match self {
            Self::Value => {
                let reply = reply(result, options.reply, options.integers);
                encode(&reply.unwrap_or_else(Value::from))
            }
            Self::Http { http, many } => http.write(&result, *many, options.integers),
        }
    }
}

/// A value as results travel: errors in it keep their properties.
fn encode(value: &Value) -> Vec<u8> {
    let options = EncodeOptions {
        errors: ErrorForm::Native,
    };
    // What we make has no more depth than can be written, and no stubs.
    js_value::encode_with(value, options).map_or_else(|_| Vec::new(), |encoded| encoded.bytes)
}
