//! Which client a call came from.

use std::sync::atomic::{AtomicU64, Ordering};

/// A client of this process: the connection by which a call came. Services share things fairly by it.
///
/// Calls of one connection have the same id, whichever binding or stub they call; no two connections of a
/// process have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// This process itself: calls that came by no connection.
    pub const LOCAL: Self = Self(0);

    /// One that no other client has.
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(1);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}
