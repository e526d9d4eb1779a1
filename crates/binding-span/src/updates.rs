//! What changed about a call since somebody last looked, for those who follow it while it runs.
//!
//! The follower owns the buffer and the call holds it weakly: where nobody follows there is none, and
//! a follower that leaves takes it along.

use std::fmt;
use std::future::poll_fn;
use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::{Dropped, Enrichment, Limits};

/// What is said about a call, while it is said; made by
/// [`CallScope::updates`](crate::CallScope::updates).
pub struct Updates(Option<Arc<Pending>>);

impl Updates {
    /// Of nothing: it has ended.
    pub(crate) const fn ended() -> Self {
        Self(None)
    }

    /// Everything that changed since the last one, in one enrichment; `None` when nothing can come
    /// any more.
    ///
    /// A future that is dropped before it resolved has lost nothing. A value that changed back in the
    /// meantime is told once more.
    #[expect(
        clippy::should_implement_trait,
        reason = "the name that streams have for it; this is no iterator"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<Enrichment>> + Send {
        poll_fn(|cx| self.poll_next(cx))
    }

    /// Whether [`CallScope::said`](crate::CallScope::said) was called before the last update was taken: it has
    /// something that is missing there, or may have.
    #[must_use]
    pub fn is_after_said(&self) -> bool {
        self.0.as_ref().is_some_and(|pending| pending.state().said)
    }

    /// [`next`](Self::next) for futures and streams that are written by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Enrichment>> {
        match &self.0 {
            Some(pending) => pending.poll(cx.waker()),
            None => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").finish_non_exhaustive()
    }
}

/// The call's end of [`Updates`]; of none, where nobody follows.
#[derive(Default)]
pub(crate) struct Follower(Weak<Pending>);

impl Follower {
    pub(crate) const fn none() -> Self {
        Self(Weak::new())
    }

    /// `said`: whether all that was said was told before.
    pub(crate) fn new(limits: Limits, said: bool) -> (Self, Updates) {
        let pending = Arc::new(Pending(Mutex::new(State {
            changed: Enrichment::with_limits(limits),
            ended: false,
            said,
            waker: None,
        })));
        (Self(Arc::downgrade(&pending)), Updates(Some(pending)))
    }

    /// The buffer, if somebody follows. It may be the last handle on it: drop it outside of every lock.
    pub(crate) fn get(&self) -> Option<Arc<Pending>> {
        self.0.upgrade()
    }
}

/// What changed and was not handed out yet. Within the call's limits, for it is a part of what the call
/// said.
pub(crate) struct Pending(Mutex<State>);

struct State {
    changed: Enrichment,
    ended: bool,
    /// Whether all that was said was told elsewhere once.
    said: bool,
    waker: Option<Waker>,
}

impl Pending {
    pub(crate) fn add(&self, changed: Enrichment) {
        self.state().changed.merge(changed);
    }

    /// All that was said is told elsewhere, and with it the drops.
    pub(crate) fn told(&self) {
        let mut state = self.state();
        state.said = true;
        *state.changed.dropped_mut() = Dropped::default();
    }

    /// Everything was told elsewhere.
    pub(crate) fn forget(&self) {
        take(&mut self.state().changed);
    }

    pub(crate) fn end(&self) {
        self.state().ended = true;
    }

    /// Wakes whoever waits, if there is something to see. A waker is code of others: call this outside
    /// of every lock.
    pub(crate) fn wake(&self) {
        let mut state = self.state();
        let waker = state.is_ready().then(|| state.waker.take()).flatten();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Enrichment>> {
        let mut state = self.state();
        if state.is_ready() {
            return Poll::Ready(state.take());
        }
        if !matches!(&state.waker, Some(known) if known.will_wake(waker)) {
            let before = state.waker.replace(waker.clone());
            drop(state);
            drop(before);
        }
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.ended || !self.changed.is_silent()
    }

    fn take(&mut self) -> Option<Enrichment> {
        let nothing = Enrichment::with_limits(*self.changed.limits());
        let changed = replace(&mut self.changed, nothing);
        (!changed.is_silent()).then_some(changed)
    }
}
