//! Answers: a result, what the callee threw, or why there is neither.

use http::StatusCode;
use http::header::{ALLOW, HeaderValue};
use hyper::body::Bytes;
use js_rpc::CallError;
use serde_json::json;

use crate::http::{self as server, Answer};

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// JavaScript's class of what was thrown, or a word of ours.
    name: String,
    message: String,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        name: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            name: name.into(),
            message: message.into(),
        }
    }

    /// The status that a failed call has. What the callee threw is its own; the rest is about the way
    /// there.
    pub(super) fn failed(error: &CallError) -> Self {
        let (status, message) = match error {
            CallError::Thrown(_) => (StatusCode::INTERNAL_SERVER_ERROR, error.message()),
            CallError::Arguments(_) => (StatusCode::BAD_REQUEST, error.message()),
            CallError::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, error.message()),
            CallError::Connect { .. } | CallError::Overloaded(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.message())
            }
            // In these words the proxy passes on why it could not begin.
            CallError::Disconnected(why) if why.starts_with("cannot connect to ") => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "connect", why);
            }
            CallError::Disconnected(why) => {
                let why = why.trim_start_matches("connection lost: ");
                let message = format!("connection lost: {why}; whether the call ran is not known");
                (StatusCode::BAD_GATEWAY, message)
            }
            CallError::Protocol(_) => {
                let message = format!("{error}; whether the call ran is not known");
                (StatusCode::BAD_GATEWAY, message)
            }
            _ => (StatusCode::BAD_GATEWAY, error.message()),
        };
        Self::new(status, error.kind(), message)
    }

    pub(super) fn answer(self) -> Answer {
        let Self {
            status,
            name,
            message,
        } = self;
        let body = json!({"error": {"name": name, "message": message}});
        let mut answer = answer(status, body.to_string().into());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let headers = answer.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        answer
    }
}

/// The answer with a result.
pub(super) fn result(json: Vec<u8>) -> Answer {
    answer(StatusCode::OK, json.into())
}

fn answer(status: StatusCode, body: Bytes) -> Answer {
    server::answer(status, "application/json", body)
}
