//! How a connection that is made when it is needed is doing, for whoever watches: it can be asked from any
//! thread. Calls do not touch it; attempts to connect, and ends of connections, do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{CallError, Connection};

/// The connection of a [`Proxy`](crate::Proxy). Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Link(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    state: LinkState,
    /// Which connection it is that is up.
    connection: u64,
    /// What is logged of it, by whoever has a log: what is behind it, in words.
    named: Option<String>,
    log: Outage,
}

/// What the log says of outages: when one begins, and when it is over. Of a callee that comes and goes not each.
#[derive(Debug, Default)]
struct Outage {
    told: bool,
    last: Option<Instant>,
    untold: u64,
}

/// How long the log says nothing of a further outage.
const QUIET: Duration = Duration::from_secs(10);

impl Outage {
    /// Whether to say that an outage began, and what to add.
    fn begins(&mut self) -> Option<String> {
        if self.told {
            return None;
        }
        if self.last.is_some_and(|last| last.elapsed() < QUIET) {
            self.untold += 1;
            return None;
        }
        (self.told, self.last) = (true, Some(Instant::now()));
        Some(match std::mem::take(&mut self.untold) {
            0 => String::new(),
            n => format!(" (and {n} times before that were not logged)"),
        })
    }

    /// Whether to say that it is over.
    fn ends(&mut self) -> bool {
        std::mem::take(&mut self.told)
    }
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

    /// Has outages logged, of what it is in words.
    pub(crate) fn log_as(&self, what: impl FnOnce() -> String) {
        self.lock().named.get_or_insert_with(what);
    }

    fn connected(&self, connection: &Connection) {
        let mut inner = self.lock();
        inner.connection += 1;
        if inner.log.ends()
            && let Some(named) = &inner.named
        {
            tracing::info!("{named} is back");
        }
        let since = Instant::now();
        inner.state = LinkState::Connected { since };
        let (link, this, ended) = (self.clone(), inner.connection, connection.ended());
        let loss = connection.loss();
        drop(inner);
        tokio::task::spawn_local(async move {
            ended.await;
            link.lost(this, loss.take());
        });
    }

    fn lost(&self, connection: u64, why: Option<String>) {
        let mut inner = self.lock();
        let up = matches!(inner.state, LinkState::Connected { .. });
        // Another one may be up by now.
        if up && inner.connection == connection {
            let since = Instant::now();
            inner.state = LinkState::Lost { since };
            let inner = &mut *inner;
            if let (Some(named), Some(why)) = (&inner.named, why)
                && let Some(more) = inner.log.begins()
            {
                tracing::warn!("lost {named}: {why}; the next call connects again{more}");
            }
        }
    }

    fn failed(&self, error: &CallError) {
        let inner = &mut *self.lock();
        if let Some(named) = &inner.named
            && let Some(more) = inner.log.begins()
        {
            tracing::warn!("cannot reach {named}: {error}{more}");
        }
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
