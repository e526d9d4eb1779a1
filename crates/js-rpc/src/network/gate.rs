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
use super::sessions::OpenSessions;
use super::stats::OpenSession;
use crate::NetworkLimits;

/// What a call takes of the peer's marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Need {
    /// Questions: one, or three for a call that opens a session as workerd does.
    pub(crate) questions: usize,
    /// Bytes of its arguments.
    pub(crate) bytes: usize,
}

/// Who may send on one connection, and how worn it is.
pub(crate) struct Gate {
    pub(super) guard: RefCell<Guard>,
    queue: RefCell<VecDeque<Waiting>>,
    /// What turns were given for that were not taken yet.
    given: Cell<Need>,
    kept: Cell<usize>,
    /// The connection is over: nothing is waited for.
    over: Cell<bool>,
    limits: Rc<NetworkLimits>,
}

struct Waiting {
    need: Need,
    turn: oneshot::Sender<Turn>,
}

/// Leave to send one call, held while it is sent.
pub(crate) struct Turn {
    gate: Rc<Gate>,
    need: Need,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let given = self.gate.given.get();
        self.gate.given.set(Need {
            questions: given.questions - self.need.questions,
            bytes: given.bytes - self.need.bytes,
        });
        self.gate.moved();
    }
}

impl Gate {
    pub(super) fn new(limits: Rc<NetworkLimits>, sessions: OpenSessions) -> Rc<Self> {
        Rc::new(Self {
            guard: RefCell::new(Guard::new(Rc::clone(&limits), sessions)),
            limits,
            queue: RefCell::default(),
            given: Cell::default(),
            kept: Cell::new(0),
            over: Cell::new(false),
        })
    }

    /// Counts a session of ours as open until the guard is dropped.
    pub(crate) fn session(&self) -> OpenSession {
        self.limits.stats.session()
    }

    /// Whether a call may go out now, ahead of nobody.
    pub(crate) fn is_open(&self, need: Need) -> bool {
        (self.has_room(need) && self.queue.borrow().is_empty()) || self.over.get()
    }

    /// Whether calls of the peer's run here.
    pub(crate) fn serves(&self) -> bool {
        self.guard.borrow().serves()
    }

    /// Whether cancelled calls have left so much behind that new sessions belong on a new connection.
    pub(crate) fn is_worn(&self) -> bool {
        self.guard.borrow().left_behind() >= self.limits.renew
    }

    /// Gets in line; an error comes instead of a turn when everybody is sent away. `None`: the line is as
    /// long as it may be.
    pub(crate) fn line_up(&self, need: Need) -> Option<oneshot::Receiver<Turn>> {
        let mut queue = self.queue.borrow_mut();
        // Those that gave up are found when it matters.
        if queue.len() >= self.limits.waiting {
            queue.retain(|waiting| !waiting.turn.is_canceled());
        }
        if queue.len() >= self.limits.waiting {
            return None;
        }
        let (turn, its_turn) = oneshot::channel();
        queue.push_back(Waiting { need, turn });
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
        loop {
            let next = {
                let mut queue = self.queue.borrow_mut();
                while queue.front().is_some_and(|next| next.turn.is_canceled()) {
                    queue.pop_front();
                }
                match queue.front() {
                    Some(next) if self.has_room(next.need) => queue.pop_front(),
                    _ => None,
                }
            };
            let Some(Waiting { need, turn }) = next else {
                return;
            };
            let given = self.given.get();
            self.given.set(Need {
                questions: given.questions + need.questions,
                bytes: given.bytes + need.bytes,
            });
            // One that gives up meanwhile drops its turn, which lets in the next.
            drop(turn.send(Turn {
                gate: Rc::clone(self),
                need,
            }));
        }
    }

    /// So many questions are the connection's own and stay open: there is no use in waiting for them.
    pub(crate) fn keep(&self, questions: usize) {
        self.kept.set(questions);
    }

    /// Whether the peer's marks leave room for one more call, if there are others to wait for.
    fn has_room(&self, need: Need) -> bool {
        let guard = self.guard.borrow();
        let (open, given) = (guard.questions(), self.given.get());
        let fits = open + given.questions + need.questions <= self.limits.in_flight
            || (open <= self.kept.get() && given.questions == 0);
        let held = guard.asked_bytes() + given.bytes;
        fits && self.limits.has_room_for(held, need.bytes)
    }
}
