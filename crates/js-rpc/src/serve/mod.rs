//! Serving calls: objects of this process behind capabilities, however a call of them travels.
//!
//! A server serves bindings with it, and a caller the objects that it passes along. What comes in as an
//! argument is a caller's to call, so how it is imported is given by the layers above.

mod answer;
mod exported;
mod failed;
#[cfg(feature = "fetch")]
mod fetch;
mod incoming;
mod result;
mod run;
mod session;
mod target;

use std::rc::Rc;

use binding_span_schema::js_rpc_capnp::js_rpc_target;

use crate::object::{ClientId, Stub};
use crate::observers::Observers;
use crate::shared::Shared;
use crate::streaming::Streams;
use crate::wire::Wire;

pub(crate) use answer::Answer;
pub(crate) use exported::{Answers, exported};
pub(crate) use failed::failed;
#[cfg(feature = "fetch")]
pub(crate) use fetch::{Around, FetchBody, fetch};
pub(crate) use incoming::{Incoming, Params};
pub(crate) use run::{Kind, serve};
pub(crate) use session::{Held, Keep, Served, open_promise};
pub(crate) use target::ServiceTarget;

/// Makes a stub of a capability that came in an argument, whose calls travel like the one that brought it.
pub(crate) type Import = fn(&Home, Wire, js_rpc_target::Client) -> Stub;

/// Where a call that opens a session came in.
pub(crate) struct Arrival {
    pub(crate) shared: Rc<Shared>,
    pub(crate) binding: Rc<str>,
    /// What lives as long as the session.
    pub(crate) keep: Keep,
    pub(crate) observers: Observers,
    pub(crate) streams: Streams,
    /// By which connection.
    pub(crate) client: ClientId,
}

/// Where a target stands: the server, the binding, the session that it keeps open.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) shared: Rc<Shared>,
    pub(crate) binding: Rc<str>,
    pub(crate) session: Rc<Served>,
    pub(crate) observers: Observers,
    /// Those of the connection by which calls come here.
    pub(crate) streams: Streams,
    pub(crate) import: Import,
    /// Whose calls come here.
    pub(crate) client: ClientId,
}

impl Home {
    /// That of a session that begins.
    pub(crate) fn new(arrival: Arrival, import: Import) -> Self {
        Self {
            shared: arrival.shared,
            binding: arrival.binding,
            session: Served::new(arrival.keep, None),
            observers: arrival.observers,
            streams: arrival.streams,
            import,
            client: arrival.client,
        }
    }

    /// A capability for an object in a session.
    fn export(&self, stub: &Stub) -> js_rpc_target::Client {
        ServiceTarget::stub(stub.service(), self.clone())
    }
}

/// A capability for a stub in a session of `home`.
pub(crate) fn export(stub: &Stub, home: &Home) -> js_rpc_target::Client {
    home.export(stub)
}
