//! The same job by tonic: unary gRPC over HTTP/2, what is said of the span as response metadata.
//!
//! Written by hand in the shape of generated code, because that takes protoc. The server has no router, which
//! would cost a little more.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use binding_span::Attribute;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::codegen::tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::{Counted, Load, Said};

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(uint32, tag = "1")]
    argument: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bool, tag = "1")]
    ok: bool,
    #[prost(uint32, tag = "2")]
    rows: u32,
    #[prost(string, tag = "3")]
    text: String,
}

const METHOD: &str = "/bench.Callee/Run";
const NAME: &str = "span-name";
const SYSTEM: &str = "db.system.name";
const ROWS: &str = "db.response.returned_rows";

/// The method.
struct Run;

impl Service<Request<Question>> for Run {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Ready<Result<Response<Answer>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Question>) -> Self::Future {
        let crate::Answer { ok, rows, text } = crate::Answer::default();
        let text = text.to_owned();
        let mut response = Response::new(Answer { ok, rows, text });
        let said = response.metadata_mut();
        said.insert(NAME, MetadataValue::from_static("d1.query"));
        said.insert(SYSTEM, MetadataValue::from_static("sqlite"));
        said.insert(ROWS, MetadataValue::from(3_i64));
        ready(Ok(response))
    }
}

#[derive(Clone)]
struct Callee;

impl Service<http::Request<Body>> for Callee {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            METHOD => Box::pin(async {
                let mut server = tonic::server::Grpc::new(ProstCodec::default());
                Ok(server.unary(Run, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

pub async fn serve(path: &Path, ready: impl FnOnce()) {
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    ready();
    let connections = UnixListenerStream::new(listener);
    let served = Server::builder().serve_with_incoming(Callee, connections);
    served.await.expect("connections");
}

pub async fn round(path: &Path, load: Load, sink: &Counted) -> Duration {
    let address = format!("unix://{}", path.display());
    let endpoint = Endpoint::from_shared(address).expect("an address");
    let client = tonic::client::Grpc::new(endpoint.connect().await.expect("the callee"));
    let call = || async {
        // As users of generated clients do, who need one `&mut` for each call in flight.
        let mut client = client.clone();
        client.ready().await.expect("the callee");
        let (path, codec) = (PathAndQuery::from_static(METHOD), ProstCodec::default());
        let question = Request::new(Question { argument: 3 });
        let answer = client.unary(question, path, codec).await;
        let answer: Response<Answer> = answer.expect("an answer");
        sink.take(&said(answer.metadata()).expect("a name and two attributes"));
        assert!(answer.get_ref().ok);
    };
    load.time(call).await
}

fn said(metadata: &MetadataMap) -> Option<Said> {
    let text = |key| metadata.get(key)?.to_str().ok();
    let rows: i64 = text(ROWS)?.parse().ok()?;
    Some(Said {
        name: text(NAME)?.to_owned(),
        attributes: vec![
            Attribute::new(SYSTEM, text(SYSTEM)?.to_owned()),
            Attribute::new(ROWS, rows),
        ],
    })
}
