//! How many sessions are open on one connection: while one is, the connection is in use, whatever is in flight.

use std::cell::Cell;
use std::rc::Rc;

use super::stats::{NetworkStats, OpenSession};

/// The sessions that are served on one connection. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct OpenSessions(Rc<Cell<usize>>);

impl OpenSessions {
    pub(super) fn none(&self) -> bool {
        self.0.get() == 0
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn open(&self, stats: &NetworkStats) -> OpenHere {
        self.0.set(self.0.get() + 1);
        OpenHere {
            here: self.clone(),
            _counted: stats.session(),
        }
    }
}

/// A session that is open on a connection.
pub(crate) struct OpenHere {
    here: OpenSessions,
    _counted: OpenSession,
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        self.here.0.set(self.here.0.get() - 1);
    }
}
