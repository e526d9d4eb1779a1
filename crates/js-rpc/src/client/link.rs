//! How a connection that is made when it is needed is doing, for whoever watches: it can be asked from any
//! thread. Calls do not touch it; attempts to connect, and ends of connections, do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::{CallError, Connection};

/// The connection of a [`Proxy`](crate::Proxy). Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Link(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    state: LinkState,
    /// Which connection it is that is up.
    connection: u64,
}

/// What is known of a connection without trying it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody has needed it.
    #[default]
    Unused,
    /// It is up.
    Connected {
        /// From then on.
        since: Instant,
    },
    /// It was lost, and nobody has needed it since.
    Lost {
        /// When that was noticed.
        since: Instant,
    },
    /// It could not be made.
    Failing {
        /// The first of the attempts that failed since it was up, or since the start.
        since: Instant,
        /// The last one.
        last: Instant,
        /// What went wrong then: an `error.type`.
        kind: String,
        /// The same in words, some of which may be the peer's.
        message: String,
    },
}

impl Link {
    /// How it is doing.
    pub fn state(&self) -> LinkState {
        self.lock().state.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt is over.
    pub(crate) fn tried(&self, outcome: &Result<Connection, CallError>) {
        match outcome {
            Ok(connection) => self.connected(connection),
            Err(error) => self.failed(error),
        }
    }

    fn connected(&self, connection: &Connection) {
        let mut inner = self.lock();
        inner.connection += 1;
        let since = Instant::now();
        inner.state = LinkState::Connected { since };
        let (link, this, ended) = (self.clone(), inner.connection, connection.ended());
        drop(inner);
        tokio::task::spawn_local(async move {
            ended.await;
            link.lost(this);
        });
    }

    fn lost(&self, connection: u64) {
        let mut inner = self.lock();
        let up = matches!(inner.state, LinkState::Connected { .. });
        // Another one may be up by now.
        if up && inner.connection == connection {
            let since = Instant::now();
            inner.state = LinkState::Lost { since };
        }
    }

    fn failed(&self, error: &CallError) {
        let mut inner = self.lock();
        let last = Instant::now();
        let since = match inner.state {
            LinkState::Failing { since, .. } => since,
            _ => last,
        };
        inner.state = LinkState::Failing {
            since,
            last,
            kind: error.kind().to_owned(),
            message: error.message(),
        };
    }

    /// Nobody waits for an attempt any longer, which ends it.
    pub(crate) fn given_up(&self, error: &CallError) {
        let up = matches!(self.lock().state, LinkState::Connected { .. });
        if !up {
            self.failed(error);
        }
    }
}
