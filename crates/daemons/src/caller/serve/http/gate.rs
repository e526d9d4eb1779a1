//! What is refused before a call is made: besides what [no port of ours](crate::http::gate) answers,
//! whatever is not a call. A page cannot send `application/json` without asking first, and is not answered
//! when it asks.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::Refusal;
use crate::http::gate::{self, Barred, Hosts, single};

const PREFIX: &str = "/v1/call/";

/// What a request wants to call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) binding: String,
    pub(super) method: String,
}

/// Refuses what must not go on, and reads the path of what may.
pub(super) fn pass(head: &Parts, hosts: &Hosts) -> Result<Wanted, Refusal> {
    gate::check(head, hosts)?;
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

impl From<Barred> for Refusal {
    fn from(barred: Barred) -> Self {
        Self::new(barred.status, barred.name, barred.message)
    }
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
    let named = js_rpc::method_names(&method)
        .iter()
        .all(|name| !name.is_empty());
    (whole && named).then_some(Wanted { binding, method })
}

#[cfg(test)]
mod tests {
    use super::*;

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
