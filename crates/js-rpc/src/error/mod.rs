//! How calls fail, and how that crosses the wire: as a [failure](failure) between our own peers, as an
//! [exception](exception) where workerd is one of them. What an application [threw](thrown) keeps everything on
//! both ways.

mod attached;
mod exception;
mod failure;
mod text;
mod thrown;

use std::time::Duration;

use binding_span::StatedError;
use js_value::JsError;

pub(crate) use attached::{MOST_BYTES, attach, detach};
pub(crate) use exception::{BROKEN, overloaded, pass_on, reason};
pub(crate) use failure::{read_failure, write_failure};

/// What `error.type` is of errors that no application threw.
const OURS: [&str; 10] = [
    "unavailable",
    "disconnected",
    "protocol",
    "overloaded",
    "unimplemented",
    "refused",
    "deadline",
    "arguments",
    "result",
    "canceled",
];

/// What `error.type` is of errors whose own name cannot be it.
const OTHER: &str = "Error";

/// What `error.type` is of a call that returned and of which the callee says that it failed.
pub(crate) fn stated_kind(error: &StatedError) -> &str {
    match error.kind.as_str() {
        kind if text::is_stated_label(kind) && !OURS.contains(&kind) => kind,
        _ => OTHER,
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The callee threw; its error, with its class and all that is on it. What it threw may be any
    /// [value](JsError::thrown).
    #[error("{0}")]
    Thrown(Box<JsError>),
    /// What would serve the call cannot be reached: where it is, why not, and what to do about it. The call
    /// did not run.
    #[error("{0}")]
    Unavailable(String),
    /// The connection was lost; whether the call ran is not known.
    #[error("connection lost: {0}")]
    Disconnected(String),
    /// The peer sent what the protocol or our limits do not allow, and the connection was closed for it; whether
    /// the call ran is not known.
    #[error("connection lost: {BROKEN}{0}")]
    Protocol(String),
    /// The callee has too much to do, or is shutting down; the call did not run.
    #[error("the callee is overloaded: {0}")]
    Overloaded(String),
    /// The peer does not speak this protocol, or not this part of it.
    #[error("the peer does not implement this: {0}")]
    Unimplemented(String),
    /// The callee would not run the call: it has no such binding, or cannot read the arguments.
    #[error("the callee refused the call: {0}")]
    Refused(String),
    /// There was no answer in time. The callee has been told to stop; it may have run all the same.
    #[error("deadline of {0:?} passed without an answer")]
    Deadline(Duration),
    /// The arguments cannot be sent.
    #[error("cannot send the arguments: {0}")]
    Arguments(String),
    /// The callee answered with something that is not a JavaScript value, or that cannot be passed on.
    #[error("cannot read the result: {0}")]
    Result(String),
    /// The call was abandoned on this side.
    #[error("the call was cancelled")]
    Canceled,
}

impl CallError {
    /// No connection could be made to that address.
    pub(crate) fn cannot_connect(address: &dyn std::fmt::Display, reason: &str) -> Self {
        Self::Unavailable(format!("cannot connect to {address}: {reason}"))
    }

    /// Whether it is known that the call did not run: to make it again does nothing twice.
    pub const fn did_not_run(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Overloaded(_)
                | Self::Unimplemented(_)
                | Self::Refused(_)
                | Self::Arguments(_)
        )
    }

    /// The class of the error, of low cardinality: the value of `error.type`. An error whose name is no plain
    /// word is an `Error` there, and so is one that is called as what did not come from an application.
    pub fn kind(&self) -> &str {
        match self {
            Self::Thrown(error) => match error.name.as_str() {
                name if text::is_label(name) && !OURS.contains(&name) => name,
                _ => OTHER,
            },
            Self::Unavailable(_) => "unavailable",
            Self::Disconnected(_) => "disconnected",
            Self::Protocol(_) => "protocol",
            Self::Overloaded(_) => "overloaded",
            Self::Unimplemented(_) => "unimplemented",
            Self::Refused(_) => "refused",
            Self::Deadline(_) => "deadline",
            Self::Arguments(_) => "arguments",
            Self::Result(_) => "result",
            Self::Canceled => "canceled",
        }
    }

    /// The status that it has as the answer to an HTTP request. What the callee threw is its own error; the rest is
    /// about the way there.
    pub const fn http_status(&self) -> http::StatusCode {
        match self {
            Self::Thrown(_) => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::Arguments(_) | Self::Refused(_) => http::StatusCode::BAD_REQUEST,
            Self::Unimplemented(_) => http::StatusCode::NOT_IMPLEMENTED,
            Self::Deadline(_) => http::StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable(_) | Self::Overloaded(_) => http::StatusCode::SERVICE_UNAVAILABLE,
            _ => http::StatusCode::BAD_GATEWAY,
        }
    }

    /// What to say of it beside its [`kind`](Self::kind): the message without the class.
    pub fn message(&self) -> String {
        match self {
            Self::Thrown(error) => error.message.clone(),
            Self::Refused(why) => why.clone(),
            other => other.to_string(),
        }
    }
}
