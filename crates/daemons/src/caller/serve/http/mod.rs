//! Calls as HTTP, for programs that speak neither Cap'n Proto nor JavaScript's RPC.
//!
//! `POST /v1/call/BINDING/METHOD` with a JSON array of arguments; the answer is the result as JSON. Each
//! call goes through this process's own server, by an inner door, so that it has the span, the policy, the
//! deadline and the tail that any other call has. What is refused before that is in `gate`, what answers
//! look like in `answer`.

mod answer;
mod call;
mod door;
mod gate;
mod socket;

use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use js_rpc::{Address, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::door::Door;
use self::socket::{Accepted, Socket};
use super::Config;
use crate::exit::Failure;
use crate::listen;

/// Where calls are taken as HTTP, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where.
    pub address: Address,
    /// Hosts that a request may name, in lower case, besides this machine's own.
    pub hosts: Vec<String>,
}

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a request's head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Takes calls as HTTP.
pub struct Front {
    socket: Socket,
    calls: Calls,
    inner: Option<Listener>,
}

/// What a request is answered with.
struct Calls {
    hosts: Vec<String>,
    /// How long a call of each binding may take.
    deadlines: HashMap<String, Duration>,
    door: Door,
}

impl Front {
    /// Listens, and makes the door that leads to this process's own server.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot listen there, or other machines could reach it and nobody said
    /// that they may.
    pub async fn bind(http: &HttpConfig, config: &Config) -> Result<Self, Failure> {
        listen::check_reach(&http.address, config.admission.insecure)?;
        let socket = Socket::bind(&http.address).await?;
        listen::check_reach(socket.address(), config.admission.insecure)?;
        let (door, inner) = Door::open().await?;
        let deadlines = config.bindings.iter();
        Ok(Self {
            socket,
            calls: Calls {
                hosts: http.hosts.clone(),
                deadlines: deadlines.map(|b| (b.name.clone(), b.deadline)).collect(),
                door,
            },
            inner: Some(inner),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.socket.address()
    }

    /// The listener on which the server has to be for calls to arrive; once.
    pub fn inner_door(&mut self) -> Option<Listener> {
        self.inner.take()
    }

    /// Answers until `stopped`, then finishes the requests that are there.
    pub async fn serve(self, mut stopped: watch::Receiver<bool>) {
        let Self { socket, calls, .. } = self;
        let (calls, mut connections) = (Rc::new(calls), JoinSet::new());
        // While there is room: whoever fills the server with connections must not shut this door.
        calls.door.open_up().await;
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&socket, &room) => accepted,
            };
            let (calls, stopped) = (Rc::clone(&calls), stopped.clone());
            match accepted {
                Ok((Accepted::Unix(stream), place)) => {
                    connections.spawn_local(connection(stream, calls, stopped, place));
                }
                Ok((Accepted::Tcp(stream), place)) => {
                    connections.spawn_local(connection(stream, calls, stopped, place));
                }
                Err(error) => {
                    // Out of descriptors or the like: what is open goes on, and accepting is tried again.
                    tracing::warn!(%error, address = %socket.address(), "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(socket);
        while connections.join_next().await.is_some() {}
    }
}

async fn accept(
    socket: &Socket,
    room: &Arc<Semaphore>,
) -> std::io::Result<(Accepted, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await;
    let place = place.map_err(std::io::Error::other)?;
    Ok((socket.accept().await?, place))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    calls: Rc<Calls>,
    mut stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request| {
        let calls = Rc::clone(&calls);
        async move { Ok::<_, Infallible>(calls.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
