//! The text of an exception, as workerd writes it.
//!
//! `jsg.TypeError: message` is a JavaScript error, and everything else is for workerd's own log. In front stand
//! `remote exception: ` and `remote.`, once for every process and every Worker that it came through, and then
//! perhaps what failed: `expected X; jsg.TypeError: message`, `broken.X; jsg.Error: message`. Anchored at the
//! beginning, all of it: what stands further on is the message.

use js_value::JsError;

use super::attached::HOP;

/// An exception's text, taken apart.
pub(super) struct Text<'a> {
    /// Whether it came out of a Worker: its code threw it, and no process on the way failed.
    pub(super) remote: bool,
    /// What follows `jsg.`: the class and the message.
    error: Option<&'a str>,
    /// The text without what hops put in front.
    bare: &'a str,
}

impl<'a> Text<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let (mut bare, mut remote) = (text, false);
        loop {
            bare = match (bare.strip_prefix(HOP), bare.strip_prefix("remote.")) {
                (Some(rest), _) => rest,
                (None, Some(rest)) => {
                    remote = true;
                    rest
                }
                (None, None) => break,
            };
        }
        Self {
            remote,
            error: error(bare),
            bare,
        }
    }

    /// Whether the code of a Worker threw it.
    pub(super) fn is_thrown(&self) -> bool {
        self.remote && self.error.is_some()
    }

    /// The text for people.
    pub(super) fn bare(&self) -> &'a str {
        self.bare
    }

    /// The JavaScript error that it is, or tells of.
    pub(super) fn thrown(&self) -> JsError {
        let Some(rest) = self.error else {
            return JsError::new("Error", self.bare);
        };
        match rest.split_once(": ") {
            Some((class, message)) if is_class(class) => JsError::new(class, message),
            _ if is_class(rest.trim_end_matches(':')) => {
                JsError::new(rest.trim_end_matches(':'), "")
            }
            _ => JsError::new("Error", rest),
        }
    }
}

/// What follows `jsg.` in a text without hops.
fn error(text: &str) -> Option<&str> {
    let mut rest = text;
    if rest.starts_with("expected ") {
        // What was expected is code, and may have the delimiter in it.
        while let Some((_, after)) = rest.split_once("; ") {
            if let Some(error) = after.strip_prefix("jsg.") {
                return Some(error);
            }
            rest = after;
        }
        return None;
    }
    while rest.starts_with("broken.") {
        rest = rest.split_once("; ")?.1;
    }
    rest.strip_prefix("jsg.")
}

/// The classes that workerd knows in a text; another one becomes a part of the message.
const CLASSES: [&str; 12] = [
    "Error",
    "TypeError",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "EvalError",
    "URIError",
    "AggregateError",
    "SuppressedError",
    "CompileError",
    "LinkError",
    "RuntimeError",
];

pub(super) fn is_class(text: &str) -> bool {
    CLASSES.contains(&text) || dom_exception(text).is_some_and(is_plain)
}

/// The name of a `DOMException`, which stands in brackets.
fn dom_exception(text: &str) -> Option<&str> {
    text.strip_prefix("DOMException(")?.strip_suffix(')')
}

/// Whether the name of an error may be the value of `error.type`: short and plain, since a peer chose it.
pub(super) fn is_label(name: &str) -> bool {
    is_plain(dom_exception(name).unwrap_or(name))
}

/// The same of a class that a callee states of a call that returned, which may be of any language: dots, dashes and
/// colons join its words.
pub(super) fn is_stated_label(name: &str) -> bool {
    name.len() <= 64 && name.split(['.', '-', ':']).any(is_plain) && name.bytes().all(is_joined)
}

fn is_joined(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':')
}

fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text of an error that our side throws: as of a Worker's code, so that JavaScript sees `remote` on it.
pub(super) fn write(error: &JsError) -> String {
    let JsError { name, message, .. } = error;
    match is_class(name) {
        true => format!("remote.jsg.{name}: {message}"),
        false => format!("remote.jsg.Error: {name}: {message}"),
    }
}

/// Whether that text says everything: most errors have no more than a class and a message.
pub(super) fn says_all(error: &JsError) -> bool {
    let JsError {
        name,
        message,
        stack,
        cause,
        properties,
        thrown,
    } = error;
    let more = stack.is_some() || cause.is_some() || !properties.is_empty() || thrown.is_some();
    // workerd reads a text up to the first NUL.
    is_class(name) && !message.contains('\0') && !more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_is_stripped_and_the_class_is_kept() {
        // The first ones are of workerd 1.20261117.1.
        let cases = [
            (
                "remote exception: remote.jsg.TypeError: text",
                "TypeError: text",
            ),
            (
                "remote exception: remote.expected propHandle->IsFunction(); jsg.TypeError: \"count\" is not a function.",
                "TypeError: \"count\" is not a function.",
            ),
            ("remote.jsg.AggregateError: many", "AggregateError: many"),
            (
                "remote.jsg.DOMException(AbortError): stop",
                "DOMException(AbortError): stop",
            ),
            (
                "remote.jsg.Error: QuotaError: full",
                "Error: QuotaError: full",
            ),
            ("remote.jsg.Error", "Error"),
            (
                "remote.broken.outputGateBroken; jsg.Error: reset",
                "Error: reset",
            ),
            (
                "broken.a; broken.b; jsg.RangeError: x; jsg.Error: y",
                "RangeError: x; jsg.Error: y",
            ),
            ("expected a; b; jsg.RangeError: x", "RangeError: x"),
            ("jsg.RangeError: a: b", "RangeError: a: b"),
            (
                "remote exception: remote exception: jsg.Error: x",
                "Error: x",
            ),
            ("jsg.Error:", "Error"),
            ("something internal", "Error: something internal"),
            (
                "unexpected; jsg.TypeError: x",
                "Error: unexpected; jsg.TypeError: x",
            ),
            ("expected x; no error", "Error: expected x; no error"),
            ("broken.alone", "Error: broken.alone"),
            ("jsg.not a class: x", "Error: not a class: x"),
            ("jsg-internal.Error: x", "Error: jsg-internal.Error: x"),
        ];
        for (text, shown) in cases {
            assert_eq!(Text::of(text).thrown().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn only_what_came_out_of_a_worker_was_thrown_by_one() {
        for (text, thrown) in [
            ("remote exception: remote.jsg.Error: stock is low", true),
            ("remote.expected x; jsg.TypeError: y", true),
            (
                "jsg.Error: The Workers runtime canceled this request",
                false,
            ),
            ("remote.Network connection lost.", false),
            ("connection lost: remote.jsg.Error: x", false),
        ] {
            assert_eq!(Text::of(text).is_thrown(), thrown, "{text}");
        }
    }

    #[test]
    fn an_error_survives_the_way_there_and_back() {
        for (class, message) in [("TypeError", "no"), ("Error", ""), ("URIError", "a: b")] {
            let sent = format!("remote exception: {}", write(&JsError::new(class, message)));
            assert_eq!(Text::of(&sent).thrown(), JsError::new(class, message));
        }
        let custom = write(&JsError::new("QuotaError", "full"));
        assert_eq!(
            Text::of(&custom).thrown().to_string(),
            "Error: QuotaError: full"
        );
    }
}
