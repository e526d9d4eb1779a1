//! What an author of a callee writes: a service, its methods by name.

use std::rc::Rc;

use async_trait::async_trait;
use binding_span::{CallScope, ChildSpan, Enrichment, SpanContext};
use js_value::{JsError, Value};
use serde::Serialize;

use super::byte_stream::ByteStream;
use super::client_id::ClientId;
use super::payload::{Args, ConvertError, Payload};

/// What a method returns: a value, or the error that it throws.
pub type ServiceResult = Result<Payload, JsError>;

/// Something whose methods can be called by name.
///
/// ```
/// use js_rpc::{Args, Context, Enrichment, Service, ServiceResult, async_trait, reply, unknown_method};
///
/// struct Gateway;
///
/// #[async_trait(?Send)]
/// impl Service for Gateway {
///     async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
///         match method {
///             "run" => {
///                 let (model, prompt): (String, String) = args.parse()?;
///                 cx.enrich(Enrichment::new().name("ai_gateway.run").attribute("gen_ai.request.model", model));
///                 let answer = prompt.to_uppercase();
///                 cx.enrich(Enrichment::new().attribute("gen_ai.usage.output_tokens", answer.len()));
///                 reply(&answer)
///             }
///             _ => unknown_method(method),
///         }
///     }
/// }
/// ```
#[async_trait(?Send)]
pub trait Service: 'static {
    /// Calls a method. A call through a path, `stub.users.get()`, has the method `users.get`; a call of
    /// the stub itself has the method "". A dot within a name, `stub["a.b"]()`, has a backslash in front
    /// ([`method_path`](crate::method_path)).
    ///
    /// # Errors
    /// What the method throws. The caller gets its class, if JavaScript knows it, and its message.
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult;

    /// Reads a property; a path as for [`call`](Self::call). By default there are none.
    async fn get(&self, property: &str, cx: &Context) -> ServiceResult {
        let _ = cx;
        Err(JsError::type_error(format!(
            "The RPC receiver does not implement the property {property:?}."
        )))
    }

    /// Answers an HTTP request, with bodies as streams: what a Worker's `env.SVC.fetch()` reaches. By default
    /// nothing is there: 501.
    ///
    /// # Errors
    /// What the method throws: 500 for who asked by HTTP.
    async fn fetch(
        &self,
        request: http::Request<ByteStream>,
        cx: &Context,
    ) -> Result<http::Response<ByteStream>, JsError> {
        let _ = request;
        let text = format!("The service {:?} has no fetch handler.\n", cx.binding());
        let mut response = http::Response::new(ByteStream::from(text));
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, plain);
        Ok(response)
    }

    /// The service as one that takes and gives bytes, if it is one. Calls that came over the network then go
    /// there, and their values are not read before.
    fn as_bytes(&self) -> Option<&dyn ByteService> {
        None
    }
}

/// A [`Service`] that takes and gives values as they travel: V8 serializations. For one whose work is done
/// elsewhere, in another process for instance, where values are read and written as well.
#[async_trait(?Send)]
pub trait ByteService: 'static {
    /// Calls a method, a path as for [`Service::call`]. `args` is what [`js_value::decode_args`] reads, and
    /// empty where there are no arguments; the result is what [`js_value::encode`] writes. A stub in an
    /// argument is a number without anything behind it, and a result cannot have any.
    ///
    /// # Errors
    /// What the method throws.
    async fn call(&self, method: &str, args: Vec<u8>, cx: &Context) -> Result<Vec<u8>, JsError>;
}

/// A service from a closure, for callbacks and small things.
///
/// ```
/// use js_rpc::{Args, Context, Stub, reply, service_fn};
/// let double = service_fn(async |_method: &str, args: Args, _cx: &Context| {
///     reply(&(2 * args.first::<i64>()?))
/// });
/// let stub = Stub::new(double);
/// # let _ = stub;
/// ```
pub fn service_fn<F>(call: F) -> impl Service
where
    F: AsyncFn(&str, Args, &Context) -> ServiceResult + 'static,
{
    Closure(call)
}

struct Closure<F>(F);

#[async_trait(?Send)]
impl<F> Service for Closure<F>
where
    F: AsyncFn(&str, Args, &Context) -> ServiceResult + 'static,
{
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        (self.0)(method, args, cx).await
    }
}

/// A value as a method's result.
pub fn reply<T: Serialize + ?Sized>(value: &T) -> ServiceResult {
    Ok(Payload::of(value)?)
}

/// The error of a method that a service does not have.
pub fn unknown_method<T>(method: &str) -> Result<T, JsError> {
    Err(JsError::type_error(format!(
        "The RPC receiver does not implement the method {method:?}."
    )))
}

/// `undefined` as a method's result.
pub fn nothing() -> ServiceResult {
    Ok(Value::Undefined.into())
}

/// Arguments or a result of the wrong shape: a `TypeError`.
impl From<ConvertError> for JsError {
    fn from(error: ConvertError) -> Self {
        JsError::type_error(error.to_string())
    }
}

/// The call that a method serves.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) scope: CallScope,
    pub(crate) binding: Rc<str>,
    pub(crate) caller: Option<SpanContext>,
    pub(crate) client: ClientId,
}

impl Context {
    /// Says something about the caller's span; several calls merge. Returns whether it was heard:
    /// false after the method returned. Code that has no context at hand uses
    /// [`enrich`](binding_span::enrich).
    pub fn enrich(&self, enrichment: Enrichment) -> bool {
        self.scope.enrich(enrichment)
    }

    /// The call as a handle for other threads and tasks.
    pub fn scope(&self) -> &CallScope {
        &self.scope
    }

    /// Opens a span of the callee's own below this call's; closed when the guard is dropped.
    pub fn child_span(&self, name: &str) -> ChildSpan {
        self.scope.child_span(name)
    }

    /// The name of the binding through which the call came.
    pub fn binding(&self) -> &str {
        &self.binding
    }

    /// Whose call it is.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The caller's span for this call, if it told.
    pub fn caller_span(&self) -> Option<SpanContext> {
        self.caller
    }
}
