//! Errors as Cap'n Proto exceptions, which workerd understands.
//!
//! An exception has a [text](super::text) and, in its list of details, what was thrown: between here and the
//! network the two are [one text](super::attached). Of a peer's text no more is looked at than
//! workerd's wire needs; what kind of failure it is, the exception's type says.

use capnp::ErrorKind;
use js_value::DecodeLimits;
use js_value::JsError;

use super::attached::{HOP, attach, detach};
use super::text::{self, Text};
use super::{CallError, thrown};

/// The error of a call that did not return.
impl From<capnp::Error> for CallError {
    fn from(error: capnp::Error) -> Self {
        let (attached, text) = detach(&error.extra);
        let text = Text::of(text);
        // workerd gives the errors of its Workers the type `disconnected` or `overloaded` for the properties
        // `retryable` and `overloaded`, which anybody may set.
        if attached.is_some() || text.is_thrown() {
            return Self::Thrown(Box::new(what_was_thrown(attached, &text)));
        }
        let bare = text.bare();
        match error.kind {
            // What a peer tells of some connection is told of in its words.
            ErrorKind::Disconnected if is_of_a_peer(&error) => Self::Disconnected(bare.to_owned()),
            ErrorKind::Disconnected => lost(bare),
            ErrorKind::Overloaded => Self::Overloaded(text.thrown().message),
            ErrorKind::Unimplemented => Self::Unimplemented(bare.to_owned()),
            ErrorKind::Failed => Self::Thrown(Box::new(text.thrown())),
            _ => Self::Result(error.to_string()),
        }
    }
}

/// Whether an exception came over the network, and was not made here.
fn is_of_a_peer(error: &capnp::Error) -> bool {
    error.extra.starts_with(HOP)
}

/// What came beside the text if it can be read, else what the text says.
fn what_was_thrown(attached: Option<Vec<u8>>, text: &Text<'_>) -> JsError {
    let decoded = attached.and_then(|bytes| thrown::decode(&bytes, &DecodeLimits::default()).ok());
    decoded.flatten().unwrap_or_else(|| text.thrown())
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
    let (_, text) = detach(&error.extra);
    match Text::of(text).thrown().message {
        empty if empty.is_empty() => match text {
            "" => error.kind.to_string(),
            text => text.to_owned(),
        },
        message => message,
    }
}

/// The exception that carries a JavaScript error: the text that every peer understands, and beside it the error
/// itself, unless the text says all of it.
pub(crate) fn exception(error: &JsError) -> capnp::Error {
    let text = text::write(error);
    capnp::Error::failed(match text::says_all(error) {
        true => text,
        false => attach(&thrown::encode(error), &text),
    })
}

/// The exception that says that there is too much to do, in words that workerd shows: of others it makes an
/// "internal error".
pub(crate) fn overloaded(reason: &str) -> capnp::Error {
    capnp::Error::overloaded(format!("jsg.Error: {reason}"))
}

/// The exception that passes on a failed call to a caller further up, without what hops added.
pub(crate) fn pass_on(error: &CallError) -> capnp::Error {
    match error {
        CallError::Thrown(error) => exception(error),
        CallError::Unavailable(reason) => capnp::Error::disconnected(reason.clone()),
        CallError::Disconnected(reason) => capnp::Error::disconnected(reason.clone()),
        CallError::Protocol(detail) => capnp::Error::disconnected(format!("{BROKEN}{detail}")),
        CallError::Overloaded(reason) => overloaded(reason),
        CallError::Unimplemented(reason) => capnp::Error::unimplemented(reason.clone()),
        other => capnp::Error::failed(format!("jsg.Error: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_of_the_protocol_is_told_from_a_lost_connection() {
        let says = "connection lost: the peer broke the protocol: it claims 9 segments";
        let seen = capnp::Error::disconnected(format!("{BROKEN}it claims 9 segments"));
        let near = CallError::from(seen);
        assert_eq!(near.kind(), "protocol");
        assert_eq!(near.to_string(), says);
        // Whoever hears of it from a peer knows the words alone.
        let mut hop = pass_on(&near);
        hop.extra = format!("{HOP}{}", hop.extra);
        let far = CallError::from(hop);
        assert_eq!(far.kind(), "disconnected");
        assert_eq!(far.to_string(), says);
        // What the peer says of us is not what it did.
        let told = format!("the peer closed the connection: {BROKEN}it is late");
        let error = CallError::from(capnp::Error::disconnected(told));
        assert_eq!(error.kind(), "disconnected");
    }

    /// An exception as the network of workerd's caller makes it of what workerd sends.
    fn sent(kind: ErrorKind, text: &str, beside: &[u8]) -> CallError {
        let extra = format!("remote exception: {}", attach(beside, text));
        CallError::from(capnp::Error { kind, extra })
    }

    fn thrown_by(error: CallError) -> JsError {
        match error {
            CallError::Thrown(error) => *error,
            other => panic!("{other:?}"),
        }
    }

    // As workerd 1.20261117.1 wrote them, without the stack.
    const RETRYABLE: &[u8] = b"\xff\x0f\\\x0a\x01\"\x0cstock is lowo\"\x09retryableT{\x01";
    const NUL: &[u8] = b"\xff\x0f\\\x0a\x01\"\x03a\0bo{\x00";
    const CUSTOM: &[u8] = b"\xff\x0f\\\x0a\x00\"\x0aQuotaError\"\x04fullo\"\x04codeI\x0e{\x01";
    const CAUSE: &[u8] =
        b"\xff\x0f\\\x0a\x01\"\x05outero\"\x05cause\\\x0a\x02\"\x05innero{\x00{\x01";
    const AGGREGATE: &[u8] =
        b"\xff\x0f\\\x0a\x0c\"\x04manyo\"\x06errorsA\x03\\\x0a\x01\"\x02e1o{\x00I\x04o\"\x01aI\x02{\x01$\x00\x03{\x01";
    const SELF: &[u8] = b"\xff\x0f\\\x0a\x01\"\x04circo\"\x04self^\x00{\x01";

    #[test]
    fn an_overload_is_told_in_the_same_words_over_every_hop_and_by_who_has_only_words() {
        let mut hop = pass_on(&CallError::Overloaded("it is shutting down".into()));
        assert_eq!(hop.extra, "jsg.Error: it is shutting down");
        hop.extra = format!("remote exception: {}", hop.extra);
        let older = capnp::Error::overloaded("remote exception: it is shutting down".into());
        for error in [hop, older].map(CallError::from) {
            assert!(matches!(&error, CallError::Overloaded(_)), "{error:?}");
            let says = "the callee is overloaded: it is shutting down";
            assert_eq!(error.to_string(), says);
        }
    }

    #[test]
    fn what_an_application_threw_is_no_failure_of_the_transport() {
        let text = "remote.jsg.Error: stock is low";
        for kind in [
            ErrorKind::Disconnected,
            ErrorKind::Overloaded,
            ErrorKind::Unimplemented,
        ] {
            let error = thrown_by(sent(kind, text, RETRYABLE));
            assert_eq!(error.message, "stock is low");
            assert_eq!(error.properties.get("retryable"), Some(&true.into()));
            // It came without, or cannot be read: the text remains.
            for beside in [&b""[..], b"\xff\x0f", b"\xff\x0f\\\x01"] {
                let error = thrown_by(sent(kind, text, beside));
                assert_eq!(error, JsError::error("stock is low"));
            }
            let extra = format!("remote exception: {text}");
            let error = thrown_by(CallError::from(capnp::Error { kind, extra }));
            assert_eq!(error, JsError::error("stock is low"));
        }
        let lost = capnp::Error::disconnected("remote exception: Network connection lost.".into());
        assert_eq!(CallError::from(lost).kind(), "disconnected");
    }

    #[test]
    fn an_error_keeps_everything_from_hop_to_hop() {
        let nothing = b"\xff\x0f_";
        let cases: [(&[u8], &str); 10] = [
            (RETRYABLE, "Error: stock is low { retryable: true }"),
            (NUL, "Error: a\\u{0}b"),
            (CUSTOM, "QuotaError: full { code: 7 }"),
            (CAUSE, "Error: outer [cause: TypeError: inner]"),
            (
                AGGREGATE,
                "AggregateError: many { errors: [ Error: e1, 2, { a: 1 } ] }",
            ),
            (SELF, "Error: circ { self: [ref *0] }"),
            (b"\xff\x0fIT", "42"),
            (b"\xff\x0fo\"\x01aI\x02{\x01", "{ a: 1 }"),
            (b"\xff\x0f0", "null"),
            (nothing, "undefined"),
        ];
        for (beside, shown) in cases {
            let text = "remote.jsg.Error: x";
            let near = thrown_by(sent(ErrorKind::Failed, text, beside));
            assert_eq!(format!("{near:#}"), shown);
            let mut hop = exception(&near);
            let (attached, _) = detach(&hop.extra);
            if let Some(attached) = attached {
                assert_eq!(attached, beside, "{shown}");
            }
            hop.extra = format!("remote exception: {}", hop.extra);
            assert!(!reason(&hop).contains(&attach(b"", "")), "{shown}");
            assert_eq!(thrown_by(CallError::from(hop)), near);
        }
    }

    #[test]
    fn what_cannot_be_sent_does_not_cost_the_rest() {
        let error = JsError::error("x").with_property("code", 7);
        let there = |error: &JsError| thrown_by(CallError::from(exception(error)));
        let stub = error
            .clone()
            .with_property("stub", js_value::Value::Stub(0));
        assert_eq!(there(&stub), error);
        let large = error.with_property("large", "x".repeat(2 << 20));
        assert_eq!(there(&large), JsError::error("x"));
    }
}
