//! Where a call goes, and whose span it is.

use std::rc::Rc;
use std::sync::Arc;

use binding_span::binding_span_capnp::binding_span_enrichment;
use binding_span::{Policy, SpanContext};
use binding_span_schema::js_rpc_capnp::js_rpc_target;
use capnp::capability::{FromClientHook, RemotePromise};

use crate::CallError;
use crate::client::connection::{Connection, Destination};
use crate::client::method::Method;
use crate::client::room::Room;
use crate::client::session::ClientSession;
use crate::payload::Args;
use crate::server::target::Home;
use crate::shared::Shared;
use crate::stub::{Stub, Target, Via};
use crate::telemetry::{CallSpan, Parent, Place};
use crate::wire::{self, Operation};

/// Where a call goes, and who owns its span.
pub(crate) struct Route {
    way: Way,
    pub(crate) owner: Owner,
}

enum Way {
    /// To the top level of a new session, over this.
    Session(Connection),
    Target(Target),
}

/// Who owns the span of a call.
pub(crate) enum Owner {
    /// The call opens the session; its span is the session's.
    Session(Rc<ClientSession>),
    /// A later call, with a span of its own.
    Call { span: CallSpan, via: Via },
}

impl Route {
    pub(crate) fn open(to: Destination, method: &Method, remote: Option<Place>) -> Self {
        let parent = remote.map_or(Parent::Current, Parent::Given);
        let info = method.info(&to.name);
        let span = CallSpan::client(parent, &info, to.connection.shared().sinks());
        let session = ClientSession::new(&to, span);
        Self {
            way: Way::Session(to.connection),
            owner: Owner::Session(session),
        }
    }

    pub(crate) fn through(
        target: Target,
        via: Via,
        method: &Method,
        remote: Option<Place>,
    ) -> Self {
        let span = match (&via, remote) {
            (via, Some(place)) => {
                let info = method.info(via.binding());
                CallSpan::client(Parent::Called(place), &info, via.shared().sinks())
            }
            (Via::Result(session), None) => {
                let info = method.info(&session.binding);
                CallSpan::client(
                    Parent::Session(&session.span()),
                    &info,
                    via.shared().sinks(),
                )
            }
            (Via::Argument(argument), None) => {
                let info = method.info(&argument.binding);
                let parent = Parent::CalledBack(argument.root.get());
                CallSpan::client(parent, &info, argument.shared.sinks())
            }
        };
        Self {
            way: Way::Target(target),
            owner: Owner::Call { span, via },
        }
    }

    /// Room for the call, if there is now.
    pub(crate) fn room(&self) -> Option<Room> {
        match (&self.way, self.owner.session()) {
            (Way::Session(connection), _) => Room::for_session(connection),
            (Way::Target(_), Some(session)) => Room::for_call(session.gate()?),
            (Way::Target(_), None) => Some(Room::default()),
        }
    }

    /// Room for the call, when there is.
    pub(crate) async fn wait(&self) -> Result<Room, CallError> {
        let (target, session) = match (&self.way, self.owner.session()) {
            (Way::Session(connection), _) => return Room::wait_for_session(connection).await,
            (Way::Target(target), Some(session)) => (target, session),
            (Way::Target(_), None) => return Ok(Room::default()),
        };
        if session.gate().is_none()
            && let Some(target) = target.get()
            && let Some(sent) = target.as_client_hook().when_more_resolved()
        {
            // The call that this is the result of waits itself. If it fails, so does this.
            let _ = sent.await;
        }
        match session.gate() {
            Some(gate) => Room::wait_for_call(gate).await,
            None => Ok(Room::default()),
        }
    }

    pub(crate) fn send(
        &self,
        room: Room,
        method: &Method,
        args: &Args,
    ) -> Result<RemotePromise<js_rpc_target::call_results::Owned>, CallError> {
        let mut room = room;
        let target = match (&self.way, &self.owner) {
            (Way::Target(target), _) => target.get(),
            (_, Owner::Session(session)) => room.line.take().map(|line| session.open(line)),
            (Way::Session(_), Owner::Call { .. }) => None,
        };
        let mut request = target.ok_or(CallError::Canceled)?.call_request();
        let mut params = request.get();
        wire::write_path(&method.path(), params.reborrow());
        match method.operation {
            Operation::Call => {
                wire::write_args(args, params.reborrow(), |stub| self.owner.export(stub))
                    .map_err(CallError::Arguments)?;
            }
            Operation::Get => params.reborrow().init_operation().set_get_property(()),
        }
        if let Some(context) = self.owner.span_context() {
            binding_span::wire::write_span_context(&context, params.init_caller_span());
        }
        Ok(request.send())
    }
}

impl Via {
    fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Result(session) => session.shared(),
            Self::Argument(argument) => &argument.shared,
        }
    }

    fn binding(&self) -> &Rc<str> {
        match self {
            Self::Result(session) => &session.binding,
            Self::Argument(argument) => &argument.binding,
        }
    }

    fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::Result(session) => &session.policy,
            Self::Argument(argument) => &argument.policy,
        }
    }

    /// A home for objects of ours that go out this way: they keep the session alive.
    fn home(&self, root: &CallSpan) -> Home {
        Home::new(
            Rc::clone(self.shared()),
            Rc::clone(self.binding()),
            match self {
                Self::Result(session) => Rc::clone(session) as _,
                Self::Argument(argument) => Rc::clone(&argument.session),
            },
            Some(root.reference()),
        )
    }
}

impl Owner {
    /// The session of ours that the call is part of. There is none for what came in an argument, whose calls
    /// do not wait for room: they are part of one that the peer waits for.
    fn session(&self) -> Option<&Rc<ClientSession>> {
        match self {
            Self::Session(session)
            | Self::Call {
                via: Via::Result(session),
                ..
            } => Some(session),
            Self::Call { .. } => None,
        }
    }

    pub(crate) fn via(&self) -> Via {
        match self {
            Self::Session(session) => Via::Result(Rc::clone(session)),
            Self::Call { via, .. } => via.clone(),
        }
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        match self {
            Self::Session(session) => session.shared(),
            Self::Call { via, .. } => via.shared(),
        }
    }

    fn span_context(&self) -> Option<SpanContext> {
        match self {
            Self::Session(session) => session.span().context(),
            Self::Call { span, .. } => span.context(),
        }
    }

    fn export(&self, stub: &Stub) -> js_rpc_target::Client {
        let home = match self {
            Self::Session(session) => self.via().home(&session.span()),
            Self::Call { span, via } => via.home(span),
        };
        stub.export(&home)
    }

    fn with_span<R>(&mut self, change: impl FnOnce(&mut CallSpan) -> R) -> R {
        match self {
            Self::Session(session) => session.with_span(change),
            Self::Call { span, .. } => change(span),
        }
    }

    /// Renames and tags the span. A sink may do what it likes meanwhile, also call on this session: the
    /// span is only read here.
    pub(crate) fn enrich_from(
        &self,
        said: capnp::Result<binding_span_enrichment::Reader<'_>>,
        returned: bool,
    ) {
        let enrich = |span: &CallSpan, policy: &Policy| {
            if span.is_watched() {
                span.enrich_from(said, policy, returned);
            }
        };
        match self {
            Self::Session(session) => enrich(&session.span(), &session.policy),
            Self::Call { span, via } => enrich(span, via.policy()),
        }
    }

    /// Settles the span with how the call ended.
    pub(crate) fn settle(&mut self, error: Option<&CallError>) {
        self.with_span(|span| match error {
            None => span.succeeded(),
            Some(error) => span.failed(error),
        });
        // A call that we gave up on is cancelled by dropping its session at once.
        let given_up = matches!(error, Some(CallError::Deadline(_)));
        if let Self::Session(session) = self
            && !given_up
        {
            session.answered();
        }
    }
}
