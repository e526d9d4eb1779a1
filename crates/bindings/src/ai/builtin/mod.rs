//! The word counter: a stand-in for a model, which needs nothing and says what it is.
//!
//! It speaks OpenAI's HTTP like any provider, so that everything around a model can be tried without one: whole answers
//! and streams, usage, JSON mode, `max_tokens`, embeddings, errors. What it writes follows from what it is sent. It counts
//! words, which are what stands between white space, and takes a word for a token.
//!
//! Whatever model is asked for, the answer's model is `word-counter`.

mod embed;
mod failure;
mod text;
mod words;

use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use self::failure::Failure;
use super::upstream::{UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};

/// What it is called.
pub(in crate::ai) const MODEL: &str = "word-counter";

/// Answers a request as a provider would, with an error's status where it is none that it understands.
pub(in crate::ai) fn answer(request: &UpstreamRequest) -> Result<UpstreamAnswer, UpstreamError> {
    Ok(respond(request).unwrap_or_else(Failure::answer))
}

/// What answers a body.
type Run = fn(&Value) -> Result<UpstreamAnswer, Failure>;

fn respond(request: &UpstreamRequest) -> Result<UpstreamAnswer, Failure> {
    let path = request.path.split('?').next().unwrap_or_default();
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    let (method, run): (_, Run) = match path {
        "models" => (Method::GET, |_| Ok(whole(&list()))),
        "models/word-counter" => (Method::GET, |_| Ok(whole(&model()))),
        "chat/completions" => (Method::POST, text::chat),
        "completions" => (Method::POST, text::completions),
        "embeddings" => (Method::POST, embed::embeddings),
        _ => return Err(Failure::no_path()),
    };
    if request.method != method {
        return Err(Failure::method(&method));
    }
    if method == Method::GET {
        return run(&Value::Null);
    }
    let body = serde_json::from_slice::<Value>(&request.body).map_err(|error| {
        Failure::invalid(None, format!("the body is not JSON: {}", position(&error)))
    })?;
    if !body.get("model").is_some_and(Value::is_string) {
        return Err(Failure::invalid(Some("model"), "you must provide a model"));
    }
    run(&body)
}

/// Where a text stops being JSON, without any of it.
fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

fn model() -> Value {
    json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "binding-span"})
}

fn list() -> Value {
    json!({"object": "list", "data": [model()]})
}

fn whole(value: &Value) -> UpstreamAnswer {
    answer_of(StatusCode::OK, value)
}

fn answer_of(status: StatusCode, value: &Value) -> UpstreamAnswer {
    let body = Bytes::from(value.to_string());
    UpstreamAnswer {
        status,
        headers: content_type("application/json"),
        head_at: Instant::now(),
        body: stream::iter([Ok(body)]).boxed(),
    }
}

fn streamed(body: UpstreamBody) -> UpstreamAnswer {
    UpstreamAnswer {
        status: StatusCode::OK,
        headers: content_type("text/event-stream"),
        head_at: Instant::now(),
        body,
    }
}

fn content_type(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
}

#[cfg(test)]
mod tests;
