//! How long things may take and how large they may be, unless somebody says otherwise.

use std::time::Duration;

use js_value::DecodeLimits;

use crate::budget::Budget;
use crate::network::NetworkStats;

/// The limits of a connection, on both sides.
#[derive(Debug, Clone)]
pub struct RpcLimits {
    /// To connect, and for a peer to say how it opens: 10 s.
    pub connect: Duration,
    /// For a call to return, from when it is sent: 30 s. A call can have a deadline of its own.
    pub call: Duration,
    /// For a service to serve a call, whatever its caller gives it: 5 min. Then its method is dropped, and the
    /// call fails with [`CallError::Deadline`](crate::CallError::Deadline).
    pub handler: Duration,
    /// For a callee to say that a session is over, once its last stub was dropped: 10 s. After that
    /// the session is dropped, which cancels what is left of it.
    pub linger: Duration,
    /// For calls in flight to finish when a server shuts down: 10 s.
    pub drain: Duration,
    /// Connections that a server has at once, on all of its listeners: 768. A process commonly may have
    /// 1024 descriptors, and needs some for files and for connections of its own.
    pub connections: usize,
    /// Connections that one peer may have at once: 384, half of all, so that no single one fills the
    /// server. A peer is a user on unix sockets; an IPv4 address or the first 64 bits of an IPv6
    /// address on TCP.
    pub connections_per_peer: usize,
    /// Of all connections, those that only peers may take that have none yet: 64. A flood from several
    /// peers at once leaves these to others.
    pub connections_reserved: usize,
    /// What a peer may make the network hold or wait for.
    pub network: NetworkLimits,
    /// What a value may be like.
    pub decode: DecodeLimits,
    /// Off, calls travel as workerd makes them also between our own peers, in both roles. For tests and
    /// benchmarks.
    #[doc(hidden)]
    pub one_message: bool,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(30),
            handler: Duration::from_secs(300),
            linger: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            connections: 768,
            connections_per_peer: 384,
            connections_reserved: 64,
            network: NetworkLimits::default(),
            decode: DecodeLimits::default(),
            one_message: true,
        }
    }
}

/// What one connection's peer may make us hold, visit or wait for.
///
/// A *mark* is for honest peers that do much: beyond it a call is refused with an `overloaded`
/// exception, before it runs, and everything else goes on. A *cap* is for peers that break the protocol
/// or do not keep to its rhythm: beyond it the connection is closed, with an abort that says why.
#[derive(Debug, Clone)]
pub struct NetworkLimits {
    /// Cap: bytes of one message, 33 MiB. workerd limits a serialized value to 32 MiB.
    pub frame_bytes: usize,
    /// Cap: segments of one message, 512. Honest ones have a handful.
    pub segments: u32,
    /// How often all of a message may be visited, 8: pointers may alias, so a small message can stand
    /// for a large one. Ours reads each part once or twice. (8,192 words come on top.)
    pub traversals: usize,
    /// How deep pointers of a message may nest, 64, as Cap'n Proto has it.
    pub nesting: u32,
    /// Cap, of a server: for a client's first message after it opened, 10 s.
    pub first_frame: Duration,
    /// Cap: for the next part of a message that has begun, 30 s. A part is 64 KiB at first, and then as
    /// much as has arrived.
    pub frame: Duration,
    /// Cap, of a server: for which a client may say nothing, while no call is in flight in either
    /// direction and no session is open, 1 h.
    pub idle: Duration,
    /// Cap: for which a peer may read nothing of what is queued for it, 30 s.
    pub write_stall: Duration,
    /// For a closing connection's queue to be written, 1 s.
    pub close: Duration,
    /// Mark: bytes queued for a peer, 1 MiB. Its next call waits for the queue to shrink, for as long as
    /// [`pause`](Self::pause), and is refused if it did not.
    pub queued: usize,
    /// How long a call waits for its peer to read anything, once while it does not, 1 s. Everything behind the
    /// call waits as well, so this must end: two peers may be waiting for each other. While the peer reads, it waits
    /// on.
    pub pause: Duration,
    /// Cap: bytes queued for a peer, 64 MiB. They are results that our own services made, so there must
    /// be room for two of the largest.
    pub max_queued: usize,
    /// Cap: replies and the like queued for a peer, 65,536: it is what a peer that never reads can make
    /// of small messages. Our own calls do not count.
    pub max_queued_replies: usize,
    /// Mark: questions of the peer that it has not finished, 4,096. A binding call has up to three. Our
    /// own calls keep to the same mark: beyond it they wait for room, within their deadline, but for
    /// calls that are part of a call being served, for which the peer may be waiting. Those that a peer
    /// with a lower mark refuses fail as [`Overloaded`](crate::CallError::Overloaded) and did not run.
    /// Each that has not returned costs capnp-rpc up to 3 KiB besides its own bytes, however few those are.
    pub in_flight: usize,
    /// Mark: calls of ours that wait for room on a connection, 16,384. More fail as
    /// [`Overloaded`](crate::CallError::Overloaded) and did not run.
    pub waiting: usize,
    /// Mark: bytes of calls that have not returned, and of results that the peer keeps for pipelining,
    /// 16 MiB; a capability counts as 64. One call may have more while all others have less than a sixteenth of
    /// it; calls of up to 64 KiB have a quarter of it besides, whatever larger ones hold. Our own calls keep to the
    /// same mark and wait.
    pub in_flight_bytes: usize,
    /// Mark: bytes of streams that were sent and not read by whom they are for, 64 MiB; a write counts as 8 KiB at
    /// least. They are counted beside calls, which do not wait for them. A stream of ours is at most 128 KiB ahead of
    /// its reader, and waits where many are.
    pub stream_bytes: usize,
    /// Mark, of a server: bytes of messages that arrive or wait to be served, on all connections together,
    /// 512 MiB. A peer (a user or an address, as with [`RpcLimits::connections_per_peer`]) may have as much as
    /// is left for all others; the first 64 KiB of each connection are not counted. A message that is too large for
    /// that waits for as long as [`frame`](Self::frame), after which its connection is closed, and many small calls
    /// are refused.
    pub incoming_bytes: usize,
    /// Cap: questions of the peer, those included that were refused and that it has not finished,
    /// 16,384.
    pub questions: usize,
    /// Mark: how deep calls of results that are not there may be chained, 64. What a chain holds is
    /// released recursively, and workerd goes four deep.
    pub pipeline_depth: u16,
    /// Cap: steps from a result to the capability that is meant, 32. Honest ones have one or two.
    pub transform: u32,
    /// Cap: capabilities in one message, 1,032. A value has 1,024 stubs at most.
    pub capabilities: u32,
    /// Mark: capabilities of ours that the peer holds, 16,384.
    pub exports: usize,
    /// Mark for calls, cap for everything else: capabilities of the peer's that we hold, 16,384. Each costs
    /// capnp-rpc less than 1 KiB.
    pub imports: usize,
    /// The same, for those of them that are promises, 4,096.
    pub promises: usize,
    /// Cap: promises that resolve to promises, in a row, 64. The row is released recursively.
    pub promise_depth: u16,
    /// Of a server: calls in either direction that were cancelled before they returned, after which the
    /// connection is closed as soon as nothing is in flight and no session is open, 8,192. Each leaves
    /// an entry behind for as long as the connection lasts; the client connects again.
    pub recycle: usize,
    /// Of a client: the same number, after which it makes a new connection for new sessions, 2,048: sooner
    /// than a server loses patience. The old one is closed when its last session is over; what is held
    /// through it stays as it is.
    pub renew: usize,
    /// Cap: calls that the peer cancelled before they returned, 32,768.
    pub cancelled: usize,
    /// Bytes of an exception's text, 64 KiB; longer ones are cut. An abort's text is copied into each
    /// call in flight, and is cut at 1 KiB.
    pub reason_bytes: usize,
    /// What is taken of [`incoming_bytes`](Self::incoming_bytes). Clones share it.
    pub incoming: Budget,
    /// Counts what connections with these limits did, and what they refused. Clones share it.
    pub stats: NetworkStats,
    /// Off, messages are not judged. For measuring what that costs.
    #[doc(hidden)]
    pub judge: bool,
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 33 << 20,
            segments: 512,
            traversals: 8,
            nesting: 64,
            first_frame: Duration::from_secs(10),
            frame: Duration::from_secs(30),
            idle: Duration::from_secs(3600),
            write_stall: Duration::from_secs(30),
            close: Duration::from_secs(1),
            queued: 1 << 20,
            pause: Duration::from_secs(1),
            max_queued: 64 << 20,
            max_queued_replies: 65_536,
            in_flight: 4_096,
            waiting: 16_384,
            in_flight_bytes: 16 << 20,
            stream_bytes: 64 << 20,
            incoming_bytes: 512 << 20,
            incoming: Budget::default(),
            questions: 16_384,
            pipeline_depth: 64,
            transform: 32,
            capabilities: 1_032,
            exports: 16_384,
            imports: 16_384,
            promises: 4_096,
            promise_depth: 64,
            recycle: 8_192,
            renew: 2_048,
            cancelled: 32_768,
            reason_bytes: 64 << 10,
            stats: NetworkStats::default(),
            judge: true,
        }
    }
}
