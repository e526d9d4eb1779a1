//! A callee with the binding `AI`, a connection to it, and all that both tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bindings::ai::{
    Account, AccountSink, Ai, AiOptions, Endpoint, GatewayOptions, ProviderOptions,
};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use js_rpc::{
    Address, Args, Binding, ByteStream, CallBuilder, CallError, ConnectOptions, Connection,
    Listener, Reply, Server,
};
use serde_json::Value as Json;
use tail::FinishedSpan;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::spans::{SOON, Spans};
use crate::upstream::Upstream;

/// The attributes that a span got from its callee, as text by key.
pub fn attributes(span: &FinishedSpan) -> BTreeMap<String, String> {
    let own = |key: &str| {
        ["rpc.", "jsrpc.", "http.re", "url."]
            .iter()
            .any(|own| key.starts_with(own))
    };
    let attributes = span
        .attributes
        .iter()
        .filter(|it| !own(&it.key) || it.key == "http.response.status_code");
    attributes
        .map(|it| (it.key.to_string(), it.value.to_string()))
        .collect()
}

/// The same without what differs from run to run.
pub fn steady(span: &FinishedSpan) -> BTreeMap<String, String> {
    let mut all = attributes(span);
    all.remove("gen_ai.response.time_to_first_chunk");
    all.remove("ai_gateway.log.id");
    all
}

pub fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[derive(Default)]
pub struct Accounts {
    all: Mutex<Vec<Account>>,
    changed: Notify,
}

impl AccountSink for Accounts {
    fn settled(&self, account: &Account) {
        self.all.lock().unwrap().push(account.clone());
        self.changed.notify_waiters();
    }
}

impl Accounts {
    pub fn all(&self) -> Vec<Account> {
        self.all.lock().unwrap().clone()
    }

    /// The last, when there are exactly so many.
    pub async fn nth(&self, n: usize) -> Account {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.all().len() >= n {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        assert!(
            waited.is_ok() && self.all().len() == n,
            "{n} wanted: {:#?}",
            self.all()
        );
        self.all().pop().unwrap()
    }
}

pub struct World {
    pub ai: Ai,
    pub address: Address,
    pub connection: Connection,
    /// The caller's spans.
    pub caller: Arc<Spans>,
    /// The callee's.
    pub callee: Arc<Spans>,
    pub accounts: Arc<Accounts>,
}

/// One provider, `up`, and the model rules and gateways that there are by default.
pub fn options(upstream: &Upstream) -> AiOptions {
    AiOptions {
        providers: vec![provider("up", upstream)],
        ..AiOptions::default()
    }
}

pub fn provider(name: &str, upstream: &Upstream) -> ProviderOptions {
    ProviderOptions::new(name, Endpoint::Http(upstream.url()))
}

/// The same with a gateway `g`.
pub fn with_gateway(upstream: &Upstream, change: impl FnOnce(&mut GatewayOptions)) -> AiOptions {
    let mut gateway = GatewayOptions::new("g");
    gateway.retry_delay = Duration::from_millis(1);
    change(&mut gateway);
    AiOptions {
        gateways: vec![gateway],
        ..options(upstream)
    }
}

impl World {
    pub async fn of(upstream: &Upstream) -> Self {
        Self::new(options(upstream)).await
    }

    pub async fn new(options: AiOptions) -> Self {
        let accounts = Arc::new(Accounts::default());
        let ai = Ai::open("AI", options, Some(accounts.clone() as _)).unwrap();
        let [caller, callee] = std::array::from_fn(|_| {
            let spans = Spans::new();
            spans.look(true);
            spans
        });
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.address().clone();
        let server = Server::new()
            .service("AI", ai.clone())
            .sinks(callee.sinks());
        tokio::task::spawn_local(server.serve([listener], std::future::pending()));
        let connect = ConnectOptions {
            sinks: caller.sinks(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&address, connect).await.unwrap();
        Self {
            ai,
            address,
            connection,
            caller,
            callee,
            accounts,
        }
    }

    pub fn binding(&self) -> Binding {
        self.connection.binding("AI")
    }

    pub fn call(&self, method: &str, args: impl Into<Vec<Json>>) -> CallBuilder {
        self.binding()
            .call(method, Args::from_json(args.into()).unwrap())
    }

    pub async fn run(&self, args: impl Into<Vec<Json>>) -> Result<Reply, CallError> {
        self.call("run", args).await
    }

    /// The result of `run` as JSON, and the caller's span, which has ended.
    pub async fn ran(&self, args: impl Into<Vec<Json>>) -> (Json, FinishedSpan) {
        let n = self.caller.now().len();
        let json = self.run(args).await.unwrap().to_json().unwrap();
        (json, self.caller.reached(n + 1).await)
    }

    /// The error of `run`, and the caller's span.
    pub async fn failed(&self, args: impl Into<Vec<Json>>) -> (String, FinishedSpan) {
        let n = self.caller.now().len();
        let error = self.run(args).await.unwrap_err().to_string();
        (error, self.caller.reached(n + 1).await)
    }

    /// The stream that `run` returns.
    pub async fn streamed(&self, args: impl Into<Vec<Json>>) -> ByteStream {
        let reply = self.run(args).await.unwrap();
        reply.readable(0).expect("a stream").clone()
    }

    /// `gateway("g").run(..)`: a response.
    pub async fn universal(&self, args: impl Into<Vec<Json>>) -> Answer {
        let gateway = self.call("gateway", [Json::from("g")]).await.unwrap();
        let run = gateway
            .stub(0)
            .unwrap()
            .call("run", Args::from_json(args.into()).unwrap());
        let response = run.await.unwrap().into_payload().into_response().unwrap();
        let (head, body) = response.into_parts();
        let body = body.read_to_end(1 << 24).await.unwrap_or_default();
        drop(gateway);
        self.caller.closed().await;
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// A request by plain HTTP, on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let Address::Tcp { host, port } = &self.address else {
            unreachable!()
        };
        let io = TokioIo::new(TcpStream::connect((host.as_str(), *port)).await.unwrap());
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        send.send_request(request).await.unwrap()
    }

    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ai");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .send(request.body(Full::new(body.into())).unwrap())
            .await;
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body
                .collect()
                .await
                .map(|it| it.to_bytes())
                .unwrap_or_default(),
        }
    }

    pub async fn post(&self, path: &str, body: &Json) -> Answer {
        self.http(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The next part of a stream, as text.
pub async fn next(stream: &mut ByteStream) -> String {
    let part = tokio::time::timeout(SOON, stream.next())
        .await
        .expect("a part comes");
    String::from_utf8(part.expect("it goes on").unwrap().to_vec()).unwrap()
}

/// All that is left of a stream.
pub async fn rest(stream: ByteStream) -> String {
    let all = tokio::time::timeout(SOON, stream.read_to_end(1 << 24))
        .await
        .expect("it ends");
    String::from_utf8(all.unwrap().to_vec()).unwrap()
}

/// The data of the events in a text.
pub fn events(text: &str) -> Vec<Json> {
    let data = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Json::from(data)))
        .collect()
}

/// Waits until something is so.
pub async fn until(what: &str, ready: impl Fn() -> bool) {
    let wait = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect(what);
}
