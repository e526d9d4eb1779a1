//! A provider's answer, and what the caller gets of it.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use js_rpc::ByteStream;
use serde_json::Value;

use super::super::account::Operation;
use super::super::gateway::Kept;
use super::super::upstream::{UpstreamAnswer, UpstreamBody, UpstreamError};
use super::super::workers::{self, AiError};
use super::open::{self, Open};
use super::{Ask, Failure, Shape, Why};

/// An answer for the caller.
pub(in crate::ai) struct Answer {
    pub(in crate::ai) status: StatusCode,
    pub(in crate::ai) headers: HeaderMap,
    pub(in crate::ai) body: Body,
}

/// An answer's body.
pub(in crate::ai) enum Body {
    /// All of it is there.
    Whole(Bytes),
    /// It comes.
    Stream(ByteStream),
}

impl From<Answer> for Response<ByteStream> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(match answer.body {
            Body::Whole(bytes) => ByteStream::from(bytes),
            Body::Stream(stream) => stream,
        });
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// The answer to one attempt.
pub(super) enum Got {
    /// A body that can only be passed on.
    Stream(UpstreamAnswer),
    /// All of the answer.
    Whole(StatusCode, HeaderMap, Bytes),
}

/// Whether all of a good answer is read before any of it goes on.
pub(super) fn reads_whole(ask: &Ask, status: StatusCode, headers: &HeaderMap) -> bool {
    // There is no body, and nobody would read on to its end.
    let bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    if bare || ask.request.method == Method::HEAD {
        return true;
    }
    if open::is_stream(headers) {
        return false;
    }
    match ask.shape {
        // Whatever it is, a Worker is not given it as it came.
        Shape::Workers(_) => true,
        Shape::AsIs { .. } => {
            is_type(headers, "application/json") && ask.operation != Operation::Other
        }
    }
}

/// Gives a whole answer, in the shape that is wanted.
pub(super) fn give(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    mut open: Open,
    ask: &Ask,
) -> Result<Answer, Failure> {
    headers.remove(CONTENT_LENGTH);
    let body = match refuses_our_key(status, ask) {
        true => {
            headers = of_type("application/json");
            Bytes::from_static(KEY_REFUSED)
        }
        false => body,
    };
    open.pass(&body);
    let read = match ask.operation {
        Operation::Other => None,
        _ => serde_json::from_slice::<Value>(&body).ok(),
    };
    if let Some(read) = read.as_ref().filter(|_| !is_failure(status)) {
        open.read(read);
    }
    let shaped = match ask.shape {
        Shape::AsIs { .. } => Ok((headers.clone(), body)),
        Shape::Workers(_) if is_failure(status) => Err(AiError::upstream(status, &body)),
        Shape::Workers(task) => {
            let read = read.ok_or_else(|| AiError::unreadable("it is not JSON"));
            let shaped = read.and_then(|read| workers::reply(task, &read));
            shaped.map(|shaped| (of_type("application/json"), shaped.to_string().into()))
        }
    };
    match shaped {
        Ok((mut shown, body)) => {
            open.annotate(&mut shown);
            open.end(&headers);
            Ok(Answer {
                status,
                headers: shown,
                body: Body::Whole(body),
            })
        }
        Err(error) => {
            let mut beside = HeaderMap::new();
            if let Some(after) = headers.get(RETRY_AFTER) {
                beside.insert(RETRY_AFTER, after.clone());
            }
            open.annotate(&mut beside);
            if !is_failure(status) {
                open.unreadable(error.error_type());
            }
            open.end(&headers);
            Err(Failure {
                why: Why::Ai(error),
                headers: Box::new(beside),
                stated: true,
            })
        }
    }
}

/// In place of what a provider says when it refuses a key that is not the caller's: it likes to repeat the key.
const KEY_REFUSED: &[u8] = br#"{"error":{"message":"the provider refuses the key that it was sent","type":"authentication_error","param":null,"code":"upstream_key"}}"#;

fn refuses_our_key(status: StatusCode, ask: &Ask) -> bool {
    let options = ask.provider.options();
    let ours = options.key.is_some() || !options.headers.is_empty();
    ours && [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status)
}

/// Whether a status says that there is no answer. Those from 600 on, which no standard has, are none either.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

impl Got {
    /// What a gateway has kept.
    pub(super) fn kept(kept: &Kept) -> Self {
        let (headers, body) = (kept.headers.clone(), kept.body.clone());
        match kept.stream {
            false => Self::Whole(kept.status, headers, body),
            true => Self::Stream(UpstreamAnswer {
                status: kept.status,
                headers,
                head_at: Instant::now(),
                body: Box::pin(futures::stream::iter([Ok(body)])),
            }),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Stream(answer) => answer.status,
            Self::Whole(status, ..) => *status,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Stream(answer) => &answer.headers,
            Self::Whole(_, headers, _) => headers,
        }
    }

    /// What there is of the body.
    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::Stream(_) => &[],
            Self::Whole(.., body) => body,
        }
    }
}

/// Reads all of an answer.
pub(super) async fn read_whole(
    provider: &str,
    mut body: UpstreamBody,
    most: usize,
) -> Result<Bytes, UpstreamError> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        if whole.len() + bytes.len() > most {
            return Err(UpstreamError::Broken {
                name: provider.to_owned(),
                reason: format!("it has more than {most} bytes (max_answer_bytes)"),
            });
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}

/// Whether a body is of this type, whatever its parameters.
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

pub(super) fn of_type(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
}
