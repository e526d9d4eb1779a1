//! The caller: connections, bindings, calls, and the sessions that they open.

mod binding;
mod call;
mod connection;
mod line;
mod link;
mod method;
mod pending;
mod redial;
mod reply;
mod room;
mod route;
mod session;
mod tail;

pub use binding::Binding;
pub use call::CallBuilder;
pub(crate) use connection::Destination;
pub use connection::{ConnectOptions, Connection};
pub use link::{Link, LinkState};
pub(crate) use method::Method;
pub use pending::PendingCall;
pub(crate) use redial::Redial;
pub use reply::Reply;
pub(crate) use room::Room;
pub(crate) use session::ClientSession;
pub use tail::TailStream;
