//! A receiver of OTLP, by HTTP or by gRPC, that counts what it acknowledges, and misbehaves when told to.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod grpc;

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The longest that anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Takes all spans.
    Take,
    /// Takes the request, but not this many of its spans.
    Reject(i64),
    /// Answers with this status.
    Answer(u16),
    /// Answers with 503 so often, and then takes.
    Busy(u32),
    /// Says so often that it takes nothing for so long, and then takes.
    Throttle(u32, Duration),
    /// Never answers.
    Hang,
}

/// A span that was taken, and the resource that it was of.
#[derive(Debug, Clone)]
pub struct Taken {
    pub resource: Vec<KeyValue>,
    pub span: Span,
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    /// When requests came.
    requests: Vec<Instant>,
    headers: HeaderMap,
}

/// What it answers.
struct Answer {
    status: u16,
    said: ExportTraceServiceResponse,
    /// How long it asks to be left alone.
    pause: Option<Duration>,
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

struct State {
    mode: Mutex<Mode>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// The receiver; ends when dropped.
pub struct Receiver {
    state: Arc<State>,
    address: SocketAddr,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    tls: Option<Arc<rustls::ServerConfig>>,
    protocol: Protocol,
}

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

impl Receiver {
    pub fn start(mode: Mode) -> Self {
        Self::by(Protocol::Http, mode)
    }

    pub fn by(protocol: Protocol, mode: Mode) -> Self {
        Self::new(protocol, mode, None)
    }

    pub fn with(mode: Mode, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::new(Protocol::Http, mode, tls)
    }

    fn new(protocol: Protocol, mode: Mode, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let state = Arc::new(State {
            mode: Mutex::new(mode),
            seen: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut receiver = Self {
            state,
            address: ([127, 0, 0, 1], 0).into(),
            running: None,
            tls,
            protocol,
        };
        receiver.restart();
        receiver
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    pub fn mode(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    /// What was taken, each span as often as it came.
    pub fn taken(&self) -> Vec<Taken> {
        self.seen().taken.clone()
    }

    pub fn count(&self) -> usize {
        self.seen().taken.len()
    }

    /// The headers of the last request.
    pub fn headers(&self) -> HeaderMap {
        self.seen().headers.clone()
    }

    /// Waits for so many requests, answered or not.
    #[track_caller]
    pub fn wait_requests(&self, n: usize) {
        self.wait(|seen| seen.requests.len() >= n, "requests");
    }

    /// When requests came.
    pub fn requests(&self) -> Vec<Instant> {
        self.seen().requests.clone()
    }

    /// Waits until so many spans were taken.
    #[track_caller]
    pub fn wait_spans(&self, n: usize) -> Vec<Taken> {
        self.wait(|seen| seen.taken.len() >= n, "spans");
        self.taken()
    }

    #[track_caller]
    fn wait(&self, until: impl Fn(&Seen) -> bool, what: &str) {
        let waiting = self
            .state
            .changed
            .wait_timeout_while(self.seen(), LIMIT, |s| !until(s));
        let (seen, timeout) = waiting.unwrap();
        let (spans, requests) = (seen.taken.len(), seen.requests.len());
        assert!(
            !timeout.timed_out(),
            "waited for {what}; {spans} spans in {requests} requests"
        );
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.state.seen.lock().unwrap()
    }

    /// Goes away: what it has taken it acknowledges, and nobody is there any more.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(true);
            thread.join().unwrap();
        }
    }

    /// Is there again, at the same address.
    pub fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(bind(self.address));
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        let protocol = self.protocol;
        let thread = std::thread::spawn(move || match protocol {
            Protocol::Http => runtime.block_on(serve(listener, state, tls, stopped)),
            Protocol::Grpc => runtime.block_on(grpc::serve(listener, state, stopped)),
        });
        self.running = Some((stop, thread));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let until = Instant::now() + LIMIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            // Connections of before may still have the port.
            Err(error) => assert!(Instant::now() < until, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    tls: Option<Arc<rustls::ServerConfig>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopped.changed() => break,
        };
        let (state, stopped, tls) = (Arc::clone(&state), stopped.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => connection(stream, state, stopped).await,
                Some(tls) => {
                    let accepting = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
                    if let Ok(stream) = accepting.await {
                        connection(stream, state, stopped).await;
                    }
                }
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let hanging = async {
        let _ = stopped.changed().await;
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = hanging => {}
    }
    if *state.mode.lock().unwrap() == Mode::Hang {
        return;
    }
    // An answer that was begun is finished.
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!(
        (head.method.as_str(), head.uri.path()),
        ("POST", "/v1/traces")
    );
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // The exporter gave up.
        Err(_) => std::future::pending().await,
    };
    let answer = take(&head.headers, &body, &state);
    state.changed.notify_all();
    let Some(answer) = answer else {
        return std::future::pending().await;
    };
    let mut response = Response::builder().status(answer.status);
    if let Some(pause) = answer.pause {
        response = response.header("retry-after", pause.as_secs());
    }
    let said = Full::new(answer.said.encode_to_vec().into());
    Ok(response.body(said.boxed()).unwrap())
}

/// Does with a request what it is told to; `None`: nothing is answered. Statuses are HTTP's.
fn take(headers: &HeaderMap, body: &[u8], state: &State) -> Option<Answer> {
    let mut mode = state.mode.lock().unwrap();
    let mut seen = state.seen.lock().unwrap();
    seen.requests.push(Instant::now());
    seen.headers = headers.clone();
    let mut answer = Answer {
        status: 200,
        said: ExportTraceServiceResponse::default(),
        pause: None,
    };
    let mut rejected = 0;
    match *mode {
        Mode::Take => {}
        Mode::Reject(spans) => {
            rejected = spans as usize;
            answer.said.partial_success = Some(ExportTracePartialSuccess {
                rejected_spans: spans,
                error_message: "too \x1b[31mold".to_owned(),
            });
        }
        Mode::Answer(status) => answer.status = status,
        Mode::Busy(0) | Mode::Throttle(0, _) => *mode = Mode::Take,
        Mode::Busy(times) => {
            *mode = Mode::Busy(times - 1);
            answer.status = 503;
        }
        Mode::Throttle(times, pause) => {
            *mode = Mode::Throttle(times - 1, pause);
            answer.status = 429;
            answer.pause = Some(pause);
        }
        Mode::Hang => return None,
    }
    if answer.status == 200 {
        let mut spans = spans(headers, body);
        spans.truncate(spans.len().saturating_sub(rejected));
        seen.taken.extend(spans);
    }
    Some(answer)
}

fn spans(headers: &HeaderMap, body: &[u8]) -> Vec<Taken> {
    let mut plain = Vec::new();
    let body = match headers.get("content-encoding") {
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            flate2::read::GzDecoder::new(body)
                .read_to_end(&mut plain)
                .unwrap();
            &plain[..]
        }
        None => body,
    };
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut taken = Vec::new();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap().attributes;
        for span in of_resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            taken.push(Taken {
                resource: resource.clone(),
                span,
            });
        }
    }
    taken
}

/// The value of an attribute; it must not be there twice.
#[track_caller]
pub fn get<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let mut found = attributes.iter().filter(|pair| pair.key == key);
    let value = found.next()?.value.as_ref()?.value.as_ref();
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

/// A text, as attributes have it.
pub fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}
