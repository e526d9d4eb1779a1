//! Where a provider is, and where a request to it goes: never anywhere else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::UpstreamError;

/// How long a request's path and query may be, in bytes.
const MAX_PATH: usize = 8 << 10;

/// How often a path may have been percent-encoded.
const MAX_DECODINGS: usize = 4;

/// A provider's URL.
pub(super) struct Base {
    /// Without a slash at its end.
    text: String,
    url: Url,
}

impl Base {
    /// The error never has the URL, which may have a password in it.
    pub(super) fn new(uri: &http::Uri) -> Result<Self, &'static str> {
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err(
                "it has a user or a password in it; a provider's key has a place of its own",
            );
        }
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("it must begin with http:// or https://");
        }
        if uri.query().is_some() {
            return Err("it has a query, which would stand before the paths below it");
        }
        let url = Url::parse(&uri.to_string()).map_err(|_| "it is not a URL")?;
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { text, url })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it is on this machine.
    pub(super) fn is_local(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || ip
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }

    /// The URL of a path below.
    pub(super) fn join(&self, path: &str) -> Result<Url, UpstreamError> {
        check(path).map_err(|reason| UpstreamError::Request { reason })?;
        let path = path.strip_prefix('/').unwrap_or(path);
        let text = match path.chars().next() {
            None | Some('?') => format!("{}{path}", self.text),
            Some(_) => format!("{}/{path}", self.text),
        };
        let refused = |reason| UpstreamError::Request { reason };
        let url = Url::parse(&text).map_err(|_| refused("its path is invalid"))?;
        match url.origin() == self.url.origin() && url.as_str().starts_with(&self.text) {
            true => Ok(url),
            false => Err(refused("its path leads away from the provider's URL")),
        }
    }
}

/// Whether a path stays below, however its reader decodes it.
pub(super) fn check(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH {
        return Err("its path is too long");
    }
    if path.contains(|c: char| c.is_control() || c == ' ') {
        return Err("its path has spaces or control characters in it");
    }
    if path.contains('#') {
        return Err("its path has a fragment");
    }
    let mut path = Cow::Borrowed(path.split('?').next().unwrap_or_default());
    for _ in 0..=MAX_DECODINGS {
        stays_below(&path)?;
        let decoded = percent_decode_str(&path)
            .decode_utf8()
            .map_err(|_| "its path is not UTF-8")?
            .into_owned();
        if decoded == *path {
            return Ok(());
        }
        path = Cow::Owned(decoded);
    }
    Err("its path is encoded too often")
}

fn stays_below(path: &str) -> Result<(), &'static str> {
    if path.contains('\\') {
        return Err("its path has a backslash in it");
    }
    if path.contains(char::is_control) {
        return Err("its path has spaces or control characters in it");
    }
    if path.starts_with("//") || path.contains("://") {
        return Err("its path is a URL");
    }
    // Some servers take a segment's parameters off before they read it: `..;x`.
    let names = path.split('/').map(|part| part.split(';').next());
    match { names }.any(|name| matches!(name, Some("." | ".."))) {
        true => Err("its path has `.` or `..` in it"),
        false => Ok(()),
    }
}
