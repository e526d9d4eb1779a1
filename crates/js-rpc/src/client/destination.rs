//! Where sessions go: a service behind a connection, which may have to be made first.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::Policy;

use super::connection::{ConnectOptions, Connection};
use super::outgoing;
use super::redial::Redial;
use super::route::Route;
use super::traced::Onward;
use crate::object::{Call, Callable, PendingCall};
use crate::shared::Shared;
use crate::telemetry::{CallInfo, CallSpan, Parent, Place};
use crate::{Address, CallError};

/// Where sessions go, and how far their enrichment is trusted.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) upstream: Upstream,
    /// What it is called here.
    pub(crate) name: Rc<str>,
    /// What it is called there.
    pub(crate) service: Rc<str>,
    pub(crate) policy: Arc<Policy>,
    /// How long a call may take for which nobody says.
    pub(crate) deadline: Duration,
}

/// A connection that is there, or one that is made when it is needed.
#[derive(Clone)]
pub(crate) enum Upstream {
    Connection(Connection),
    Dialer(Rc<Dialer>),
}

/// A connection that is made when it is needed, and again after it was lost.
pub(crate) struct Dialer {
    pub(crate) address: Address,
    pub(crate) options: ConnectOptions,
    pub(crate) redial: Rc<Redial>,
    pub(crate) shared: Rc<Shared>,
}

impl Upstream {
    pub(super) fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Connection(connection) => connection.shared(),
            Self::Dialer(dialer) => &dialer.shared,
        }
    }

    /// The connection, if it is there.
    pub(super) fn up(&self) -> Option<Connection> {
        match self {
            Self::Connection(connection) => Some(connection.clone()),
            Self::Dialer(dialer) => dialer.redial.up(),
        }
    }

    /// The connection, when it is there.
    pub(crate) async fn connection(&self) -> Result<Connection, CallError> {
        match self {
            Self::Connection(connection) => Ok(connection.clone()),
            Self::Dialer(dialer) => {
                let options = || dialer.options.clone();
                dialer.redial.get(&dialer.address, options).await
            }
        }
    }

    pub(super) fn given_up(&self, error: &CallError) {
        if let Self::Dialer(dialer) = self {
            dialer.redial.link().given_up(error);
        }
    }
}

impl Destination {
    pub(crate) fn shared(&self) -> &Rc<Shared> {
        self.upstream.shared()
    }

    /// A service from behind this process, as others of it call it.
    pub(super) fn open(&self, call: &Call) -> Route {
        let parent = match call.parent {
            Some(parent) => Parent::Given(Place::remote(Some(parent))),
            None => Parent::Current,
        };
        let info = CallInfo::of(&call.method, &self.name);
        let span = CallSpan::client(parent, &info, self.shared().sinks());
        Route::to_session(self.clone(), span, Onward::default())
    }
}

/// Each call of it opens a session.
impl Callable for Destination {
    fn start(&self, call: Call, pipeline: bool) -> PendingCall {
        outgoing::start(self.open(&call), call, pipeline)
    }
}
