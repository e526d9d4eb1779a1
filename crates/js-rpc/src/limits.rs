//! How long things may take and how large they may be, unless somebody says otherwise.

use std::time::Duration;

use js_value::DecodeLimits;

/// The limits of a connection, on both sides.
#[derive(Debug, Clone)]
pub struct RpcLimits {
    /// To connect, and for a peer to say how it opens: 10 s.
    pub connect: Duration,
    /// For a call to return, from when it is sent: 30 s. A call can have a deadline of its own.
    pub call: Duration,
    /// For a callee to say that a session is over, once its last stub was dropped: 10 s. After that
    /// the session is dropped, which cancels what is left of it.
    pub linger: Duration,
    /// For calls in flight to finish when a server shuts down: 10 s.
    pub drain: Duration,
    /// Words (of 8 bytes) that reading one message may visit: 8 Mi, which is 64 MiB.
    pub message_words: usize,
    /// What a value may be like.
    pub decode: DecodeLimits,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(30),
            linger: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            message_words: 8 * 1024 * 1024,
            decode: DecodeLimits::default(),
        }
    }
}
