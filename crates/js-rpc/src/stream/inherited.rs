//! A socket that somebody else bound and listens on, such as a service manager: what it is, and whether
//! it can be used.
//!
//! Its file is not ours: its mode and group are what its maker gave it, and it stays when we end.

use std::net;
use std::os::fd::OwnedFd;
use std::os::unix::net as unix;

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::net::{TcpListener, UnixListener};

use crate::Address;

/// Why a socket that was passed in cannot be used: what it is, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on a socket that was passed in: {0}")]
pub struct InheritError(pub(super) String);

/// A socket of either kind, and where it is.
pub(super) enum Inherited {
    Unix(UnixListener, Address),
    Tcp(TcpListener, String, u16),
}

/// Takes a listening stream socket over.
pub(super) fn take(socket: OwnedFd) -> Result<Inherited, InheritError> {
    let said = |error: &dyn std::fmt::Display| InheritError(error.to_string());
    let family = socket_domain(&socket).map_err(|error| said(&error))?;
    let kind = socket_type(&socket).map_err(|error| said(&error))?;
    let listens = socket_acceptconn(&socket).map_err(|error| said(&error))?;
    if kind != SocketType::STREAM || !listens {
        return Err(said(
            &"it is no listening stream socket; use ListenStream= with Accept=no",
        ));
    }
    match family {
        AddressFamily::UNIX => {
            let listener = unix::UnixListener::from(socket);
            let address = listener.local_addr().map_err(|error| said(&error))?;
            let path = address.as_pathname().ok_or_else(|| {
                said(&"it has no path in the file system; use ListenStream=/run/...")
            })?;
            let address = Address::Unix(path.to_owned());
            listener.set_nonblocking(true).map_err(|e| said(&e))?;
            let listener = UnixListener::from_std(listener).map_err(|error| said(&error))?;
            Ok(Inherited::Unix(listener, address))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let listener = net::TcpListener::from(socket);
            let local = listener.local_addr().map_err(|error| said(&error))?;
            listener.set_nonblocking(true).map_err(|e| said(&e))?;
            let listener = TcpListener::from_std(listener).map_err(|error| said(&error))?;
            Ok(Inherited::Tcp(
                listener,
                local.ip().to_string(),
                local.port(),
            ))
        }
        _ => Err(said(&"it is neither a unix socket nor one of TCP")),
    }
}
