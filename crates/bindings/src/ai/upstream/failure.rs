//! What went wrong with a request, in words that are safe to pass on.

use std::error::Error;
use std::time::Duration;

use super::UpstreamError;

/// How long a reason may be, in characters.
const MAX_REASON: usize = 200;

/// An error of the client's.
pub(super) fn of(name: &str, connect_timeout: Duration, error: reqwest::Error) -> UpstreamError {
    let name = name.to_owned();
    if error.is_connect() {
        let reason = match error.is_timeout() {
            true => format!("no connection within {connect_timeout:?}"),
            false => reason(&error),
        };
        return UpstreamError::Connect { name, reason };
    }
    UpstreamError::Broken {
        name,
        reason: reason(&error),
    }
}

/// The innermost cause. Those around it have the URL.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return "the client cannot send it".to_owned();
    };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(MAX_REASON).collect()
}
