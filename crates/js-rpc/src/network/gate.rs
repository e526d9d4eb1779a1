//! Room for our own calls on one connection: below the mark a call goes out at once, at the mark it waits
//! for its turn. Calls that are made on behalf of others take turns client by client, and each client may have as
//! much on its way as is left for all others: one that has much only waits for itself.
//!
//! A peer refuses what is beyond its mark as overloaded, before it runs. What it counts is mirrored by the
//! [guard](super::guard), so our callers need not run into that.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use futures::channel::oneshot;

use super::guard::{Guard, Held, Usage};
use super::outbox::Outbox;
use super::sessions::OpenSessions;
use super::stats::OpenSession;
use crate::budget::{Hold, SMALL};
use crate::{ClientId, NetworkLimits};

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
    outbox: Rc<Outbox>,
    queue: RefCell<Queue>,
    /// What turns were given for that were not taken yet.
    given: RefCell<Given>,
    kept: Cell<usize>,
    /// The connection is over: nothing is waited for.
    over: Cell<bool>,
    limits: Rc<NetworkLimits>,
}

/// Who waits, client by client: each has its turn, however many calls another has here.
#[derive(Default)]
struct Queue {
    /// The next to have its turn first. None is empty.
    clients: VecDeque<(ClientId, VecDeque<Waiting>)>,
    waiting: usize,
}

#[derive(Default)]
struct Given {
    questions: usize,
    bytes: Held,
    /// Those of others than this process.
    clients: HashMap<ClientId, Usage>,
}

struct Waiting {
    need: Need,
    turn: oneshot::Sender<Turn>,
}

/// Leave to send one call, held while it is sent.
pub(crate) struct Turn {
    gate: Rc<Gate>,
    client: ClientId,
    need: Need,
}

/// Calls are sent on behalf of a client until this is dropped.
pub(crate) struct Sending(Rc<Gate>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.guard.borrow_mut().set_client(ClientId::LOCAL);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate
            .given
            .borrow_mut()
            .take_back(self.client, self.need);
        self.gate.moved();
    }
}

impl Given {
    fn give(&mut self, client: ClientId, need: Need) {
        self.questions += need.questions;
        self.bytes.add(need.bytes);
        if client != ClientId::LOCAL {
            let usage = self.clients.entry(client).or_default();
            usage.questions += need.questions;
            usage.bytes += need.bytes;
        }
    }

    fn take_back(&mut self, client: ClientId, need: Need) {
        self.questions -= need.questions;
        self.bytes.take(need.bytes);
        if let Some(usage) = self.clients.get_mut(&client) {
            usage.questions -= need.questions;
            usage.bytes -= need.bytes;
            if usage.questions == 0 {
                self.clients.remove(&client);
            }
        }
    }

    fn to(&self, client: ClientId) -> Usage {
        self.clients.get(&client).copied().unwrap_or_default()
    }
}

impl Queue {
    fn push(&mut self, client: ClientId, waiting: Waiting) {
        self.waiting += 1;
        match self.clients.iter_mut().find(|(id, _)| *id == client) {
            Some((_, calls)) => calls.push_back(waiting),
            None => self.clients.push_back((client, VecDeque::from([waiting]))),
        }
    }

    /// How many calls of a client wait.
    fn of(&self, client: ClientId) -> usize {
        let calls = self.clients.iter().find(|(id, _)| *id == client);
        calls.map_or(0, |(_, calls)| calls.len())
    }

    /// Forgets those who gave up.
    fn sweep(&mut self) {
        for (_, calls) in &mut self.clients {
            calls.retain(|waiting| !waiting.turn.is_canceled());
        }
        self.clients.retain(|(_, calls)| !calls.is_empty());
        self.waiting = self.clients.iter().map(|(_, calls)| calls.len()).sum();
    }

    /// Takes out the call whose turn it is, of those that `may` leave now. A large one that has to wait is not
    /// overtaken by large ones: it would wait for ever.
    fn next(&mut self, may: impl Fn(ClientId, Need) -> Leave) -> Option<(ClientId, Waiting)> {
        let mut large_waits = false;
        let mut at = 0;
        while at < self.clients.len() {
            let (client, calls) = &mut self.clients[at];
            while calls.front().is_some_and(|next| next.turn.is_canceled()) {
                calls.pop_front();
                self.waiting -= 1;
            }
            let Some(next) = calls.front() else {
                self.clients.remove(at);
                continue;
            };
            let large = next.need.bytes > SMALL;
            match may(*client, next.need) {
                Leave::Now if !(large && large_waits) => {
                    let (client, mut calls) = self.clients.remove(at)?;
                    let waiting = calls.pop_front()?;
                    self.waiting -= 1;
                    if !calls.is_empty() {
                        self.clients.push_back((client, calls));
                    }
                    return Some((client, waiting));
                }
                // Only for what its client has on its way.
                Leave::NotThisClient => {}
                Leave::Now | Leave::NoRoom if large => large_waits = true,
                // There is none for anybody.
                Leave::Now | Leave::NoRoom => return None,
            }
            at += 1;
        }
        None
    }
}

/// Whether a call may leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Now,
    NoRoom,
    /// Its client has as much on its way as is left for all others.
    NotThisClient,
}

impl Gate {
    pub(super) fn new(
        limits: Rc<NetworkLimits>,
        sessions: OpenSessions,
        outbox: Rc<Outbox>,
        hold: Option<Hold>,
    ) -> Rc<Self> {
        Rc::new(Self {
            guard: RefCell::new(Guard::new(Rc::clone(&limits), sessions, hold)),
            outbox,
            limits,
            queue: RefCell::default(),
            given: RefCell::default(),
            kept: Cell::new(0),
            over: Cell::new(false),
        })
    }

    /// Counts a session of ours as open until the guard is dropped.
    pub(crate) fn session(&self) -> OpenSession {
        self.limits.stats.session()
    }

    /// Whether a client's call may go out now, ahead of nobody.
    pub(crate) fn is_open(&self, client: ClientId, need: Need) -> bool {
        let ahead_of_nobody = self.queue.borrow().clients.is_empty();
        (ahead_of_nobody && self.may(client, need) == Leave::Now) || self.over.get()
    }

    /// Questions that are on their way for a client.
    pub(crate) fn asked_for(&self, client: ClientId) -> usize {
        self.guard.borrow().usage(client).questions + self.given.borrow().to(client).questions
    }

    /// Calls that are sent while this is held are a client's.
    pub(crate) fn sending(self: &Rc<Self>, client: ClientId) -> Option<Sending> {
        if client == ClientId::LOCAL {
            return None;
        }
        self.guard.borrow_mut().set_client(client);
        Some(Sending(Rc::clone(self)))
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
    /// long as it may be, for all or for this client, who may have as many there as all others could still have.
    pub(crate) fn line_up(
        self: &Rc<Self>,
        client: ClientId,
        need: Need,
    ) -> Option<oneshot::Receiver<Turn>> {
        let its_turn = {
            let mut queue = self.queue.borrow_mut();
            let is_full = |queue: &Queue| {
                let left = self.limits.waiting.saturating_sub(queue.waiting);
                left == 0 || (client != ClientId::LOCAL && queue.of(client) >= left)
            };
            // Those that gave up are found when it matters.
            if is_full(&queue) {
                queue.sweep();
            }
            if is_full(&queue) {
                return None;
            }
            let (turn, its_turn) = oneshot::channel();
            queue.push(client, Waiting { need, turn });
            its_turn
        };
        // Who is there already may have to wait longer.
        self.let_in();
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
        if !self.queue.borrow().clients.is_empty() {
            self.let_in();
        }
    }

    #[cold]
    fn let_in(self: &Rc<Self>) {
        loop {
            let next = self
                .queue
                .borrow_mut()
                .next(|client, need| self.may(client, need));
            let Some((client, Waiting { need, turn })) = next else {
                return;
            };
            self.given.borrow_mut().give(client, need);
            // One that gives up meanwhile drops its turn, which lets in the next.
            drop(turn.send(Turn {
                gate: Rc::clone(self),
                client,
                need,
            }));
        }
    }

    /// So many questions are the connection's own and stay open: there is no use in waiting for them.
    pub(crate) fn keep(&self, questions: usize) {
        self.kept.set(questions);
    }

    /// Whether the peer's marks leave room for one more call, if there are others to wait for.
    fn may(&self, client: ClientId, need: Need) -> Leave {
        let (guard, given) = (self.guard.borrow(), self.given.borrow());
        let limits = &self.limits;
        let open = guard.questions();
        let asked = open + given.questions;
        let fits = asked + need.questions <= limits.in_flight
            || (open <= self.kept.get() && given.questions == 0);
        let held = guard.asked_bytes().and(given.bytes);
        // What was given up may still be queued; all of it is bounded as well.
        let queued = self.outbox.queued();
        let unread = match need.bytes <= SMALL {
            true => queued > limits.max_queued / 2,
            false => queued > limits.in_flight_bytes,
        };
        if unread || !fits || !held.has_room(need.bytes, limits.in_flight_bytes) {
            return Leave::NoRoom;
        }
        if client == ClientId::LOCAL {
            return Leave::Now;
        }
        let (of_client, given) = (guard.usage(client), given.to(client));
        let (questions, bytes) = (
            of_client.questions + given.questions,
            of_client.bytes + given.bytes,
        );
        let left = limits.in_flight.saturating_sub(asked);
        let left_bytes = limits.in_flight_bytes.saturating_sub(held.total());
        // Whoever has nothing on its way, or next to nothing, may always have one.
        let too_many = questions > 0 && questions + need.questions > left;
        let too_large = bytes > SMALL && bytes + need.bytes > left_bytes;
        match too_many || too_large {
            true => Leave::NotThisClient,
            false => Leave::Now,
        }
    }
}
