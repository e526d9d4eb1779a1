//! HTTP/1.1 on a listener of ours: calls (`caller serve --http`) and the admin port are served by this.
//!
//! Here is what any port needs: who is let in (js-rpc's [`Acceptor`]), how long a client may take over
//! anything, and an end in time. What is answered is a [`Handler`]'s; what a web page could have sent is
//! refused by [`gate`], which a handler asks first.
//!
//! hyper alone does it: a handful of fixed paths needs no framework.

pub(crate) mod gate;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use js_rpc::{Acceptor, Admitted, ClientId, PeerKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpLimits {
    /// For TLS, for a request's head, and for a connection to be idle.
    pub(crate) head: Duration,
    /// Bytes of a request's head.
    pub(crate) head_bytes: usize,
    /// For reading some of what is written to it.
    pub(crate) stall: Duration,
    /// For everything that is going on, once no more is accepted.
    pub(crate) grace: Duration,
    /// Connections at a time, after which one makes room for a new one, unless it is kept for
    /// [long](Client::keep): the oldest of the peer that has most. `None`: the acceptor's quota alone counts.
    pub(crate) most: Option<usize>,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Client {
    /// Whose share of what clients share it has.
    pub(crate) key: PeerKey,
    pub(crate) id: ClientId,
    /// For how long its connection is kept.
    kept: RefCell<Option<Kept>>,
}

/// Connections that are kept for long; so many at a time. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct LongReaders(Rc<Cell<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Kept(Rc<Cell<usize>>);

impl Client {
    pub(crate) fn new(key: PeerKey, id: ClientId) -> Self {
        let kept = RefCell::default();
        Self { key, id, kept }
    }

    /// Keeps its connection for as long as it lasts, unless `most` are.
    pub(crate) fn keep(&self, readers: &LongReaders, most: usize) -> bool {
        let mut kept = self.kept.borrow_mut();
        if kept.is_none() && readers.0.get() < most {
            readers.0.set(readers.0.get() + 1);
            *kept = Some(Kept(Rc::clone(&readers.0)));
        }
        kept.is_some()
    }

    fn is_kept(&self) -> bool {
        self.kept.borrow().is_some()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// An answer's body: whole, or a stream. A stream ends when its handler says so, and is dropped when its
/// client is gone.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) type Answer = Response<Body>;

/// Answers requests.
pub(crate) trait Handler: 'static {
    /// The answer to one request. Dropped before it is there if the client goes away.
    fn answer(&self, request: Request<Incoming>, client: &Client) -> impl Future<Output = Answer>;
}

/// An answer that is there as a whole.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    streaming(status, kind, Full::new(body.into()).boxed_unsync())
}

/// An answer whose body may come in parts.
pub(crate) fn streaming(status: StatusCode, kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Answers until `stopped`, then finishes the requests that are there, as long as the limits let it.
pub(crate) async fn serve(
    mut acceptor: Acceptor,
    handler: Rc<impl Handler>,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    for count in 1usize.. {
        // Those that were let in have their turn before they may have to make room.
        if count % TURN == 0 {
            tokio::task::yield_now().await;
        }
        let admitted = tokio::select! {
            // A sender that is gone cannot stop us any more: its owner did not wait for us.
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            admitted = acceptor.accept() => admitted,
        };
        let (handler, stopped) = (Rc::clone(&handler), stopped.clone());
        let client = Rc::new(Client::new(admitted.key(), admitted.id()));
        let replaced = places.take(&client, limits.most);
        connections.spawn_local(async move {
            let (peer, stats) = (admitted.peer(), admitted.stats().clone());
            let ended = tokio::select! {
                ended = connection(admitted, handler, limits, client, stopped) => ended,
                () = replaced.notified() => {
                    stats.make_room();
                    Err("a new one needed its place".into())
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "an HTTP connection ended");
            }
        });
    }
    // With it goes the socket's file.
    drop(acceptor);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.grace, finished).await;
}

/// Connections that are accepted before those that are open have their turn.
const TURN: usize = 8;

/// The connections that are open, in the order in which they came, and how each is told to make room.
#[derive(Default)]
struct Places(Vec<(Weak<Client>, Rc<Notify>)>);

impl Places {
    /// A place for a client, which is told when it has to make room itself.
    fn take(&mut self, client: &Rc<Client>, most: Option<usize>) -> Rc<Notify> {
        let replaced = Rc::new(Notify::new());
        if let Some(most) = most {
            self.0.retain(|(client, _)| client.strong_count() > 0);
            self.make_room(most);
            self.0.push((Rc::downgrade(client), Rc::clone(&replaced)));
        }
        replaced
    }

    fn make_room(&mut self, most: usize) {
        let open = |(client, _): &(Weak<Client>, _)| {
            let client = client.upgrade().filter(|client| !client.is_kept())?;
            Some(client.key)
        };
        let keys: Vec<Option<PeerKey>> = self.0.iter().map(open).collect();
        if keys.iter().flatten().count() < most {
            return;
        }
        let mut counts = HashMap::new();
        for key in keys.iter().flatten() {
            *counts.entry(*key).or_insert(0) += 1;
        }
        let has_most = counts.into_iter().max_by_key(|(_, count)| *count);
        let oldest = has_most.and_then(|(key, _)| keys.iter().position(|of| *of == Some(key)));
        if let Some(oldest) = oldest {
            // Nothing is open for it any more as far as others are concerned.
            let (_, replaced) = self.0.remove(oldest);
            replaced.notify_one();
        }
    }
}

async fn connection(
    admitted: Admitted,
    handler: Rc<impl Handler>,
    limits: HttpLimits,
    client: Rc<Client>,
    stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let opened = tokio::time::timeout(limits.head, admitted.open()).await;
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    talk(opened, handler, limits, client, stopped).await
}

/// Answers what comes on a connection, until it ends or `stopped`.
pub(crate) async fn talk(
    opened: impl AsyncRead + AsyncWrite + 'static,
    handler: Rc<impl Handler>,
    limits: HttpLimits,
    client: Rc<Client>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = TimeoutStream::new(opened);
    stream.set_write_timeout(Some(limits.stall));
    let service = service_fn(move |request| {
        let (handler, client) = (Rc::clone(&handler), Rc::clone(&client));
        async move { Ok::<_, Infallible>(handler.answer(request, &client).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        _ = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
