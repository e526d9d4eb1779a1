//! The plain HTTP of a Worker's wrapped binding.
//!
//! The second version's paths are `/info`, `/query`, `/insert` and so on; the first version's stand below
//! `/binding/indexes/{id}`. Bodies are JSON, those of vectors also a vector a line (`application/x-ndjson`).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use binding_span::{CallScope, ERROR_TYPE, Enrichment};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request as HttpRequest, Response, StatusCode};
use js_rpc::{ByteStream, ClientId, LARGE, StreamError, offload};
use serde_json::{Value, json};

use super::error::{Code, VectorizeError};
use super::index::Vectorize;
use super::operation::Operation;
use super::read;
use super::request::Request;
use super::vector::Write;

/// What the first version's queries say of compatibility, if not in their bodies.
const QUERY_COMPAT: &str = "cf-vector-search-query-compat";

/// Bytes that a body may have that is no batch of vectors, besides the values of one.
const SMALL_BODY: usize = 1 << 20;

/// Bytes of a value of a vector, as it may be written in JSON.
const VALUE: usize = 32;

/// What a path asks for.
struct Route {
    operation: Operation,
    first_version: bool,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (name, first_version) = match path.strip_prefix("binding/indexes/") {
            None => (path, false),
            Some(below) => {
                let (index, name) = below.split_once('/').unwrap_or((below, "info"));
                if index.is_empty() {
                    return None;
                }
                (name, true)
            }
        };
        let operation = match name {
            "info" => Operation::Describe,
            // Whether by an id is in the body.
            "query" => Operation::Query,
            "insert" => Operation::Insert,
            "upsert" => Operation::Upsert,
            "getByIds" => Operation::GetByIds,
            "deleteByIds" => Operation::DeleteByIds,
            _ => return None,
        };
        Some(Self {
            operation,
            first_version,
        })
    }

    fn method(&self) -> Method {
        match self.operation {
            Operation::Describe => Method::GET,
            _ => Method::POST,
        }
    }
}

impl Vectorize {
    /// Answers a plain HTTP request. It never fails: what is wrong is in the answer. What is for the caller's span goes to
    /// `call`. For those who serve requests by other means than [`Service::fetch`](js_rpc::Service::fetch).
    pub async fn answer_http(
        &self,
        request: HttpRequest<ByteStream>,
        client: ClientId,
        call: &CallScope,
    ) -> Response<ByteStream> {
        let Some(route) = Route::of(request.uri().path()) else {
            call.enrich(Enrichment::new().attribute(ERROR_TYPE, "not_found"));
            let text = "a Vectorize index has no such path; there are /info, /query, /insert, /upsert, /getByIds and \
                /deleteByIds";
            return answer(StatusCode::NOT_FOUND, &json!({"error": text}));
        };
        if *request.method() != route.method() {
            call.enrich(Enrichment::new().attribute(ERROR_TYPE, "method_not_allowed"));
            let allowed = route.method();
            let text = format!("this path takes {allowed}");
            let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": text}));
            if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
                answer.headers_mut().insert(ALLOW, allowed);
            }
            return answer;
        }
        let Route {
            operation,
            first_version,
        } = route;
        let too_long = AtomicBool::new(false);
        let read = self.receive(request, operation, first_version, &too_long);
        let reply = self.perform(operation, client, call, read).await;
        match reply {
            Ok(reply) => answer(StatusCode::OK, &reply.to_json(self.name(), first_version)),
            Err(error) => {
                let status = match too_long.load(Relaxed) {
                    true => StatusCode::PAYLOAD_TOO_LARGE,
                    false => {
                        StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST)
                    }
                };
                let body = json!({"code": error.code.number(), "error": error.text});
                answer(status, &body)
            }
        }
    }

    async fn receive(
        &self,
        request: HttpRequest<ByteStream>,
        operation: Operation,
        first_version: bool,
        too_long: &AtomicBool,
    ) -> Result<Request, VectorizeError> {
        if operation == Operation::Describe {
            return Ok(Request::Describe);
        }
        let (head, body) = request.into_parts();
        let lines = head.headers.get(CONTENT_TYPE).is_some_and(is_lines);
        let compat = head.headers.get(QUERY_COMPAT).cloned();
        let most = self.options().limits.max_request_bytes;
        let (code, most, hint) = match operation {
            Operation::Insert | Operation::Upsert => (Code::Body, most, "send several batches"),
            _ => {
                let small = SMALL_BODY + VALUE * self.shape().dimensions;
                (Code::Request, small.min(most), "ask for less at once")
            }
        };
        let body = body.read_to_end(most).await.map_err(|error| match error {
            StreamError::TooLong(_) => {
                too_long.store(true, Relaxed);
                let text = format!("the body is too long; it may have {most} bytes; {hint}");
                VectorizeError::new(Code::TooMany, text)
            }
            error => VectorizeError::new(code, format!("the body cannot be read: {error}")),
        })?;
        let large = body.len() > LARGE;
        let index = self.clone();
        let read = move || {
            let compat = compat.as_ref().map(HeaderValue::as_bytes);
            index.read_body(&body, operation, lines, compat, first_version)
        };
        match large {
            false => read(),
            true => offload(read).await.unwrap_or_else(|| {
                Err(VectorizeError::new(
                    Code::Store,
                    "the body could not be read",
                ))
            }),
        }
    }

    fn read_body(
        &self,
        body: &Bytes,
        operation: Operation,
        lines: bool,
        compat: Option<&[u8]>,
        first_version: bool,
    ) -> Result<Request, VectorizeError> {
        let (limits, dimensions) = (&self.options().limits, self.shape().dimensions);
        let batch = |write| {
            let read = match lines {
                true => read::batch_of_lines,
                false => read::batch,
            };
            read(body, operation, dimensions, limits).map(|vectors| Request::Write(write, vectors))
        };
        match operation {
            Operation::Describe => Ok(Request::Describe),
            Operation::Query | Operation::QueryById => {
                read::query(body, compat, dimensions, limits, first_version).map(Request::Query)
            }
            Operation::Insert => batch(Write::Insert),
            Operation::Upsert => batch(Write::Upsert),
            Operation::GetByIds => read::ids(body, limits.max_ids_to_get).map(Request::Get),
            Operation::DeleteByIds => {
                read::ids(body, limits.max_ids_to_delete).map(Request::Delete)
            }
        }
    }
}

fn is_lines(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson"]
        .iter()
        .any(|lines| essence.eq_ignore_ascii_case(lines))
}

fn answer(status: StatusCode, body: &Value) -> Response<ByteStream> {
    let mut response = Response::new(ByteStream::from(body.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
