//! The caller: connections, bindings, and the path of the calls that leave.

mod binding;
mod connection;
mod destination;
mod lazy;
mod line;
mod link;
mod observer;
mod outgoing;
mod permit;
mod redial;
mod remote;
mod route;
mod session;
mod tail;
mod traced;

pub use binding::Binding;
pub use connection::{ConnectOptions, Connection};
pub(crate) use destination::{Destination, Dialer, Upstream};
pub use lazy::LazyConnection;
pub use link::{Link, LinkState};
pub(crate) use outgoing::{ArgumentStreams, Content, Made, Outgoing};
pub(crate) use redial::Redial;
pub(crate) use remote::{Ahead, Target, Via, import};
pub(crate) use route::Route;
pub(crate) use session::ClientSession;
pub use tail::TailStream;
pub(crate) use traced::Onward;
