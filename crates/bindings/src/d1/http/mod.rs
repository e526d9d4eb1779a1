//! D1's plain HTTP: what a Worker's `env.DB` speaks that is not allowed to use experimental features.
//!
//! `POST /query` or `/execute` with `{sql, params?}`, or an array of them, as JSON. The query `resultsFormat` says what the
//! rows look like: [`Rows`]. The answer is `{success: true, results, meta}`, or an array of them; or, for all of it, since
//! it is one transaction, `{success: false, error: "text"}`. A bookmark travels in a header, both ways. The status is 200
//! where SQL was run, whatever came of it.
//!
//! A body is read where its statements run: in a worker process, if there is one. Only small ones are read beforehand too,
//! to describe the call.

mod read;
mod write;

use binding_span::CallScope;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use js_rpc::{ByteStream, StreamError};
use serde::{Deserialize, Serialize};

use self::read::Body;
use self::write::Answer;
use super::database::Database;
use super::error::QueryError;
use super::options::{DatabaseOptions, Integers};
use super::outcome::QueryOutcome;
use super::request::QueryRequest;
use super::request_value::{RequestError, short};

/// Carries a session's bookmark or constraint there, and the newest bookmark back.
const BOOKMARK: &str = "x-cf-d1-session-commit-token";

/// What a request says besides its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HttpCall {
    pub(super) rows: Rows,
    bookmark: Option<String>,
}

/// What rows look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rows {
    /// `{columns, rows}`: `resultsFormat=ROWS_AND_COLUMNS`.
    Arrays,
    /// `[{column: value}]`: `ARRAY_OF_OBJECTS`, `NONE` (programs relied on the rows that D1 gave to them for it), or nothing
    /// said. Of columns with one name the last one counts.
    Objects,
}

/// A body, read.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) request: QueryRequest,
    /// Whether the answer is an array.
    pub(super) many: bool,
}

impl HttpCall {
    /// What a request asks for, or the answer to one that asks for something else.
    fn of(head: &Parts) -> Result<Self, Refusal> {
        match (head.uri.path(), &head.method) {
            ("/dump", _) => Err(refused(
                StatusCode::NOT_IMPLEMENTED,
                "dump() is deprecated and not served; copy the database's file with `sqlite3 FILE .dump` or `VACUUM INTO`",
            )),
            ("/query" | "/execute", &Method::POST) => Ok(Self {
                rows: rows(head.uri.query().unwrap_or_default())?,
                bookmark: head.headers.get(BOOKMARK).map(bookmark).transpose()?,
            }),
            ("/query" | "/execute", method) => {
                let text = format!("{method} is not what a D1 database takes; send POST");
                Err(refused(StatusCode::METHOD_NOT_ALLOWED, &text))
            }
            (path, _) => Err(refused(
                StatusCode::NOT_FOUND,
                &format!(
                    "A D1 database has no {}; send POST /query or /execute",
                    short(path)
                ),
            )),
        }
    }

    /// The same with the request's body.
    pub(super) fn of_whole(
        request: Request<Bytes>,
        options: &DatabaseOptions,
    ) -> Result<(Self, Bytes), Refusal> {
        let (head, body) = request.into_parts();
        let call = Self::of(&head)?;
        match body.len() > options.max_request_bytes {
            true => Err(too_long(options)),
            false => Ok((call, body)),
        }
    }

    /// The same with the request's body, of which no more is read than it may have.
    pub(super) async fn receive(
        request: Request<ByteStream>,
        options: &DatabaseOptions,
    ) -> Result<(Self, Bytes), Refusal> {
        let (head, body) = request.into_parts();
        let call = Self::of(&head)?;
        match body.read_to_end(options.max_request_bytes).await {
            Ok(body) => Ok((call, body)),
            Err(StreamError::TooLong(_)) => Err(too_long(options)),
            Err(error) => Err(refused(
                StatusCode::BAD_REQUEST,
                &format!("The body cannot be read: {error}"),
            )),
        }
    }

    /// Whether the answer has the columns' names in each row.
    pub(super) fn names_in_rows(&self) -> bool {
        self.rows == Rows::Objects
    }

    /// Reads a body.
    pub(super) fn read(&self, body: &[u8]) -> Result<Asked, RequestError> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| RequestError::Json(error.to_string()))?;
        let queries = body.queries.into_iter().enumerate();
        let queries = queries.map(|(at, query)| query.checked(at, body.many));
        Ok(Asked {
            request: QueryRequest {
                queries: queries.collect::<Result<_, _>>()?,
                bookmark: self.bookmark.clone(),
            },
            many: body.many,
        })
    }

    /// The answer's body.
    pub(super) fn write(
        &self,
        result: &Result<QueryOutcome, QueryError>,
        many: bool,
        integers: Integers,
    ) -> Vec<u8> {
        let one = |result| Answer {
            result,
            rows: self.rows,
            integers,
        };
        let written = match result {
            Err(error) => return failure(&error.to_string()),
            Ok(outcome) if many => {
                let answers: Vec<_> = outcome.results.iter().map(one).collect();
                serde_json::to_vec(&answers)
            }
            Ok(outcome) => serde_json::to_vec(&outcome.results.first().map(one)),
        };
        // Nothing that is written can fail to be.
        written.unwrap_or_else(|error| failure(&error.to_string()))
    }
}

fn too_long(options: &DatabaseOptions) -> Refusal {
    let cap = options.max_request_bytes;
    let text = format!("The request has more than {cap} bytes (max_request_bytes); split it");
    refused(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

fn rows(query: &str) -> Result<Rows, Refusal> {
    let mut formats = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("resultsFormat="));
    match formats.next_back() {
        Some("ROWS_AND_COLUMNS") => Ok(Rows::Arrays),
        None | Some("ARRAY_OF_OBJECTS" | "NONE") => Ok(Rows::Objects),
        Some(other) => Err(refused(
            StatusCode::BAD_REQUEST,
            &format!(
                "resultsFormat is ROWS_AND_COLUMNS, ARRAY_OF_OBJECTS or NONE, not {}",
                short(other)
            ),
        )),
    }
}

fn bookmark(value: &HeaderValue) -> Result<String, Refusal> {
    let text = value.to_str().map(str::to_owned);
    text.map_err(|_| refused(StatusCode::BAD_REQUEST, &format!("{BOOKMARK} is no text")))
}

/// An answer whose body was written elsewhere.
pub(super) fn answered(body: Vec<u8>, bookmark: Option<&str>) -> Response<Bytes> {
    let mut answer = json(StatusCode::OK, body);
    if let Some(bookmark) = bookmark.and_then(|text| HeaderValue::from_str(text).ok()) {
        answer.headers_mut().insert(BOOKMARK, bookmark);
    }
    answer
}

/// The answer to a call that failed.
pub(super) fn failed(error: &QueryError) -> Response<Bytes> {
    json(StatusCode::OK, failure(&error.to_string()))
}

/// The answer to a body that is not what D1 takes.
pub(super) fn not_understood(message: &str) -> Response<Bytes> {
    refused(StatusCode::BAD_REQUEST, message).into()
}

/// Why a request is not one that a database runs.
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

fn refused(status: StatusCode, message: &str) -> Refusal {
    Refusal {
        status,
        message: message.to_owned(),
    }
}

impl From<Refusal> for Response<Bytes> {
    fn from(refusal: Refusal) -> Self {
        let mut answer = json(refusal.status, failure(&refusal.message));
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            let post = HeaderValue::from_static("POST");
            answer.headers_mut().insert(ALLOW, post);
        }
        answer
    }
}

fn failure(message: &str) -> Vec<u8> {
    serde_json::json!({"success": false, "error": message})
        .to_string()
        .into_bytes()
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

impl Database {
    /// Answers a plain HTTP request of D1's, and enriches as for a call of `query`. It never fails: what is wrong is in the
    /// answer. For those who serve requests by other means than [`Service::fetch`](js_rpc::Service::fetch).
    pub async fn answer_http(&self, request: Request<Bytes>, call: &CallScope) -> Response<Bytes> {
        match HttpCall::of_whole(request, self.options()) {
            Ok((http, body)) => self.answer_http_call(&http, body, call).await,
            Err(refusal) => refusal.into(),
        }
    }

    pub(super) async fn answer_http_call(
        &self,
        http: &HttpCall,
        body: Bytes,
        call: &CallScope,
    ) -> Response<Bytes> {
        let asked = match http.read(&body) {
            Ok(asked) => asked,
            Err(error) => return not_understood(&error.to_string()),
        };
        drop(body);
        let names_in_rows = http.names_in_rows();
        let result = self.run(asked.request, names_in_rows, call).await;
        let bookmark = result.as_ref().ok();
        let bookmark = bookmark.map(|outcome| outcome.bookmark.to_string());
        let body = http.write(&result, asked.many, self.options().integers);
        answered(body, bookmark.as_deref())
    }
}
