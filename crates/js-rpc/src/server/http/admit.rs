//! Which requests are served. What HTTP/1.1 does not allow is refused, and so is what a web page could have sent.
//!
//! Whoever runs a browser on this machine visits pages of strangers, which can have it send requests to this
//! machine's ports. On a unix socket there is no browser. On TCP:
//!
//! - A page of another origin shows in `Origin` or `Sec-Fetch-Site`. A Worker that passes a browser's request on
//!   shows them too: such requests are served if they have the header [`BINDING`], which workerd's configuration adds
//!   and a page of another origin cannot, without asking first and being refused.
//! - A page whose own name a stranger points at this machine may add any header. But it was loaded from the port that it
//!   sends to, so `Host` has that name *and a port*; what a Worker fetches from a binding has any name, and commonly no
//!   port. So a host with a port is refused, unless nobody can point it anywhere: `localhost`, or an address.

use std::net::IpAddr;

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::uri::{Authority, Scheme};
use ::http::{Method, Response, StatusCode, Uri, Version};

use crate::object::ByteStream;
use crate::serve::FetchBody;
use crate::{Address, CallError};

/// Names the binding that a request is for. It is not the service's to see.
pub(super) const BINDING: HeaderName = HeaderName::from_static("binding-span-binding");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a web page could reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// It cannot.
    None,
    /// By a URL with a port.
    WithPort,
    /// By a URL that need not have one: the port is HTTP's own.
    WithoutPort,
}

impl Pages {
    pub(crate) fn of(address: &Address) -> Self {
        match address {
            Address::Unix(_) => Self::None,
            Address::Tcp { port: 80, .. } | Address::Tls { port: 443, .. } => Self::WithoutPort,
            Address::Tcp { .. } | Address::Tls { .. } => Self::WithPort,
        }
    }
}

/// Why a request is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    /// It is for nothing that is served here.
    pub(super) fn misdirected(text: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, text)
    }

    /// What became of it.
    pub(super) fn failed(error: &CallError) -> Self {
        Self::new(error.http_status(), error.to_string())
    }

    pub(super) fn response(self) -> Response<FetchBody> {
        let mut text = self.text;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut response = Response::new(FetchBody::of(ByteStream::from(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::BAD_REQUEST {
            // Whoever is wrong about this may be wrong about where it ends.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

/// Refuses what must not go on. What may has its whole URL afterwards; the binding that it names is what is returned.
pub(super) fn admit(head: &mut Parts, pages: Pages) -> Result<Option<String>, Refusal> {
    check_kind(head)?;
    let host = host(head)?;
    if pages != Pages::None {
        check_host(&host, pages)?;
        check_page(head)?;
    }
    head.uri = url(&head.uri, host)?;
    take_binding(head)
}

fn check_kind(head: &Parts) -> Result<(), Refusal> {
    if head.version != Version::HTTP_11 {
        let text = "HTTP/1.1 is spoken here.";
        return Err(Refusal::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
    }
    if head.headers.contains_key(header::UPGRADE) {
        let text =
            "Connections are not upgraded: neither WebSockets nor other protocols are served.";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    match head.method {
        Method::CONNECT => Err(bad(
            "CONNECT opens a connection, and this one is open; make another.",
        )),
        Method::TRACE => Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "TRACE is not served.",
        )),
        _ => Ok(()),
    }
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

/// The host that a request names: once, and nothing besides it.
fn host(head: &Parts) -> Result<Authority, Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad("A request has one Host."));
    };
    let host = host.to_str().ok().and_then(|host| host.parse().ok());
    let host: Authority = host.ok_or_else(|| bad("This Host is none."))?;
    if host.as_str().contains('@') {
        return Err(bad("This Host has a user in it."));
    }
    match head.uri.authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Err(bad("The URL and Host name different hosts."))
        }
        _ => Ok(host),
    }
}

fn check_host(host: &Authority, pages: Pages) -> Result<(), Refusal> {
    if (host.port().is_none() && pages == Pages::WithPort) || is_fixed(host.host()) {
        return Ok(());
    }
    Err(Refusal::misdirected(
        "A web page could have sent this: its Host has a name and a port. Leave out the port in the URL, or use a \
         unix socket.",
    ))
}

/// Whether nobody can point a name at this machine that did not mean it before.
fn is_fixed(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        // Browsers reach this machine by it, and do not say so.
        Ok(ip) => !ip.to_canonical().is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn check_page(head: &Parts) -> Result<(), Refusal> {
    let has = |name: HeaderName| head.headers.contains_key(name);
    if has(BINDING) || !(has(header::ORIGIN) || has(SEC_FETCH_SITE)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "A web page sent this. If a Worker passes it on, add the header binding-span-binding with the binding's \
         name: in workerd's configuration, injectRequestHeaders of the external service; or use a unix socket.",
    ))
}

/// The whole URL, as JavaScript has it in a `Request`.
fn url(target: &Uri, host: Authority) -> Result<Uri, Refusal> {
    let scheme = target.scheme().cloned().unwrap_or(Scheme::HTTP);
    if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
        return Err(bad("The URL begins with neither http: nor https:."));
    }
    let path = target
        .path_and_query()
        .filter(|path| path.as_str().starts_with('/'));
    let path = path.ok_or_else(|| bad("The target is neither a path nor a URL."))?;
    let url = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path.clone());
    url.build().map_err(|_| bad("This URL is none."))
}

fn take_binding(head: &mut Parts) -> Result<Option<String>, Refusal> {
    let mut names = head.headers.get_all(&BINDING).iter();
    let name = match (names.next(), names.next()) {
        (None, _) => return Ok(None),
        (Some(name), None) => name.to_str().map(str::to_owned),
        _ => return Err(bad("The header binding-span-binding is there twice.")),
    };
    head.headers.remove(&BINDING);
    name.map(Some)
        .map_err(|_| bad("The header binding-span-binding is not text."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(pages: Pages, target: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
        let mut request = ::http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let admitted = admit(&mut head, pages);
        admitted
            .map(|_| head.uri.to_string())
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn what_a_page_could_send_is_refused_on_tcp() {
        let cross = ("origin", "https://evil.example");
        let named = ("binding-span-binding", "S");
        let fetched = ("sec-fetch-site", "cross-site");
        for (host, more, refused) in [
            // A Worker's, whatever it calls its binding.
            ("svc", &[][..], None),
            ("example.com", &[], None),
            ("127.0.0.1:7480", &[], None),
            ("10.1.2.3:80", &[], None),
            ("[::1]:7480", &[], None),
            ("localhost:8787", &[], None),
            ("app.localhost:8787", &[], None),
            // A browser's request that a Worker passes on.
            ("shop.example", &[cross, fetched, named], None),
            ("localhost:8787", &[cross, named], None),
            // A page of another origin.
            ("127.0.0.1:7480", &[cross], Some(403)),
            ("127.0.0.1:7480", &[fetched], Some(403)),
            // A page whose name was pointed here.
            ("evil.example:7480", &[], Some(421)),
            ("evil.example:7480", &[named], Some(421)),
            ("localhost.evil.example:7480", &[named], Some(421)),
            ("0.0.0.0:7480", &[], Some(421)),
            ("[::]:7480", &[], Some(421)),
        ] {
            let mut headers = vec![("host", host)];
            headers.extend(more);
            let outcome = admitted(Pages::WithPort, "/", &headers);
            assert_eq!(outcome.err(), refused, "{host} {more:?}");
            assert!(admitted(Pages::None, "/", &headers).is_ok(), "{host}");
        }
        for (host, refused) in [("svc", Some(421)), ("localhost", None), ("127.0.0.1", None)] {
            let outcome = admitted(Pages::WithoutPort, "/", &[("host", host)]);
            assert_eq!(outcome.err(), refused, "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host_and_one_url() {
        for (target, hosts, outcome) in [
            ("/a?b=c", &["svc"][..], Ok("http://svc/a?b=c")),
            ("http://svc/a", &["svc"], Ok("http://svc/a")),
            ("https://svc/a", &["SVC"], Ok("https://SVC/a")),
            ("http://other/a", &["svc"], Err(400)),
            ("ftp://svc/a", &["svc"], Err(400)),
            ("*", &["svc"], Err(400)),
            ("/", &[], Err(400)),
            ("/", &["a", "a"], Err(400)),
            ("/", &[""], Err(400)),
            ("/", &["a b"], Err(400)),
            ("/", &["user@svc"], Err(400)),
            ("/", &["svc/path"], Err(400)),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let admitted = admitted(Pages::None, target, &headers);
            assert_eq!(
                admitted.as_deref().map_err(|status| *status),
                outcome,
                "{target} {hosts:?}"
            );
        }
    }
}
