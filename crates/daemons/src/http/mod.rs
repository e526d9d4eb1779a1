//! HTTP/1.1 on a listener of ours: calls (`caller serve --http`) and the admin port are served by this.
//!
//! Here is what any port needs: who is let in (js-rpc's [`Acceptor`]), how long a client may take over
//! anything, and an end in time. What is answered is a [`Handler`]'s; what a web page could have sent is
//! refused by [`gate`], which a handler asks first.
//!
//! hyper alone does it: a handful of fixed paths needs no framework.

pub(crate) mod gate;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use js_rpc::{Acceptor, Admitted};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
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
}

/// An answer's body: whole, or a stream. A stream ends when its handler says so, and is dropped when its
/// client is gone.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) type Answer = Response<Body>;

/// Answers requests.
pub(crate) trait Handler: 'static {
    /// The answer to one request. Dropped before it is there if the client goes away.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer>;
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
    loop {
        let admitted = tokio::select! {
            // A sender that is gone cannot stop us any more: its owner did not wait for us.
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            admitted = acceptor.accept() => admitted,
        };
        let (handler, stopped) = (Rc::clone(&handler), stopped.clone());
        connections.spawn_local(async move {
            let peer = admitted.peer();
            if let Err(error) = connection(admitted, handler, limits, stopped).await {
                tracing::debug!(%peer, %error, "an HTTP connection ended");
            }
        });
    }
    // With it goes the socket's file.
    drop(acceptor);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.grace, finished).await;
}

async fn connection(
    admitted: Admitted,
    handler: Rc<impl Handler>,
    limits: HttpLimits,
    stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let opened = tokio::time::timeout(limits.head, admitted.open()).await;
    let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    talk(opened, handler, limits, stopped).await
}

/// Answers what comes on a connection, until it ends or `stopped`.
pub(crate) async fn talk(
    opened: impl AsyncRead + AsyncWrite + 'static,
    handler: Rc<impl Handler>,
    limits: HttpLimits,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = TimeoutStream::new(opened);
    stream.set_write_timeout(Some(limits.stall));
    let service = service_fn(move |request| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
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
