//! Accepting connections: how many there may be, of whom, and what happens when the system has no more
//! to give. The [`Server`](crate::Server) accepts in this way, and so can whatever else listens.

mod quota;
mod stats;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::seldom::Seldom;
use crate::stream::{Accepted, Listener, Peer, PeerKey, ReadHalf, Refused, WriteHalf};
use crate::{Address, ClientId};

pub use quota::Quota;
pub(crate) use quota::Slot;
pub use stats::{AcceptStats, RefusedBy};

/// The first wait after the system refused a descriptor or memory; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Short enough that whoever waits for us is served soon after descriptors are free.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A listener that lets in those who may connect, as long as there is room.
///
/// ```no_run
/// # use js_rpc::{Acceptor, AcceptStats, Listener, Quota, RpcLimits};
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"127.0.0.1:7480".parse()?).await?;
/// let quota = Quota::new(&RpcLimits::default());
/// let mut acceptor = Acceptor::new(listener, quota, AcceptStats::default());
/// loop {
///     let admitted = acceptor.accept().await;
///     tokio::task::spawn_local(async move {
///         // With TLS this is where the peer shows who it is: give it a deadline.
///         let _connected = admitted.open().await;
///     });
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Acceptor {
    listener: Listener,
    quota: Quota,
    stats: AcceptStats,
    wait: Duration,
    log: Seldom,
}

/// A connection that was let in, before anything was said on it. It has its place until it, or what
/// was made of it, is dropped.
#[derive(Debug)]
pub struct Admitted {
    accepted: Accepted,
    slot: Slot,
    id: ClientId,
}

/// An open connection.
#[derive(Debug)]
pub struct Connected {
    read: ReadHalf,
    write: WriteHalf,
    #[allow(dead_code, reason = "held for its drop")]
    slot: Slot,
}

impl Acceptor {
    /// Accepts on a listener, within a quota that may be shared with others.
    pub fn new(listener: Listener, quota: Quota, stats: AcceptStats) -> Self {
        Self {
            listener,
            quota,
            stats,
            wait: FIRST_WAIT,
            log: Seldom::default(),
        }
    }

    /// Where it listens: where port 0 was asked for, the port that was chosen.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    pub(crate) fn fixed_binding(&self) -> Option<&str> {
        self.listener.binding()
    }

    /// The next connection that may be served. Those that may not are closed, logged at most once a
    /// second, and counted. It does not end, whatever the system says; dropped while it waits, it loses
    /// no connection.
    pub async fn accept(&mut self) -> Admitted {
        loop {
            match self.listener.accept().await {
                Ok(Ok(accepted)) => {
                    self.wait = FIRST_WAIT;
                    if let Some(slot) = self.admit(accepted.peer) {
                        let id = ClientId::next();
                        return Admitted { accepted, slot, id };
                    }
                }
                Ok(Err(Refused(peer))) => self.refuse(peer),
                // What happened to one connection is no reason to wait with the next.
                Err(error) if !is_exhaustion(&error) => {
                    tracing::debug!(%error, address = %self.address(), "a connection was lost before it was accepted");
                }
                Err(error) => self.back_off(&error).await,
            }
        }
    }

    fn admit(&mut self, peer: Peer) -> Option<Slot> {
        match self.quota.admit(peer, &self.stats) {
            Ok(slot) => Some(slot),
            Err(refusal) => {
                self.stats.refuse(refusal.by());
                let at = self.listener.address();
                self.log.say(|more| {
                    tracing::warn!("refused a connection of {peer} on {at}: {refusal}{more}");
                });
                None
            }
        }
    }

    fn refuse(&mut self, peer: Peer) {
        self.stats.refuse(RefusedBy::User);
        let at = self.listener.address();
        self.log.say(|more| {
            tracing::warn!(
                "refused a connection of {peer} on {at}: its user may not connect; --allow-uid \
                 admits others{more}"
            );
        });
    }

    async fn back_off(&mut self, error: &io::Error) {
        self.stats.refuse(RefusedBy::Exhausted);
        let at = self.listener.address();
        self.log.say(|more| {
            tracing::warn!(
                "cannot accept on {at}: {error}; what is open goes on, whoever connects waits; \
                 raise the limit (ulimit -n) or lower --connections{more}"
            );
        });
        let wait = self.wait;
        self.wait = LONGEST_WAIT.min(wait * 2);
        tokio::time::sleep(wait).await;
    }
}

impl Admitted {
    /// Who is at the other end, as far as the system knows: a user, or an address.
    pub fn peer(&self) -> impl std::fmt::Display + Copy + use<> {
        self.accepted.peer
    }

    /// Whose share of what clients share it has.
    pub fn key(&self) -> PeerKey {
        self.accepted.peer.key()
    }

    /// Where it is counted.
    pub fn stats(&self) -> &AcceptStats {
        self.slot.stats()
    }

    /// Whose calls come by it.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The connection to talk on; with TLS, once the peer has shown who it is.
    ///
    /// # Errors
    /// When the peer does not, or is gone.
    pub async fn open(self) -> io::Result<Connected> {
        let Self { accepted, slot, .. } = self;
        match accepted.open().await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                Ok(Connected { read, write, slot })
            }
            Err(error) => {
                slot.stats().refuse(RefusedBy::Opening);
                Err(error)
            }
        }
    }

    pub(crate) fn into_parts(self) -> (Accepted, Slot) {
        (self.accepted, self.slot)
    }
}

impl AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

/// Whether the system is out of descriptors or memory, which passes.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_is_waited_for() {
        for (errno, waits) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::NOBUFS, true),
            (Errno::CONNABORTED, false),
            (Errno::INTR, false),
            (Errno::PROTO, false),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(is_exhaustion(&error), waits, "{error}");
        }
    }
}
