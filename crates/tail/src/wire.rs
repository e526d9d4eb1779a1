//! Tail events in Cap'n Proto, the form in which workerd's streaming tail workers get them. Generated types
//! appear in this module's signatures and nowhere else in the crate; who sends and receives is not here.
//!
//! What is read is a peer's: the texts of one event are read up to a limit, and cut beyond it ([`Found::cut`]);
//! what a later version says with members that are not known here is named ([`Found::unknown`]).

mod onset;
mod read;
mod secrets;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

use binding_span_schema::tail_stream_capnp::outcome;

pub use read::{Found, Unknown, read_event};
pub use secrets::Headers;
pub use write::write_event;

/// workerd's words for how something ended.
const OUTCOMES: [(outcome::Kind, &str); 14] = [
    (outcome::Kind::Unknown, "unknown"),
    (outcome::Kind::Ok, "ok"),
    (outcome::Kind::Exception, "exception"),
    (outcome::Kind::ExceededCpu, "exceededCpu"),
    (outcome::Kind::KillSwitch, "killSwitch"),
    (outcome::Kind::DaemonDown, "daemonDown"),
    (outcome::Kind::ScriptNotFound, "scriptNotFound"),
    (outcome::Kind::Canceled, "canceled"),
    (outcome::Kind::ExceededMemory, "exceededMemory"),
    (outcome::Kind::LoadShed, "loadShed"),
    (
        outcome::Kind::ResponseStreamDisconnected,
        "responseStreamDisconnected",
    ),
    (outcome::Kind::InternalError, "internalError"),
    (outcome::Kind::ExceededWallTime, "exceededWallTime"),
    (outcome::Kind::Aborted, "aborted"),
];

/// workerd's numbers of execution models.
const MODELS: [&str; 3] = ["stateless", "durableObject", "workflow"];

/// workerd's numbers of log levels.
const LEVELS: [&str; 5] = ["debug", "info", "log", "warn", "error"];

/// The numbers of HTTP methods in Cap'n Proto.
const METHODS: [&str; 28] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "PURGE",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "MSEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "QUERY",
    "BAN",
];

/// The word at a number of a table.
fn word(table: &'static [&'static str], number: u16) -> Option<Cow<'static, str>> {
    table
        .get(usize::from(number))
        .map(|word| Cow::Borrowed(*word))
}

/// The number of a word in a table, 0 if it has none.
fn number(table: &[&str], word: &str) -> u16 {
    let at = table.iter().position(|known| *known == word);
    at.unwrap_or_default() as u16
}
