//! A callee with the binding `VECTORIZE`, a connection to it, and all that both tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bindings::vectorize::{
    IndexOptions, MetadataIndex, MetadataType, Metric, Operated, OperationSink, Store, Vectorize,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use js_rpc::{Address, Args, CallBuilder, CallError, ConnectOptions, Connection, Listener, Server};
use js_value::{Object, Value as JsValue};
use serde_json::Value as Json;
use tail::FinishedSpan;
use tokio::net::TcpStream;

use crate::recorder::Spans;

/// Operations that have ended.
#[derive(Default)]
pub struct Operations(Mutex<Vec<Operated>>);

impl OperationSink for Operations {
    fn ended(&self, operation: &Operated) {
        self.0.lock().unwrap().push(*operation);
    }
}

impl Operations {
    pub fn all(&self) -> Vec<Operated> {
        self.0.lock().unwrap().clone()
    }
}

pub struct World {
    pub index: Vectorize,
    pub address: Address,
    pub connection: Connection,
    /// The caller's spans.
    pub caller: Arc<Spans>,
    /// The callee's.
    pub callee: Arc<Spans>,
    pub operations: Arc<Operations>,
    _folder: tempfile::TempDir,
}

/// Three dimensions, and metadata indexes on `kind` and `author.age`.
pub fn options() -> IndexOptions {
    let index = |property: &str, kind| MetadataIndex {
        property: property.to_owned(),
        kind,
    };
    IndexOptions {
        create: true,
        dimensions: Some(3),
        metric: Some(Metric::Cosine),
        metadata_indexes: vec![
            index("kind", MetadataType::String),
            index("author.age", MetadataType::Number),
        ],
        ..IndexOptions::default()
    }
}

impl World {
    pub async fn of_default() -> Self {
        Self::new(options()).await
    }

    pub async fn new(options: IndexOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::File(folder.path().join("docs.sqlite"));
        let operations = Arc::new(Operations::default());
        let index = Vectorize::open("docs", store, options, Some(operations.clone() as _));
        let index = index.await.unwrap();
        let [caller, callee] = std::array::from_fn(|_| {
            let spans = Spans::new();
            spans.look(true);
            spans
        });
        let at = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&at).await.unwrap();
        let address = listener.address().clone();
        let server = Server::new()
            .service("VECTORIZE", index.clone())
            .sinks(callee.sinks());
        tokio::task::spawn_local(server.serve([listener], std::future::pending()));
        let connect = ConnectOptions {
            sinks: caller.sinks(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&address, connect).await.unwrap();
        Self {
            index,
            address,
            connection,
            caller,
            callee,
            operations,
            _folder: folder,
        }
    }

    pub fn call(&self, method: &str, args: impl Into<Vec<Json>>) -> CallBuilder {
        let args = Args::from_json(args.into()).unwrap();
        self.connection.binding("VECTORIZE").call(method, args)
    }

    pub async fn rpc(&self, method: &str, args: impl Into<Vec<Json>>) -> Result<Json, String> {
        told(self.call(method, args).await)
    }

    /// The same with arguments that JSON does not have.
    pub async fn js(&self, method: &str, args: Vec<JsValue>) -> Result<Json, String> {
        let binding = self.connection.binding("VECTORIZE");
        told(binding.call(method, Args::from(args)).await)
    }

    /// The caller's span of the call that ends next.
    pub async fn span(&self, call: impl Future<Output = Result<Json, String>>) -> FinishedSpan {
        let n = self.caller.now().len();
        let _ = call.await;
        self.caller.reached(n + 1).await
    }

    pub async fn stream(&self) -> TcpStream {
        let Address::Tcp { host, port } = &self.address else {
            unreachable!()
        };
        TcpStream::connect((host.as_str(), *port)).await.unwrap()
    }

    /// A request by plain HTTP, on a connection of its own: its status, and its body.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, Json) {
        let io = TokioIo::new(self.stream().await);
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "vectorize");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = send.send_request(request).await.unwrap().into_parts();
        assert_eq!(head.headers["content-type"], "application/json");
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> (u16, Json) {
        let headers = [("content-type", "application/json")];
        self.http("POST", path, &headers, body).await
    }

    pub async fn lines(&self, path: &str, body: impl Into<Bytes>) -> (u16, Json) {
        let headers = [("content-type", "application/x-ndjson")];
        self.http("POST", path, &headers, body).await
    }
}

fn told(reply: Result<js_rpc::Reply, CallError>) -> Result<Json, String> {
    match reply {
        Ok(reply) => Ok(reply.to_json().unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

/// An object of JavaScript.
pub fn object<const N: usize>(members: [(&str, JsValue); N]) -> JsValue {
    let mut object = Object::new();
    for (key, value) in members {
        object.insert(key, value);
    }
    JsValue::Object(object)
}

/// The attributes that a span got from its callee, as text by key.
pub fn attributes(span: &FinishedSpan) -> BTreeMap<String, String> {
    let of_ours = ["db.", "cloudflare.", "error."];
    let attributes = span.attributes.iter();
    attributes
        .filter(|it| of_ours.iter().any(|ours| it.key.starts_with(ours)))
        .map(|it| (it.key.to_string(), it.value.to_string()))
        .collect()
}
