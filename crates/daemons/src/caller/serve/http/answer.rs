//! Answers: a result, what the callee threw, or why there is neither.

use binding_span::StatedError;
use http::StatusCode;
use http::header::{ALLOW, HeaderName, HeaderValue};
use hyper::body::Bytes;
use js_rpc::{CallError, JsError, Value};
use serde_json::{Map, Value as Json, json};

use crate::http::{self as server, Answer};

/// Why a request has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// JavaScript's class of what was thrown, or a word of ours.
    name: String,
    message: String,
    /// What else was thrown: `cause`, `properties`, or `thrown` where that was no error.
    more: Option<Box<Map<String, Json>>>,
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
            more: None,
        }
    }

    /// What a failed call is answered with.
    pub(super) fn failed(error: &CallError) -> Self {
        if let CallError::Thrown(error) = error {
            return Self::thrown(error);
        }
        let message = match error {
            CallError::Disconnected(_) | CallError::Protocol(_) | CallError::Canceled => {
                format!("{error}; whether the call ran is not known")
            }
            _ => error.message(),
        };
        Self::new(error.http_status(), error.kind(), message)
    }

    /// All of what was thrown, but for its stack, which is the callee's own affair.
    fn thrown(error: &JsError) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let mut refusal = Self::new(status, &*error.name, &*error.message);
        // What JSON cannot express must not cost the rest.
        match Value::from(error.clone()).to_json() {
            Ok(Json::Object(mut whole)) if whole.contains_key("$error") => {
                if let Some(Json::Object(mut whole)) = whole.remove("$error") {
                    let kept = ["cause", "properties"].into_iter();
                    let kept = kept.filter_map(|key| whole.remove_entry(key));
                    refusal.more = Some(Box::new(kept.collect()));
                }
            }
            Ok(value) if error.thrown.is_some() => {
                refusal.message = error.to_string();
                let thrown = Map::from_iter([("thrown".to_owned(), value)]);
                refusal.more = Some(Box::new(thrown));
            }
            _ => {}
        }
        refusal
    }

    pub(super) fn answer(self) -> Answer {
        let Self {
            status,
            name,
            message,
            more,
        } = self;
        let mut error = Map::new();
        error.insert("name".to_owned(), name.into());
        error.insert("message".to_owned(), message.into());
        error.extend(more.into_iter().flat_map(|more| *more));
        let body = json!({ "error": error });
        let mut answer = answer(status, body.to_string().into());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let headers = answer.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        answer
    }
}

/// What is in the head of an answer whose body is a result, of which the callee says that the call failed.
const ERROR_TYPE: HeaderName = HeaderName::from_static("binding-span-error-type");

/// The answer with a result: the status of what the callee threw if it says that the call failed.
pub(super) fn result(json: Vec<u8>, stated: Option<&StatedError>) -> Answer {
    let Some(error) = stated else {
        return answer(StatusCode::OK, json.into());
    };
    let mut answer = answer(StatusCode::INTERNAL_SERVER_ERROR, json.into());
    let kind = error.kind.chars().take(64).collect::<String>();
    let kind = HeaderValue::try_from(kind);
    let kind = kind.unwrap_or(HeaderValue::from_static("Error"));
    answer.headers_mut().insert(ERROR_TYPE, kind);
    answer
}

fn answer(status: StatusCode, body: Bytes) -> Answer {
    server::answer(status, "application/json", body)
}
