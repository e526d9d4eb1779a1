//! Errors of connections and words of receivers, for people.

use std::error::Error;

/// Characters that are shown of what a receiver says.
const SHOWN: usize = 200;

/// What a receiver said: its beginning, escaped.
pub(super) fn shown(text: &str) -> String {
    let text: String = text.chars().take(SHOWN).collect();
    tail::escape(&text).into_owned()
}

/// An error with its causes: "client error (Connect): Connection refused (os error 111)".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some repeat what is below them.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    // rustls got an answer in plain text.
    if text.contains("InvalidContentType") {
        let hint = "the receiver does not speak TLS there; write http:// if that is meant";
        return format!("{}; {hint}", shown(&text));
    }
    shown(&text)
}
