//! Names of headers that travel as numbers: `CommonHeaderName` of Cap'n Proto's `http-over-capnp.capnp`.

/// The names, the first of which has the number 1.
const NAMES: [&str; 47] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

pub(super) fn name(number: u32) -> Option<&'static str> {
    NAMES.get(number.checked_sub(1)? as usize).copied()
}

/// The number of a name; 0 if it has none.
pub(super) fn number(name: &str) -> u32 {
    let at = NAMES
        .iter()
        .position(|common| common.eq_ignore_ascii_case(name));
    at.map_or(0, |at| at as u32 + 1)
}
