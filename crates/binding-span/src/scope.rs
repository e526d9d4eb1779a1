//! The callee's side of one call: the buffer that `enrich` fills, and how deep code finds it.
//!
//! The ambient scope is a thread-local of ours, set while the call's future is polled; no async
//! runtime is involved. Code that leaves the future (a spawned task, a blocking thread) carries a
//! [`CallScope`] with it, or its `enrich` is outside of any call and does nothing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::mem::{replace, take};
use std::pin::Pin;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::updates::{Follower, Pending, Updates};
use crate::{ChildSpan, Dropped, Enrichment, Limits, Sinks, SpanRef, no_sinks};

thread_local! {
    static CURRENT: RefCell<CallScope> = const { RefCell::new(CallScope::outside()) };
    /// The call of which a part is being canceled on this thread, for comparison only.
    static CANCELING: Cell<*const Call> = const { Cell::new(null()) };
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

pub(crate) struct Call {
    said: Mutex<Said>,
    canceled: AtomicBool,
    pub(crate) span: SpanRef,
    pub(crate) sinks: Sinks,
}

struct Said {
    enrichment: Enrichment,
    sealed: bool,
    /// Whether somebody was told what was dropped, so that what is dropped from then on is an update.
    drops_told: bool,
    follower: Follower,
}

impl Call {
    /// Whether what ends on this thread now ends because its caller stopped waiting: the whole call was
    /// canceled, or the part of it that is being dropped right here.
    pub(crate) fn is_canceled_here(&self) -> bool {
        // Whoever drops a span because of a cancellation knows of it, and that orders this load.
        self.canceled.load(Ordering::Relaxed)
            || CANCELING
                .try_with(|call| std::ptr::eq(call.get(), self))
                .unwrap_or_default()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals; `then` does the rest under the same lock, for whoever follows.
    fn seal(&self, then: impl FnOnce(&mut Said, Option<&Pending>)) {
        let pending;
        {
            let mut said = self.said();
            said.sealed = true;
            pending = said.follower.get();
            then(&mut said, pending.as_deref());
        }
        if let Some(pending) = pending {
            pending.end();
            pending.wake();
        }
    }
}

/// Nobody is left who could say anything.
impl Drop for Call {
    fn drop(&mut self) {
        self.seal(|_, _| {});
    }
}

impl Said {
    /// Merges; returns the buffer of whoever follows, to be woken outside of the lock.
    fn hear(&mut self, enrichment: Enrichment) -> Option<Arc<Pending>> {
        let Some(pending) = self.follower.get() else {
            self.enrichment.merge(enrichment);
            return None;
        };
        let mut changed = self.enrichment.absorb(enrichment);
        if !self.drops_told {
            *changed.dropped_mut() = Dropped::default();
        }
        pending.add(changed);
        Some(pending)
    }
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
            drops_told: false,
            follower: Follower::none(),
        });
        let canceled = AtomicBool::new(false);
        Self(Some(Arc::new(Call {
            said,
            canceled,
            span,
            sinks,
        })))
    }

    /// A call without spans: for services of other protocols, which only want the buffer.
    pub fn detached() -> Self {
        Self::new(SpanRef::default(), no_sinks())
    }

    /// Says something about the caller's span; each call merges with what was said before. Returns
    /// whether it was heard, that is whether there is a call and it is not sealed.
    pub fn enrich(&self, enrichment: Enrichment) -> bool {
        let Some(call) = &self.0 else { return false };
        let pending = {
            let mut said = call.said();
            if said.sealed {
                return false;
            }
            said.hear(enrichment)
        };
        if let Some(pending) = pending {
            pending.wake();
        }
        true
    }

    /// A copy of all that was said so far, with all drops so far. The call goes on; drops that were
    /// told here are not told again by [`updates`](Self::updates).
    pub fn said(&self) -> Enrichment {
        let Some(call) = &self.0 else {
            return Enrichment::new();
        };
        let _pending; // The last handle on it, perhaps, so that it outlives the lock.
        let mut said = call.said();
        said.drops_told = true;
        _pending = said.follower.get().inspect(|pending| pending.told());
        said.enrichment.clone()
    }

    /// Follows the call from now on: [`Updates::next`] has what changed since the one before, and ends
    /// after the scope was sealed or its last handle dropped. Earlier enrichment is in
    /// [`said`](Self::said); subscribe first, then ask for that, and nothing is missed.
    ///
    /// Drops are told by `said`: in updates they are left out until it was called, and are those since
    /// then afterwards.
    ///
    /// A call has one follower at a time; while there is one, another's updates have ended at once.
    ///
    /// ```
    /// use binding_span::{CallScope, Enrichment};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let call = CallScope::detached();
    /// let mut updates = call.updates();
    /// call.enrich(Enrichment::new().name("ai.run").attribute("tokens", 1));
    /// call.enrich(Enrichment::new().attribute("tokens", 2));
    /// let expected = Enrichment::new().name("ai.run").attribute("tokens", 2);
    /// assert_eq!(updates.next().await, Some(expected));
    ///
    /// call.enrich(Enrichment::new().name("ai.run").attribute("tokens", 3));
    /// call.seal();
    /// assert_eq!(updates.next().await, Some(Enrichment::new().attribute("tokens", 3)));
    /// assert_eq!(updates.next().await, None);
    /// # });
    /// ```
    #[must_use = "whoever follows a call costs it copies"]
    pub fn updates(&self) -> Updates {
        let Some(call) = &self.0 else {
            return Updates::ended();
        };
        let _pending;
        let mut said = call.said();
        _pending = said.follower.get();
        if said.sealed || _pending.is_some() {
            return Updates::ended();
        }
        let (follower, updates) = Follower::new(*said.enrichment.limits(), said.drops_told);
        said.follower = follower;
        updates
    }

    /// Seals the scope: it takes no more enrichment. What it holds can still be drained, and updates that
    /// were not handed out yet still are.
    pub fn seal(&self) {
        if let Some(call) = &self.0 {
            call.seal(|_, _| {});
        }
    }

    /// Takes all that was said, and seals the scope: nothing is heard any more, and there are no more
    /// updates, for all of them are in what this returns. A second time it is empty.
    pub fn drain(&self) -> Enrichment {
        let mut drained = Enrichment::new();
        if let Some(call) = &self.0 {
            call.seal(|said, pending| {
                drained = take(&mut said.enrichment);
                if let Some(pending) = pending {
                    pending.forget();
                }
            });
        }
        drained
    }

    /// Marks the call as canceled: its child spans that are still open, on any thread, close as
    /// canceled unless they failed. A [`scope`](Self::scope) that is dropped before it returned does
    /// that by itself. Nothing else changes; what was said can be drained.
    pub fn cancel(&self) {
        if let Some(call) = &self.0 {
            call.canceled.store(true, Ordering::Relaxed);
        }
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
            Some(call) => ChildSpan::open(call, name),
            None => ChildSpan::inert(),
        }
    }

    /// Runs a future as part of the call: `enrich` is heard whenever it is polled, on any thread, and
    /// while it is dropped.
    ///
    /// One that is dropped before it returned is canceled. If it was made from outside of the call it
    /// stands for it, and [the call is canceled](Self::cancel). If it was made within, it is a part that
    /// the method gives up, as one that lost a race: only the child spans that it drops with it close as
    /// canceled.
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
            whole: !self.is_current(),
            panicked: false,
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

    /// Whether this is the call that is being served on this thread right now.
    fn is_current(&self) -> bool {
        CURRENT
            .try_with(|scope| scope.borrow().as_ptr() == self.as_ptr())
            .unwrap_or_default()
    }

    fn as_ptr(&self) -> *const Call {
        self.0.as_ref().map_or(null(), Arc::as_ptr)
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

/// Marks a call as one of which a part is being canceled, and puts back what was before.
struct Canceling(*const Call);

impl Canceling {
    fn part_of(scope: &CallScope) -> Self {
        Self(swap_canceling(scope.as_ptr()))
    }
}

impl Drop for Canceling {
    fn drop(&mut self) {
        swap_canceling(self.0);
    }
}

fn swap_canceling(call: *const Call) -> *const Call {
    CANCELING
        .try_with(|canceling| canceling.replace(call))
        .unwrap_or(null())
}

pin_project_lite::pin_project! {
    /// A future that runs as part of a call; made by [`CallScope::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        scope: CallScope,
        // Whether it stands for the whole call.
        whole: bool,
        panicked: bool,
        #[pin]
        future: Option<F>, // None once it returned
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_none() {
                return;
            }
            // A call that is canceled from within another one must not speak for that one.
            this.scope.in_scope(|| {
                if *this.panicked {
                    return this.future.set(None);
                }
                if *this.whole {
                    this.scope.cancel();
                }
                let _canceling = Canceling::part_of(this.scope);
                this.future.set(None);
            });
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        // Stays so if the future panics, which is no cancellation.
        *this.panicked = true;
        let polled = this.scope.in_scope(|| {
            let future = this.future.as_mut().as_pin_mut();
            let polled = future.expect("polled after it returned").poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        });
        *this.panicked = false;
        polled
    }
}
