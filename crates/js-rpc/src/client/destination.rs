//! Where sessions go: a service behind a connection, which may have to be made first.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::Policy;

use super::connection::{ConnectOptions, Connection};
use super::outgoing;
use super::permit::Ask;
use super::redial::Redial;
use super::route::Route;
use super::traced::Onward;
use crate::object::{Call, Callable, PendingCall};
use crate::shared::Shared;
use crate::telemetry::{CallInfo, CallSpan, HttpInfo, Parent, Place};
use crate::{Address, CallError, ClientId};

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
    /// A second one, for what is much, where calls are made on behalf of several clients.
    pub(crate) second: Option<Rc<Redial>>,
    pub(crate) shared: Rc<Shared>,
}

impl Upstream {
    pub(super) fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Connection(connection) => connection.shared(),
            Self::Dialer(dialer) => &dialer.shared,
        }
    }

    /// The connection for a call, if it is there.
    pub(super) fn up(&self, ask: Ask) -> Option<Connection> {
        match self {
            Self::Connection(connection) => Some(connection.clone()),
            Self::Dialer(dialer) => {
                let connection = dialer.redial.up()?;
                match dialer.second(&connection, ask) {
                    Some(second) => second.up(),
                    None => Some(connection),
                }
            }
        }
    }

    /// The connection for a call, when it is there.
    pub(super) async fn connection_for(&self, ask: Ask) -> Result<Connection, CallError> {
        let connection = self.connection().await?;
        if let Self::Dialer(dialer) = self
            && let Some(second) = dialer.second(&connection, ask)
            && let Ok(second) = second.get(&dialer.address, || dialer.options.clone()).await
        {
            return Ok(second);
        }
        // Also where a second one cannot be had.
        Ok(connection)
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

/// Calls that a client has on its way by the first connection before it uses the second.
const MANY: usize = 32;

/// Bytes of a call that goes by the second connection.
const LARGE: usize = 256 << 10;

impl Dialer {
    /// The second connection, if a call is to go by it. Whoever has much on its way has it there: at the callee, as
    /// here, what came by one connection waits behind the rest of it.
    fn second(&self, first: &Connection, ask: Ask) -> Option<&Redial> {
        let second = self
            .second
            .as_deref()
            .filter(|_| ask.client != ClientId::LOCAL)?;
        let has_many = || first.line().gate().asked_for(ask.client) >= MANY;
        (ask.bytes > LARGE || has_many()).then_some(second)
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
        let mut info = CallInfo::of(&call.method, &self.name);
        info.http = call
            .http
            .as_ref()
            .map(|(method, path)| HttpInfo { method, path });
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
