//! Errors between our own peers: a kind from a closed list, and what the application threw as a value.

use std::time::Duration;

use binding_span_schema::call_capnp::failure::{self, Kind};
use js_value::DecodeLimits;

use super::{CallError, thrown};

/// Bytes of a message that are read, as of a text in an exception.
const MESSAGE_BYTES: usize = 64 << 10;

/// Writes why a call failed.
pub(crate) fn write_failure(error: &CallError, mut to: failure::Builder<'_>) {
    let (kind, message) = match error {
        CallError::Thrown(error) => {
            to.set_kind(Kind::Application);
            to.init_error().set_v8_serialized(&thrown::encode(error));
            return;
        }
        CallError::Deadline(limit) => {
            to.set_limit(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
            (Kind::Deadline, error.to_string())
        }
        CallError::Overloaded(why) => (Kind::Overloaded, why.clone()),
        CallError::Canceled => (Kind::Cancelled, String::new()),
        CallError::Unavailable(why) => (Kind::Unavailable, why.clone()),
        CallError::Unimplemented(why) => (Kind::Unimplemented, why.clone()),
        CallError::Refused(why) | CallError::Arguments(why) => (Kind::Refused, why.clone()),
        CallError::Protocol(why) => (Kind::Protocol, why.clone()),
        CallError::Result(why) => (Kind::Result, why.clone()),
        CallError::Disconnected(why) => (Kind::Disconnected, why.clone()),
    };
    to.set_kind(kind);
    if !message.is_empty() {
        to.set_message(&message);
    }
}

/// Reads why a call failed, which had so long as its caller knows.
pub(crate) fn read_failure(
    from: failure::Reader<'_>,
    limit: Duration,
    decode: &DecodeLimits,
) -> CallError {
    let message = || match from.get_message() {
        Ok(text) => {
            let bytes = text.as_bytes();
            let kept = &bytes[..bytes.len().min(MESSAGE_BYTES)];
            String::from_utf8_lossy(kept).into_owned()
        }
        Err(error) => format!("a reason that cannot be read: {error}"),
    };
    match from.get_kind() {
        Ok(Kind::Application) => read_thrown(from, decode),
        Ok(Kind::Overloaded) => CallError::Overloaded(message()),
        Ok(Kind::Deadline) => CallError::Deadline(match from.get_limit() {
            0 => limit,
            millis => Duration::from_millis(millis),
        }),
        Ok(Kind::Cancelled) => CallError::Canceled,
        Ok(Kind::Unavailable) => CallError::Unavailable(message()),
        Ok(Kind::Unimplemented) => CallError::Unimplemented(message()),
        Ok(Kind::Refused) => CallError::Refused(message()),
        Ok(Kind::Protocol) => CallError::Protocol(message()),
        Ok(Kind::Disconnected) => CallError::Disconnected(message()),
        Ok(Kind::Result) => CallError::Result(message()),
        Err(unknown) => CallError::Protocol(format!(
            "it failed in a way that is not known here: {unknown}; {}",
            message()
        )),
    }
}

fn read_thrown(from: failure::Reader<'_>, limits: &DecodeLimits) -> CallError {
    let unreadable = |why: String| CallError::Result(format!("what was thrown: {why}"));
    let bytes = from.get_error().and_then(|value| value.get_v8_serialized());
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(error.to_string()),
    };
    match thrown::decode(bytes, limits) {
        Ok(Some(error)) => CallError::Thrown(Box::new(error)),
        Ok(None) => unreadable("it holds stubs".into()),
        Err(error) => unreadable(error.to_string()),
    }
}
