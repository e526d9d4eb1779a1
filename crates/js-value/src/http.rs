//! Requests, responses and blobs as values.

use crate::{Headers, Object, Value};

/// JavaScript's `Request`, as it travels in a value.
///
/// A member that is `None` has JavaScript's default.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers.
    pub headers: Headers,
    /// The body: the number of its `ReadableStream` in the table of externals.
    pub body: Option<u32>,
    /// `manual`, `follow` or `error`.
    pub redirect: Option<String>,
    /// Cloudflare's `cf`: an object, a reference to one, or `undefined`.
    pub cf: Value,
    /// `no-store`, `no-cache` or `reload`.
    pub cache: Option<String>,
    /// The digest that the response must have; empty in every Worker.
    pub integrity: Option<String>,
    /// `manual`, or `automatic`.
    pub encode_response_body: Option<String>,
    /// Members that are not known here.
    pub other: Object,
}

/// JavaScript's `Response`, as it travels in a value.
///
/// A member that is `None` has JavaScript's default.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Response {
    /// The status. 0 is that of `Response.error()`.
    pub status: u16,
    /// The text beside the status; `None` for the usual one.
    pub status_text: Option<String>,
    /// The headers.
    pub headers: Headers,
    /// The body: the number of its `ReadableStream` in the table of externals.
    pub body: Option<u32>,
    /// Cloudflare's `cf`: an object, a reference to one, or `undefined`.
    pub cf: Value,
    /// `manual`: the body is encoded as its `content-encoding` says. Else `automatic`.
    pub encode_body: Option<String>,
    /// Members that are not known here.
    pub other: Object,
}

/// JavaScript's `Blob`: bytes with a media type. It travels whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// The media type, which may be empty.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Headers::new(),
            body: None,
            redirect: None,
            cf: Value::Undefined,
            cache: None,
            integrity: None,
            encode_response_body: None,
            other: Object::new(),
        }
    }
}

impl Response {
    /// A response without headers and body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            status_text: None,
            headers: Headers::new(),
            body: None,
            cf: Value::Undefined,
            encode_body: None,
            other: Object::new(),
        }
    }
}

/// Text of the first line of a message, or of a member of it: no control characters, and so no line breaks.
pub(crate) fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// What may stand for a URL on a line: no spaces either.
pub(crate) fn is_url(text: &str) -> bool {
    !text.is_empty() && is_line(text) && !text.contains(' ')
}

/// Statuses that a response can have.
pub(crate) fn is_status(status: u16) -> bool {
    matches!(status, 0 | 100..=599)
}
