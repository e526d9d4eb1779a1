//! Objects that can be called: one of ours that a peer may hold, or one of a peer's that we hold.

use std::rc::Rc;

use super::call::{Call, CallBuilder};
use super::local::Local;
use super::method::Method;
use super::method::Operation;
use super::payload::{Args, ConvertError, IntoArgs};
use super::pending::PendingCall;
use super::service::{Context, Service, ServiceResult};

/// Something that can be called. What stands behind it, a service of this process or a peer's, is its own
/// affair.
pub(crate) trait Callable {
    /// Makes a call; whether its result will be called before it is there.
    fn start(&self, call: Call, pipeline: bool) -> PendingCall;
}

/// Something that can be called, and passed along in values.
pub(crate) trait Object: Callable {
    /// The object as a service, for peers that are given it.
    fn service(self: Rc<Self>) -> Rc<dyn Service>;

    /// Whose it is.
    fn owner(&self) -> &'static str;
}

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
pub struct Stub(Rc<dyn Object>);

impl Stub {
    /// An object of ours: whoever gets it can call the service.
    pub fn new(service: impl Service) -> Self {
        Self::of(Rc::new(service))
    }

    /// The same of a service that is shared already.
    pub fn of(service: Rc<dyn Service>) -> Self {
        Self(Rc::new(Local(service)))
    }

    pub(crate) fn object(object: Rc<dyn Object>) -> Self {
        Self(object)
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

    fn builder(&self, method: Method, args: Result<Args, ConvertError>) -> CallBuilder {
        CallBuilder::new(Rc::clone(&self.0) as _, method, args)
    }

    /// The object as a service, for peers that are given it.
    pub(crate) fn service(&self) -> Rc<dyn Service> {
        Rc::clone(&self.0).service()
    }

    /// Serves a call of ours, or passes it on, as part of the call that is being served.
    pub(crate) async fn serve(
        &self,
        method: &str,
        operation: Operation,
        args: Args,
        cx: &Context,
    ) -> ServiceResult {
        let service = self.service();
        match operation {
            Operation::Call => service.call(method, args, cx).await,
            Operation::Get => service.get(method, cx).await,
        }
    }
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stub({})", self.0.owner())
    }
}
