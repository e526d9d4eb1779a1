//! Which headers cross to a provider and back.

use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};

/// Of one connection (RFC 9110, 7.6.1), whether `Connection` names them or not.
const OF_A_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Of the client's making. Without `Accept-Encoding` answers come as they can be read.
const OF_THE_CLIENT: [HeaderName; 5] = [ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, USER_AGENT];

/// Where callers say who they are.
const OF_A_CALLER: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// What a provider says to browsers about its own site. Passed on, it would hold for the site of this binding: cookies,
/// and which pages may read its answers.
const OF_A_SITE: [HeaderName; 7] = [
    SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    STRICT_TRANSPORT_SECURITY,
];

/// Whether a header says who the caller is.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    OF_A_CALLER.contains(name)
}

/// Whether a header can be configured.
pub(super) fn can_be_set(name: &HeaderName) -> bool {
    let fixed = OF_THE_CLIENT.contains(name) && *name != USER_AGENT;
    !fixed && !OF_A_CONNECTION.contains(name)
}

/// A caller's headers, as they go on to a provider.
pub(super) fn to_provider(mut headers: HeaderMap, keep_credentials: bool) -> HeaderMap {
    strip_connection(&mut headers);
    remove(&mut headers, &OF_THE_CLIENT);
    if !keep_credentials {
        remove(&mut headers, &OF_A_CALLER);
    }
    headers
}

/// A provider's headers, as they go back. A gateway's own headers are set by the gateway that was asked, not by one
/// behind it.
pub(super) fn from_provider(mut headers: HeaderMap) -> HeaderMap {
    strip_connection(&mut headers);
    remove(&mut headers, &OF_A_SITE);
    let prefixes = ["access-control-", "cf-aig-"];
    let is_dropped = |name: &&HeaderName| prefixes.iter().any(|it| name.as_str().starts_with(it));
    let dropped: Vec<_> = headers.keys().filter(is_dropped).cloned().collect();
    remove(&mut headers, &dropped);
    headers
}

fn strip_connection(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let names = value.to_str().unwrap_or_default().split(',');
        named.extend(names.filter_map(|name| name.trim().parse::<HeaderName>().ok()));
    }
    remove(headers, &named);
    remove(headers, &OF_A_CONNECTION);
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}
