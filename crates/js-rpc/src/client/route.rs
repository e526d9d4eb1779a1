//! Where a call goes, and whose span it is.

use std::cell::Cell;
use std::rc::Rc;

use binding_span_schema::call_capnp::{call_session, call_target};
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::capability::FromClientHook;
use futures::channel::oneshot;

use super::destination::Destination;
use super::permit::{Ask, Permit};
use super::remote::{Target, Via};
use super::session::ClientSession;
use super::traced::{Onward, Traced};
use crate::CallError;
use crate::serve::Home;
use crate::shared::{KeepAlive, Shared};
use crate::streaming::{Streams, Transfer};
use crate::telemetry::CallSpan;
use crate::wire::Wire;

/// Where a call goes, and its span, which closes with this unless it is a session's.
pub(crate) enum Route {
    /// To the top level of a new session; the span is the session's.
    Session {
        to: Destination,
        session: Rc<ClientSession>,
    },
    /// To something that is there.
    Target {
        target: Target,
        via: Via,
        call: Later,
    },
}

/// A call of something that is there: its span closes when it and its streams are over.
#[derive(Clone)]
pub(crate) struct Later(Rc<Closing>);

struct Closing {
    call: Rc<Traced>,
    /// The session that it is part of, and what completes when the callee has said everything of it, if it may go on
    /// after its return.
    observed: Cell<Option<(Rc<ClientSession>, oneshot::Receiver<()>)>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        match self.observed.take() {
            Some((session, over)) => session.close_when_said(&self.call, over),
            None => self.call.close(),
        }
    }
}

/// What a call is sent to, by how it travels.
pub(super) enum Way<'a> {
    ThreeCalls(js_rpc_target::Client),
    /// With the name that it has there, where there are several.
    OneMessage(call_target::Client, Option<&'a str>),
}

impl Route {
    /// To a destination.
    pub(crate) fn to_session(to: Destination, span: CallSpan, onward: Onward) -> Self {
        let call = Traced::new(span, &to.policy, onward);
        let session = ClientSession::new(to.shared(), &to.name, call);
        Self::Session { to, session }
    }

    /// To an object that came `via` something.
    pub(crate) fn to_target(target: Target, via: Via, span: CallSpan) -> Self {
        Self::onward(target, via, span, Onward::default())
    }

    /// The same for a call that is passed on.
    pub(crate) fn onward(target: Target, via: Via, span: CallSpan, onward: Onward) -> Self {
        let call = Later(Rc::new(Closing {
            call: Traced::new(span, via.policy(), onward),
            observed: Cell::default(),
        }));
        Self::Target { target, via, call }
    }

    /// A permit, if there is one now.
    pub(super) fn permit(&self, ask: Ask) -> Option<Permit> {
        match (self, self.session()) {
            (Self::Session { to, .. }, _) => Permit::for_session(&to.upstream.up(ask)?, ask),
            (_, Some(session)) => Permit::for_call(session.gate()?, ask),
            (_, None) => Some(Permit::default()),
        }
    }

    /// A permit, when there is one; for a session also the connection, if it has to be made.
    pub(super) async fn wait(&self, ask: Ask) -> Result<Permit, CallError> {
        let (target, session) = match (self, self.session()) {
            (Self::Session { to, .. }, _) => {
                let connection = to.upstream.connection_for(ask).await?;
                return Permit::wait_for_session(&connection, ask).await;
            }
            (Self::Target { target, .. }, Some(session)) => (target, session),
            (Self::Target { .. }, None) => return Ok(Permit::default()),
        };
        if session.gate().is_none()
            && let Some(target) = target.get()
            && let Some(sent) = target.as_client_hook().when_more_resolved()
        {
            // The call that this is the result of waits itself. If it fails, so does this.
            let _ = sent.await;
            if session.gate().is_none() {
                return Err(session.unsent());
            }
        }
        match session.gate() {
            Some(gate) => Permit::wait_for_call(gate, ask).await,
            None => Ok(Permit::default()),
        }
    }

    /// What the call is sent to. Opens the session.
    pub(super) fn way(&self, permit: &mut Permit) -> Option<Way<'_>> {
        match self {
            Self::Session { to, session } => {
                let (line, wire) = permit.line.take()?;
                Some(match wire {
                    Wire::ThreeCalls => Way::ThreeCalls(session.open_top_level(line, &to.service)),
                    Wire::OneMessage => {
                        let target = line.call_target();
                        let name = line.is_by_name().then_some(&*to.service);
                        session.open(line);
                        Way::OneMessage(target, name)
                    }
                })
            }
            Self::Target { target, via, .. } => {
                let target = target.get()?;
                Some(match via.wire() {
                    Wire::ThreeCalls => Way::ThreeCalls(target),
                    Wire::OneMessage => Way::OneMessage(target.cast_to(), None),
                })
            }
        }
    }

    /// The session of ours that the call is part of. There is none for what came in an argument, whose calls
    /// do not wait for permits: they are part of one that the peer waits for.
    pub(super) fn session(&self) -> Option<&Rc<ClientSession>> {
        match self {
            Self::Session { session, .. }
            | Self::Target {
                via: Via::Result(session),
                ..
            } => Some(session),
            Self::Target { .. } => None,
        }
    }

    /// The session that the call opens.
    pub(super) fn opens(&self) -> Option<&Rc<ClientSession>> {
        match self {
            Self::Session { session, .. } => Some(session),
            Self::Target { .. } => None,
        }
    }

    /// Something of the result is held, or is still to come: the callee may go on saying what the call was.
    /// `observed`: it has an observer, since the call began.
    pub(super) fn hold(&self, held: call_session::Client, observed: Option<oneshot::Receiver<()>>) {
        match self {
            Self::Session { session, .. } => session.hold(held, observed),
            Self::Target {
                via: Via::Result(session),
                call,
                ..
            } => {
                let over = observed.or_else(|| session.observe(&call.0.call, &held));
                if let Some(over) = over {
                    call.0.observed.set(Some((Rc::clone(session), over)));
                }
            }
            // What a callee calls back has no connection of its own to wait on.
            Self::Target { .. } => {}
        }
    }

    /// How what comes with the result came.
    pub(crate) fn via(&self) -> Via {
        match self {
            Self::Session { session, .. } => Via::Result(Rc::clone(session)),
            Self::Target { via, .. } => via.clone(),
        }
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Session { session, .. } => session.shared(),
            Self::Target { via, .. } => via.shared(),
        }
    }

    /// How long a call may take for which nobody says.
    pub(super) fn deadline(&self) -> std::time::Duration {
        match self {
            Self::Session { to, .. } => to.deadline,
            Self::Target { via, .. } => via.shared().limits.call,
        }
    }

    /// The call's span.
    pub(super) fn call(&self) -> &Rc<Traced> {
        match self {
            Self::Session { session, .. } => &session.call,
            Self::Target { call, .. } => &call.0.call,
        }
    }

    /// The streams of a message of this call: until they have ended its span and its session are open, and what is
    /// given is kept.
    pub(crate) fn transfer(&self, keep: Option<KeepAlive>) -> Rc<Transfer> {
        let call = Rc::clone(self.call());
        let (via, later) = (self.via(), self.later());
        let in_flight = self.shared().enter();
        Transfer::new(move |said| {
            call.span().apply(&said);
            drop((via, later, in_flight, keep));
        })
    }

    /// What closes the span, unless a session does.
    fn later(&self) -> Option<Later> {
        match self {
            Self::Session { .. } => None,
            Self::Target { call, .. } => Some(call.clone()),
        }
    }

    /// Those of the connection by which the call goes, once that is known.
    pub(crate) fn streams(&self) -> Option<&Streams> {
        match self {
            Self::Session { session, .. } => session.streams(),
            Self::Target { via, .. } => via.streams(),
        }
    }

    /// How it travels, once that is known.
    pub(crate) fn wire(&self) -> Wire {
        match self {
            Self::Session { session, .. } => session.wire(),
            Self::Target { via, .. } => via.wire(),
        }
    }

    /// A home for objects of ours that go along.
    pub(super) fn home(&self) -> Option<Home> {
        let root = self.call().span().reference();
        self.via().home(root)
    }

    /// The call failed before it was sent.
    pub(super) fn never_sent(&self, error: &CallError) {
        if let Some(session) = self.opens() {
            session.never_sent(error);
        }
    }

    /// Nobody waits for an attempt to connect any longer.
    pub(super) fn given_up(&self, error: &CallError) {
        if let Self::Session { to, .. } = self {
            to.upstream.given_up(error);
        }
    }

    /// Settles the span with how the call ended.
    pub(super) fn settle(&self, error: Option<&CallError>) {
        self.call().settle(error);
        // A call that we gave up on is cancelled by dropping its session at once.
        let given_up = matches!(error, Some(CallError::Deadline(_)));
        if let Some(session) = self.opens()
            && !given_up
        {
            session.answered();
        }
    }
}
