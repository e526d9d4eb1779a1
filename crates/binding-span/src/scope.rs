//! The callee's side of one call: the buffer that `enrich` fills, and how deep code finds it.
//!
//! The ambient scope is a thread-local of ours, set while the call's future is polled; no async
//! runtime is involved. Code that leaves the future (a spawned task, a blocking thread) carries a
//! [`CallScope`] with it, or its `enrich` is outside of any call and does nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::{ChildSpan, Enrichment, Limits, Sinks, SpanRef, no_sinks};

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
    current().enrich(enrichment)
}

/// The call that is being served on this thread right now; an inert scope if there is none.
pub fn current() -> CallScope {
    // A thread that is ending has no current call, and destructors that ask must not panic.
    CURRENT
        .try_with(|scope| scope.borrow().clone())
        .unwrap_or_default()
}

/// The span of [`current`], if there is a call: what spans made here are children of.
pub fn current_span() -> Option<SpanRef> {
    current().span()
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
        Self::with_limits(span, sinks, Limits::DEFAULT)
    }

    /// A call that is held to limits of your own. The caller enforces its own as well.
    pub fn with_limits(span: SpanRef, sinks: Sinks, limits: Limits) -> Self {
        let said = Mutex::new(Said {
            enrichment: Enrichment::with_limits(limits),
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

    /// Whether there is a call.
    pub const fn is_call(&self) -> bool {
        self.0.is_some()
    }

    /// The callee's own span for the call, a child of the caller's.
    pub fn span(&self) -> Option<SpanRef> {
        let span = self.0.as_ref()?.span;
        span.context.is_valid().then_some(span)
    }

    /// Opens a span of the callee's own below the call's. It is closed when the guard is dropped.
    #[must_use = "the span is closed when this is dropped"]
    pub fn child_span(&self, name: &str) -> ChildSpan {
        match &self.0 {
            Some(call) => ChildSpan::open(call.span, &call.sinks, name),
            None => ChildSpan::inert(),
        }
    }

    /// Runs a future as part of the call: `enrich` is heard whenever it is polled, on any thread, and
    /// while it is dropped.
    ///
    /// ```
    /// # use binding_span::{CallScope, Enrichment, current, enrich};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let call = CallScope::detached();
    /// let method = async {
    ///     let work = async { enrich(Enrichment::new().name("d1.query")) };
    ///     tokio::spawn(current().scope(work)).await
    /// };
    /// assert!(call.scope(method).await.unwrap(), "heard, although it ran in another task");
    /// # });
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped {
            scope: self.clone(),
            future: Some(future),
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
        let _restore = Restore(swap_current(self.clone()));
        closure()
    }
}

impl fmt::Debug for CallScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallScope").field(&self.span()).finish()
    }
}

/// Makes `scope` the current one and returns the one before. A thread that is ending has none.
fn swap_current(scope: CallScope) -> CallScope {
    CURRENT
        .try_with(|current| replace(&mut *current.borrow_mut(), scope))
        .unwrap_or_default()
}

/// Puts the outer scope back, also when the inner code panics.
struct Restore(CallScope);

impl Drop for Restore {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last handle of a call drops its sinks, code of others.
        drop(swap_current(take(&mut self.0)));
    }
}

pin_project_lite::pin_project! {
    /// A future that runs as part of a call; made by [`CallScope::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        scope: CallScope,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            // A call that is canceled from within another one must not speak for that one.
            let mut this = this.project();
            if this.future.is_some() {
                this.scope.in_scope(|| this.future.set(None));
            }
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.future.as_pin_mut() {
            Some(future) => this.scope.in_scope(|| future.poll(cx)),
            // Only a future that is being dropped has none.
            None => Poll::Pending,
        }
    }
}
