//! Sockets of both kinds behind one type, to connect, to listen and to accept.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, tcp, unix};
use tokio_util::either::Either;

use crate::Address;

pub(crate) type ReadHalf = Either<unix::OwnedReadHalf, tcp::OwnedReadHalf>;
pub(crate) type WriteHalf = Either<unix::OwnedWriteHalf, tcp::OwnedWriteHalf>;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (Either::Left(read), Either::Left(write))
            }
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (Either::Right(read), Either::Right(write))
            }
        }
    }
}

/// A bound socket. A unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    binding: Option<String>,
}

#[derive(Debug)]
enum Socket {
    Unix(
        UnixListener,
        #[allow(dead_code, reason = "held for its drop")] SocketFile,
    ),
    Tcp(TcpListener),
}

/// Why a listener could not be bound: what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the system said, and what to do about it.
    pub reason: String,
}

impl Listener {
    /// Binds an address. A unix socket is made with mode 0600; one that a dead process left behind is
    /// replaced, one that somebody listens on is an error, as is a file of another kind.
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |reason: String| BindError {
            address: address.clone(),
            reason,
        };
        match address {
            Address::Unix(path) => {
                let listener = bind_unix(path).await.map_err(failed)?;
                Ok(Self {
                    socket: Socket::Unix(listener, SocketFile(path.clone())),
                    address: address.clone(),
                    binding: None,
                })
            }
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port))
                    .await
                    .map_err(|error| failed(explain_bind(&error)))?;
                let local = listener.local_addr().map_err(|e| failed(e.to_string()))?;
                Ok(Self {
                    socket: Socket::Tcp(listener),
                    address: Address::Tcp {
                        host: local.ip().to_string(),
                        port: local.port(),
                    },
                    binding: None,
                })
            }
        }
    }

    /// The address in force: where port 0 was asked for, the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes every `CONNECT` on it mean this binding, whatever name it carries: some tools hard-wire
    /// the name that they send.
    #[must_use]
    pub fn with_binding(mut self, binding: impl Into<String>) -> Self {
        self.binding = Some(binding.into());
        self
    }

    pub(crate) fn fixed_binding(&self) -> Option<&str> {
        self.binding.as_deref()
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err("there is a file that is not a socket; choose another path".into());
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err("another process listens there; stop it or choose another path".into());
        }
        std::fs::remove_file(path)
            .map_err(|e| format!("a stale socket is there and cannot be removed: {e}"))?;
    }
    // Bound under a name of its own and then moved, so that nobody can connect before the mode is
    // set, whatever the process's umask is.
    let hidden = path.with_file_name(format!(".{}.new", std::process::id()));
    let listener = UnixListener::bind(&hidden).map_err(|error| explain_bind(&error))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&hidden, private)
        .and_then(|()| std::fs::rename(&hidden, path))
        .map_err(|error| {
            let _ = std::fs::remove_file(&hidden);
            explain_bind(&error)
        })?;
    Ok(listener)
}

fn explain_bind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}; stop the other process or choose another port")
        }
        io::ErrorKind::NotFound => "the directory does not exist; create it first".into(),
        io::ErrorKind::PermissionDenied => {
            format!("{error}; run as a user who may write there, or choose another address")
        }
        io::ErrorKind::InvalidInput => {
            format!("{error}; the path may be too long for a unix socket")
        }
        _ => error.to_string(),
    }
}

/// What a failed connect means to people.
pub(crate) fn explain_connect(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no socket; is the callee running?".into(),
        io::ErrorKind::ConnectionRefused => format!("{error}; is the callee running there?"),
        io::ErrorKind::PermissionDenied => {
            format!("{error}; the socket belongs to another user")
        }
        _ => error.to_string(),
    }
}

/// Removes the socket's file on drop, if it is still the one that we made.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
