//! The socket on which HTTP is taken: TCP, or a unix socket that only this user can connect to.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use js_rpc::{Address, BindError};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bound socket. A unix socket's file is removed when it is dropped.
pub(super) struct Socket {
    listener: Kind,
    address: Address,
}

enum Kind {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// An accepted connection.
pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(super) async fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |reason: String| BindError {
            address: address.clone(),
            reason,
        };
        match address {
            Address::Unix(path) => Ok(Self {
                listener: Kind::Unix(bind_unix(path).await.map_err(failed)?, path.clone()),
                address: address.clone(),
            }),
            Address::Tcp { host, port } => {
                let bound = TcpListener::bind((host.as_str(), *port)).await;
                let listener = bound.map_err(|error| failed(explain(&error)))?;
                let local = listener.local_addr().map_err(|e| failed(e.to_string()))?;
                Ok(Self {
                    listener: Kind::Tcp(listener),
                    address: Address::Tcp {
                        host: local.ip().to_string(),
                        port: local.port(),
                    },
                })
            }
            Address::Tls { .. } => Err(failed(
                "HTTP is taken without TLS, from this machine; leave out tls:".into(),
            )),
        }
    }

    /// The address in force.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.listener {
            Kind::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// As the RPC listeners do it: a dead process's socket is replaced, anything else is left alone, and nobody
/// can connect before the mode is set.
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
    let hidden = path.with_file_name(format!(".{}.http", std::process::id()));
    let listener = UnixListener::bind(&hidden).map_err(|error| explain(&error))?;
    let private = std::fs::Permissions::from_mode(0o600);
    let moved =
        std::fs::set_permissions(&hidden, private).and_then(|()| std::fs::rename(&hidden, path));
    moved.map_err(|error| {
        let _ = std::fs::remove_file(&hidden);
        explain(&error)
    })?;
    Ok(listener)
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}; stop the other process or choose another port")
        }
        io::ErrorKind::NotFound => "the directory does not exist; create it first".into(),
        _ => error.to_string(),
    }
}
