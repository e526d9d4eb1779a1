//! A connection to a daemon's admin port, and the lines that it sends.

use std::io;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use js_rpc::Address;
use tail::MAX_LINE;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long connecting and the beginning of an answer may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a daemon may say nothing; it sends an empty line every few seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of a refusal that are shown.
const REFUSAL: usize = 4096;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Nobody answers there.
    #[error("cannot reach {address}: {error}; was the daemon started with --admin {address}?")]
    Unreachable { address: Address, error: io::Error },
    /// What answers is no admin port.
    #[error(
        "{address} is no admin port, or not yours ({why}); give the address that the daemon's --admin says, not \
         that of its --listen or --http, as the user that it runs as"
    )]
    Stranger { address: Address, why: String },
    /// It does not want to.
    #[error("{address} refuses: {says}")]
    Refused { address: Address, says: String },
    /// It was lost.
    #[error("{0}")]
    Lost(String),
}

impl Broken {
    /// Whether it is worth to try again what once worked.
    pub(super) fn passes(&self) -> bool {
        !matches!(self, Self::Stranger { .. })
    }
}

/// Lines from a daemon.
pub(super) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out, or looked at.
    given: usize,
    /// What carries the connection.
    task: AbortHandle,
}

impl Lines {
    /// Asks for `path` at an admin port.
    pub(super) async fn get(address: &Address, path: &str) -> Result<Self, Broken> {
        let unreachable = |error| Broken::Unreachable {
            address: address.clone(),
            error,
        };
        let late = || unreachable(io::ErrorKind::TimedOut.into());
        let connected = async {
            match address {
                Address::Unix(at) => {
                    let stream = UnixStream::connect(at).await.map_err(unreachable)?;
                    ask(stream, address, "localhost", path).await
                }
                Address::Tcp { host, port } | Address::Tls { host, port } => {
                    let at = (host.as_str(), *port);
                    let stream = TcpStream::connect(at).await.map_err(unreachable)?;
                    ask(stream, address, &address.to_string(), path).await
                }
            }
        };
        timeout(CONNECT, connected).await.map_err(|_| late())?
    }

    /// The next line, without its end.
    pub(super) async fn next(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(line) = self.line() {
                return Ok(line);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Broken::Lost("it sends a line that does not end".into()));
            }
            let frame = timeout(SILENCE, self.body.frame()).await;
            let silent = |_| Broken::Lost("it has said nothing for too long".into());
            match frame.map_err(silent)? {
                None => return Err(Broken::Lost("it has closed the connection".into())),
                Some(Err(error)) => return Err(Broken::Lost(reason(&error))),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.buffer.drain(..self.given);
                    self.given = 0;
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
    }

    /// The next line, if all of it is there.
    pub(super) fn line(&mut self) -> Option<String> {
        let rest = &self.buffer[self.given..];
        let end = rest.iter().position(|&b| b == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.given += end + 1;
        Some(line)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    address: &Address,
    host: &str,
    path: &str,
) -> Result<Lines, Broken> {
    let stranger = |why: String| Broken::Stranger {
        address: address.clone(),
        why,
    };
    let silent = |error: hyper::Error| stranger(reason(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(silent)?;
    let task = tokio::task::spawn_local(async move {
        // Its errors come to whoever reads the body.
        let _ = connection.await;
    });
    let request = Request::get(path).header("host", host);
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|e| stranger(e.to_string()))?;
    let answer = sender.send_request(request).await.map_err(silent)?;
    let status = answer.status();
    let is_feed = answer
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-ndjson"));
    let body = answer.into_body();
    if status == StatusCode::OK && is_feed {
        return Ok(Lines {
            body,
            buffer: Vec::new(),
            given: 0,
            task: task.abort_handle(),
        });
    }
    let says = match Limited::new(body, REFUSAL).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    };
    task.abort();
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => {
            Err(Broken::Refused {
                address: address.clone(),
                says,
            })
        }
        status => Err(stranger(format!("GET {path} is answered with {status}"))),
    }
}

/// What went wrong below HTTP, in the words of whoever knows best.
pub(in crate::caller) fn reason(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_parse() {
        true => format!("{cause}; is TLS spoken there?"),
        false => cause.to_string(),
    }
}
