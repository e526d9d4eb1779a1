//! What no HTTP port of ours answers: requests that a web page could have sent.
//!
//! Whoever runs a browser on this machine visits pages of strangers, and a browser lets any of them send
//! requests to this machine's ports. A browser adds `Origin` to every cross-origin POST and
//! `Sec-Fetch-Site` to everything, and a name that a stranger points at this machine shows in `Host`. So
//! whatever has one of the first two is refused, and whatever names a host that is not ours.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hosts that requests may name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    /// In lower case, besides `localhost` and this machine's own addresses.
    pub(crate) named: Vec<String>,
    /// Any address, for ports that other machines reach: a page that has an address and no name in its
    /// own `Host` was served from there, and we serve none.
    pub(crate) addresses: bool,
    /// The option that adds names.
    pub(crate) option: &'static str,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Barred {
    pub(crate) status: StatusCode,
    /// In a word.
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

/// Refuses what a web page could have sent.
pub(crate) fn check(head: &Parts, hosts: &Hosts) -> Result<(), Barred> {
    check_host(head, hosts)?;
    check_page(&head.headers)
}

fn check_host(head: &Parts, hosts: &Hosts) -> Result<(), Barred> {
    let named = single(&head.headers, &HOST);
    // A target in absolute form names a host as well.
    let also = head.uri.authority().map(|authority| authority.as_str());
    let known = |host: &str| hosts.know(host);
    if named.is_some_and(known) && also.is_none_or(known) {
        return Ok(());
    }
    Err(Barred {
        status: StatusCode::MISDIRECTED_REQUEST,
        name: "host",
        message: format!(
            "this Host is not known here; call localhost, or say {}",
            hosts.option
        ),
    })
}

fn check_page(headers: &HeaderMap) -> Result<(), Barred> {
    let sent_by_a_page = |header| headers.contains_key(header);
    if ![&ORIGIN, &SEC_FETCH_SITE].into_iter().any(sent_by_a_page) {
        return Ok(());
    }
    Err(Barred {
        status: StatusCode::FORBIDDEN,
        name: "origin",
        message: "web pages are not served; the request says that one sent it".into(),
    })
}

impl Hosts {
    fn know(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let known = match bare.parse::<IpAddr>() {
            Ok(ip) => self.addresses || ip.to_canonical().is_loopback(),
            Err(_) => name == "localhost",
        };
        known
            || self
                .named
                .iter()
                .any(|known| *known == name || *known == host)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A header's value, if it is there once and is text.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
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
        let hosts = Hosts {
            named: vec!["caller.internal".to_owned(), "shop:81".to_owned()],
            ..Hosts::default()
        };
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
            assert_eq!(hosts.know(host), known, "{host}");
        }
    }

    #[test]
    fn where_addresses_are_known_names_are_still_not() {
        let hosts = Hosts {
            addresses: true,
            ..Hosts::default()
        };
        for (host, known) in [
            ("10.1.2.3:9464", true),
            ("[2001:db8::1]:9464", true),
            ("localhost", true),
            ("10.1.2.3.evil.example", false),
            ("evil.example", false),
        ] {
            assert_eq!(hosts.know(host), known, "{host}");
        }
    }
}
