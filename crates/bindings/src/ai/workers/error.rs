//! Errors with Workers AI's codes.
//!
//! The codes and statuses are those of its documentation (Workers AI, platform, errors), and three that are not listed
//! there and not verified against it: 5006 for inputs that do not fit, 5024 for an answer that is not JSON, 3043 for a
//! failure of its own.

use bytes::Bytes;
use http::StatusCode;
use js_value::JsError;
use serde_json::{Value, json};

use crate::ai::UpstreamError;

/// How much of a provider's own message goes to the caller.
const MAX_MESSAGE: usize = 1024;

/// Why a model was not run, or its answer is none.
///
/// The description may hold what a provider said, which may hold what it was sent: it is for the caller, who asked,
/// and for nobody else. Logs and spans have [`error_type`](Self::error_type), and Debug output has no description.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{internal_code}: {description}")]
pub(in crate::ai) struct AiError {
    status: StatusCode,
    internal_code: u32,
    name: &'static str,
    error_type: &'static str,
    description: String,
}

impl std::fmt::Debug for AiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AiError")
            .field("status", &self.status)
            .field("internal_code", &self.internal_code)
            .field("error_type", &self.error_type)
            .finish_non_exhaustive()
    }
}

const INVALID_INPUT: &str = "InvalidInput";
const UPSTREAM: &str = "InferenceUpstreamError";

impl AiError {
    fn new(
        status: StatusCode,
        internal_code: u32,
        name: &'static str,
        error_type: &'static str,
        description: impl Into<String>,
    ) -> Self {
        Self {
            status,
            internal_code,
            name,
            error_type,
            description: description.into(),
        }
    }

    /// Invalid inputs: which member, and what it may be.
    pub fn invalid_input(description: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            5006,
            INVALID_INPUT,
            "invalid_request",
            description,
        )
    }

    /// Two members of which there may be one.
    pub fn exclusive(one: &str, other: &str) -> Self {
        let text = format!("{one} and {other} are mutually exclusive");
        Self::new(
            StatusCode::BAD_REQUEST,
            1001,
            INVALID_INPUT,
            "invalid_request",
            text,
        )
    }

    /// A body that is not JSON.
    pub fn invalid_json(description: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            5004,
            INVALID_INPUT,
            "invalid_request",
            description,
        )
    }

    /// A request without a header, or a part of its body: which.
    pub fn missing(what: &str) -> Self {
        let text = format!("Request is missing headers or body: {what}");
        Self::new(
            StatusCode::BAD_REQUEST,
            3003,
            INVALID_INPUT,
            "invalid_request",
            text,
        )
    }

    /// A name that is none.
    pub fn invalid_model(reason: &str) -> Self {
        let text = format!("The model name is invalid: {reason}");
        Self::new(
            StatusCode::NOT_FOUND,
            3042,
            INVALID_INPUT,
            "invalid_request",
            text,
        )
    }

    /// A task of models that is not served here.
    pub fn task_not_served(task: &str) -> Self {
        let text = format!(
            "{task} is not served by this binding: it runs text generation (prompt, messages or input) and \
             embeddings (text)"
        );
        Self::new(StatusCode::BAD_REQUEST, 5007, UPSTREAM, "not_served", text)
    }

    /// Something else of `env.AI` that is not served here: `toMarkdown`, `autorag`, `aiSearch`, `websocket`.
    pub fn not_served(what: &str) -> Self {
        let text = format!(
            "{what} is not served by this binding: it has run(), models() and gateway(), over HTTP and RPC"
        );
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            5007,
            UPSTREAM,
            "not_served",
            text,
        )
    }

    /// Fine-tuning that the model would have to load.
    pub fn lora(model: &str) -> Self {
        let text = format!("The model {} does not support LoRa inference", shown(model));
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            5005,
            UPSTREAM,
            "not_served",
            text,
        )
    }

    /// A body that is longer than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let text = format!("Request is too large: it may have {limit} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            3006,
            INVALID_INPUT,
            "request_too_large",
            text,
        )
    }

    /// An answer that is not JSON although it was asked for.
    pub fn json_mode() -> Self {
        let text = "JSON Mode couldn't be met: the model's answer is not JSON";
        Self::new(
            StatusCode::BAD_GATEWAY,
            5024,
            UPSTREAM,
            "invalid_answer",
            text,
        )
    }

    /// An answer that cannot be read: what is wrong with it.
    pub fn unreadable(what: &str) -> Self {
        let text = format!("The provider's answer cannot be read: {what}");
        Self::new(
            StatusCode::BAD_GATEWAY,
            3043,
            UPSTREAM,
            "invalid_answer",
            text,
        )
    }

    /// A stream that ended before the answer did.
    pub fn broken_off() -> Self {
        let text = "The provider ended its stream before the answer was complete";
        Self::new(
            StatusCode::BAD_GATEWAY,
            3043,
            UPSTREAM,
            "upstream_broken",
            text,
        )
    }

    /// What a provider answered instead: a status, and a body that may be OpenAI's `{error: {message, type, code}}`.
    pub fn upstream(status: StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(value) => Self::upstream_value(status, &value),
            Err(_) => Self::of_status(
                status,
                None,
                String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE)]).trim(),
            ),
        }
    }

    /// The same, of a body or an event that has been read.
    pub fn upstream_value(status: StatusCode, body: &Value) -> Self {
        // FastAPI's servers say `detail`, Ollama and others `error: "text"`, Anthropic and OpenAI `error.message`.
        let error = body.get("error").unwrap_or(body);
        let message = [
            error.get("message"),
            Some(error),
            body.get("message"),
            body.get("detail"),
        ]
        .into_iter()
        .flatten()
        .find_map(Value::as_str)
        .unwrap_or("");
        let word = |name: &str| error.get(name).and_then(Value::as_str);
        let reason = word("code").or_else(|| word("type"));
        Self::of_status(status, reason, message)
    }

    fn of_status(status: StatusCode, reason: Option<&str>, message: &str) -> Self {
        let (internal_code, error_type, words) = match (status.as_u16(), reason) {
            (429, Some("insufficient_quota")) => {
                (3036, "quota_exceeded", "The provider's quota is used up")
            }
            (429, _) => (3040, "rate_limited", "The provider has no capacity"),
            (404, _) | (_, Some("model_not_found")) => {
                (5007, "not_found", "The provider has no such model or path")
            }
            (401 | 403, _) => (
                3023,
                "unauthorized",
                "The provider refuses the key that it was sent",
            ),
            (408 | 504, _) => (3007, "upstream_timeout", "Request timeout"),
            (413, _) => (3006, "request_too_large", "Request is too large"),
            (400..=499, _) => (5006, "invalid_request", "The provider refuses the request"),
            (503 | 529, _) => (
                3040,
                "upstream_unavailable",
                "The provider is overloaded or not ready",
            ),
            _ => (3043, "upstream_error", "The provider failed"),
        };
        // Who refuses a key likes to repeat it, or a part of it: that is the operator's, and not the caller's.
        let message = if error_type == "unauthorized" {
            ""
        } else {
            cut(message, MAX_MESSAGE)
        };
        let description = if message.is_empty() {
            format!("{words} ({})", status.as_u16())
        } else {
            message.to_owned()
        };
        // An answer that is no error and cannot be used, which came with a status that says nothing.
        let status = if status.is_client_error() || status.is_server_error() {
            status
        } else {
            StatusCode::BAD_GATEWAY
        };
        Self::new(status, internal_code, UPSTREAM, error_type, description)
    }

    /// The status of the caller's HTTP response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Workers AI's number for it.
    #[cfg(test)]
    pub fn internal_code(&self) -> u32 {
        self.internal_code
    }

    /// What happened, for the caller alone.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// `error.type`: one of a few words, without anything of a request or an answer.
    pub fn error_type(&self) -> &'static str {
        self.error_type
    }

    /// As Workers AI answers by HTTP. Both readings of workerd's client find what they look for: `internalCode`,
    /// `description` and `name`, or the first of `errors`.
    pub fn to_json(&self) -> Value {
        json!({
            "internalCode": self.internal_code,
            "message": format!("{}: {}", self.name, self.description),
            "name": self.name,
            "description": self.description,
            "errors": [{"code": self.internal_code, "message": self.description}],
            "success": false,
        })
    }

    /// The same as a body.
    pub fn body(&self) -> Bytes {
        Bytes::from(self.to_json().to_string())
    }
}

/// As a Worker sees it that asked by RPC: the name and message that workerd's client makes of the HTTP form.
impl From<AiError> for JsError {
    fn from(error: AiError) -> Self {
        JsError::new(error.name, error.to_string())
    }
}

/// What the provider could not do. Its text has no prompt and no key.
impl From<&UpstreamError> for AiError {
    fn from(error: &UpstreamError) -> Self {
        let internal_code = match error {
            UpstreamError::Busy(_) | UpstreamError::Open { .. } => 3040,
            UpstreamError::Timeout { .. } | UpstreamError::Waited { .. } => 3007,
            UpstreamError::Request { .. } => 5006,
            UpstreamError::Connect { .. }
            | UpstreamError::Broken { .. }
            | UpstreamError::Key { .. } => 3043,
        };
        Self::new(
            error.status(),
            internal_code,
            UPSTREAM,
            error.error_type(),
            error.to_string(),
        )
    }
}

/// A name that a caller chose, short enough for a message.
fn shown(name: &str) -> &str {
    cut(name, 256)
}

/// The longest beginning of at most `max` bytes that ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_json_has_what_both_readings_of_the_worker_look_for() {
        let error = AiError::exclusive("prompt", "messages");
        let wanted = json!({
            "internalCode": 1001,
            "message": "InvalidInput: prompt and messages are mutually exclusive",
            "name": "InvalidInput",
            "description": "prompt and messages are mutually exclusive",
            "errors": [{"code": 1001, "message": "prompt and messages are mutually exclusive"}],
            "success": false,
        });
        assert_eq!(error.to_json(), wanted);
        assert_eq!(
            serde_json::from_slice::<Value>(&error.body()).unwrap(),
            wanted
        );
        let thrown = JsError::from(error);
        assert_eq!(thrown.name, "InvalidInput");
        assert_eq!(
            thrown.message,
            "1001: prompt and messages are mutually exclusive"
        );
    }

    #[test]
    fn an_upstreams_error_keeps_its_status_and_message() {
        let openai =
            r#"{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}"#;
        let quota = r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        let model = r#"{"error":{"message":"no llama","type":"invalid_request_error","code":"model_not_found"}}"#;
        let table = [
            (429, openai, 429, 3040, "rate_limited", "slow down"),
            (429, quota, 429, 3036, "quota_exceeded", "pay"),
            (404, model, 404, 5007, "not_found", "no llama"),
            (400, model, 400, 5007, "not_found", "no llama"),
            (
                400,
                r#"{"error":{"message":"bad"}}"#,
                400,
                5006,
                "invalid_request",
                "bad",
            ),
            (
                422,
                r#"{"detail":"bad"}"#,
                422,
                5006,
                "invalid_request",
                "bad",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"]}]}"#,
                422,
                5006,
                "invalid_request",
                "The provider refuses the request (422)",
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-1"}}"#,
                401,
                3023,
                "unauthorized",
                "The provider refuses the key that it was sent (401)",
            ),
            (
                500,
                r#"{"error":"text"}"#,
                500,
                3043,
                "upstream_error",
                "text",
            ),
            (
                503,
                "",
                503,
                3040,
                "upstream_unavailable",
                "The provider is overloaded or not ready (503)",
            ),
            (502, "<html>", 502, 3043, "upstream_error", "<html>"),
            (
                504,
                "null",
                504,
                3007,
                "upstream_timeout",
                "Request timeout (504)",
            ),
            (
                200,
                r#"{"error":{"message":"late"}}"#,
                502,
                3043,
                "upstream_error",
                "late",
            ),
        ];
        for (status, body, wanted, code, kind, text) in table {
            let error = AiError::upstream(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(error.status().as_u16(), wanted, "{body}");
            assert_eq!(error.internal_code(), code, "{body}");
            assert_eq!(error.error_type(), kind, "{body}");
            assert_eq!(error.description(), text, "{body}");
        }
    }

    #[test]
    fn a_message_is_bounded_and_cut_between_characters() {
        let long = "ü".repeat(100_000);
        let body = json!({"error": {"message": format!("a{long}")}}).to_string();
        for body in [body, format!("a{long}")] {
            let error = AiError::upstream(StatusCode::BAD_REQUEST, body.as_bytes());
            let length = error.description().len();
            assert!((1000..=1027).contains(&length), "{length}");
        }
        assert!(AiError::lora(&long).description().len() < 400);
    }

    #[test]
    fn what_a_provider_says_is_not_in_debug_output_or_the_type() {
        let error = AiError::upstream(
            StatusCode::BAD_REQUEST,
            br#"{"error":{"message":"SECRET","type":"SECRET"}}"#,
        );
        assert!(!format!("{error:?}{}", error.error_type()).contains("SECRET"));
        assert_eq!(error.description(), "SECRET");
    }

    #[test]
    fn a_provider_that_does_not_answer() {
        let error = UpstreamError::Timeout {
            name: "p".into(),
            after: Duration::from_secs(3),
        };
        let error = AiError::from(&error);
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(error.internal_code(), 3007);
        assert_eq!(error.error_type(), "upstream_timeout");
        let busy = AiError::from(&UpstreamError::Busy("p".into()));
        assert_eq!((busy.status().as_u16(), busy.internal_code()), (429, 3040));
    }
}
