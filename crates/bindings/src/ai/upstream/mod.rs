//! A provider, as requests are sent to it.

mod admission;
mod body;
mod breaker;
mod failure;
mod headers;
mod key;
mod provider;
mod tls;
mod url;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::ai) use tests::server as test_server;

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, Method, StatusCode};

pub(in crate::ai) use provider::{Provider, local_client};

/// A request to a provider.
#[derive(Clone)]
pub struct UpstreamRequest {
    /// Its method.
    pub method: Method,
    /// Its path and query, below the provider's URL: `chat/completions`. One that leads elsewhere is refused.
    pub path: String,
    /// Its headers, without the provider's key. Those of a connection are left out, and so is who a caller is, if the
    /// provider has a key of its own.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long the answer may take to begin, once it is asked for: its head and the first byte of its body. The
    /// provider's own limit, where nothing is given.
    pub timeout: Option<Duration>,
}

/// The answer's body. To drop it gives the provider up, and the permit back.
pub type UpstreamBody = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

/// A provider's answer, whatever its status.
pub struct UpstreamAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those of the connection.
    pub headers: HeaderMap,
    /// When its head came, which may be some time before the first byte of its body.
    pub head_at: Instant,
    /// Its body.
    pub body: UpstreamBody,
}

/// Why there is no answer, or only a part of one. The text never has a key, a prompt or an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// Too many requests are waiting for the provider.
    #[error("{0} has as many requests waiting as it may have")]
    Busy(String),
    /// None of the requests that it is answering ended in time for this one.
    #[error("{name} was busy with other requests for {after:?}")]
    Waited {
        /// The provider.
        name: String,
        /// For how long was waited.
        after: Duration,
    },
    /// Its circuit breaker is open, after several consecutive failures.
    #[error("{name} failed several times in a row, and is asked again in {retry_after:.1?}")]
    Open {
        /// The provider.
        name: String,
        /// For how long.
        retry_after: Duration,
    },
    /// Nobody answers there.
    #[error("cannot connect to {name}: {reason}")]
    Connect {
        /// The provider.
        name: String,
        /// Why.
        reason: String,
    },
    /// The answer did not begin, or did not go on, in time.
    #[error("{name} did not answer within {after:?}")]
    Timeout {
        /// The provider.
        name: String,
        /// For how long was waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("{name} broke its answer off: {reason}")]
    Broken {
        /// The provider.
        name: String,
        /// Why.
        reason: String,
    },
    /// It is asked for something that is not below its URL, or not a request to a model.
    #[error("the request cannot be sent: {reason}")]
    Request {
        /// Why.
        reason: &'static str,
    },
    /// Its key cannot be read, or is none.
    #[error("the key of {name} cannot be used: {reason}")]
    Key {
        /// The provider.
        name: String,
        /// Why.
        reason: String,
    },
}

impl UpstreamError {
    /// `error.type`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Busy(_) | Self::Waited { .. } => "upstream_busy",
            Self::Open { .. } => "upstream_circuit_open",
            Self::Connect { .. } => "upstream_connect",
            Self::Timeout { .. } => "upstream_timeout",
            Self::Broken { .. } => "upstream_broken",
            Self::Request { .. } => "upstream_request",
            Self::Key { .. } => "upstream_key",
        }
    }

    /// The status of the caller's HTTP response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Request { .. } => StatusCode::BAD_REQUEST,
            Self::Busy(_) | Self::Waited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Open { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect { .. } | Self::Broken { .. } | Self::Key { .. } => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// Whether another attempt may do better.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Key { .. } | Self::Request { .. })
    }
}
