//! The caller: connections, bindings, calls, and the sessions that they open.

mod call;
mod connection;
mod session;

pub(crate) use call::Method;
pub use call::{CallBuilder, PendingCall, Reply};
pub use connection::{Binding, ConnectOptions, Connection};
pub(crate) use session::{ClientSession, Upstream};
