//! What the lines say, apart from where: what is called, which attributes matter, how long something took.

use std::time::{Duration, SystemTime};

use binding_span::Attribute;
use unicode_width::UnicodeWidthChar;

use super::selection::BINDING;
use crate::text::human_duration;

/// The attribute with a call's method.
const METHOD: &str = "jsrpc.method";

/// What is called: `DB.query`.
pub(super) fn called(attributes: &[Attribute]) -> Option<String> {
    let text = |key: &str| {
        let found = attributes.iter().find(|a| a.key == key);
        found.and_then(|a| a.value.as_str())
    };
    match (text(BINDING)?, text(METHOD)) {
        (binding, Some(method)) => Some(format!("{binding}.{method}")),
        (binding, None) => Some(binding.to_owned()),
    }
}

/// Whether an attribute is what a database was asked to do.
pub(super) fn is_statement(key: &str) -> bool {
    matches!(key, "db.query.text" | "db.statement")
}

/// Whether an attribute is the same in every call of a binding.
pub(super) fn is_constant(key: &str) -> bool {
    const CONSTANT: [&str; 11] = [
        "cloudflare.binding.type",
        "db.system",
        "db.system.name",
        "gen_ai.provider.name",
        "gen_ai.system",
        "messaging.system",
        "network.protocol.name",
        "network.transport",
        "network.type",
        "server.address",
        "server.port",
    ];
    CONSTANT.contains(&key)
}

/// What of a text fits into so many columns, with the sign that it goes on.
pub(super) fn beginning(text: &str, columns: usize) -> String {
    let mut used = 1;
    let mut fits = |c: char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    let begin: String = text.chars().take_while(|c| fits(*c)).collect();
    begin + "…"
}

/// Whether an attribute says what the opening line says: the protocol's own words about a call.
pub(super) fn is_protocol(key: &str) -> bool {
    ["rpc.", "jsrpc."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// How long something took, as far as whole milliseconds tell.
pub(super) fn duration(from: SystemTime, to: SystemTime) -> String {
    let lasted = to.duration_since(from).unwrap_or(Duration::ZERO);
    match lasted.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        _ => human_duration(lasted),
    }
}
