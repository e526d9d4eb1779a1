//! The span of one call, on either side: made, parented, enriched, closed, and reported to `tracing`
//! and to the sinks.
//!
//! What nobody asked for is not done: without sinks and without a subscriber a span has no ids, reads
//! no clock, and enrichment is not even decoded. A span that has sinks of which none wants it, because its
//! trace is not sampled, has ids, since the callee is told of the decision, and nothing else.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use binding_span::{
    ApplyEnrichment, Attribute, CallScope, Dropped, Enrichment, ErrorInfo, InvocationId, NewSpan,
    Outcome, Sinks, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen, SpanRef, SpanSink,
    StatedError, link,
};

use crate::CallError;
use crate::error::stated_kind;
use crate::object::{Method, Operation};

/// What is known about a call when its span opens.
pub(crate) struct CallInfo<'a> {
    pub(crate) binding: &'a str,
    pub(crate) method: &'a str,
    pub(crate) operation: &'a Operation,
    /// The HTTP request that it is.
    pub(crate) http: Option<HttpInfo<'a>>,
}

/// What is known about a call that is an HTTP request.
#[derive(Clone, Copy)]
pub(crate) struct HttpInfo<'a> {
    pub(crate) method: &'a http::Method,
    pub(crate) path: &'a str,
}

/// What the head of a response says of its request's span.
pub(crate) fn responded(status: http::StatusCode) -> Enrichment {
    Enrichment::new().attribute("http.response.status_code", i64::from(status.as_u16()))
}

/// A response that says that its request failed.
pub(crate) fn failed_response(status: http::StatusCode) -> Option<StatedError> {
    status.is_server_error().then(|| StatedError {
        kind: status.as_str().to_owned(),
        message: format!("the response has status {status}"),
    })
}

impl HttpInfo<'_> {
    /// What is said of a request's span from its beginning.
    pub(crate) fn attributes(&self) -> Enrichment {
        Enrichment::new()
            .attribute("http.request.method", self.method().to_owned())
            .attribute("url.path", shown(self.path).to_owned())
    }

    /// The method, unless it is one that nobody knows.
    fn method(&self) -> &str {
        use http::Method;
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::PATCH,
        ];
        match known.contains(self.method) {
            true => self.method.as_str(),
            false => "_OTHER",
        }
    }
}

/// Bytes of a method that telemetry shows; a caller chose it, and it is part of a span's name.
const SHOWN: usize = 256;

impl<'a> CallInfo<'a> {
    /// Of a method of a binding.
    pub(crate) fn of(method: &'a Method, binding: &'a str) -> Self {
        Self {
            binding,
            method: &method.name,
            operation: &method.operation,
            http: None,
        }
    }
}

impl CallInfo<'_> {
    fn shown(&self) -> Self {
        Self {
            method: shown(self.method),
            http: self.http.map(|http| HttpInfo {
                path: shown(http.path),
                ..http
            }),
            ..*self
        }
    }

    fn attributes(&self) -> [Attribute; 5] {
        let method = || Cow::Owned(self.method.to_owned());
        let [first, second] = match &self.http {
            None => [
                Attribute::new("rpc.system.name", "capnp"),
                Attribute::new("rpc.method", method()),
            ],
            Some(http) => [
                Attribute::new("http.request.method", http.method().to_owned()),
                Attribute::new("url.path", http.path.to_owned()),
            ],
        };
        [
            first,
            second,
            Attribute::new("jsrpc.binding", self.binding.to_owned()),
            Attribute::new("jsrpc.method", method()),
            Attribute::new("jsrpc.operation", self.operation.label()),
        ]
    }
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// Where a new span belongs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) parent: Option<SpanContext>,
    pub(crate) invocation: Option<InvocationId>,
}

impl Place {
    /// Below another span of this process.
    pub(crate) fn below(span: SpanRef) -> Self {
        Self {
            parent: span.context.trace_id.is_valid().then_some(span.context),
            invocation: Some(span.invocation),
        }
    }

    /// Below the current `tracing` span; without one, below the call that is being served on this
    /// thread.
    fn current() -> Self {
        let served = binding_span::current_span()
            .map(Self::below)
            .unwrap_or_default();
        Self {
            parent: link::context_of(&tracing::Span::current()).or(served.parent),
            ..served
        }
    }

    /// This place, or below `root` if this is none.
    fn or_below(self, root: Option<SpanRef>) -> Self {
        match root {
            Some(root) if self.parent.is_none() => Self::below(root),
            _ => self,
        }
    }

    /// The parent of a span of this place, unless the span is of another trace after all.
    fn parent_of(&self, span: SpanContext) -> Option<SpanId> {
        let parent = self.parent.filter(|p| p.trace_id == span.trace_id)?;
        parent.span_id.is_valid().then_some(parent.span_id)
    }

    /// Below a span of another process, or below none.
    pub(crate) fn remote(parent: Option<SpanContext>) -> Self {
        Self {
            parent,
            invocation: None,
        }
    }
}

/// Whose child a caller's span is, and whether it is the span of a session or of a later call.
pub(crate) enum Parent<'a> {
    /// A session below whatever is current.
    Current,
    /// A session in a place.
    Given(Place),
    /// A later call in a session.
    Session(&'a CallSpan),
    /// A later call in a place.
    Called(Place),
    /// A call of what came in an argument: below whatever is current, which is the call that brought it
    /// until that returned; later below the first span of its session.
    CalledBack(Option<SpanRef>),
}

/// Tells OpenTelemetry of a parent that `tracing` does not know.
fn adopt(span: &tracing::Span, place: Place) {
    if let Some(parent) = place.parent {
        link::set_parent(span, parent);
    }
}

/// An open span of a call. A sink may do what it likes in a report, also end the session that it is told of: nothing
/// is borrowed meanwhile.
pub(crate) struct CallSpan {
    reference: SpanRef,
    span: RefCell<tracing::Span>,
    sinks: Sinks,
    /// Whether the callee is not told of it.
    hidden: bool,
    end: RefCell<Option<End>>,
    closed: Cell<bool>,
}

/// How a call ended.
#[derive(Clone)]
struct End {
    outcome: Outcome,
    error: Option<Rc<(String, String)>>,
}

impl End {
    fn error(&self) -> Option<ErrorInfo<'_>> {
        let (kind, message) = &**self.error.as_ref()?;
        Some(ErrorInfo { kind, message })
    }
}

/// What a span reports to that nobody wants.
static NOBODY: LazyLock<Sinks> = LazyLock::new(binding_span::no_sinks);

/// Who a new span is: what a sink says, else of its parent's trace, or the first one of a new trace.
fn identify(kind: SpanKind, place: Place, sinks: &Sinks) -> SpanContext {
    let new = NewSpan {
        parent: place.parent,
        remote: place.parent.is_some() && place.invocation.is_none(),
        kind,
    };
    sinks.identify(&new).unwrap_or_else(|| new.by_default())
}

/// Bytes of a call's streams that this process sent: an attribute of its span.
pub const STREAM_BYTES_SENT: &str = "jsrpc.stream.bytes_sent";

/// The same of those that it received.
pub const STREAM_BYTES_RECEIVED: &str = "jsrpc.stream.bytes_received";

/// The name of the span of a session, which is the span of its top-level call.
pub(crate) const SESSION: &str = "jsRpcSession";
/// The name of the span of any other call.
pub(crate) const CALL: &str = "jsRpcCall";

impl CallSpan {
    /// Opens the caller's span of a call.
    pub(crate) fn client(parent: Parent<'_>, info: &CallInfo<'_>, sinks: &Sinks) -> Self {
        let info = &info.shown();
        let rpc = info.http.is_none().then_some(info.method);
        // A child of what `tracing` knows by its id; of what it does not know by its context, below.
        let (name, place, id) = match parent {
            Parent::Current => (SESSION, Place::current(), tracing::Span::current().id()),
            Parent::Given(place) => (SESSION, place, None),
            Parent::Session(session) => {
                let id = session.span.borrow().id();
                (CALL, Place::below(session.reference), id)
            }
            Parent::Called(place) => (CALL, place, None),
            Parent::CalledBack(root) => {
                let place = Place::current().or_below(root);
                (CALL, place, tracing::Span::current().id())
            }
        };
        macro_rules! client_span {
            ($name:literal) => {
                tracing::info_span!(
                    target: "binding_span",
                    parent: id.clone(),
                    $name,
                    otel.kind = "client",
                    rpc.system.name = rpc.map(|_| "capnp"),
                    rpc.method = rpc,
                    http.request.method = info.http.as_ref().map(HttpInfo::method),
                    url.path = info.http.map(|http| http.path),
                    jsrpc.binding = info.binding,
                    jsrpc.operation = info.operation.label(),
                )
            };
        }
        let span = match name {
            SESSION => client_span!("jsRpcSession"),
            _ => client_span!("jsRpcCall"),
        };
        if id.is_none() {
            adopt(&span, place);
        }
        Self::open(|| name.into(), SpanKind::Client, place, span, info, sinks)
    }

    /// Opens the callee's own span of a call.
    pub(crate) fn server(place: Place, info: &CallInfo<'_>, sinks: &Sinks) -> Self {
        let info = &info.shown();
        let rpc = info.http.is_none().then_some(info.method);
        let span = tracing::info_span!(
            target: "binding_span",
            parent: None,
            "jsrpc.serve",
            otel.kind = "server",
            otel.name = %Dotted(info),
            rpc.system.name = rpc.map(|_| "capnp"),
            rpc.method = rpc,
            http.request.method = info.http.as_ref().map(HttpInfo::method),
            url.path = info.http.map(|http| http.path),
            jsrpc.binding = info.binding,
            jsrpc.operation = info.operation.label(),
        );
        adopt(&span, place);
        let name = || Dotted(info).to_string().into();
        Self::open(name, SpanKind::Server, place, span, info, sinks)
    }

    fn open(
        name: impl FnOnce() -> Cow<'static, str>,
        kind: SpanKind,
        place: Place,
        span: tracing::Span,
        info: &CallInfo<'_>,
        sinks: &Sinks,
    ) -> Self {
        let context = link::context_of(&span)
            .or_else(|| (!sinks.is_empty()).then(|| identify(kind, place, sinks)));
        let watched = context.is_some_and(|context| sinks.wants(context));
        let reference = SpanRef {
            // Without a span of our own the parent is passed on, if there is one.
            context: context.or(place.parent).unwrap_or_default(),
            invocation: match place.invocation {
                Some(invocation) => invocation,
                None if watched => InvocationId::random(),
                None => InvocationId::default(),
            },
        };
        if watched {
            sinks.open(&SpanOpen {
                span: reference,
                parent: place.parent_of(reference.context),
                name: &name(),
                kind,
                root: place.invocation.is_none(),
                time: SystemTime::now(),
                attributes: &info.attributes(),
            });
        }
        Self {
            reference,
            span: RefCell::new(span),
            sinks: Arc::clone(if watched { sinks } else { &NOBODY }),
            hidden: sinks.hides(),
            end: RefCell::default(),
            closed: Cell::default(),
        }
    }

    /// The identity that is sent to the callee; `None` if there is no trace, or it is nobody's business.
    pub(crate) fn context(&self) -> Option<SpanContext> {
        let context = self.reference.context;
        (context.trace_id.is_valid() && !self.hidden).then_some(context)
    }

    pub(crate) fn reference(&self) -> SpanRef {
        self.reference
    }

    pub(crate) fn tracing(&self) -> tracing::Span {
        self.span.borrow().clone()
    }

    /// Whether anybody looks at this span.
    pub(crate) fn is_watched(&self) -> bool {
        let reported = !self.sinks.is_empty() && !self.closed.get();
        reported || !self.span.borrow().is_disabled()
    }

    /// Whether somebody looks at it as it changes.
    pub(crate) fn is_live(&self) -> bool {
        self.sinks.live()
    }

    /// The scope in which a method is called.
    pub(crate) fn scope(&self) -> CallScope {
        CallScope::new(self.reference, Arc::clone(&self.sinks))
    }

    /// Renames and tags the span.
    pub(crate) fn apply(&self, enrichment: &Enrichment) {
        if !self.closed.get() {
            binding_span::apply(enrichment, self.reference, &*self.sinks);
        }
        // What was applied is known to be seen by the sinks; a subscriber that cannot be reached is
        // the application's to find with `ApplyEnrichment`.
        let _ = self.tracing().apply_enrichment(enrichment);
    }

    /// Says what was dropped of an enrichment that went to the caller: there it is a number, and whoever
    /// looks after the callee wants to know why.
    pub(crate) fn dropped(&self, said: &Enrichment) {
        if !said.dropped().is_empty() {
            self.report_dropped(said.dropped());
        }
    }

    /// Says what was dropped.
    pub(crate) fn report_dropped(&self, dropped: &Dropped) {
        if !self.sinks.is_empty() && !self.closed.get() {
            self.sinks.dropped(self.reference, dropped);
        }
    }

    /// Says that the call returned; and that it failed, if the callee says so.
    pub(crate) fn returned(&self, stated: Option<&StatedError>) {
        match stated {
            None => self.settled(Outcome::Ok, None),
            Some(error) => {
                self.tracing_failed(stated_kind(error), &error.message);
                self.settled(Outcome::Exception, Some(stated_info(error)));
            }
        }
    }

    /// The callee says of a call that returned that it failed. It may have been settled before.
    pub(crate) fn failed_as_stated(&self, error: &StatedError) {
        self.tracing_failed(stated_kind(error), &error.message);
        self.end.replace(Some(End {
            outcome: Outcome::Exception,
            error: Some(Rc::new(stated_info(error))),
        }));
    }

    /// Says that the call failed. The message of what was thrown is for the caller, and may have what is nobody else's
    /// business: if the callee stated another one, the span has that.
    pub(crate) fn failed(&self, error: &CallError, stated: Option<&StatedError>) {
        let stated = stated
            .filter(|stated| matches!(error, CallError::Thrown(_)) && !stated.message.is_empty());
        let kind = error.kind();
        let message = stated.map_or_else(|| error.message(), |stated| stated.message.clone());
        let outcome = match error {
            CallError::Deadline(_) => Outcome::ExceededWallTime,
            CallError::Canceled => Outcome::Canceled,
            _ => Outcome::Exception,
        };
        self.tracing_failed(kind, &message);
        self.settled(outcome, Some((kind.to_owned(), message)));
    }

    fn tracing_failed(&self, kind: &str, message: &str) {
        link::set_error(&self.tracing(), kind, message);
    }

    fn settled(&self, outcome: Outcome, error: Option<(String, String)>) {
        let error = error.map(Rc::new);
        let end = End { outcome, error };
        self.end.replace(Some(end.clone()));
        if !self.sinks.is_empty() && !self.closed.get() {
            self.sinks.returned(self.reference, outcome, end.error());
        }
    }

    /// Ends the span; once. One whose call neither returned nor failed was abandoned.
    pub(crate) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        // Ended before the sinks hear of it, and dropped while nothing is borrowed.
        drop(self.span.replace(tracing::Span::none()));
        if !self.sinks.is_empty() {
            let end = self.end.borrow().clone();
            self.sinks.close(&SpanClose {
                span: self.reference,
                outcome: end.as_ref().map_or(Outcome::Canceled, |end| end.outcome),
                error: end.as_ref().and_then(End::error),
                time: SystemTime::now(),
            });
        }
    }
}

fn stated_info(error: &StatedError) -> (String, String) {
    (stated_kind(error).to_owned(), error.message.clone())
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.close();
    }
}

/// `binding.method`
struct Dotted<'a>(&'a CallInfo<'a>);

impl std::fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0.binding, self.0.method)
    }
}
