//! A gateway's own errors, in its own JSON: what goes wrong before or instead of a provider's answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use js_value::JsError;
use serde_json::json;

use crate::ai::upstream::UpstreamError;

/// Why a gateway does not answer. The text never has a key, a prompt or an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::ai) struct GatewayError {
    /// The status of the HTTP response.
    pub(in crate::ai) status: StatusCode,
    /// The number in its JSON.
    pub(in crate::ai) code: u16,
    /// What went wrong, and what to do.
    pub(in crate::ai) message: String,
    /// When it is worth asking again.
    pub(in crate::ai) retry_after: Option<Duration>,
    /// `error.type` on a span.
    pub(in crate::ai) error_type: &'static str,
}

/// There is no gateway of that id.
const UNKNOWN_GATEWAY: u16 = 2001;
/// Too many requests for the gateway.
const RATE_LIMITED: u16 = 2003;
/// No provider answered.
const UPSTREAM: u16 = 2005;
/// There is no provider of that name.
const UNKNOWN_PROVIDER: u16 = 2008;
/// The gateway or its log failed.
const INTERNAL: u16 = 7000;
/// The request is invalid.
const INVALID: u16 = 7001;
/// There is no such log entry.
const NOT_FOUND: u16 = 7002;

impl GatewayError {
    fn new(
        status: StatusCode,
        code: u16,
        error_type: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
            error_type,
        }
    }

    /// The request is invalid: where, what is there, what is accepted.
    pub(in crate::ai) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_request", message)
    }

    /// There is no gateway of that id.
    pub(in crate::ai) fn unknown_gateway(id: &str, known: &[&str]) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            UNKNOWN_GATEWAY,
            "unknown_gateway",
            format!("there is no gateway {}; {}", quoted(id), there_are(known)),
        )
    }

    /// There is no provider of that name.
    pub(in crate::ai) fn unknown_provider(name: &str, known: &[&str]) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            UNKNOWN_PROVIDER,
            "unknown_provider",
            format!(
                "there is no provider {}; {}",
                quoted(name),
                there_are(known)
            ),
        )
    }

    /// The gateway has had as many requests as it may have.
    pub(in crate::ai) fn rate_limited(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                RATE_LIMITED,
                "rate_limited",
                "Rate limited: the gateway has had as many requests as it may have in this time",
            )
        }
    }

    /// There is no such entry in this gateway's log.
    pub(in crate::ai) fn log_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            NOT_FOUND,
            "log_not_found",
            "Not Found",
        )
    }

    /// The gateway or its log failed.
    pub(in crate::ai) fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            INTERNAL,
            "internal",
            message,
        )
    }

    /// The same, with where it was found before the message: `request 1: ...`.
    pub(in crate::ai) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The HTTP response. Cloudflare's gateway names its list `error`, the API of its logs `errors`; programs read
    /// either, so both are there.
    pub(in crate::ai) fn into_response(self) -> Response<Bytes> {
        let errors = json!([{"code": self.code, "message": self.message}]);
        let body = json!({
            "success": false,
            "result": [],
            "messages": [],
            "error": errors,
            "errors": errors,
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        response
    }

    /// What a Worker catches: the class that workerd's own wrapper throws for the response.
    pub(in crate::ai) fn to_js(&self) -> JsError {
        let name = match self.code {
            NOT_FOUND => "AiGatewayLogNotFound",
            _ => "AiGatewayInternalError",
        };
        JsError::new(name, self.message.clone())
    }
}

/// No provider answered, and this is why the last one did not.
impl From<&UpstreamError> for GatewayError {
    fn from(error: &UpstreamError) -> Self {
        let retry_after = match error {
            UpstreamError::Open { retry_after, .. } => Some(*retry_after),
            _ => None,
        };
        Self {
            retry_after,
            ..Self::new(
                error.status(),
                UPSTREAM,
                error.error_type(),
                format!("Failed to get response from provider: {error}"),
            )
        }
    }
}

impl From<GatewayError> for JsError {
    fn from(error: GatewayError) -> Self {
        error.to_js()
    }
}

/// `Retry-After` has no fractions; a client that comes back too early would only be refused again.
pub(in crate::ai) fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
        .max(1)
}

/// What somebody wrote, so that it can be shown: quoted, and not too long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}..", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn there_are(known: &[&str]) -> String {
    match known {
        [] => "none is configured".to_owned(),
        [one] => format!("there is {one}"),
        several => format!("there are {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: Response<Bytes>) -> serde_json::Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn both_readers_of_an_error_find_it() {
        let response = GatewayError::unknown_gateway("x", &["a", "b"]).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = body(response);
        let expected =
            json!([{"code": 2001, "message": "there is no gateway \"x\"; there are a, b"}]);
        assert_eq!(body["error"], expected);
        assert_eq!(body["errors"], expected);
        assert_eq!(body["success"], json!(false));
    }

    #[test]
    fn retry_after_is_never_too_early() {
        for (given, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_000, "59")] {
            let error = GatewayError::rate_limited(Duration::from_millis(given));
            let response = error.into_response();
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[RETRY_AFTER], header, "{given} ms");
        }
    }

    #[test]
    fn a_worker_catches_the_class_that_its_wrapper_throws() {
        let missing = GatewayError::log_not_found();
        assert_eq!(missing.status, 404);
        assert_eq!(missing.to_js().name, "AiGatewayLogNotFound");
        let internal = GatewayError::internal("the log is closed").to_js();
        assert_eq!(internal.name, "AiGatewayInternalError");
        assert_eq!(internal.message, "the log is closed");
    }

    #[test]
    fn a_failed_provider_keeps_its_status_and_type() {
        let failed = UpstreamError::Timeout {
            name: "local".into(),
            after: Duration::from_secs(2),
        };
        let error = GatewayError::from(&failed);
        assert_eq!(
            (error.status.as_u16(), error.code, error.error_type),
            (504, 2005, "upstream_timeout")
        );
        let open = UpstreamError::Open {
            name: "local".into(),
            retry_after: Duration::from_secs(7),
        };
        let response = GatewayError::from(&open).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "7");
    }

    #[test]
    fn what_is_shown_of_a_long_name_is_short() {
        let error = GatewayError::unknown_provider(&"é".repeat(5000), &[]);
        assert!(error.message.len() < 250, "{}", error.message);
        assert!(error.message.ends_with("none is configured"));
    }
}
