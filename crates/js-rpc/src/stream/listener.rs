//! A bound socket: who may connect to it, and whoever did.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::inherited::{self, InheritError, Inherited};
use super::socket_file::{self, SocketFile};
use super::{BACKLOG, Peer, Stream, Tls, Users};
use crate::Address;

/// A bound socket. A unix socket's file is removed when it is dropped, if we made it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    binding: Option<String>,
    users: Users,
}

/// Who may connect.
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    /// The group, by its gid, whose members may open a unix socket's file (mode 0660). By default
    /// nobody but its owner may (mode 0600).
    pub group: Option<u32>,
    /// The users whose processes may connect to a unix socket, besides what its file's mode says. By
    /// default our own; with a group, any member of it.
    pub users: Option<Users>,
    /// Our certificate, and whose certificates count, for addresses with `tls:`. With neither issuers
    /// nor pins in it, whoever reaches the address may connect.
    pub tls: Option<Tls>,
}

#[derive(Debug)]
enum Socket {
    Unix(
        UnixListener,
        #[allow(dead_code, reason = "held for its drop")] Option<SocketFile>,
    ),
    Tcp(TcpListener),
    Tls(TcpListener, Tls),
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

/// A connection that was accepted, before anything was said on it.
#[derive(Debug)]
pub(crate) struct Accepted {
    socket: Raw,
    pub(crate) peer: Peer,
}

#[derive(Debug)]
enum Raw {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Tls),
}

/// A connection that was closed because its peer may not connect.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Peer);

impl Listener {
    /// Binds an address for our own user alone. A unix socket is made with mode 0600; one that a dead
    /// process left behind is replaced, one that somebody listens on is an error, as is a file of
    /// another kind.
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        Self::bind_with(address, &ListenOptions::default()).await
    }

    /// Binds an address for those whom the options admit.
    pub async fn bind_with(address: &Address, options: &ListenOptions) -> Result<Self, BindError> {
        let (socket, address) = open(address, options).await.map_err(|reason| BindError {
            address: address.clone(),
            reason,
        })?;
        Ok(Self::of(socket, address, options))
    }

    /// Listens on a socket that somebody else bound, for those whom the options admit: a service manager
    /// that hands sockets over. The mode and the group of a unix socket's file are what its maker gave
    /// it, and the file stays. With `tls`, what comes is expected to speak TLS.
    ///
    /// # Errors
    /// When it is not a listening stream socket, unix or TCP, or there is no certificate for `tls`.
    pub fn inherited(
        socket: OwnedFd,
        tls: bool,
        options: &ListenOptions,
    ) -> Result<Self, InheritError> {
        let (socket, address) = match inherited::take(socket)? {
            Inherited::Unix(..) if tls => {
                return Err(InheritError(
                    "it is a unix socket, and those do without TLS; leave out tls".into(),
                ));
            }
            Inherited::Unix(listener, address) => (Socket::Unix(listener, None), address),
            Inherited::Tcp(listener, host, port) if tls => {
                let tls = identity(options).map_err(|reason| InheritError(reason.into()))?;
                (Socket::Tls(listener, tls), Address::Tls { host, port })
            }
            Inherited::Tcp(listener, host, port) => {
                (Socket::Tcp(listener), Address::Tcp { host, port })
            }
        };
        Ok(Self::of(socket, address, options))
    }

    fn of(socket: Socket, address: Address, options: &ListenOptions) -> Self {
        let by_group = match options.group {
            Some(_) => Users::Any,
            None => Users::Own,
        };
        Self {
            socket,
            address,
            binding: None,
            users: options.users.clone().unwrap_or(by_group),
        }
    }

    /// The address in force: where port 0 was asked for, the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves this binding and nothing else on it, however a connection opens. Every `CONNECT` means that
    /// binding, whatever name it carries, since some tools hard-wire the name that they send; whoever asks for
    /// another by Cap'n Proto alone is refused.
    #[must_use]
    pub fn with_binding(mut self, binding: impl Into<String>) -> Self {
        self.binding = Some(binding.into());
        self
    }

    /// The only binding that it serves, if that is fixed.
    pub fn binding(&self) -> Option<&str> {
        self.binding.as_deref()
    }

    /// The next connection, or the next one that was not let in.
    pub(crate) async fn accept(&self) -> io::Result<Result<Accepted, Refused>> {
        let (socket, peer) = match &self.socket {
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                if !self.users.admit(uid) {
                    return Ok(Err(Refused(Peer::Uid(uid))));
                }
                (Raw::Unix(stream), Peer::Uid(uid))
            }
            Socket::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                (Raw::Tcp(stream), Peer::Ip(from.ip()))
            }
            Socket::Tls(listener, tls) => {
                let (stream, from) = listener.accept().await?;
                (Raw::Tls(stream, tls.clone()), Peer::Ip(from.ip()))
            }
        };
        Ok(Ok(Accepted { socket, peer }))
    }
}

impl Accepted {
    /// The stream to talk on; with TLS, once the peer has shown who it is.
    pub(crate) async fn open(self) -> io::Result<Stream> {
        match self.socket {
            Raw::Unix(stream) => Ok(Stream::Unix(stream)),
            Raw::Tcp(stream) => {
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Raw::Tls(stream, tls) => {
                stream.set_nodelay(true)?;
                let stream = tls.accept(stream).await.map_err(io::Error::other)?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }
}

async fn open(address: &Address, options: &ListenOptions) -> Result<(Socket, Address), String> {
    match address {
        Address::Unix(path) => {
            let (listener, file) = socket_file::bind(path, options.group).await?;
            Ok((Socket::Unix(listener, Some(file)), address.clone()))
        }
        Address::Tcp { host, port } => {
            let (listener, host, port) = open_tcp(host, *port).await?;
            Ok((Socket::Tcp(listener), Address::Tcp { host, port }))
        }
        Address::Tls { host, port } => {
            let tls = identity(options)?;
            let (listener, host, port) = open_tcp(host, *port).await?;
            Ok((Socket::Tls(listener, tls), Address::Tls { host, port }))
        }
    }
}

fn identity(options: &ListenOptions) -> Result<Tls, &'static str> {
    options
        .tls
        .clone()
        .filter(Tls::has_identity)
        .ok_or("there is no certificate to show; give --tls-cert and --tls-key, or leave out tls:")
}

async fn open_tcp(host: &str, port: u16) -> Result<(TcpListener, String, u16), String> {
    let explain = |error: io::Error| socket_file::explain(&error);
    let listener = listen_tcp(host, port).await.map_err(explain)?;
    let local = listener.local_addr().map_err(explain)?;
    Ok((listener, local.ip().to_string(), local.port()))
}

/// Listens on the first address of a host that lets us, with a queue in which whoever comes during a
/// flood has a place.
async fn listen_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        outcome = socket.and_then(|socket| {
            // Connections of a process before us may be closing still.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
