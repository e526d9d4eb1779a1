//! Answers to requests that reach no model, in the form that the caller reads.

use binding_span::{CallScope, ERROR_MESSAGE, ERROR_TYPE, Enrichment};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use js_rpc::ByteStream;
use js_value::JsError;
use serde_json::{Value, json};

use super::engine::{self, Failure};
use super::gateway::{self, GatewayError};
use super::spans;
use super::workers::AiError;

/// Why a request is not answered by a model.
pub(in crate::ai) struct Refusal {
    why: Why,
    /// What an HTTP response says beside it.
    headers: Box<HeaderMap>,
    /// Whether the caller's span says already what went wrong.
    stated: bool,
}

enum Why {
    /// In Workers AI's terms.
    Ai(AiError),
    /// In a gateway's.
    Gateway(GatewayError),
    /// In OpenAI's.
    OpenAi(GatewayError),
    /// The path has other methods: which.
    Method(&'static str),
    /// There is no such path.
    Path,
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        Self {
            why,
            headers: Box::default(),
            stated: false,
        }
    }
}

impl From<AiError> for Refusal {
    fn from(error: AiError) -> Self {
        Why::Ai(error).into()
    }
}

impl From<GatewayError> for Refusal {
    fn from(error: GatewayError) -> Self {
        Why::Gateway(error).into()
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            why: match failure.why {
                engine::Why::Gateway(error) => Why::Gateway(error),
                engine::Why::Ai(error) => Why::Ai(error),
            },
            headers: failure.headers,
            stated: failure.stated,
        }
    }
}

/// What a Worker catches that asked by RPC.
impl From<Refusal> for JsError {
    fn from(refusal: Refusal) -> Self {
        match refusal.why {
            Why::Ai(error) => error.into(),
            Why::Gateway(error) | Why::OpenAi(error) => error.into(),
            Why::Method(_) | Why::Path => JsError::error(PATHS),
        }
    }
}

impl Refusal {
    /// The path has other methods: which.
    pub(in crate::ai) fn method(allowed: &'static str) -> Self {
        Why::Method(allowed).into()
    }

    /// There is no such path.
    pub(in crate::ai) fn path() -> Self {
        Why::Path.into()
    }

    /// For OpenAI's clients.
    pub(in crate::ai) fn for_openai(self) -> Self {
        let why = match self.why {
            Why::Gateway(error) => Why::OpenAi(error),
            other => other,
        };
        Self { why, ..self }
    }

    /// What a Worker's `run` throws by RPC: what workerd's wrapper of plain HTTP makes of [`Self::into_response`].
    pub(in crate::ai) fn for_worker(self) -> JsError {
        match self.why {
            Why::Gateway(error) | Why::OpenAi(error) => {
                JsError::new(UPSTREAM, format!("{}: {error}", error.code))
            }
            _ => self.into(),
        }
    }

    /// States on the span what went wrong, unless a request to a model has done so. The text for whoever asked may
    /// show what they sent, and is not for a span.
    pub(in crate::ai) fn enrich(&self, call: &CallScope) {
        if self.stated {
            return;
        }
        let (kind, message) = match &self.why {
            Why::Ai(error) => (error.error_type(), "the request was refused".to_owned()),
            Why::Gateway(error) | Why::OpenAi(error) => {
                (error.error_type, format!("refused: {}", error.code))
            }
            Why::Method(_) => ("method_not_allowed", "the method is not allowed".to_owned()),
            Why::Path => ("not_found", "there is no such path".to_owned()),
        };
        let mut enrichment = Enrichment::new().attribute(ERROR_TYPE, kind);
        enrichment.set_attribute(ERROR_MESSAGE, message);
        // What a request would have been that was not made.
        let name = match &self.why {
            Why::Ai(_) | Why::OpenAi(_) => Some("ai.run"),
            Why::Gateway(_) => Some(spans::GATEWAY),
            Why::Method(_) | Why::Path => None,
        };
        if let Some(name) = name.filter(|_| call.said().span_name().is_none()) {
            enrichment.set_name(name);
        }
        call.enrich(enrichment);
    }

    pub(in crate::ai) fn into_response(self) -> Response<ByteStream> {
        let mut response = match self.why {
            Why::Ai(error) => with_type(error.status(), error.body()),
            Why::Gateway(error) => error.into_response().map(ByteStream::from),
            Why::OpenAi(error) => openai(&error),
            Why::Method(allowed) => {
                let text = format!("this path takes {allowed}");
                let error = GatewayError {
                    status: StatusCode::METHOD_NOT_ALLOWED,
                    ..GatewayError::invalid(text)
                };
                let mut response = error.into_response().map(ByteStream::from);
                let allowed = HeaderValue::from_static(allowed);
                response.headers_mut().insert(ALLOW, allowed);
                response
            }
            Why::Path => {
                let error = GatewayError {
                    status: StatusCode::NOT_FOUND,
                    ..GatewayError::invalid(PATHS)
                };
                error.into_response().map(ByteStream::from)
            }
        };
        response.headers_mut().extend(*self.headers);
        response
    }
}

/// The name that workerd's wrapper gives an error without one.
const UPSTREAM: &str = "InferenceUpstreamError";

const PATHS: &str = "there is no such path; an OpenAI client uses /v1 as its base URL, a client of a gateway what \
    getUrl() gives: /v1/{binding}/{gateway}/{provider}";

fn openai(error: &GatewayError) -> Response<ByteStream> {
    let body = json!({"error": {
        "message": error.message,
        "type": match error.status.is_server_error() {
            true => "server_error",
            false => "invalid_request_error",
        },
        "param": null,
        "code": error.error_type,
    }});
    let mut response = with_type(error.status, body.to_string().into());
    if let Some(after) = error.retry_after {
        let seconds = gateway::whole_seconds(after);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A value as the answer.
pub(in crate::ai) fn ok(value: &Value) -> Response<ByteStream> {
    with_type(StatusCode::OK, value.to_string().into())
}

fn with_type(status: StatusCode, body: Bytes) -> Response<ByteStream> {
    let mut response = Response::new(ByteStream::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
