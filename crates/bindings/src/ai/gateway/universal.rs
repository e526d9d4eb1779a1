//! The universal request: one request or a list of them, of which the first that is answered counts.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::error::{GatewayError, quoted};

/// Requests in a list.
pub(in crate::ai) const MAX_STEPS: usize = 16;
/// Headers of one request.
const MAX_HEADERS: usize = 64;
/// Bytes of a header's value: as much as HTTP servers take.
const MAX_VALUE: usize = 8192;
/// Bytes of an endpoint.
const MAX_ENDPOINT: usize = 2048;

/// One request of a list.
#[derive(Clone, PartialEq)]
pub(in crate::ai) struct Step {
    /// Which of them, from 0.
    pub(in crate::ai) index: usize,
    /// Who is asked.
    pub(in crate::ai) provider: String,
    /// The path below the provider's URL, without a slash before it; for `workers-ai` the model.
    pub(in crate::ai) endpoint: String,
    /// Its headers, those for the gateway included. Keys are among them.
    pub(in crate::ai) headers: HeaderMap,
    /// Its body; null if it has none.
    pub(in crate::ai) query: Value,
    /// `{requestTimeout, maxAttempts, retryDelay, backoff}` for this request alone.
    pub(in crate::ai) config: Option<Map<String, Value>>,
}

impl Step {
    /// The body as bytes.
    pub(in crate::ai) fn body(&self) -> Bytes {
        match &self.query {
            Value::Null => Bytes::new(),
            query => Bytes::from(js_value::json_text(query)),
        }
    }

    /// Where it is, for an error.
    pub(in crate::ai) fn place(&self) -> String {
        place(self.index)
    }
}

/// Neither headers nor prompts are for a log.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("index", &self.index)
            .field("provider", &self.provider)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

fn place(index: usize) -> String {
    format!("request {index} of the list")
}

/// The requests in the body of an HTTP request.
///
/// # Errors
/// When it is not JSON, or as [`steps_of`].
pub(in crate::ai) fn steps(body: &[u8]) -> Result<Vec<Step>, GatewayError> {
    let value = serde_json::from_slice(body).map_err(|error| {
        GatewayError::invalid(format!(
            "the body is not JSON (line {}, column {}); give a request {SHAPE}, or a list of them",
            error.line(),
            error.column()
        ))
    })?;
    steps_of(value)
}

const SHAPE: &str = "{provider, endpoint, headers, query}";

/// The requests in a value: one, or a list of 1 to 16.
///
/// # Errors
/// When it is neither, or a member of one is invalid: which request, which member, what is accepted.
pub(in crate::ai) fn steps_of(value: Value) -> Result<Vec<Step>, GatewayError> {
    let list = match value {
        Value::Array(list) => list,
        one @ Value::Object(_) => vec![one],
        _ => {
            return Err(GatewayError::invalid(format!(
                "give a request {SHAPE}, or a list of them"
            )));
        }
    };
    if list.is_empty() || list.len() > MAX_STEPS {
        return Err(GatewayError::invalid(format!(
            "the list has {} requests; 1 to {MAX_STEPS} are accepted",
            list.len()
        )));
    }
    list.into_iter()
        .enumerate()
        .map(|(index, value)| step(index, value).map_err(|error| error.at(&place(index))))
        .collect()
}

fn step(index: usize, value: Value) -> Result<Step, GatewayError> {
    let Value::Object(mut members) = value else {
        return Err(GatewayError::invalid(format!("give an object {SHAPE}")));
    };
    let provider = text(&mut members, "provider")?;
    if provider.is_empty() || provider.len() > 128 {
        return Err(GatewayError::invalid(format!(
            "provider is {}; give a name of 1 to 128 bytes",
            quoted(&provider)
        )));
    }
    let endpoint = text(&mut members, "endpoint")?;
    let endpoint = check_endpoint(&endpoint)?.to_owned();
    let mut headers = headers(members.remove("headers"))?;
    let query = members.remove("query").unwrap_or(Value::Null);
    if !query.is_null() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let config = match members.remove("config") {
        None | Some(Value::Null) => None,
        Some(Value::Object(config)) => Some(config),
        Some(_) => return Err(GatewayError::invalid("config is not an object; give one")),
    };
    Ok(Step {
        index,
        provider,
        endpoint,
        headers,
        query,
        config,
    })
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<String, GatewayError> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(GatewayError::invalid(format!(
            "{name} is missing; give it as text"
        ))),
        Some(_) => Err(GatewayError::invalid(format!(
            "{name} is not text; give it as text"
        ))),
    }
}

/// An endpoint without the slashes before it: a path and a query that stay below the provider's URL.
///
/// # Errors
/// When it is too long, has characters that no path has, or leads upwards.
pub(in crate::ai) fn check_endpoint(endpoint: &str) -> Result<&str, GatewayError> {
    let refused = |why: &str| {
        GatewayError::invalid(format!(
            "endpoint is {}, {why}; give a path below the provider's URL, like chat/completions",
            quoted(endpoint)
        ))
    };
    let path = endpoint.trim_start_matches('/');
    if path.len() > MAX_ENDPOINT {
        return Err(refused("which is too long"));
    }
    if path
        .chars()
        .any(|c| c.is_ascii_control() || c.is_whitespace() || matches!(c, '\\' | '#'))
    {
        return Err(refused("which has characters that no path has"));
    }
    let segments = path.split('?').next().unwrap_or_default();
    if segments.contains("://") {
        return Err(refused("which is a URL"));
    }
    // As a server may read it.
    let decoded = segments
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/");
    match decoded
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
    {
        true => Err(refused("which leads upwards")),
        false => Ok(path),
    }
}

/// Values may be numbers, booleans and objects: they are written as workerd's wrapper writes them.
fn headers(given: Option<Value>) -> Result<HeaderMap, GatewayError> {
    let given = match given {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(GatewayError::invalid("headers is not an object; give one")),
    };
    if given.len() > MAX_HEADERS {
        return Err(GatewayError::invalid(format!(
            "headers has {} members; at most {MAX_HEADERS} are accepted",
            given.len()
        )));
    }
    given
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| header(&name, value))
        .collect()
}

fn header(name: &str, value: Value) -> Result<(HeaderName, HeaderValue), GatewayError> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        GatewayError::invalid(format!("headers: {} is not a header name", quoted(name)))
    })?;
    let text = match value {
        Value::String(text) => text,
        other => js_value::json_text(&other),
    };
    // The value may be a key: it is not shown.
    let refused =
        |why: String| GatewayError::invalid(format!("headers: the value of {parsed} {why}"));
    if text.len() > MAX_VALUE {
        return Err(refused(format!(
            "has {} bytes; at most {MAX_VALUE} are accepted",
            text.len()
        )));
    }
    let mut value = HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| refused("has characters that no header has".to_owned()))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rules::Rules;
    use super::*;
    use crate::ai::options::{Backoff, GatewayOptions};

    fn request() -> Value {
        json!({
            "provider": "workers-ai",
            "endpoint": "@cf/meta/llama-3.1-8b-instruct",
            "headers": {"Authorization": "Bearer abcde", "Content-Type": "application/json"},
            "query": {"prompt": "What is Cloudflare?"},
        })
    }

    #[test]
    fn one_request_and_a_list_are_read() {
        let one = steps(request().to_string().as_bytes()).unwrap();
        let list = steps_of(json!([request(), request()])).unwrap();
        assert_eq!((one.len(), list.len()), (1, 2));
        assert_eq!(one[0], list[0]);
        assert_eq!(list[1].index, 1);
        assert_eq!(one[0].endpoint, "@cf/meta/llama-3.1-8b-instruct");
        assert_eq!(one[0].body(), r#"{"prompt":"What is Cloudflare?"}"#);
    }

    #[test]
    fn header_values_are_written_as_workerds_wrapper_writes_them() {
        let step = &steps_of(json!({
            "provider": "p",
            "endpoint": "/e",
            "headers": {
                "cf-aig-metadata": {"user": 123},
                "cf-aig-custom-cost": {"total_cost": 1.22},
                "cf-aig-skip-cache": false,
                "cf-aig-cache-ttl": 123.0,
                "x-none": null,
            },
            "query": {},
        }))
        .unwrap()[0];
        assert_eq!(step.endpoint, "e");
        let header = |name: &str| step.headers[name].to_str().unwrap();
        assert_eq!(header("cf-aig-metadata"), r#"{"user":123}"#);
        assert_eq!(header("cf-aig-custom-cost"), r#"{"total_cost":1.22}"#);
        assert_eq!(header("cf-aig-skip-cache"), "false");
        assert_eq!(header("cf-aig-cache-ttl"), "123");
        assert_eq!(header("content-type"), "application/json");
        assert!(!step.headers.contains_key("x-none"));
    }

    #[test]
    fn a_step_has_rules_of_its_own() {
        let options = GatewayOptions::new("test");
        let whole = Rules::of_gateway(&options)
            .with_options(&json!({"cacheTtl": 100, "retries": {"maxAttempts": 2}}))
            .unwrap();
        let steps = steps_of(json!([
            {"provider": "p", "endpoint": "e"},
            {
                "provider": "p", "endpoint": "e",
                "config": {"maxAttempts": 4, "retryDelay": 10, "backoff": "constant", "requestTimeout": 700},
                "headers": {"cf-aig-cache-ttl": 200, "cf-aig-max-attempts": 5},
            },
            {"provider": "p", "endpoint": "e", "config": {"maxAttempts": 9}},
        ]))
        .unwrap();
        assert_eq!(whole.for_step(&steps[0]).unwrap(), whole);
        let own = whole.for_step(&steps[1]).unwrap();
        assert_eq!(own.caches().unwrap().as_secs(), 200);
        assert_eq!(
            (own.attempts.max, own.attempts.backoff),
            (5, Backoff::Constant)
        );
        assert_eq!(own.request_timeout.unwrap().as_millis(), 700);
        let error = whole.for_step(&steps[2]).unwrap_err();
        assert_eq!(
            error.message,
            "request 2 of the list: config.maxAttempts is 9; give a whole number from 1 to 5"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_index() {
        let with = |name: &str, value: Value| {
            let mut request = request();
            request[name] = value;
            json!([self::request(), request])
        };
        let many: Map<_, _> = (0..65).map(|n| (format!("x-{n}"), json!(1))).collect();
        for (given, says) in [
            (json!([]), "the list has 0 requests; 1 to 16"),
            (json!(vec![request(); 17]), "the list has 17 requests"),
            (json!("x"), "give a request {provider"),
            (
                json!([request(), 1]),
                "request 1 of the list: give an object",
            ),
            (
                with("provider", json!(null)),
                "request 1 of the list: provider is missing",
            ),
            (with("provider", json!(5)), "provider is not text"),
            (with("provider", json!("")), "provider is \"\""),
            (with("endpoint", json!({})), "endpoint is not text"),
            (with("headers", json!([])), "headers is not an object"),
            (with("headers", json!(many)), "headers has 65 members"),
            (
                with("headers", json!({"a b": "x"})),
                "\"a b\" is not a header name",
            ),
            (with("config", json!(1)), "config is not an object"),
            (
                with("headers", json!({"authorization": "a\nplanted"})),
                "the value of authorization has characters",
            ),
            (
                with("headers", json!({"x": "planted".repeat(2000)})),
                "the value of x has 14000 bytes",
            ),
        ] {
            let error = steps_of(given).unwrap_err();
            assert!(error.message.contains(says), "{}", error.message);
            assert!(!error.message.contains("planted"), "{}", error.message);
        }
        let error = steps(b"{\"a\":\n x}").unwrap_err();
        assert!(
            error.message.contains("line 2, column 2"),
            "{}",
            error.message
        );
    }

    #[test]
    fn an_endpoint_stays_below_its_provider() {
        for good in [
            "chat/completions",
            "@cf/meta/llama",
            "v1/a?x=../y",
            "models/a..b:generate",
            "",
        ] {
            assert_eq!(check_endpoint(good).unwrap(), good);
        }
        assert_eq!(check_endpoint("//host/path").unwrap(), "host/path");
        for bad in [
            "../admin",
            "a/../../b",
            "a/..",
            "a/%2e%2E/b",
            "a/.%2e",
            "a\\..\\b",
            "a b",
            "a\r\nx",
            "a#b",
            "a%2f../b",
            "..%2Fadmin",
            "a/..%5cb",
            "http://elsewhere/v1",
            "/https://elsewhere",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
        assert!(check_endpoint(&"x".repeat(3000)).is_err());
    }

    #[test]
    fn neither_keys_nor_prompts_are_in_debug_output() {
        let mut request = request();
        request["query"]["prompt"] = json!("planted");
        request["headers"]["Authorization"] = json!("planted");
        let steps = steps_of(request).unwrap();
        assert!(!format!("{steps:?}").contains("planted"));
        assert!(!format!("{:?}", steps[0].headers).contains("planted"));
    }
}
