//! What the network did, and what it refused, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of all connections that share them. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct NetworkStats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    cancelled: AtomicU64,
    abandoned: AtomicU64,
    renewed: AtomicU64,
    sessions: AtomicU64,
    sessions_over: AtomicU64,
    queued_bytes: AtomicU64,
    by_reason: [AtomicU64; Reason::ALL.len()],
}

impl NetworkStats {
    /// Messages that arrived.
    pub fn frames_in(&self) -> u64 {
        self.0.frames_in.load(Relaxed)
    }

    /// Bytes of the messages that arrived.
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in.load(Relaxed)
    }

    /// Messages that were queued for peers.
    pub fn frames_out(&self) -> u64 {
        self.0.frames_out.load(Relaxed)
    }

    /// Bytes of the messages that were queued for peers.
    pub fn bytes_out(&self) -> u64 {
        self.0.bytes_out.load(Relaxed)
    }

    /// Calls that peers cancelled before they returned.
    pub fn cancelled(&self) -> u64 {
        self.0.cancelled.load(Relaxed)
    }

    /// Calls of ours that were cancelled before they returned.
    pub fn abandoned(&self) -> u64 {
        self.0.abandoned.load(Relaxed)
    }

    /// Connections of ours that were replaced because of what cancelled calls left behind.
    pub fn renewed(&self) -> u64 {
        self.0.renewed.load(Relaxed)
    }

    /// Sessions of calls that were opened: with us on a server's connections, by us on a client's.
    pub fn sessions(&self) -> u64 {
        self.0.sessions.load(Relaxed)
    }

    /// Of those, how many are open.
    pub fn sessions_open(&self) -> u64 {
        // In this order: one that ends meanwhile must not make it negative.
        let over = self.0.sessions_over.load(Relaxed);
        self.sessions().saturating_sub(over)
    }

    /// Bytes that are queued for peers now, on all connections.
    pub fn bytes_queued(&self) -> u64 {
        self.0.queued_bytes.load(Relaxed)
    }

    /// How often this happened.
    pub fn count(&self, reason: Reason) -> u64 {
        self.0.by_reason[reason as usize].load(Relaxed)
    }

    pub(super) fn received(&self, bytes: usize) {
        self.0.frames_in.fetch_add(1, Relaxed);
        self.0.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn queued(&self, bytes: usize) {
        self.0.frames_out.fetch_add(1, Relaxed);
        self.0.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// From `before` to `after` bytes are queued for one peer.
    pub(super) fn queue(&self, before: usize, after: usize) {
        let grown = (after as u64).wrapping_sub(before as u64);
        self.0.queued_bytes.fetch_add(grown, Relaxed);
    }

    /// Counts a session as open until the guard is dropped.
    pub(crate) fn session(&self) -> OpenSession {
        self.0.sessions.fetch_add(1, Relaxed);
        OpenSession(self.clone())
    }

    pub(super) fn cancel(&self) {
        self.0.cancelled.fetch_add(1, Relaxed);
    }

    pub(super) fn abandon(&self, abandoned: bool) {
        if abandoned {
            self.0.abandoned.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn renew(&self) {
        self.0.renewed.fetch_add(1, Relaxed);
    }

    pub(super) fn add(&self, reason: Reason) {
        self.0.by_reason[reason as usize].fetch_add(1, Relaxed);
    }
}

/// A session that is open.
pub(crate) struct OpenSession(NetworkStats);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.0.sessions_over.fetch_add(1, Relaxed);
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a call was refused, a text cut, or a connection closed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// Refused: the peer has as many questions open as it may.
    InFlight = "in_flight",
    /// Refused: calls that have not returned take as many bytes as they may.
    InFlightBytes = "in_flight_bytes",
    /// Refused: parts of streams take as many bytes as they may, because they are not read.
    StreamBytes = "stream_bytes",
    /// Refused or closed: the messages of this peer, on all its connections, take their share of the memory.
    IncomingBytes = "incoming_bytes",
    /// Refused: the peer does not read what is queued for it.
    Queued = "queued",
    /// Refused: the peer holds as many capabilities as it may.
    Exports = "exports",
    /// Refused or closed: the peer gave as many capabilities as it may.
    Imports = "imports",
    /// Refused or closed: the peer gave as many promises as it may.
    Promises = "promises",
    /// Refused: a chain of calls on results that are not there.
    PipelineDepth = "pipeline_depth",
    /// Refused: a call of the result of a call that was refused.
    Refused = "refused",
    /// Cut: the text of an exception.
    ReasonCut = "reason_cut",
    /// Left behind: the error beside the text of an exception, which is too large. Its class and message remain.
    ErrorDropped = "error_dropped",
    /// Turned into an exception: a call of ours that the peer says was cancelled, which it was not.
    Canceled = "canceled",
    /// Closed: the peer said that it ends the connection.
    Aborted = "aborted",
    /// Closed: a message's table of segments or its size.
    Frame = "frame",
    /// Closed: a message that cannot be read.
    Malformed = "malformed",
    /// Closed: a kind of message that this protocol has no use for.
    Kind = "kind",
    /// Closed: a form of a message that this protocol has no use for.
    Form = "form",
    /// Closed: a list that is too long.
    TooLong = "too_long",
    /// Closed: an id that is in use, or that stands for nothing.
    Id = "id",
    /// Closed: a promise that leads to itself, or may.
    PromiseLoop = "promise_loop",
    /// Closed: too many questions.
    Questions = "questions",
    /// Closed: too many calls that were cancelled.
    Cancelled = "cancelled",
    /// Closed while nothing happened, because of what cancelled calls left behind.
    Recycled = "recycled",
    /// Closed: too much queued that the peer does not read.
    Unread = "unread",
    /// Closed: the peer read nothing for too long.
    WriteStall = "write_stall",
    /// Closed: the first message, or the rest of one, did not come.
    Late = "late",
    /// Closed: nothing happened for long.
    Idle = "idle",
}
