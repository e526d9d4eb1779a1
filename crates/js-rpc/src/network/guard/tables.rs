//! The tables that both sides of a connection share, mirrored: who asked what, who holds what.
//!
//! capnp-rpc keeps the same ones, but does not bound them, and trusts the peer in some places. Here each
//! entry is small, and is made and removed as capnp-rpc does it, so that their numbers agree.

use std::collections::HashMap;

use super::shape::{Cap, Class};
use super::slots::Slots;
use crate::ClientId;
use crate::budget::SMALL;
use crate::streaming::LEAST;

/// A question of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Waiting,
    /// Finished before it returned.
    Abandoned,
    Returned,
}

/// A question of the peer.
pub(super) struct Answer {
    pub(super) state: State,
    /// How many questions that have not returned stand between this and something that is there.
    pub(super) depth: u16,
    /// What is held for it: its parameters until it returns, then its results.
    pub(super) bytes: u32,
    /// Capabilities of ours in its results.
    pub(super) exports: Vec<u32>,
    pub(super) class: Class,
}

/// What a part of a stream counts.
pub(super) fn of_stream(bytes: usize) -> usize {
    bytes.max(LEAST)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Returned,
    /// Finished before it returned. capnp-rpc keeps it until it returns, which it may never do.
    Cancelled,
    /// We refused it: the RPC system knows nothing of it.
    Refused,
}

/// A question of the peer whose results stay here, for a question of ours to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    Running,
    Taken,
    Returned,
}

/// A capability of ours that the peer holds.
pub(super) struct Export {
    references: u32,
    /// It is a promise, which has not been resolved.
    pub(super) open: bool,
    /// It was a promise when the peer got it.
    pub(super) promise: bool,
}

impl Export {
    /// How often the peer has it.
    pub(super) const fn references(&self) -> u32 {
        self.references
    }
}

/// A capability of the peer's that we hold.
pub(super) struct Import {
    references: u32,
    pub(super) kind: Kind,
    /// How many promises were resolved to promises before this one.
    pub(super) depth: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Settled,
    Promise,
    /// A promise that was resolved to something else.
    Resolved,
}

/// Bytes that are held for calls: of those that are [small](SMALL), and of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::network) struct Held {
    small: usize,
    large: usize,
}

impl Held {
    pub(in crate::network) const fn add(&mut self, bytes: usize) {
        match bytes <= SMALL {
            true => self.small += bytes,
            false => self.large += bytes,
        }
    }

    pub(in crate::network) const fn take(&mut self, bytes: usize) {
        match bytes <= SMALL {
            true => self.small -= bytes,
            false => self.large -= bytes,
        }
    }

    pub(in crate::network) const fn and(self, other: Self) -> Self {
        Self {
            small: self.small + other.small,
            large: self.large + other.large,
        }
    }

    /// Of small ones.
    pub(in crate::network) const fn small(self) -> usize {
        self.small
    }

    pub(in crate::network) const fn total(self) -> usize {
        self.small + self.large
    }

    /// Whether a call of so many bytes may join them, where `mark` is what calls may hold. One call may hold more
    /// than that, and a quarter of it is there for small ones whatever large ones hold.
    pub(in crate::network) const fn has_room(self, bytes: usize, mark: usize) -> bool {
        let total = self.total();
        let small = bytes <= SMALL && self.small + bytes <= mark / 4;
        total.saturating_add(bytes) <= mark || small || total <= mark / 16
    }
}

/// What questions of ours that were asked on behalf of one client hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::network) struct Usage {
    pub(in crate::network) questions: usize,
    pub(in crate::network) bytes: usize,
}

/// A question of ours, and how many bytes the peer holds for it: its parameters until it returns, then its results.
pub(super) struct Question {
    state: Asked,
    bytes: u32,
    client: ClientId,
    /// Part of a stream, which is counted by whoever sends it.
    stream: bool,
}

/// All of them, with the sums that are bounded.
pub(super) struct Tables {
    pub(super) asked: Slots<Question>,
    pub(super) answers: Slots<Answer>,
    pub(super) exports: Slots<Export>,
    pub(super) imports: Slots<Import>,
    /// Those of the peer's questions whose results stay here, until they returned and were taken.
    pub(super) elsewhere: HashMap<u32, Elsewhere>,
    /// Disembargoes of ours that have not come back.
    pub(super) embargoes: Slots<()>,
    /// Questions of the peer that it has not finished and that we did not refuse.
    pub(super) in_flight: usize,
    /// What is held for questions of the peer, but for parts of streams.
    pub(super) bytes: Held,
    /// Bytes of parts of streams that are not read.
    pub(super) stream_bytes: usize,
    /// Questions of the peer that have not returned.
    pub(super) running: usize,
    /// Questions of the peer that it cancelled.
    pub(super) cancelled: usize,
    /// What the peer holds for questions of ours.
    pub(super) asked_bytes: Held,
    /// On whose behalf questions of ours are asked now.
    pub(super) sending: ClientId,
    /// What those hold that are asked on behalf of others than this process.
    clients: HashMap<ClientId, Usage>,
    /// Questions of ours that are parts of streams and that we did not give up on.
    pub(super) streaming: usize,
    /// Questions of ours that have not returned, and those that we gave up on.
    pub(super) waiting: usize,
    pub(super) abandoned: usize,
    /// Unresolved promises that the peer holds, and that we hold.
    pub(super) open_exports: usize,
    pub(super) open_imports: usize,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            asked: Slots::new(),
            answers: Slots::new(),
            exports: Slots::new(),
            imports: Slots::new(),
            elsewhere: HashMap::new(),
            embargoes: Slots::new(),
            in_flight: 0,
            bytes: Held::default(),
            stream_bytes: 0,
            running: 0,
            cancelled: 0,
            asked_bytes: Held::default(),
            sending: ClientId::LOCAL,
            clients: HashMap::new(),
            streaming: 0,
            waiting: 0,
            abandoned: 0,
            open_exports: 0,
            open_imports: 0,
        }
    }

    // Questions of ours.

    pub(super) fn ask(&mut self, question: u32, bytes: usize, class: Class) {
        let stream = class == Class::Stream;
        let bytes = match stream {
            true => 0,
            false => u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        let client = match stream {
            true => ClientId::LOCAL,
            false => self.sending,
        };
        let asked = Question {
            state: Asked::Waiting,
            bytes,
            client,
            stream,
        };
        self.asked.insert(question, asked);
        self.waiting += 1;
        self.streaming += usize::from(stream);
        self.asked_bytes.add(bytes as usize);
        if client != ClientId::LOCAL {
            let usage = self.clients.entry(client).or_default();
            usage.questions += 1;
            usage.bytes += bytes as usize;
        }
    }

    /// What a client's questions hold.
    pub(super) fn usage(&self, client: ClientId) -> Usage {
        self.clients.get(&client).copied().unwrap_or_default()
    }

    /// A client's question holds `bytes` where it held `before`. `None`: it is over.
    fn held_by(&mut self, client: ClientId, before: u32, bytes: Option<u32>) {
        self.asked_bytes.take(before as usize);
        self.asked_bytes.add(bytes.unwrap_or(0) as usize);
        if client == ClientId::LOCAL {
            return;
        }
        let Some(usage) = self.clients.get_mut(&client) else {
            return;
        };
        usage.bytes = usage.bytes + bytes.unwrap_or(0) as usize - before as usize;
        usage.questions -= usize::from(bytes.is_none());
        if usage.questions == 0 {
            self.clients.remove(&client);
        }
    }

    /// We finish a question. True: before it returned.
    pub(super) fn finish_asked(&mut self, question: u32) -> bool {
        let Some(asked) = self.asked.get_mut(question) else {
            return false;
        };
        let (bytes, client) = (asked.bytes, asked.client);
        match asked.state {
            Asked::Waiting => {
                asked.state = Asked::Abandoned;
                self.streaming -= usize::from(asked.stream);
                self.waiting -= 1;
                self.abandoned += 1;
                self.held_by(client, bytes, None);
                true
            }
            Asked::Returned => {
                self.streaming -= usize::from(asked.stream);
                self.asked.remove(question);
                self.held_by(client, bytes, None);
                false
            }
            Asked::Abandoned => false,
        }
    }

    /// A question of ours returned, with so many bytes; what it was before. `None`: there is no such question.
    pub(super) fn returned(
        &mut self,
        question: u32,
        no_finish: bool,
        bytes: usize,
    ) -> Option<Asked> {
        let asked = self.asked.get_mut(question)?;
        let (before, held, client) = (asked.state, asked.bytes, asked.client);
        match before {
            Asked::Waiting => {
                self.waiting -= 1;
                asked.state = Asked::Returned;
                if no_finish {
                    self.streaming -= usize::from(asked.stream);
                    self.asked.remove(question);
                    self.held_by(client, held, None);
                } else if asked.stream {
                    // It returns nothing.
                } else {
                    // It keeps them for pipelined calls.
                    asked.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    let bytes = asked.bytes;
                    self.held_by(client, held, Some(bytes));
                }
            }
            Asked::Abandoned => {
                self.abandoned -= 1;
                self.asked.remove(question);
            }
            Asked::Returned => return None,
        }
        Some(before)
    }

    // Questions of the peer.

    pub(super) fn admit(&mut self, question: u32, depth: u16, bytes: usize, class: Class) {
        let bytes = match class {
            Class::Stream => of_stream(bytes),
            _ => bytes,
        };
        let answer = Answer {
            state: State::Running,
            depth,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            exports: Vec::new(),
            class,
        };
        self.hold(&answer);
        self.running += 1;
        self.answers.insert(question, answer);
    }

    /// Counts what a question of the peer holds.
    fn hold(&mut self, answer: &Answer) {
        match answer.class {
            Class::Stream => self.stream_bytes += answer.bytes as usize,
            _ => {
                self.in_flight += 1;
                self.bytes.add(answer.bytes as usize);
            }
        }
    }

    /// It holds nothing any more.
    fn let_go(&mut self, class: Class, bytes: u32) {
        match class {
            Class::Stream => self.stream_bytes -= bytes as usize,
            _ => {
                self.in_flight -= 1;
                self.bytes.take(bytes as usize);
            }
        }
    }

    /// Results that stay here returned, or were taken: one of both, and then the other. Whether there are such.
    pub(super) fn take_elsewhere(&mut self, question: u32, how: Elsewhere) -> bool {
        match self.elsewhere.get_mut(&question) {
            Some(state) if *state == Elsewhere::Running => *state = how,
            Some(state) if *state != how => {
                self.elsewhere.remove(&question);
            }
            _ => return false,
        }
        true
    }

    /// Bytes of small questions of the peer, and of parts of streams.
    pub(super) const fn small(&self) -> usize {
        self.bytes.small() + self.stream_bytes
    }

    pub(super) fn refuse(&mut self, question: u32) {
        let answer = Answer {
            state: State::Refused,
            depth: 0,
            bytes: 0,
            exports: Vec::new(),
            class: Class::Other,
        };
        self.answers.insert(question, answer);
    }

    /// We answer a question of the peer.
    pub(super) fn answer(&mut self, question: u32, no_finish: bool, bytes: usize) {
        let Some(answer) = self.answers.get_mut(question) else {
            return;
        };
        match answer.state {
            State::Running => {
                self.running -= 1;
                let (class, held) = (answer.class, answer.bytes);
                if no_finish {
                    self.answers.remove(question);
                    self.let_go(class, held);
                    return;
                }
                answer.state = State::Returned;
                // Results with capabilities are kept for pipelined calls.
                answer.bytes = match class {
                    Class::Stream => 0,
                    _ => u32::try_from(bytes).unwrap_or(u32::MAX),
                };
                let bytes = answer.bytes;
                match class {
                    Class::Stream => self.stream_bytes -= held as usize,
                    _ => {
                        self.bytes.take(held as usize);
                        self.bytes.add(bytes as usize);
                    }
                }
            }
            State::Cancelled => {
                self.cancelled -= 1;
                self.answers.remove(question);
            }
            State::Returned | State::Refused => {}
        }
    }

    /// The peer finished a question; the state in which it was.
    pub(super) fn finish(&mut self, question: u32, release: bool) -> Option<State> {
        if !self.elsewhere.is_empty() {
            self.elsewhere.remove(&question);
        }
        let answer = self.answers.get_mut(question)?;
        let state = answer.state;
        match state {
            State::Running => {
                answer.state = State::Cancelled;
                let (class, held) = (answer.class, std::mem::take(&mut answer.bytes));
                self.running -= 1;
                self.cancelled += 1;
                self.let_go(class, held);
            }
            State::Returned => {
                let (class, held) = (answer.class, answer.bytes);
                let exports = std::mem::take(&mut answer.exports);
                self.answers.remove(question);
                self.let_go(class, held);
                if release {
                    for id in exports {
                        self.release_export(id, 1);
                    }
                }
            }
            State::Refused => {
                self.answers.remove(question);
            }
            State::Cancelled => {}
        }
        Some(state)
    }

    // Capabilities.

    /// A capability of ours goes out.
    pub(super) fn export(&mut self, id: u32, promise: bool) {
        match self.exports.get_mut(id) {
            Some(export) => export.references = export.references.saturating_add(1),
            None => {
                let export = Export {
                    references: 1,
                    open: promise,
                    promise,
                };
                self.exports.insert(id, export);
                self.open_exports += usize::from(promise);
            }
        }
    }

    /// A promise of ours is resolved.
    pub(super) fn resolve_export(&mut self, id: u32) {
        if let Some(export) = self.exports.get_mut(id)
            && std::mem::take(&mut export.open)
        {
            self.open_exports -= 1;
        }
    }

    /// The peer lets go of a capability of ours. False: it did not have it, or not so often.
    pub(super) fn release_export(&mut self, id: u32, count: u32) -> bool {
        let Some(export) = self.exports.get_mut(id) else {
            return false;
        };
        let Some(left) = export.references.checked_sub(count) else {
            return false;
        };
        export.references = left;
        if left == 0
            && let Some(export) = self.exports.remove(id)
        {
            self.open_exports -= usize::from(export.open);
        }
        true
    }

    /// A capability of the peer's comes in, behind so many promises.
    pub(super) fn import(&mut self, cap: Cap, depth: u16) {
        let (id, promise) = match cap {
            Cap::Hosted(id) => (id, false),
            Cap::Promise(id) => (id, true),
            Cap::None | Cap::Receiver(_) | Cap::Answer(_) => return,
        };
        match self.imports.get_mut(id) {
            Some(import) => {
                import.references = import.references.saturating_add(1);
                import.depth = import.depth.max(depth);
                if promise && import.kind == Kind::Settled {
                    import.kind = Kind::Promise;
                    self.open_imports += 1;
                }
            }
            None => {
                let import = Import {
                    references: 1,
                    kind: if promise {
                        Kind::Promise
                    } else {
                        Kind::Settled
                    },
                    depth,
                };
                self.imports.insert(id, import);
                self.open_imports += usize::from(promise);
            }
        }
    }

    /// A promise that we hold is resolved.
    pub(super) fn resolve_import(&mut self, id: u32, kind: Kind) {
        if let Some(import) = self.imports.get_mut(id)
            && import.kind == Kind::Promise
        {
            import.kind = kind;
            self.open_imports -= 1;
        }
    }

    /// We let go of a capability of the peer's.
    pub(super) fn release_import(&mut self, id: u32, count: u32) {
        let Some(import) = self.imports.get_mut(id) else {
            return;
        };
        import.references = import.references.saturating_sub(count);
        if import.references == 0
            && let Some(import) = self.imports.remove(id)
        {
            self.open_imports -= usize::from(import.kind == Kind::Promise);
        }
    }
}
