//! What is wrong with a request, as OpenAI says it.

use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::{ALLOW, answer_of};
use crate::ai::upstream::UpstreamAnswer;

/// A request that cannot be answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    param: Option<&'static str>,
    message: String,
    allow: Option<Method>,
}

impl Failure {
    pub fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            param,
            message: message.into(),
            allow: None,
        }
    }

    /// Something that real models do.
    pub fn unsupported(param: &'static str, what: &str) -> Self {
        Self::invalid(
            Some(param),
            format!("the word counter {what}; any OpenAI-compatible server can take its place"),
        )
    }

    pub fn no_path() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::invalid(
                None,
                "the word counter has GET models, POST chat/completions, completions and embeddings",
            )
        }
    }

    pub fn method(allowed: &Method) -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            allow: Some(allowed.clone()),
            ..Self::invalid(None, format!("only {allowed} is answered here"))
        }
    }

    pub fn answer(self) -> UpstreamAnswer {
        let error = json!({"error": {
            "message": self.message, "type": "invalid_request_error", "param": self.param, "code": null}});
        let mut answer = answer_of(self.status, &error);
        if let Some(method) = self
            .allow
            .and_then(|method| HeaderValue::from_str(method.as_str()).ok())
        {
            answer.headers.insert(ALLOW, method);
        }
        answer
    }
}
