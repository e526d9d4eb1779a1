//! Requests and responses of HTTP as parts of calls: as the `http` crate has them, and as JavaScript's values.
//!
//! Only what both have is kept; of the rest of a `Request` (`cf`, `redirect`, ..) nothing means anything outside of a
//! Worker.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use js_value::{Headers, JsError, Value};

use super::byte_stream::ByteStream;
use super::payload::{Args, ConvertError, External, Payload};

/// The method that is called with a request.
pub(crate) const FETCH: &str = "fetch";

impl Args {
    /// A request as the only argument: those of a call of `fetch`.
    ///
    /// # Errors
    /// When its URL is not whole and no `Host` makes it so, or a header cannot be one in JavaScript.
    pub fn from_request(request: Request<ByteStream>) -> Result<Self, ConvertError> {
        let Payload { value, externals } = Payload::from_request(request)?;
        let values = vec![value];
        Ok(Self { values, externals })
    }

    /// The request that these arguments of `fetch` are: a `Request`, or its URL, and what differs from it (`method`,
    /// `headers`, `body`). Arguments that are neither are given back.
    ///
    /// # Errors
    /// The inner one, when they are a request that cannot be made.
    #[allow(clippy::result_large_err, reason = "the arguments are no error")]
    pub(crate) fn into_request(self) -> Result<Result<Request<ByteStream>, JsError>, Self> {
        match self.values.first() {
            Some(Value::Request(_) | Value::String(_)) => Ok(self.request()),
            _ => Err(self),
        }
    }

    fn request(self) -> Result<Request<ByteStream>, JsError> {
        let Self { values, externals } = self;
        let mut values = values.into_iter();
        let mut parts = match values.next() {
            Some(Value::Request(request)) => Parts {
                method: request.method,
                url: request.url,
                headers: header_map(&request.headers)?,
                body: request.body.map(Body::External),
            },
            Some(Value::String(url)) => Parts {
                method: "GET".to_owned(),
                url: url.to_string_lossy().into_owned(),
                headers: HeaderMap::new(),
                body: None,
            },
            _ => return Err(JsError::type_error("fetch takes a Request or a URL")),
        };
        match values.next() {
            None | Some(Value::Undefined | Value::Null) => {}
            Some(init @ Value::Object(_)) => parts.change(&init)?,
            Some(other) => {
                return Err(JsError::type_error(format!(
                    "the second argument of fetch is an object, not a {}",
                    other.type_name()
                )));
            }
        }
        parts.request(&externals)
    }
}

impl Payload {
    /// A `Request` as a value.
    ///
    /// # Errors
    /// When its URL is not whole and no `Host` makes it so, or a header cannot be one in JavaScript.
    pub fn from_request(request: Request<ByteStream>) -> Result<Self, ConvertError> {
        let (mut head, body) = request.into_parts();
        let url = whole(&head.uri, &head.headers)?;
        remove_hop_by_hop(&mut head.headers);
        let mut value = js_value::Request::new(head.method.as_str(), url.to_string());
        value.headers = headers(&head.headers)?;
        let externals = send(body, &head.headers, &mut value.body);
        Ok(Self {
            value: Value::Request(Box::new(value)),
            externals,
        })
    }

    /// The request that this value is.
    ///
    /// # Errors
    /// When it is none, or has a method, a URL or a header that there cannot be.
    pub fn into_request(self) -> Result<Request<ByteStream>, ConvertError> {
        let Self { value, externals } = self;
        if !matches!(value, Value::Request(_)) {
            return Err(expected("a Request", &value));
        }
        let values = vec![value];
        let request = Args { values, externals }.request();
        request.map_err(|error| ConvertError::new(error.message))
    }

    /// A `Response` as a value. A header that cannot be one in JavaScript is left out.
    pub fn from_response(response: Response<ByteStream>) -> Self {
        let (mut head, body) = response.into_parts();
        remove_hop_by_hop(&mut head.headers);
        let mut value = js_value::Response::new(head.status.as_u16());
        for (name, text) in texts(&head.headers) {
            // What cannot be said must not cost the response.
            let _ = value.headers.append(name.as_str(), &text);
        }
        let externals = match may_have_body(head.status) {
            true => send(body, &head.headers, &mut value.body),
            false => Vec::new(),
        };
        Self {
            value: Value::Response(Box::new(value)),
            externals,
        }
    }

    /// The response that this value is.
    ///
    /// # Errors
    /// When it is none, or has a status or a header that there cannot be.
    pub fn into_response(self) -> Result<Response<ByteStream>, ConvertError> {
        let Value::Response(value) = &self.value else {
            return Err(expected("a Response", &self.value));
        };
        let status = StatusCode::from_u16(value.status);
        let status =
            status.map_err(|_| ConvertError::new(format!("the status {}", value.status)))?;
        let thrown = |error: JsError| ConvertError::new(error.message);
        let mut headers = header_map(&value.headers).map_err(thrown)?;
        let body = match value.body {
            Some(number) => taken(&self.externals, number).map_err(thrown)?,
            None => ByteStream::empty(),
        };
        if let Some(encoding) = body.content_encoding()
            && !headers.contains_key(header::CONTENT_ENCODING)
        {
            let encoding = HeaderValue::from_static(encoding);
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn expected(what: &str, value: &Value) -> ConvertError {
    ConvertError::new(format!("expected {what}, got a {}", value.type_name()))
}

/// A request that is put together.
struct Parts {
    method: String,
    url: String,
    headers: HeaderMap,
    body: Option<Body>,
}

enum Body {
    External(u32),
    Bytes(Vec<u8>, Option<&'static str>),
}

impl Parts {
    /// What the second argument of `fetch` says instead.
    fn change(&mut self, init: &Value) -> Result<(), JsError> {
        let member = |name| {
            init.get(name)
                .filter(|value| !matches!(value, Value::Undefined))
        };
        if let Some(method) = member("method") {
            let text = method.as_str().ok_or_else(|| wrong("method", method))?;
            self.method = text.to_owned();
        }
        if let Some(headers) = member("headers") {
            self.headers = init_headers(headers)?;
        }
        if let Some(body) = member("body") {
            self.body = match body {
                Value::Null => None,
                Value::ReadableStream(number) => Some(Body::External(*number)),
                Value::String(text) => {
                    let text = text.to_string_lossy().into_owned();
                    Some(Body::Bytes(text.into(), Some("text/plain;charset=UTF-8")))
                }
                other => {
                    let bytes = other.as_bytes().ok_or_else(|| wrong("body", other))?;
                    Some(Body::Bytes(bytes.to_vec(), None))
                }
            };
        }
        Ok(())
    }

    fn request(mut self, externals: &[External]) -> Result<Request<ByteStream>, JsError> {
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_| JsError::type_error("the method of a Request is none"))?;
        let url: Option<Uri> = self.url.parse().ok();
        let url = url.filter(|url| url.scheme().is_some() && url.authority().is_some());
        let url = url.ok_or_else(|| {
            let shown: String = self.url.chars().take(80).collect();
            JsError::type_error(format!("Invalid URL: {shown:?}"))
        })?;
        let body = match self.body {
            None => ByteStream::empty(),
            Some(Body::External(number)) => taken(externals, number)?,
            Some(Body::Bytes(bytes, kind)) => {
                if let Some(kind) = kind {
                    let kind = HeaderValue::from_static(kind);
                    self.headers.entry(header::CONTENT_TYPE).or_insert(kind);
                }
                bytes.into()
            }
        };
        remove_hop_by_hop(&mut self.headers);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = url;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

fn wrong(member: &str, value: &Value) -> JsError {
    let kind = value.type_name();
    JsError::type_error(format!("the {member} of a request cannot be a {kind}"))
}

/// What `headers` may be: a `Headers`, names and values, or a list of pairs.
fn init_headers(from: &Value) -> Result<HeaderMap, JsError> {
    let mut headers = Headers::new();
    let mut append = |name: &str, value: &Value| {
        let value = value.as_str().ok_or_else(|| wrong("headers", value))?;
        let appended = headers.append(name, value);
        appended.map_err(|error| JsError::type_error(error.to_string()))
    };
    match from {
        Value::Headers(headers) => return header_map(headers),
        Value::Object(members) => {
            for (name, value) in members {
                append(&name.to_string_lossy(), value)?;
            }
        }
        Value::Array(pairs) => {
            for pair in pairs {
                match pair {
                    Value::Array(pair) if pair.len() == 2 => {
                        let name = pair[0].as_str().ok_or_else(|| wrong("headers", &pair[0]))?;
                        append(name, &pair[1])?;
                    }
                    other => return Err(wrong("headers", other)),
                }
            }
        }
        other => return Err(wrong("headers", other)),
    }
    header_map(&headers)
}

/// The stream of that number, which only one can have.
fn taken(externals: &[External], number: u32) -> Result<ByteStream, JsError> {
    match externals.get(number as usize) {
        Some(External::Readable(stream)) => Ok(stream.take()),
        _ => Err(JsError::type_error("a body that is not there")),
    }
}

/// The body as what goes beside a value, if there is one.
fn send(body: ByteStream, headers: &HeaderMap, number: &mut Option<u32>) -> Vec<External> {
    if body.length() == Some(0) {
        return Vec::new();
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    let body = match encoding.map(HeaderValue::as_bytes) {
        Some(b"gzip") => body.with_encoding(1),
        Some(b"br") => body.with_encoding(2),
        _ => body,
    };
    *number = Some(0);
    vec![External::Readable(body)]
}

fn may_have_body(status: StatusCode) -> bool {
    let without = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    !status.is_informational() && !without.contains(&status)
}

/// A request's whole URL.
fn whole(uri: &Uri, headers: &HeaderMap) -> Result<Uri, ConvertError> {
    if uri.scheme().is_some() && uri.authority().is_some() {
        return Ok(uri.clone());
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host: Option<Authority> = host.and_then(|host| host.parse().ok());
    let none = || ConvertError::new(format!("the URL {uri} is not whole, and there is no Host"));
    let path = uri.path_and_query().cloned();
    let path = path.unwrap_or(PathAndQuery::from_static("/"));
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(host.ok_or_else(none)?)
        .path_and_query(path)
        .build()
        .map_err(|_| none())
}

/// Values as text: UTF-8, or else one byte a character as HTTP once had it.
fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, String)> {
    headers.iter().map(|(name, value)| {
        let bytes = value.as_bytes();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        };
        (name, text)
    })
}

fn headers(from: &HeaderMap) -> Result<Headers, ConvertError> {
    let mut headers = Headers::new();
    for (name, text) in texts(from) {
        let appended = headers.append(name.as_str(), &text);
        appended.map_err(|error| ConvertError::new(format!("the header {name}: {error}")))?;
    }
    Ok(headers)
}

fn header_map(from: &Headers) -> Result<HeaderMap, JsError> {
    let mut headers = HeaderMap::with_capacity(from.len());
    for (name, value) in from.iter() {
        let wrong = || {
            let shown: String = name.chars().take(80).collect();
            JsError::type_error(format!("the header {shown:?} cannot be sent"))
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        let appended = headers.try_append(name, value);
        appended.map_err(|_| wrong())?;
    }
    Ok(headers)
}

/// What concerns one connection alone, besides what `Connection` names (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what concerns the connection by which a message came, and not the message.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // They say where a message goes and where it ends: nobody can mean to have them removed.
        .filter(|name| name != header::HOST && name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_is_removed_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Mine, close"),
            ("connection", " host,content-length, not a name"),
            ("x-mine", "1"),
            ("x-theirs", "2"),
            ("host", "a"),
            ("content-length", "3"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-theirs"]);
    }
}
