//! Room for our own calls on one connection: below the mark a call goes out at once, at the mark it waits
//! for its turn, first come, first served.
//!
//! A peer refuses what is beyond its mark as overloaded, before it runs. What it counts is mirrored by the
//! [guard](super::guard), so our callers need not run into that.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures::channel::oneshot;

use super::guard::Guard;
use crate::NetworkLimits;

/// Questions of one call that opens a session: the event, the session, the call.
const QUESTIONS: usize = 3;

/// Who may send on one connection, and how worn it is.
pub(crate) struct Gate {
    pub(super) guard: RefCell<Guard>,
    queue: RefCell<VecDeque<oneshot::Sender<Turn>>>,
    /// Turns that were given and not taken yet.
    given: Cell<usize>,
    kept: Cell<usize>,
    /// The connection is over: nothing is waited for.
    over: Cell<bool>,
    mark: usize,
    most: usize,
    renew: usize,
}

/// Leave to send one call, held while it is sent.
pub(crate) struct Turn(Rc<Gate>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.given.set(self.0.given.get() - 1);
        self.0.moved();
    }
}

impl Gate {
    pub(super) fn new(limits: Rc<NetworkLimits>) -> Rc<Self> {
        Rc::new(Self {
            mark: limits.in_flight,
            most: limits.waiting,
            renew: limits.renew,
            guard: RefCell::new(Guard::new(limits)),
            queue: RefCell::default(),
            given: Cell::new(0),
            kept: Cell::new(0),
            over: Cell::new(false),
        })
    }

    /// Whether a call may go out now, ahead of nobody.
    pub(crate) fn is_open(&self) -> bool {
        (self.has_room() && self.queue.borrow().is_empty()) || self.over.get()
    }

    /// Whether calls of the peer's run here.
    pub(crate) fn serves(&self) -> bool {
        self.guard.borrow().serves()
    }

    /// Whether cancelled calls have left so much behind that new sessions belong on a new connection.
    pub(crate) fn is_worn(&self) -> bool {
        self.guard.borrow().left_behind() >= self.renew
    }

    /// Gets in line; an error comes instead of a turn when everybody is sent away. `None`: the line is as
    /// long as it may be.
    pub(crate) fn line_up(&self) -> Option<oneshot::Receiver<Turn>> {
        let mut queue = self.queue.borrow_mut();
        // Those that gave up are found when it matters.
        if queue.len() >= self.most {
            queue.retain(|waiting| !waiting.is_canceled());
        }
        if queue.len() >= self.most {
            return None;
        }
        let (turn, its_turn) = oneshot::channel();
        queue.push_back(turn);
        Some(its_turn)
    }

    /// Sends everybody away: there is a better place.
    pub(crate) fn clear(&self) {
        drop(self.queue.take());
    }

    /// The connection is over: calls find that out by themselves.
    pub(crate) fn end(&self) {
        self.over.set(true);
        self.clear();
    }

    /// Something was sent, or came in: perhaps there is room now.
    pub(super) fn moved(self: &Rc<Self>) {
        if !self.queue.borrow().is_empty() {
            self.let_in();
        }
    }

    #[cold]
    fn let_in(self: &Rc<Self>) {
        while self.has_room() {
            let Some(next) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            if next.is_canceled() {
                continue;
            }
            self.given.set(self.given.get() + 1);
            // One that gives up meanwhile drops its turn, which lets in the next.
            drop(next.send(Turn(Rc::clone(self))));
        }
    }

    /// So many questions are the connection's own and stay open: there is no use in waiting for them.
    pub(crate) fn keep(&self, questions: usize) {
        self.kept.set(questions);
    }

    /// Whether the peer's mark leaves room for one more call, if there are others to wait for.
    fn has_room(&self) -> bool {
        let open = self.guard.borrow().questions();
        let given = self.given.get();
        open + (given + 1) * QUESTIONS <= self.mark || (open <= self.kept.get() && given == 0)
    }
}
