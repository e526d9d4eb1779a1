//! The callee's side of one call: the buffer that `enrich` fills, and how deep code finds it.
//!
//! The ambient scope is a thread-local of ours, set while the call's future is polled; no async
//! runtime is involved. Code that leaves the future (a spawned task, a blocking thread) carries a
//! [`CallScope`] with it, or its `enrich` is outside of any call and does nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use crate::sink::{ErrorInfo, SpanClose, SpanOpen};
use crate::{
    Attribute, Enrichment, IntoAttributeValue, Outcome, Sinks, SpanContext, SpanKind, SpanRef,
    SpanSink, no_sinks,
};

thread_local! {
    static CURRENT: RefCell<CallScope> = const { RefCell::new(CallScope::outside()) };
}

/// Says something about the caller's span, from anywhere below a method that is being called.
///
/// Returns whether a call was there to hear it: false outside of a call and after it returned.
///
/// ```
/// use binding_span::{CallScope, Enrichment, enrich};
///
/// fn deep_below() {
///     enrich(Enrichment::new().attribute("db.response.returned_rows", 3));
/// }
///
/// let call = CallScope::detached();
/// call.in_scope(deep_below);
/// assert_eq!(call.drain().attributes().len(), 1);
/// assert!(!enrich(Enrichment::new().name("nobody hears this")));
/// ```
pub fn enrich(enrichment: Enrichment) -> bool {
    CURRENT.with_borrow(|scope| scope.enrich(enrichment))
}

/// The call that is being served on this thread right now; an inert scope if there is none.
pub fn current() -> CallScope {
    CURRENT.with_borrow(CallScope::clone)
}

/// The span of [`current`], if there is a call: what spans made here are children of.
pub fn current_span() -> Option<SpanRef> {
    CURRENT.with_borrow(CallScope::span)
}

/// A handle on one call that is being served. Clones are the same call.
#[derive(Clone, Default)]
pub struct CallScope(Option<Arc<Call>>);

struct Call {
    said: Mutex<Said>,
    span: SpanRef,
    sinks: Sinks,
}

struct Said {
    enrichment: Enrichment,
    sealed: bool,
}

impl CallScope {
    /// No call: what is said here is not heard.
    pub const fn outside() -> Self {
        Self(None)
    }

    /// A call whose own server span is `span`, with the sinks that spans made below it go to.
    pub fn new(span: SpanRef, sinks: Sinks) -> Self {
        let said = Mutex::new(Said {
            enrichment: Enrichment::new(),
            sealed: false,
        });
        Self(Some(Arc::new(Call { said, span, sinks })))
    }

    /// A call without spans: for services of other protocols, which only want the buffer.
    pub fn detached() -> Self {
        Self::new(SpanRef::default(), no_sinks())
    }

    /// Says something about the caller's span; each call merges with what was said before. Returns
    /// whether it was heard, that is whether there is a call and it has not returned.
    pub fn enrich(&self, enrichment: Enrichment) -> bool {
        let Some(call) = &self.0 else { return false };
        let mut said = call.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.sealed {
            said.enrichment.merge(enrichment);
        }
        !said.sealed
    }

    /// Takes all that was said, and seals the scope: nothing is heard any more. A second time it is
    /// empty.
    pub fn drain(&self) -> Enrichment {
        let Some(call) = &self.0 else {
            return Enrichment::new();
        };
        let mut said = call.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.sealed = true;
        std::mem::take(&mut said.enrichment)
    }

    /// The callee's own span for the call, a child of the caller's.
    pub fn span(&self) -> Option<SpanRef> {
        let span = self.0.as_ref()?.span;
        span.context.is_valid().then_some(span)
    }

    /// Opens a span of the callee's own below the call's. It is closed when the guard is dropped.
    pub fn child_span(&self, name: &str) -> ChildSpan {
        let open = self.0.as_ref().filter(|call| !call.sinks.is_empty());
        ChildSpan(open.map(|call| {
            let span = SpanRef {
                context: call.span.context.child(),
                ..call.span
            };
            call.sinks.open(&SpanOpen {
                span,
                parent: Some(call.span.context.span_id),
                name,
                kind: SpanKind::Internal,
                root: false,
                time: SystemTime::now(),
                attributes: &[],
            });
            OpenSpan {
                span,
                sinks: call.sinks.clone(),
                error: None,
            }
        }))
    }

    /// Runs a future as part of the call: `enrich` is heard whenever it is polled, on any thread.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped {
            scope: self.clone(),
            future,
        }
    }

    /// Runs a closure as part of the call, for instance on a blocking thread.
    ///
    /// ```
    /// use binding_span::{CallScope, Enrichment, current, enrich};
    ///
    /// let call = CallScope::detached();
    /// call.in_scope(|| {
    ///     let here = current();
    ///     std::thread::spawn(move || here.in_scope(|| enrich(Enrichment::new().name("d1.query"))))
    ///         .join()
    ///         .unwrap();
    /// });
    /// assert_eq!(call.drain().span_name(), Some("d1.query"));
    /// ```
    pub fn in_scope<R>(&self, closure: impl FnOnce() -> R) -> R {
        let _restore = Restore(CURRENT.replace(self.clone()));
        closure()
    }
}

impl fmt::Debug for CallScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallScope").field(&self.span()).finish()
    }
}

/// Puts the outer scope back, also when the inner code panics.
struct Restore(CallScope);

impl Drop for Restore {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last handle of a call may run code of its own.
        let inner = CURRENT.replace(std::mem::take(&mut self.0));
        drop(inner);
    }
}

/// A future that runs as part of a call; made by [`CallScope::scope`].
#[derive(Debug)]
pub struct Scoped<F> {
    scope: CallScope,
    future: F,
}

#[allow(unsafe_code)]
impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned whenever `self` is, is never moved out, and `Scoped` has
        // neither a `Drop` nor an `Unpin` of its own.
        let (scope, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&this.scope, Pin::new_unchecked(&mut this.future))
        };
        scope.in_scope(|| future.poll(cx))
    }
}

/// A span of the callee's own; closed when dropped. Inert where nobody records spans.
#[derive(Debug)]
pub struct ChildSpan(Option<OpenSpan>);

struct OpenSpan {
    span: SpanRef,
    sinks: Sinks,
    error: Option<(String, String)>,
}

impl ChildSpan {
    /// Tags the span.
    pub fn attribute(&self, key: &'static str, value: impl IntoAttributeValue) {
        if let (Some(open), Some(value)) = (&self.0, value.into_attribute_value()) {
            open.sinks
                .attributes(open.span, &[Attribute::new(key, value)]);
        }
    }

    /// Says that the work failed: its error's class (low cardinality) and message.
    pub fn fail(&mut self, kind: &str, message: &str) {
        if let Some(open) = &mut self.0 {
            open.error = Some((kind.to_owned(), message.to_owned()));
        }
    }

    /// The identity of the span, for children of its own.
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|open| open.span.context)
    }
}

impl fmt::Debug for OpenSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(f)
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let error = self.error.as_ref();
        self.sinks.close(&SpanClose {
            span: self.span,
            outcome: match error {
                Some(_) => Outcome::Exception,
                None => Outcome::Ok,
            },
            error: error.map(|(kind, message)| ErrorInfo { kind, message }),
            time: SystemTime::now(),
        });
    }
}
