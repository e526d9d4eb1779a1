//! Until when things may take, by one timer for all of them.
//!
//! Nearly every call ends long before its deadline. A timer of the runtime for each is not only set and
//! cancelled in vain: one that is earlier than all others costs two system calls as well, to tell the
//! sleeping runtime, and with one call at a time each is. Here a call is a slot in a list; the timer
//! stays set when the call for which it was set is over, and is set anew when it has fired.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::CallError;

/// Deadlines of one caller's connection, or of one server.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    state: RefCell<State>,
    /// The timer is to look again.
    look: Rc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// When the timer fires, if it does.
    fires: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    until: Instant,
    over: bool,
    waker: Waker,
}

impl Deadlines {
    /// Sets up the timer, on a runtime that can spawn local tasks. It ends with what is returned.
    pub(crate) fn start() -> Rc<Self> {
        let deadlines = Rc::new(Self::default());
        let timer = timer(Rc::downgrade(&deadlines), Rc::clone(&deadlines.look));
        tokio::task::spawn_local(timer);
        deadlines
    }

    /// What a future gives, if it does until then. It is polled at least once.
    pub(crate) async fn hold<T>(
        &self,
        until: Instant,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let mut wait = Wait {
            deadlines: self,
            until,
            slot: None,
        };
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Pin::new(&mut wait).poll(cx).map(|()| None),
        })
        .await
    }

    fn insert(&self, slot: Slot) -> usize {
        let mut state = self.state.borrow_mut();
        if state.fires.is_none_or(|fires| slot.until < fires) {
            state.fires = Some(slot.until);
            self.look.notify_one();
        }
        match state.free.pop() {
            Some(index) => {
                state.slots[index] = Some(slot);
                index
            }
            None => {
                state.slots.push(Some(slot));
                state.slots.len() - 1
            }
        }
    }

    /// Wakes those whose time is over; when to look again, if anybody is left.
    fn fire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.borrow_mut();
        let (mut next, mut over) = (None, Vec::new());
        for slot in state.slots.iter_mut().flatten().filter(|slot| !slot.over) {
            if slot.until <= now {
                slot.over = true;
                over.push(slot.waker.clone());
            } else if next.is_none_or(|next| slot.until < next) {
                next = Some(slot.until);
            }
        }
        if state.free.len() == state.slots.len() {
            // Many at once must not cost their room for ever.
            (state.slots, state.free) = Default::default();
        }
        state.fires = next;
        drop(state);
        over.into_iter().for_each(Waker::wake);
        next
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.look.notify_one();
    }
}

async fn timer(deadlines: Weak<Deadlines>, look: Rc<Notify>) {
    let mut fires = None;
    loop {
        match fires {
            Some(fires) => tokio::select! {
                () = tokio::time::sleep_until(fires) => {}
                () = look.notified() => {}
            },
            None => look.notified().await,
        }
        let Some(deadlines) = deadlines.upgrade() else {
            return;
        };
        fires = deadlines.fire(Instant::now());
    }
}

/// Until when a call may take, counted once, from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    /// `None`: too far away for a clock.
    at: Option<Instant>,
}

/// A callee answers this part of the time before its caller gives up, within these bounds, so that a call that
/// timed out still has a name.
const EARLIER: u32 = 10;
const EARLIER_LEAST: Duration = Duration::from_millis(2);
const EARLIER_MOST: Duration = Duration::from_millis(100);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self::since(Instant::now(), limit)
    }

    /// The same from another time on.
    pub(crate) fn since(began: Instant, limit: Duration) -> Self {
        let at = began.checked_add(limit);
        Self { limit, at }
    }

    /// What is left to who serves a call whose caller gives up after `left`.
    pub(crate) fn within(left: Duration) -> Duration {
        let earlier = (left / EARLIER).clamp(EARLIER_LEAST, EARLIER_MOST);
        left.saturating_sub(earlier).max(Duration::from_millis(1))
    }

    /// How long it was from the beginning.
    pub(crate) const fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left, in whole milliseconds and at least one; 0 for without end.
    pub(crate) fn millis_left(&self) -> u64 {
        self.at.map_or(0, |at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis();
            u64::try_from(left).unwrap_or(u64::MAX).max(1)
        })
    }

    pub(crate) async fn hold<F: Future>(
        self,
        deadlines: &Deadlines,
        future: F,
    ) -> Result<F::Output, CallError> {
        match self.at {
            None => Ok(future.await),
            Some(at) => deadlines
                .hold(at, future)
                .await
                .ok_or(CallError::Deadline(self.limit)),
        }
    }

    /// The same for a call that has no connection.
    pub(crate) async fn hold_alone<F: Future>(self, future: F) -> Result<F::Output, CallError> {
        match self.at {
            None => Ok(future.await),
            Some(at) => tokio::time::timeout_at(at, future)
                .await
                .map_err(|_| CallError::Deadline(self.limit)),
        }
    }
}

/// Completes when it is time.
struct Wait<'a> {
    deadlines: &'a Deadlines,
    until: Instant,
    slot: Option<usize>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(index) = self.slot else {
            // It may be looked at for the first time long after it was set.
            if Instant::now() >= self.until {
                return Poll::Ready(());
            }
            let slot = Slot {
                until: self.until,
                over: false,
                waker: cx.waker().clone(),
            };
            self.slot = Some(self.deadlines.insert(slot));
            return Poll::Pending;
        };
        match self.deadlines.state.borrow_mut().slots.get_mut(index) {
            Some(Some(slot)) if !slot.over => {
                slot.waker.clone_from(cx.waker());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.slot {
            let mut state = self.deadlines.state.borrow_mut();
            let slot = state.slots.get_mut(index).and_then(Option::take);
            state.free.push(index);
            drop(state);
            drop(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join_all, pending, ready};
    use futures::poll;
    use tokio::task::LocalSet;

    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test]
    async fn each_ends_at_its_own_time_in_whatever_order_they_come() {
        let local = LocalSet::new();
        let test = async {
            let (deadlines, began) = (Deadlines::start(), Instant::now());
            let ended = RefCell::new(Vec::new());
            let held = [50, 10, 90, 10, 70, 0].map(|n| {
                let (deadlines, ended) = (&deadlines, &ended);
                async move {
                    let until = began + millis(n);
                    assert_eq!(deadlines.hold(until, pending::<()>()).await, None);
                    assert!(began.elapsed() >= millis(n));
                    ended.borrow_mut().push(n);
                }
            });
            join_all(held).await;
            assert!(ended.borrow().len() == 6);
            let value = deadlines.hold(began, ready(7)).await;
            assert_eq!(value, Some(7), "what is there is not late");
            assert!(deadlines.state.borrow().fires.is_none());
        };
        local.run_until(test).await;
    }

    #[tokio::test]
    async fn the_timer_is_set_once_for_many_and_ends_with_its_owner() {
        let local = LocalSet::new();
        let test = async {
            let (deadlines, began) = (Deadlines::start(), Instant::now());
            for n in 0..1000 {
                let until = began + Duration::from_secs(60) + millis(n);
                let mut held = pin!(deadlines.hold(until, pending::<()>()));
                assert!(poll!(&mut held).is_pending());
            }
            {
                let state = deadlines.state.borrow();
                assert_eq!(state.fires, Some(began + Duration::from_secs(60)));
                assert_eq!((state.slots.len(), state.free.len()), (1, 1));
            }
            let look = Rc::downgrade(&deadlines.look);
            drop(deadlines);
            while look.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        local.run_until(test).await;
    }

    #[tokio::test]
    async fn many_at_once_do_not_keep_their_room() {
        let local = LocalSet::new();
        let test = async {
            let (deadlines, began) = (Deadlines::start(), Instant::now());
            let held = (0..1000).map(|_| deadlines.hold(began + millis(300), pending::<()>()));
            join_all(held).await;
            assert_eq!(deadlines.state.borrow().slots.len(), 1000);
            deadlines.fire(Instant::now());
            assert_eq!(deadlines.state.borrow().slots.len(), 0);
        };
        local.run_until(test).await;
    }
}
