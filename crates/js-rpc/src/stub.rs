//! Objects that can be called: one of ours that a peer may hold, or one of a peer's that we hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use binding_span::{Policy, SpanRef};
use binding_span_schema::js_rpc_capnp::js_rpc_target;

use crate::client::{CallBuilder, ClientSession, Method};
use crate::payload::{Args, IntoArgs};
use crate::server::target::{Home, ServiceTarget};
use crate::service::{Context, Service, ServiceResult};
use crate::shared::{KeepAlive, Shared};
use crate::wire::Operation;

/// An object that can be called by either side of a session. Cheap to clone; all clones are the same
/// object. The session lives as long as a stub that came through it.
///
/// It can be part of any value that derives serde's traits, as an argument or as a result:
///
/// ```
/// use js_rpc::{Args, Context, Service, ServiceResult, Stub, async_trait, reply, unknown_method};
/// use std::cell::{Cell, RefCell};
///
/// struct Counter(Cell<i64>);
///
/// #[async_trait(?Send)]
/// impl Service for Counter {
///     async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
///         match method {
///             "increment" => {
///                 self.0.set(self.0.get() + args.first::<Option<i64>>()?.unwrap_or(1));
///                 reply(&self.0.get())
///             }
///             // A method that hands out an object:
///             "fork" => reply(&Stub::new(Counter(self.0.clone()))),
///             _ => unknown_method(method),
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Stub(Rc<Inner>);

enum Inner {
    Ours(Rc<dyn Service>),
    Theirs(Remote),
}

/// An object of a peer's, and what a call of it needs.
pub(crate) struct Remote {
    pub(crate) target: Target,
    pub(crate) via: Via,
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
    pub(crate) fn get(&self) -> Option<js_rpc_target::Client> {
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
    pub(crate) shared: Rc<Shared>,
    pub(crate) binding: Rc<str>,
    pub(crate) policy: Arc<Policy>,
    #[allow(dead_code, reason = "held for its drop")]
    pub(crate) session: KeepAlive,
    /// The first span of the session in this process, for calls that are made when nothing is current.
    pub(crate) root: Rc<Cell<Option<SpanRef>>>,
}

impl Stub {
    /// An object of ours: whoever gets it can call the service.
    pub fn new(service: impl Service) -> Self {
        Self::of(Rc::new(service))
    }

    /// The same of a service that is shared already.
    pub fn of(service: Rc<dyn Service>) -> Self {
        Self(Rc::new(Inner::Ours(service)))
    }

    pub(crate) fn imported(target: js_rpc_target::Client, via: Via) -> Self {
        Self::part_of_result(target, via, None)
    }

    /// A stub in a result that has a disposer, which runs when nothing of the result is held.
    pub(crate) fn part_of_result(
        target: js_rpc_target::Client,
        via: Via,
        whole: Option<Self>,
    ) -> Self {
        let target = Target::There(target);
        Self(Rc::new(Inner::Theirs(Remote { target, via, whole })))
    }

    /// The result of a call that is not there.
    pub(crate) fn ahead(target: Target, via: Via) -> Self {
        let whole = None;
        Self(Rc::new(Inner::Theirs(Remote { target, via, whole })))
    }

    /// Calls a method; a path of several elements is written with dots. Nothing is sent before the
    /// builder is awaited or [sent](CallBuilder::send).
    pub fn call(&self, method: &str, args: impl IntoArgs) -> CallBuilder {
        self.builder(Method::of(method, Operation::Call), args.into_args())
    }

    /// Reads a property; a path of several elements is written with dots.
    pub fn get(&self, property: &str) -> CallBuilder {
        self.builder(Method::of(property, Operation::Get), Ok(Args::none()))
    }

    fn builder(&self, method: Method, args: Result<Args, crate::ConvertError>) -> CallBuilder {
        match &*self.0 {
            Inner::Theirs(remote) => CallBuilder::on_stub(remote, method, args),
            Inner::Ours(service) => CallBuilder::on_service(Rc::clone(service), method, args),
        }
    }

    /// A capability for the stub in a session of `home`.
    pub(crate) fn export(&self, home: &Home) -> js_rpc_target::Client {
        let service = match &*self.0 {
            Inner::Ours(service) => Rc::clone(service),
            // Not the capability itself: the session that it came through must live as long as it.
            Inner::Theirs(_) => Rc::new(Forward(self.clone())),
        };
        ServiceTarget::stub(service, home.clone())
    }

    /// Serves a call of ours, or passes it on, as part of the call that is being served.
    pub(crate) async fn serve(
        &self,
        method: &str,
        operation: Operation,
        args: Args,
        cx: &Context,
    ) -> ServiceResult {
        match (&*self.0, operation) {
            (Inner::Ours(service), Operation::Call) => service.call(method, args, cx).await,
            (Inner::Ours(service), Operation::Get) => service.get(method, cx).await,
            (Inner::Theirs(remote), operation) => {
                let method = Method::of(method, operation);
                let reply = CallBuilder::on_stub(remote, method, Ok(args)).await;
                Ok(reply?.into_payload())
            }
        }
    }
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.0 {
            Inner::Ours(_) => "Stub(ours)",
            Inner::Theirs(_) => "Stub(theirs)",
        })
    }
}

/// A peer's object, served to another peer.
struct Forward(Stub);

#[async_trait(?Send)]
impl Service for Forward {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        self.0.serve(method, Operation::Call, args, cx).await
    }

    async fn get(&self, property: &str, cx: &Context) -> ServiceResult {
        self.0
            .serve(property, Operation::Get, Args::none(), cx)
            .await
    }
}
