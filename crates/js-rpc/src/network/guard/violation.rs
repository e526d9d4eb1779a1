//! Why a connection is closed.

use capnp::Error;

use crate::error::BROKEN;
use crate::network::stats::Reason;

/// What a peer did that the protocol, or our limits, do not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Violation {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { reason, detail }
    }

    /// The error that closes the connection: calls in flight fail with it, and it goes to the peer in
    /// an abort. The connection is lost, whatever the peer did.
    pub(crate) fn into_error(self) -> Error {
        let detail = self.detail;
        Error::disconnected(match self.reason {
            Reason::Aborted => format!("the peer closed the connection: {detail}"),
            Reason::Late | Reason::Idle | Reason::WriteStall | Reason::Recycled => detail,
            _ => format!("{BROKEN}{detail}"),
        })
    }
}

/// A message that Cap'n Proto cannot read.
impl From<Error> for Violation {
    fn from(error: Error) -> Self {
        Self::new(Reason::Malformed, format!("an unreadable message: {error}"))
    }
}

impl From<capnp::NotInSchema> for Violation {
    fn from(_: capnp::NotInSchema) -> Self {
        Self::new(Reason::Form, "a form of a message that is not known here")
    }
}
