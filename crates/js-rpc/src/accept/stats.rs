//! Who came, who was let in, and who was not, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of the connections that acceptors with clones of this took. Cheap to clone; clones count
/// together.
#[derive(Debug, Clone, Default)]
pub struct AcceptStats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: [AtomicU64; RefusedBy::ALL.len()],
}

impl AcceptStats {
    /// Connections that were let in.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Relaxed)
    }

    /// Of those, how many are open.
    pub fn open(&self) -> u64 {
        // In this order: one that ends meanwhile must not make it negative.
        let closed = self.0.closed.load(Relaxed);
        self.accepted().saturating_sub(closed)
    }

    /// Connections that were closed, or never taken, for this reason.
    pub fn refused(&self, by: RefusedBy) -> u64 {
        self.0.refused[by as usize].load(Relaxed)
    }

    pub(super) fn accept(&self) {
        self.0.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn close(&self) {
        self.0.closed.fetch_add(1, Relaxed);
    }

    /// Counts one that was let in and is closed to make room for another.
    pub fn make_room(&self) {
        self.refuse(RefusedBy::Full);
    }

    pub(crate) fn refuse(&self, by: RefusedBy) {
        self.0.refused[by as usize].fetch_add(1, Relaxed);
    }
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedBy {
    /// Its user may not connect.
    User,
    /// Its peer has as many as it may.
    PerPeer,
    /// What is left is kept for peers that have none.
    Reserved,
    /// There are as many as there may be. On the admin port one that was let in is closed then.
    Full,
    /// The system had no descriptor or memory for it; it waits, and is tried again.
    Exhausted,
    /// It was let in, and did not show who it is under TLS, or did not open as it has to.
    Opening,
}

impl RefusedBy {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::User,
        Self::PerPeer,
        Self::Reserved,
        Self::Full,
        Self::Exhausted,
        Self::Opening,
    ];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::PerPeer => "per_peer",
            Self::Reserved => "reserved",
            Self::Full => "full",
            Self::Exhausted => "exhausted",
            Self::Opening => "opening",
        }
    }
}
