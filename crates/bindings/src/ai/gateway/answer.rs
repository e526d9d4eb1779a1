//! What a gateway writes on an answer.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::{GatewayError, quoted};
use crate::ai::account::Cached;

/// A gateway's headers of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::ai) struct Marks<'a> {
    /// The log entry, if there is one.
    pub(in crate::ai) log_id: Option<&'a str>,
    /// The id that the request's maker gave it.
    pub(in crate::ai) event_id: Option<&'a str>,
    /// Whether the cache answered, where it was asked.
    pub(in crate::ai) cached: Option<Cached>,
    /// Which request of a list was answered, from 0.
    pub(in crate::ai) step: Option<u32>,
}

impl Marks<'_> {
    /// Sets them, and removes those that a provider, itself a gateway perhaps, has set.
    pub(in crate::ai) fn write(&self, headers: &mut HeaderMap) {
        let cached = self.cached.map(|cached| match cached {
            Cached::Hit => "HIT",
            Cached::Miss => "MISS",
        });
        let step = self.step.map(|step| step.to_string());
        for (name, value) in [
            ("cf-aig-log-id", self.log_id),
            ("cf-aig-event-id", self.event_id),
            ("cf-aig-cache-status", cached),
            ("cf-aig-step", step.as_deref()),
        ] {
            let name = HeaderName::from_static(name);
            match value.and_then(|value| HeaderValue::from_str(value).ok()) {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }
}

/// A gateway's id, as it may be in a URL, a log and a metric: Cloudflare's are 1 to 64 characters as well.
///
/// # Errors
/// When it is longer, empty, or has other characters than letters, digits, `-`, `_` and `.`.
pub(in crate::ai) fn check_gateway_id(id: &str) -> Result<&str, GatewayError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=64).contains(&id.len()) && id.chars().all(fits) {
        true => Ok(id),
        false => Err(GatewayError::invalid(format!(
            "the gateway's id is {}; give 1 to 64 letters, digits, `-`, `_` and `.`",
            quoted(id)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_is_known_and_nothing_of_anothers() {
        let mut headers = HeaderMap::new();
        headers.insert("cf-aig-step", HeaderValue::from_static("9"));
        headers.insert("cf-aig-log-id", HeaderValue::from_static("theirs"));
        headers.insert("x-request-id", HeaderValue::from_static("kept"));
        let marks = Marks {
            log_id: Some("01ARYZ6S41"),
            event_id: Some("no\nheader"),
            cached: Some(Cached::Miss),
            step: None,
        };
        marks.write(&mut headers);
        assert_eq!(headers["cf-aig-log-id"], "01ARYZ6S41");
        assert_eq!(headers["cf-aig-cache-status"], "MISS");
        assert_eq!(headers["x-request-id"], "kept");
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn a_gateways_id_is_short_and_plain() {
        for good in ["default", "my-gateway", "A.b_9", &"x".repeat(64)] {
            assert_eq!(check_gateway_id(good).unwrap(), good);
        }
        for bad in ["", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            let error = check_gateway_id(bad).unwrap_err();
            assert!(error.message.contains("give 1 to 64 letters"), "{bad}");
        }
    }
}
