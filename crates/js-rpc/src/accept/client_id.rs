//! Who waits: calls that came by one connection queue behind each other, and not before anybody else's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A connection that was accepted, as those whose calls wait for the same thing are told apart. The default is
/// this process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientId(u64);

impl ClientId {
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Relaxed) + 1)
    }
}
