//! Sockets of all kinds behind one type, and the two ends of them: to connect, to listen and to accept.
//!
//! Who may be at the other end is decided here, before anything is said: users of unix sockets in
//! [`users`], certificates and keys in [`tls`]. How many may be is the server's to decide.

mod inherited;
mod listener;
mod peer;
mod socket_file;
pub(crate) mod tls;
mod users;

use std::io;

use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_util::either::Either;

use crate::Address;

pub use inherited::InheritError;
pub(crate) use listener::{Accepted, Refused};
pub use listener::{BindError, ListenOptions, Listener};
pub(crate) use peer::Peer;
pub use peer::PeerKey;
pub use tls::{Identity, InvalidPin, KeyPin, Tls, TlsConfig, TlsError, TlsPart};
pub use users::Users;

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: u32 = 4096;

pub(crate) type ReadHalf = Either<unix::OwnedReadHalf, Either<tcp::OwnedReadHalf, tls::ReadHalf>>;
pub(crate) type WriteHalf =
    Either<unix::OwnedWriteHalf, Either<tcp::OwnedWriteHalf, tls::WriteHalf>>;

/// Whom a caller talks to.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The users whose processes may listen on a unix socket that we connect to: our own and root, by
    /// default.
    pub users: Users,
    /// Our certificate, and whose certificates count, for addresses with `tls:`.
    pub tls: Option<Tls>,
    /// Whether TCP without TLS may leave this machine. Not by default: whoever sits between reads and
    /// changes everything.
    pub insecure: bool,
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<tls::Stream>),
}

impl Stream {
    /// Connects, and checks to whom. The error is for people.
    pub(crate) async fn connect(address: &Address, trust: &Trust) -> Result<Self, String> {
        let explain = |error: io::Error| explain_connect(&error);
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(explain)?;
                let uid = stream.peer_cred().map_err(explain)?.uid();
                match trust.users.admit(uid) {
                    true => Ok(Self::Unix(stream)),
                    false => Err(format!(
                        "a process of uid {uid} listens there, and {} expected; if it is the right \
                         one, name it (--peer-uid {uid})",
                        trust.users
                    )),
                }
            }
            Address::Tcp { host, port } => {
                let stream = connect_tcp(host, *port).await.map_err(explain)?;
                let to = stream.peer_addr().map_err(explain)?.ip();
                if to.to_canonical().is_loopback() {
                    return Ok(Self::Tcp(stream));
                }
                if !trust.insecure {
                    return Err(format!(
                        "{to} is another machine, and the connection would not be encrypted; use \
                         tls:{address}, or say --insecure where the network is trusted"
                    ));
                }
                tracing::warn!("INSECURE: the connection to {address} is not encrypted");
                Ok(Self::Tcp(stream))
            }
            Address::Tls { host, port } => {
                let tls = trust.tls.as_ref().ok_or(
                    "whom to trust there is not said; give --tls-ca (who issues its certificate) \
                     or --tls-pin (its key)",
                )?;
                let stream = connect_tcp(host, *port).await.map_err(explain)?;
                Ok(Self::Tls(Box::new(tls.connect(host, stream).await?)))
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
                (
                    Either::Right(Either::Left(read)),
                    Either::Right(Either::Left(write)),
                )
            }
            Self::Tls(stream) => {
                let (read, write) = stream.into_split();
                (
                    Either::Right(Either::Right(read)),
                    Either::Right(Either::Right(write)),
                )
            }
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a failed connect means to people.
fn explain_connect(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no socket; is the callee running?".into(),
        io::ErrorKind::ConnectionRefused => format!("{error}; is the callee running there?"),
        io::ErrorKind::PermissionDenied => {
            format!(
                "{error}; the socket belongs to another user, who can admit a group with --socket-group"
            )
        }
        _ => error.to_string(),
    }
}
