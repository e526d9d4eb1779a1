//! The same receiver by gRPC: one message each way, and a status in the trailers.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic_types::{ErrorDetails, StatusExt};

use super::{Answer, Body, State, take};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub async fn serve(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(connection(accepted.unwrap().0, Arc::clone(&state)));
            }
            // Connections end with the set.
            _ = stopped.changed() => return,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // Whoever goes without a word is no business of ours.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", EXPORT));
    assert_eq!(head.headers["content-type"], "application/grpc");
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // The exporter gave up.
        Err(_) => std::future::pending().await,
    };
    let answer = take(&head.headers, &message(&body), &state);
    state.changed.notify_all();
    match answer {
        Some(answer) => Ok(response(&answer)),
        None => std::future::pending().await,
    }
}

/// The message in a body: a byte that says whether it is compressed, four with its length, itself.
fn message(body: &[u8]) -> Vec<u8> {
    let (prefix, message) = body.split_at(5);
    let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
    assert_eq!(message.len(), length as usize);
    let mut plain = Vec::new();
    match prefix[0] {
        0 => plain.extend(message),
        _ => {
            let mut decoder = flate2::read::GzDecoder::new(message);
            decoder.read_to_end(&mut plain).unwrap();
        }
    }
    plain
}

fn response(answer: &Answer) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    let status = status(answer.status, answer.pause);
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    if status.code() != tonic::Code::Ok {
        let mut response = response.body(Empty::new().boxed()).unwrap();
        response.headers_mut().extend(trailers);
        return response;
    }
    let said = answer.said.encode_to_vec();
    let mut framed = vec![0];
    framed.extend((said.len() as u32).to_be_bytes());
    framed.extend(said);
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    response.body(body.boxed()).unwrap()
}

/// What HTTP's status is in gRPC.
fn status(status: u16, pause: Option<Duration>) -> tonic::Status {
    let code = match status {
        200 => tonic::Code::Ok,
        400 => tonic::Code::InvalidArgument,
        429 => tonic::Code::ResourceExhausted,
        503 => tonic::Code::Unavailable,
        other => panic!("{other} has no code here"),
    };
    match pause {
        Some(_) => {
            tonic::Status::with_error_details(code, "busy", ErrorDetails::with_retry_info(pause))
        }
        None => tonic::Status::new(code, "no"),
    }
}
