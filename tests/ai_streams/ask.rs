//! Ways to ask the same model, and what an answer took.
#![allow(dead_code, reason = "each program uses a part of it")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use js_rpc::{Address, Binding, ByteStream, ConnectOptions, Connection};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Somebody who can be asked, on a connection that is kept.
pub enum Asker {
    /// OpenAI's HTTP.
    Http(Box<Http>),
    /// `AI.run`, by RPC.
    Rpc(Connection, Binding),
}

pub struct Http {
    host: String,
    send: SendRequest<Full<Bytes>>,
}

/// What an answer took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Until the first byte of its body.
    pub first: Duration,
    pub whole: Duration,
    pub bytes: usize,
}

/// A streamed answer that has begun.
pub enum Body {
    Http(hyper::body::Incoming, String),
    Rpc(ByteStream),
}

impl Asker {
    /// Asks a server at `host:port`.
    pub async fn http(host: &str) -> Self {
        let stream = TcpStream::connect(host).await.expect("it listens");
        stream.set_nodelay(true).expect("it is TCP");
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::task::spawn_local(connection);
        let host = host.to_owned();
        Self::Http(Box::new(Http { host, send }))
    }

    /// Asks the binding `AI` of a callee, or of a caller in front of it.
    pub async fn rpc(address: &str) -> Self {
        let address: Address = address.parse().expect("an address");
        let connection = Connection::connect(&address, ConnectOptions::default()).await;
        let connection = connection.expect("it listens");
        let binding = connection.binding("AI");
        Self::Rpc(connection, binding)
    }

    /// Asks for an answer in one piece.
    pub async fn whole(&mut self) -> Took {
        let began = Instant::now();
        let bytes = match self {
            Self::Http(http) => {
                let answer = http.post("whole", false).await;
                let body = answer.into_body().collect().await.expect("a body");
                body.to_bytes().len()
            }
            Self::Rpc(_, binding) => {
                let inputs = json!({"messages": messages()});
                let reply = binding.call("run", ("whole", inputs)).await;
                let reply: Value = reply.expect("an answer").parse().expect("JSON");
                assert!(reply["response"].is_string(), "{reply}");
                reply.to_string().len()
            }
        };
        let whole = began.elapsed();
        let first = whole;
        Took {
            first,
            whole,
            bytes,
        }
    }

    /// Asks for a stream.
    pub async fn begin(&mut self, model: &str) -> Body {
        match self {
            Self::Http(http) => {
                let answer = http.post(model, true).await;
                Body::Http(answer.into_body(), http.host.clone())
            }
            Self::Rpc(_, binding) => {
                let inputs = json!({"messages": messages(), "stream": true});
                let reply = binding.call("run", (model, inputs)).await;
                let reply = reply.expect("an answer");
                Body::Rpc(reply.readable(0).expect("a stream").clone())
            }
        }
    }

    /// Asks for a stream and reads it to its end.
    pub async fn stream(&mut self, model: &str) -> Took {
        let began = Instant::now();
        let mut body = self.begin(model).await;
        let mut first = None;
        let (mut bytes, mut last) = (0, Bytes::new());
        while let Some(read) = body.next().await {
            first.get_or_insert_with(|| began.elapsed());
            bytes += read.len();
            last = read;
        }
        let whole = began.elapsed();
        assert!(last.ends_with(b"data: [DONE]\n\n"), "it broke off");
        let first = first.expect("it has events");
        Took {
            first,
            whole,
            bytes,
        }
    }
}

impl Http {
    async fn post(&mut self, model: &str, stream: bool) -> hyper::Response<hyper::body::Incoming> {
        // As most clients ask, usage comes unasked for from the stand-in.
        let options = stream.then(|| json!({"include_usage": true}));
        let body = json!({
            "model": model, "messages": messages(), "stream": stream, "stream_options": options,
        });
        let request = Request::post("/v1/chat/completions")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        self.send.ready().await.expect("the connection is kept");
        let answer = self.send.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    }
}

impl Body {
    /// What comes next.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Http(body, host) => loop {
                let frame = body.frame().await?;
                let frame = frame.unwrap_or_else(|error| panic!("{host}: {error}"));
                if let Ok(data) = frame.into_data() {
                    return Some(data);
                }
            },
            Self::Rpc(stream) => Some(stream.next().await?.expect("bytes")),
        }
    }
}

fn messages() -> Value {
    json!([
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "What is a stream?"},
    ])
}
