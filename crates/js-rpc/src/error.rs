//! How calls fail, and how a JavaScript error crosses a Cap'n Proto exception.
//!
//! An exception carries only text. workerd writes `jsg.TypeError: message`, and each hop prepends
//! `remote exception: ` or `remote.`; [`thrown`] strips what hops added, so that people and callers
//! see the error that the callee threw.

use std::time::Duration;

use js_value::JsError;

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The callee threw; its error, with its class.
    #[error("{0}")]
    Thrown(Box<JsError>),
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system or the peer said, and what to do about it.
        reason: String,
    },
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
    /// There was no answer in time. The callee has been told to stop; it may have run all the same.
    #[error("deadline of {} passed without an answer", humanize(*.0))]
    Deadline(Duration),
    /// The arguments cannot be sent.
    #[error("cannot send the arguments: {0}")]
    Arguments(String),
    /// The callee answered with something that is not a JavaScript value.
    #[error("cannot read the result: {0}")]
    Result(String),
    /// The call was abandoned on this side.
    #[error("the call was cancelled")]
    Canceled,
}

fn humanize(duration: Duration) -> String {
    format!("{duration:?}")
}

impl CallError {
    /// The class of the error, of low cardinality: the value of `error.type`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Thrown(error) => &error.name,
            Self::Connect { .. } => "connect",
            Self::Disconnected(_) => "disconnected",
            Self::Protocol(_) => "protocol",
            Self::Overloaded(_) => "overloaded",
            Self::Unimplemented(_) => "unimplemented",
            Self::Deadline(_) => "deadline",
            Self::Arguments(_) => "arguments",
            Self::Result(_) => "result",
            Self::Canceled => "canceled",
        }
    }

    /// What to say of it beside its [`kind`](Self::kind): the message without the class.
    pub fn message(&self) -> String {
        match self {
            Self::Thrown(error) => error.message.clone(),
            other => other.to_string(),
        }
    }
}

/// The error of a call that did not return.
impl From<capnp::Error> for CallError {
    fn from(error: capnp::Error) -> Self {
        use capnp::ErrorKind;
        match error.kind {
            ErrorKind::Disconnected => lost(strip_hops(&error.extra)),
            ErrorKind::Overloaded => Self::Overloaded(strip_hops(&error.extra).to_owned()),
            ErrorKind::Unimplemented => Self::Unimplemented(strip_hops(&error.extra).to_owned()),
            ErrorKind::Failed => Self::Thrown(Box::new(thrown(&error.extra))),
            _ => Self::Result(error.to_string()),
        }
    }
}

/// How the reason begins for which a connection is closed because of what the peer sent.
pub(crate) const BROKEN: &str = "the peer broke the protocol: ";

/// What a connection that was lost means for a call. Cap'n Proto has a text for it alone.
fn lost(reason: &str) -> CallError {
    match reason.strip_prefix(BROKEN) {
        Some(detail) => CallError::Protocol(detail.to_owned()),
        None => CallError::Disconnected(reason.to_owned()),
    }
}

/// What an exception says, without what was put around it; never empty.
pub(crate) fn reason(error: &capnp::Error) -> String {
    match thrown(&error.extra).message {
        empty if empty.is_empty() => error.to_string(),
        message => message,
    }
}

/// What a hop may have put in front.
const HOPS: [&str; 3] = ["remote exception: ", "remote.", "broken."];

fn strip_hops(mut text: &str) -> &str {
    while let Some(rest) = HOPS.iter().find_map(|hop| text.strip_prefix(hop)) {
        text = rest;
    }
    text
}

/// The classes that both sides of the wire know; what is thrown as another arrives as `Error`.
const CLASSES: [&str; 7] = [
    "Error",
    "TypeError",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "EvalError",
    "URIError",
];

/// The JavaScript error in the text of an exception.
pub(crate) fn thrown(text: &str) -> JsError {
    let text = strip_hops(text);
    let Some(rest) = text.strip_prefix("jsg.") else {
        return JsError::new("Error", text);
    };
    match rest.split_once(": ") {
        Some((class, message)) if is_class(class) => JsError::new(class, message),
        _ if is_class(rest.trim_end_matches(':')) => JsError::new(rest.trim_end_matches(':'), ""),
        _ => JsError::new("Error", rest),
    }
}

fn is_class(text: &str) -> bool {
    // Short and plain: it is the value of `error.type`, and a peer chose it.
    let plain = |name: &str| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let exception = text.strip_prefix("DOMException(");
    let exception = exception.and_then(|rest| rest.strip_suffix(')'));
    CLASSES.contains(&text) || exception.is_some_and(plain)
}

/// The exception that carries a JavaScript error.
pub(crate) fn exception(error: &JsError) -> capnp::Error {
    let JsError { name, message, .. } = error;
    capnp::Error::failed(if is_class(name) {
        format!("jsg.{name}: {message}")
    } else {
        format!("jsg.Error: {name}: {message}")
    })
}

/// The exception that passes on a failed call to a caller further up, without what hops added.
pub(crate) fn pass_on(error: &CallError) -> capnp::Error {
    match error {
        CallError::Thrown(error) => exception(error),
        CallError::Connect { .. } => capnp::Error::disconnected(error.to_string()),
        CallError::Disconnected(reason) => capnp::Error::disconnected(reason.clone()),
        CallError::Protocol(detail) => capnp::Error::disconnected(format!("{BROKEN}{detail}")),
        CallError::Overloaded(reason) => capnp::Error::overloaded(reason.clone()),
        CallError::Unimplemented(reason) => capnp::Error::unimplemented(reason.clone()),
        other => capnp::Error::failed(format!("jsg.Error: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_of_the_protocol_is_told_from_a_lost_connection_over_every_hop() {
        let seen = capnp::Error::disconnected(format!("{BROKEN}it claims 9 segments"));
        let near = CallError::from(seen);
        let mut hop = pass_on(&near);
        hop.extra = format!("remote exception: {}", hop.extra);
        for error in [near, CallError::from(hop)] {
            assert!(matches!(&error, CallError::Protocol(_)), "{error:?}");
            assert_eq!(error.kind(), "protocol");
            let says = "connection lost: the peer broke the protocol: it claims 9 segments";
            assert_eq!(error.to_string(), says);
        }
        // What the peer says of us is not what it did.
        let told = format!("the peer closed the connection: {BROKEN}it is late");
        let error = CallError::from(capnp::Error::disconnected(told));
        assert_eq!(error.kind(), "disconnected");
    }

    #[test]
    fn hops_are_stripped_and_the_class_is_kept() {
        let cases = [
            (
                "remote exception: remote.jsg.TypeError: text",
                "TypeError: text",
            ),
            ("jsg.RangeError: a: b", "RangeError: a: b"),
            (
                "remote exception: remote exception: jsg.Error: x",
                "Error: x",
            ),
            ("jsg.Error:", "Error"),
            ("something internal", "Error: something internal"),
            (
                "jsg.DOMException(AbortError): stop",
                "DOMException(AbortError): stop",
            ),
            ("jsg.not a class: x", "Error: not a class: x"),
        ];
        for (text, shown) in cases {
            assert_eq!(thrown(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn an_error_survives_the_way_there_and_back() {
        for (class, message) in [("TypeError", "no"), ("Error", ""), ("URIError", "a: b")] {
            let sent = exception(&JsError::new(class, message));
            let there = thrown(&format!("remote exception: {}", sent.extra));
            assert_eq!(
                (there.name.as_str(), there.message.as_str()),
                (class, message)
            );
        }
        let custom = exception(&JsError::new("QuotaError", "full"));
        assert_eq!(thrown(&custom.extra).to_string(), "Error: QuotaError: full");
    }
}
