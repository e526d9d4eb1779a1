//! A server that does on each connection what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(in crate::ai) struct Server {
    pub(in crate::ai) at: SocketAddr,
    scheme: &'static str,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A client that has connected.
pub(in crate::ai) struct Peer {
    io: Box<dyn Io>,
    heard: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicUsize>,
}

impl Server {
    /// One that does `serve` on each connection.
    pub(in crate::ai) async fn new<F, T>(serve: F) -> Self
    where
        F: Fn(Peer) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::start(None, serve).await
    }

    /// One that answers every request with what `answer` makes of it.
    pub(in crate::ai) async fn answering<F>(answer: F) -> Self
    where
        F: Fn(&str) -> String + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Self::new(move |peer| answers(peer, Arc::clone(&answer))).await
    }

    /// The same under TLS.
    pub(in crate::ai) async fn tls(config: rustls::ServerConfig, answer: &'static str) -> Self {
        let answer = Arc::new(move |_: &str| answer.to_owned());
        let tls = Some(TlsAcceptor::from(Arc::new(config)));
        Self::start(tls, move |peer| answers(peer, Arc::clone(&answer))).await
    }

    async fn start<F, T>(tls: Option<TlsAcceptor>, serve: F) -> Self
    where
        F: Fn(Peer) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            at: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            heard: Arc::default(),
            connections: Arc::default(),
            closed: Arc::default(),
        };
        let (heard, closed) = (Arc::clone(&server.heard), Arc::clone(&server.closed));
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let io: Box<dyn Io> = match &tls {
                    None => Box::new(tcp),
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(io) => Box::new(io),
                        Err(_) => continue,
                    },
                };
                let (heard, closed) = (Arc::clone(&heard), Arc::clone(&closed));
                tokio::spawn(serve(Peer { io, heard, closed }));
            }
        });
        server
    }

    pub(in crate::ai) fn url(&self, path: &str) -> http::Uri {
        format!("{}://localhost:{}{path}", self.scheme, self.at.port())
            .replace("http://localhost", "http://127.0.0.1")
            .parse()
            .unwrap()
    }

    /// The requests so far.
    pub(in crate::ai) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(in crate::ai) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many clients were seen to close their connections.
    pub(in crate::ai) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

async fn answers<F: Fn(&str) -> String>(mut peer: Peer, answer: Arc<F>) {
    while let Some(request) = peer.request().await {
        let text = answer(&request);
        if text.is_empty() || !peer.say(&text).await {
            return;
        }
    }
}

impl Peer {
    /// The next request, head and body, as it came.
    pub(in crate::ai) async fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            let mut chunk = [0; 4096];
            let n = self.io.read(&mut chunk).await.unwrap_or(0);
            if n == 0 {
                return None;
            }
            bytes.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some(head) = text.find("\r\n\r\n") {
                let lines = text[..head].lines();
                let length = lines
                    .filter_map(|it| it.strip_prefix("content-length: "))
                    .find_map(|it| it.parse::<usize>().ok());
                break (head + 4, length.unwrap_or(0));
            }
        };
        let missing = (head + length).saturating_sub(bytes.len());
        let mut rest = vec![0; missing];
        self.io.read_exact(&mut rest).await.ok()?;
        bytes.extend(rest);
        let request = String::from_utf8(bytes).unwrap();
        self.heard.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Whether it could be written.
    pub(in crate::ai) async fn say(&mut self, text: &str) -> bool {
        let written = self.io.write_all(text.as_bytes()).await.is_ok();
        written && self.io.flush().await.is_ok()
    }

    /// Begins a streamed answer.
    pub(in crate::ai) async fn begin_stream(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        self.say(head).await;
    }

    /// One chunk of it.
    pub(in crate::ai) async fn chunk(&mut self, text: &str) -> bool {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len())).await
    }

    /// Waits until the client has closed the connection.
    pub(in crate::ai) async fn until_closed(&mut self) {
        let mut chunk = [0; 4096];
        while self.io.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A whole answer.
pub(in crate::ai) fn ok(body: &str) -> String {
    status("200 OK", body)
}

pub(in crate::ai) fn status(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}
