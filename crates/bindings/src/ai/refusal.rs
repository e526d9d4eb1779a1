//! What is answered where no model is: in the form that whoever asked reads.

use binding_span::{CallScope, Enrichment};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use js_rpc::ByteStream;
use js_value::JsError;
use serde_json::{Value, json};

use super::engine::Failure;
use super::gateway::GatewayError;
use super::workers::AiError;

/// Why a request is not answered by a model.
pub(in crate::ai) enum Refusal {
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

impl From<AiError> for Refusal {
    fn from(error: AiError) -> Self {
        Self::Ai(error)
    }
}

impl From<GatewayError> for Refusal {
    fn from(error: GatewayError) -> Self {
        Self::Gateway(error)
    }
}

/// What a Worker catches that asked by RPC.
impl From<Refusal> for JsError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ai(error) => error.into(),
            Refusal::Gateway(error) | Refusal::OpenAi(error) => error.into(),
            Refusal::Method(_) | Refusal::Path => JsError::error(PATHS),
        }
    }
}

impl Refusal {
    /// For a Worker's `run`.
    pub(in crate::ai) fn for_run(failure: Failure) -> Self {
        match failure {
            Failure::Upstream(error) => Self::Ai(AiError::from(&error)),
            Failure::Gateway(error) => Self::Gateway(error),
            Failure::Ai(error) => Self::Ai(error),
        }
    }

    /// For a gateway's clients.
    pub(in crate::ai) fn for_gateway(failure: Failure) -> Self {
        match failure {
            Failure::Upstream(error) => Self::Gateway(GatewayError::from(&error)),
            Failure::Gateway(error) => Self::Gateway(error),
            Failure::Ai(error) => Self::Ai(error),
        }
    }

    /// For OpenAI's clients.
    pub(in crate::ai) fn for_openai(self) -> Self {
        match self {
            Self::Gateway(error) => Self::OpenAi(error),
            other => other,
        }
    }

    /// What a Worker's `run` throws by RPC: what workerd's wrapper of plain HTTP makes of [`Self::into_response`].
    pub(in crate::ai) fn for_worker(self) -> JsError {
        match self {
            Self::Gateway(error) | Self::OpenAi(error) => {
                JsError::new(UPSTREAM, format!("{}: {error}", error.code))
            }
            other => other.into(),
        }
    }

    /// States on the span what went wrong, unless a request to a model has done so.
    pub(in crate::ai) fn enrich(&self, call: &CallScope) {
        let kind = match self {
            Self::Ai(error) => error.error_type(),
            Self::Gateway(error) | Self::OpenAi(error) => error.error_type,
            Self::Method(_) | Self::Path => "not_found",
        };
        if call.said().get("error.type").is_none() {
            call.enrich(Enrichment::new().attribute("error.type", kind));
        }
    }

    pub(in crate::ai) fn into_response(self) -> Response<ByteStream> {
        match self {
            Self::Ai(error) => with_type(error.status(), error.body()),
            Self::Gateway(error) => error.into_response().map(ByteStream::from),
            Self::OpenAi(error) => openai(&error),
            Self::Method(allowed) => {
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
            Self::Path => {
                let error = GatewayError {
                    status: StatusCode::NOT_FOUND,
                    ..GatewayError::invalid(PATHS)
                };
                error.into_response().map(ByteStream::from)
            }
        }
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
        let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
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
