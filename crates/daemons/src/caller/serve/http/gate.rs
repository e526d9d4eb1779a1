//! What is refused before a call is made.
//!
//! Whoever runs a browser on this machine visits pages of strangers, and a browser lets any of them send
//! requests to this machine's ports. So everything is refused that a page could send: a browser adds
//! `Origin` to every cross-origin POST and `Sec-Fetch-Site` to everything, a page cannot send
//! `application/json` without asking first, and a name of its own that it points at this machine shows in
//! `Host`.

use std::net::IpAddr;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::Refusal;

const PREFIX: &str = "/v1/call/";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request wants to call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) binding: String,
    pub(super) method: String,
}

/// Refuses what must not go on, and reads the path of what may.
pub(super) fn pass(head: &Parts, hosts: &[String]) -> Result<Wanted, Refusal> {
    check_host(head, hosts)?;
    check_page(&head.headers)?;
    let Some(path) = head.uri.path().strip_prefix(PREFIX) else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "path",
            "there is nothing here; POST /v1/call/BINDING/METHOD",
        ));
    };
    if head.method != Method::POST {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "calls are made with POST",
        ));
    }
    check_content(&head.headers)?;
    let bad = |what| Refusal::new(StatusCode::BAD_REQUEST, "path", what);
    if head.uri.query().is_some() {
        return Err(bad(
            "arguments go into the body, as a JSON array; nothing is read from behind a ?",
        ));
    }
    read_path(path)
        .ok_or_else(|| bad("the path is /v1/call/BINDING/METHOD, METHOD with dots between"))
}

fn check_host(head: &Parts, hosts: &[String]) -> Result<(), Refusal> {
    let named = single(&head.headers, &HOST);
    // A target in absolute form names a host as well.
    let also = head.uri.authority().map(|authority| authority.as_str());
    let known = |host: &str| is_known(host, hosts);
    if named.is_some_and(known) && also.is_none_or(known) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host",
        "this Host is not known here; call localhost, or say --http-host",
    ))
}

fn is_known(host: &str, hosts: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let name = without_port(&host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => name == "localhost",
    };
    loopback || hosts.iter().any(|known| *known == name || *known == host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn check_page(headers: &HeaderMap) -> Result<(), Refusal> {
    for header in [&ORIGIN, &SEC_FETCH_SITE] {
        if headers.contains_key(header) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "origin",
                "web pages are not served; the request says that one sent it",
            ));
        }
    }
    Ok(())
}

fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = single(headers, &CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") && !headers.contains_key(CONTENT_ENCODING) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type",
        "arguments are sent as Content-Type: application/json, not compressed",
    ))
}

fn read_path(path: &str) -> Option<Wanted> {
    let (binding, method) = path.split_once('/')?;
    let text = |part: &str| {
        let text = percent_decode_str(part).decode_utf8().ok()?;
        (!text.is_empty()).then(|| text.into_owned())
    };
    let (binding, whole) = (text(binding)?, !method.contains('/'));
    let method = text(method)?;
    let named = method.split('.').all(|part| !part.is_empty());
    (whole && named).then_some(Wanted { binding, method })
}

/// A header's value, if it is there once and is text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_known_in_every_spelling_and_others_when_they_are_named() {
        let named = ["caller.internal".to_owned(), "shop:81".to_owned()];
        for (host, known) in [
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("127.0.0.1:7480", true),
            ("127.1.2.3", true),
            ("[::1]:7480", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("caller.internal:7480", true),
            ("shop:81", true),
            ("shop:82", false),
            ("", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example:127", false),
            ("192.168.1.2", false),
            ("0.0.0.0", false),
            ("localhost:80:80", false),
        ] {
            assert_eq!(is_known(host, &named), known, "{host}");
        }
    }

    #[test]
    fn a_path_is_a_binding_and_a_method_with_dots() {
        let wanted = |binding: &str, method: &str| {
            Some(Wanted {
                binding: binding.into(),
                method: method.into(),
            })
        };
        for (path, read) in [
            ("DB/query", wanted("DB", "query")),
            ("DB/users.get", wanted("DB", "users.get")),
            ("shop%23Admin/a%2eb", wanted("shop#Admin", "a.b")),
            ("DB", None),
            ("DB/", None),
            ("/query", None),
            ("DB/a..b", None),
            ("DB/.a", None),
            ("DB/query/more", None),
            ("%ff/query", None),
        ] {
            assert_eq!(read_path(path), read, "{path}");
        }
    }
}
