//! A peer's object: how it came to us, and what a call of it needs.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use binding_span::{Policy, SpanRef};
use binding_span_schema::js_rpc_capnp::js_rpc_target;

use super::outgoing;
use super::route::Route;
use super::session::ClientSession;
use crate::object::Operation;
use crate::object::{
    Args, Call, Callable, ClientId, Context, Method, Object, PendingCall, Service, ServiceResult,
    Stub,
};
use crate::serve::{Home, Keep, Served};
use crate::shared::Shared;
use crate::streaming::Streams;
use crate::telemetry::{CallInfo, CallSpan, Parent, Place};
use crate::wire::Wire;

/// An object of a peer's.
pub(crate) struct Remote {
    target: Target,
    via: Via,
    /// The object whose disposer ends this one with it.
    #[allow(dead_code, reason = "held for its drop")]
    whole: Option<Stub>,
}

/// What calls of a peer's object go to.
#[derive(Clone)]
pub(crate) enum Target {
    There(js_rpc_target::Client),
    Ahead(Ahead),
}

impl Target {
    /// `None`: it will never be there.
    pub(super) fn get(&self) -> Option<js_rpc_target::Client> {
        match self {
            Self::There(target) => Some(target.clone()),
            Self::Ahead(ahead) => ahead.0.borrow().clone(),
        }
    }
}

/// The result of a call that is not there. It holds the call open, until that was given up.
#[derive(Clone)]
pub(crate) struct Ahead(Rc<RefCell<Option<js_rpc_target::Client>>>);

impl Ahead {
    pub(crate) fn of(target: js_rpc_target::Client) -> Self {
        Self(Rc::new(RefCell::new(Some(target))))
    }

    /// The call was given up.
    pub(crate) fn end(&self) {
        // Dropped outside of the borrow.
        drop(self.0.take());
    }
}

/// How an object of a peer's came to us.
#[derive(Clone)]
pub(crate) enum Via {
    /// In a result, or ahead of one, in a session that we opened.
    Result(Rc<ClientSession>),
    /// In an argument, in a session that we serve.
    Argument(Rc<Argument>),
}

/// What a call of an object needs that came in an argument.
pub(crate) struct Argument {
    shared: Rc<Shared>,
    binding: Rc<str>,
    policy: Arc<Policy>,
    session: Rc<Served>,
    streams: Streams,
    wire: Wire,
}

/// A stub of a capability that came in an argument.
pub(crate) fn import(home: &Home, wire: Wire, target: js_rpc_target::Client) -> Stub {
    let via = Via::argument(
        Rc::clone(&home.shared),
        Rc::clone(&home.binding),
        Arc::clone(&home.shared.policy),
        Rc::clone(&home.session),
        home.streams.clone(),
        wire,
    );
    Remote::stub(Target::There(target), via, None)
}

impl Remote {
    /// An object that came `via` something; `whole` has the disposer that ends it, if any has.
    pub(super) fn stub(target: Target, via: Via, whole: Option<Stub>) -> Stub {
        Stub::object(Rc::new(Self { target, via, whole }))
    }

    async fn serve(&self, method: Method, args: Args) -> ServiceResult {
        let call = Call {
            method,
            args: Ok(args),
            deadline: None,
            since: None,
            parent: None,
            client: ClientId::LOCAL,
            begun: false,
            http: None,
        };
        Ok(self.start(call, false).await?.into_payload())
    }
}

impl Callable for Remote {
    fn start(&self, call: Call, pipeline: bool) -> PendingCall {
        let span = self.via.open_span(&call);
        let route = Route::to_target(self.target.clone(), self.via.clone(), span);
        outgoing::start(route, call, pipeline)
    }
}

impl Object for Remote {
    fn service(self: Rc<Self>) -> Rc<dyn Service> {
        // Not the capability itself: the session that it came through must live as long as it.
        self
    }

    fn owner(&self) -> &'static str {
        "theirs"
    }
}

/// A peer's object, served to another peer.
#[async_trait(?Send)]
impl Service for Remote {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        self.serve(Method::of(method, Operation::Call), args).await
    }

    async fn get(&self, property: &str, _cx: &Context) -> ServiceResult {
        let method = Method::of(property, Operation::Get);
        self.serve(method, Args::none()).await
    }
}

impl Via {
    /// In an argument of a call that travelled like that, in a session that we serve.
    pub(crate) fn argument(
        shared: Rc<Shared>,
        binding: Rc<str>,
        policy: Arc<Policy>,
        session: Rc<Served>,
        streams: Streams,
        wire: Wire,
    ) -> Self {
        Self::Argument(Rc::new(Argument {
            shared,
            binding,
            policy,
            session,
            streams,
            wire,
        }))
    }

    /// The span of a call of an object that came like this.
    fn open_span(&self, call: &Call) -> CallSpan {
        let info = CallInfo::of(&call.method, self.binding());
        let sinks = self.shared().sinks();
        match (self, call.parent) {
            (_, Some(parent)) => {
                let place = Place::remote(Some(parent));
                CallSpan::client(Parent::Called(place), &info, sinks)
            }
            (Self::Result(session), None) => {
                let session = session.call.span();
                CallSpan::client(Parent::Session(session), &info, sinks)
            }
            (Self::Argument(argument), None) => {
                let parent = Parent::CalledBack(argument.session.root.get());
                CallSpan::client(parent, &info, sinks)
            }
        }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
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

    pub(super) fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::Result(session) => &session.call.policy,
            Self::Argument(argument) => &argument.policy,
        }
    }

    /// Those of the connection by which its calls go. `None`: it is not open.
    pub(super) fn streams(&self) -> Option<&Streams> {
        match self {
            Self::Result(session) => session.streams(),
            Self::Argument(argument) => Some(&argument.streams),
        }
    }

    pub(super) fn wire(&self) -> Wire {
        match self {
            Self::Result(session) => session.wire(),
            Self::Argument(argument) => argument.wire,
        }
    }

    /// A home for objects of ours that go out this way: they keep the session alive.
    /// `None`: nothing is open by which they could go.
    pub(super) fn home(&self, root: SpanRef) -> Option<Home> {
        let keep = match self {
            Self::Result(session) => Rc::clone(session) as _,
            Self::Argument(argument) => Rc::clone(&argument.session) as _,
        };
        Some(Home {
            shared: Rc::clone(self.shared()),
            binding: Rc::clone(self.binding()),
            session: Served::new(Keep::Other(keep), Some(root)),
            observers: self.shared().observers.clone(),
            streams: self.streams()?.clone(),
            import,
            // Each session for itself: a callee calls back what it was given, and little else.
            client: ClientId::next(),
        })
    }
}
