//! What of a request's headers is kept: whoever reads a tail need not be who may make the request again.

use std::borrow::Cow;

use binding_span::{AttributeList, AttributeValue};

use crate::{FetchInfo, Header};

/// Which headers of a request are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Headers {
    /// All, but of those that may be secrets only that they were there; nor are secrets in the URL kept.
    #[default]
    Redacted,
    /// All, as they are.
    All,
    /// None.
    None,
}

/// What stands in the place of a secret.
const REDACTED: &str = "REDACTED";

/// Whether the value of a header or a parameter of this name may be a secret: `cookie`, and what has one of these
/// words in it. workerd keeps the same from tail Workers that are not streaming.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["auth", "jwt", "key", "secret", "token", "cookie"];
    words.iter().any(|word| name.contains(word))
}

/// Whether a parameter of a URL may be a secret.
fn is_secret_parameter(name: &str) -> bool {
    let more = [
        "password",
        "passwd",
        "pwd",
        "signature",
        "credential",
        "sig",
    ];
    let word = name.to_ascii_lowercase();
    is_secret(name) || more.contains(&&*word) || word.starts_with("x-amz-")
}

impl Headers {
    /// Takes out of a request what is not kept.
    pub(super) fn apply(self, fetch: &mut FetchInfo) {
        match self {
            Self::All => {}
            Self::None => {
                fetch.headers.clear();
                redact_url(&mut fetch.url);
            }
            Self::Redacted => {
                let secret = |header: &&mut Header| is_secret(&header.name);
                let secrets = fetch.headers.iter_mut().filter(secret);
                secrets.for_each(|header| REDACTED.clone_into(&mut header.value));
                redact_url(&mut fetch.url);
            }
        }
    }

    /// Takes out of an attribute what is not kept: it may have the URL of a request, or a header.
    pub(super) fn apply_attribute(self, key: &str, value: &mut AttributeValue) {
        match value {
            AttributeValue::String(text) => self.apply_text(key, text),
            AttributeValue::List(list) => {
                if let AttributeList::Strings(list) = &mut **list {
                    list.iter_mut().for_each(|text| self.apply_text(key, text));
                }
            }
            _ => {}
        }
    }

    fn apply_text(self, key: &str, text: &mut Cow<'static, str>) {
        let header = ["http.request.header.", "http.response.header."]
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix));
        match key {
            _ if self == Self::All => {}
            "url.full" | "http.url" => redact_url(text.to_mut()),
            _ if header.is_some_and(is_secret) => *text = REDACTED.into(),
            _ => {}
        }
    }
}

fn redact_url(url: &mut String) {
    let (before, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url.as_str(), ""),
    };
    let (address, query) = match before.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (before, None),
    };
    let mut out = String::with_capacity(url.len());
    let authority = address.find("://").map(|at| at + 3);
    let user = authority.and_then(|start| {
        let end = address[start..]
            .find('/')
            .map_or(address.len(), |at| start + at);
        let at = address[start..end].rfind('@')?;
        Some((start, start + at))
    });
    match user {
        Some((start, end)) => {
            out.push_str(&address[..start]);
            out.push_str(REDACTED);
            out.push_str(&address[end..]);
        }
        None => out.push_str(address),
    }
    for (i, pair) in query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .enumerate()
    {
        out.push(if i == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret_parameter(name) => {
                out.push_str(name);
                out.push('=');
                out.push_str(REDACTED);
            }
            _ => out.push_str(pair),
        }
    }
    out.push_str(fragment);
    *url = out;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_may_be_secrets_lose_their_values_and_keep_their_names() {
        let header = |(name, value): (&str, &str)| Header {
            name: name.into(),
            value: value.into(),
        };
        let sent = [
            ("accept", "*/*"),
            ("Authorization", "Bearer x"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "a=b"),
            ("set-cookie", "a=b"),
            ("x-api-key", "k"),
            ("cf-access-jwt-assertion", "j"),
            ("x-amz-security-token", "t"),
            ("x-client-secret", "s"),
            ("user-agent", "curl"),
        ];
        let mut fetch = FetchInfo {
            headers: sent.map(header).into(),
            ..FetchInfo::default()
        };
        Headers::Redacted.apply(&mut fetch);
        let kept = fetch.headers.iter().filter(|h| h.value != REDACTED);
        let kept: Vec<&str> = kept.map(|h| &*h.name).collect();
        assert_eq!(
            (kept, fetch.headers.len()),
            (vec!["accept", "user-agent"], sent.len())
        );
        Headers::None.apply(&mut fetch);
        assert_eq!(fetch.headers, []);
    }

    #[test]
    fn attributes_that_repeat_a_request_lose_its_secrets_too() {
        for (key, value, kept) in [
            (
                "url.full",
                "http://u:p@x/?key=1",
                "http://REDACTED@x/?key=REDACTED",
            ),
            ("http.request.header.cookie", "a=b", REDACTED),
            ("http.response.header.set-cookie", "a=b", REDACTED),
            (
                "http.request.header.content-type",
                "text/plain",
                "text/plain",
            ),
            ("db.query.text", "select token=1", "select token=1"),
        ] {
            let mut redacted = AttributeValue::from(value);
            Headers::Redacted.apply_attribute(key, &mut redacted);
            assert_eq!(redacted.as_str(), Some(kept), "{key}");
            let mut redacted = AttributeValue::from([value, value]);
            Headers::Redacted.apply_attribute(key, &mut redacted);
            assert_eq!(redacted, [kept, kept].into(), "{key}");
            let mut as_it_is = AttributeValue::from(value);
            Headers::All.apply_attribute(key, &mut as_it_is);
            assert_eq!(as_it_is.as_str(), Some(value), "{key}");
        }
    }

    #[test]
    fn a_url_loses_its_password_and_secret_parameters_and_nothing_else() {
        for (url, kept) in [
            (
                "http://shop/a/b?q=1&page=2#top",
                "http://shop/a/b?q=1&page=2#top",
            ),
            ("https://user:pass@shop/a@b", "https://REDACTED@shop/a@b"),
            (
                "https://u:p@x@shop?token=a=b&q=1",
                "https://REDACTED@shop?token=REDACTED&q=1",
            ),
            (
                "/?api_key=1&Password=2&sig",
                "/?api_key=REDACTED&Password=REDACTED&sig",
            ),
            ("?#?token=1", "?#?token=1"),
            ("", ""),
        ] {
            let mut url = url.to_owned();
            redact_url(&mut url);
            assert_eq!(url, kept);
        }
    }
}
