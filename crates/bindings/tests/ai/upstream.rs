//! A stand-in for a provider: it speaks OpenAI's HTTP on a real socket, and does with each request what a test says.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Handler = dyn Fn(Exchange) -> Pin<Box<dyn Future<Output = ()>>>;

pub struct Upstream {
    pub at: SocketAddr,
    seen: Rc<RefCell<Vec<Seen>>>,
    closed: Rc<Cell<usize>>,
}

impl Upstream {
    /// One that does `handle` with each request, one a connection.
    pub async fn new<F: Future<Output = ()> + 'static>(
        handle: impl Fn(Exchange) -> F + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let closed = Rc::new(Cell::new(0));
        let handle: Rc<Handler> = Rc::new(move |exchange| Box::pin(handle(exchange)));
        let upstream = Self {
            at,
            seen: Rc::clone(&seen),
            closed: Rc::clone(&closed),
        };
        tokio::task::spawn_local(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (seen, closed) = (Rc::clone(&seen), Rc::clone(&closed));
                let handle = Rc::clone(&handle);
                tokio::task::spawn_local(async move {
                    if let Some(exchange) = Exchange::read(io, &seen, closed).await {
                        handle(exchange).await;
                    }
                });
            }
        });
        upstream
    }

    /// One that answers each request with this.
    pub async fn answering(body: Json) -> Self {
        Self::new(move |mut exchange| {
            let body = body.clone();
            async move { exchange.ok(&body).await }
        })
        .await
    }

    /// One that answers the nth request with the nth of these statuses, and the last from then on; 200 is a chat.
    pub async fn statuses(
        statuses: &'static [(u16, &'static [(&'static str, &'static str)])],
    ) -> Self {
        let n = Cell::new(0);
        Self::new(move |mut exchange| {
            let (status, headers) = statuses[n.get().min(statuses.len() - 1)];
            n.set(n.get() + 1);
            async move {
                let body = match status {
                    200 => chat("fine"),
                    _ => json!({"error": {"message": "the upstream's own words", "type": "server_error"}}),
                };
                exchange.answer(status, headers, &body.to_string()).await;
            }
        })
        .await
    }

    pub fn url(&self) -> ::http::Uri {
        format!("http://{}/v1", self.at).parse().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request was received")
    }

    /// How many clients went away while they were answered.
    pub fn closed(&self) -> usize {
        self.closed.get()
    }
}

/// A request that is to be answered.
pub struct Exchange {
    pub seen: Seen,
    io: TcpStream,
    closed: Rc<Cell<usize>>,
}

impl Exchange {
    async fn read(
        mut io: TcpStream,
        seen: &RefCell<Vec<Seen>>,
        closed: Rc<Cell<usize>>,
    ) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            let mut chunk = [0; 8192];
            let n = io.read(&mut chunk).await.ok()?;
            if n == 0 {
                return None;
            }
            bytes.extend_from_slice(&chunk[..n]);
            if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ').map(str::to_owned);
        let (method, path) = (first.next()?, first.next()?);
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = bytes.split_off(end);
        let begun = body.len();
        body.resize(length, 0);
        io.read_exact(&mut body[begun..]).await.ok()?;
        let request = Seen {
            method,
            path,
            headers,
            body,
        };
        seen.borrow_mut().push(request.clone());
        let seen = request;
        Some(Self { seen, io, closed })
    }

    pub async fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut head = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = if self.seen.method == "HEAD" { "" } else { body };
        self.say(&format!("{head}\r\n{body}")).await;
    }

    pub async fn ok(&mut self, body: &Json) {
        self.answer(200, &[], &body.to_string()).await;
    }

    pub async fn begin(&mut self) {
        self.say(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n",
        )
        .await;
    }

    /// An event of a stream. Whether it could be written.
    pub async fn event(&mut self, event: &Json) -> bool {
        self.chunk(&format!("data: {event}\n\n")).await
    }

    pub async fn chunk(&mut self, text: &str) -> bool {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len())).await
    }

    /// `[DONE]`, and the end of the body.
    pub async fn end(&mut self) {
        self.chunk("data: [DONE]\n\n").await;
        self.say("0\r\n\r\n").await;
    }

    /// Answers a chat as a stream, as it was asked for.
    pub async fn stream(mut self, texts: &[&str]) {
        self.begin().await;
        for text in texts {
            self.event(&delta(text)).await;
        }
        self.event(&finish()).await;
        if self.seen.json()["stream_options"]["include_usage"] == json!(true) {
            self.event(&usage()).await;
        }
        self.end().await;
    }

    pub async fn say(&mut self, text: &str) -> bool {
        self.io.write_all(text.as_bytes()).await.is_ok()
    }

    /// Waits until the client has gone.
    pub async fn gone(mut self) {
        let mut chunk = [0; 64];
        while self.io.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
        self.closed.set(self.closed.get() + 1);
    }
}

pub fn chat(text: &str) -> Json {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "model-of-theirs",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    })
}

pub fn delta(text: &str) -> Json {
    json!({"id": "chatcmpl-2", "model": "model-of-theirs", "choices": [{"index": 0, "delta": {"content": text}}]})
}

pub fn finish() -> Json {
    json!({"id": "chatcmpl-2", "model": "model-of-theirs", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
}

pub fn usage() -> Json {
    json!({"id": "chatcmpl-2", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}})
}
