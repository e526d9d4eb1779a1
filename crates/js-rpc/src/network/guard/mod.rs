//! The judge between a peer and the RPC system: each message's shape, and every table that a peer can
//! grow.
//!
//! What it finds wrong costs the connection, because then nothing that the peer sends can be trusted.
//! What is only too much costs the call: it is refused with an `overloaded` exception before it runs.
//! Everything but calls is always let through, or two peers that wait for each other would wait for
//! ever.

mod glance;
mod reply;
mod shape;
mod slots;
mod tables;
mod unwind;
mod violation;

use std::rc::Rc;

use capnp::message::Reader;
use capnp_rpc::rpc_capnp::{disembargo, exception, message, resolve, return_};

use super::frame::Frame;
use super::sessions::OpenSessions;
use super::stats::Reason;
use super::{Message, details};
use crate::budget::{Hold, SMALL};
use crate::error::attach;
use crate::{ClientId, NetworkLimits};
pub(super) use glance::glance;
pub(super) use shape::Shape as Glance;
use shape::{Cap, Class, Outcome, Resolution, Shape, Target};
use tables::{Asked, Elsewhere, Kind, State, Tables};
pub(super) use tables::{Held, Usage};
pub(super) use unwind::Unwind;
pub(crate) use violation::Violation;

/// A call that opens a session is three messages, and so is what answers it.
const GATHER_LEAST: usize = 3;

/// More gains nothing.
const GATHER_MOST: usize = 64;

/// Bytes of an abort's text, which capnp-rpc copies into each call in flight, and on its way more than once.
const ABORT_BYTES: usize = 1024;

/// When nobody counts what is in flight.
const GATHER_UNKNOWN: usize = 16;

/// What becomes of a message.
pub(super) enum Verdict {
    /// The RPC system gets it.
    Pass,
    /// The RPC system gets this in its place.
    Replace(Frame),
    /// The RPC system never hears of it.
    Keep,
}

/// The guard of one connection.
pub(super) struct Guard {
    limits: Rc<NetworkLimits>,
    sessions: OpenSessions,
    tables: Tables,
    /// The capabilities of the message that is being judged.
    caps: Vec<Cap>,
    /// Messages that arrived, which tells whether something happens at all.
    frames: u64,
    /// The memory that small calls of the peer take of what all share; large ones have their own.
    hold: Option<Hold>,
}

impl Guard {
    pub(super) fn new(
        limits: Rc<NetworkLimits>,
        sessions: OpenSessions,
        hold: Option<Hold>,
    ) -> Self {
        Self {
            limits,
            sessions,
            tables: Tables::new(),
            caps: Vec::new(),
            frames: 0,
            hold,
        }
    }

    /// Messages that have arrived so far.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// How much work the message was that was judged last: one, and more for what it carries.
    pub(super) fn work(&self) -> usize {
        1 + self.caps.len() / 8
    }

    /// Whether nothing is in flight in either direction and no session is open. One that workerd's calls
    /// opened has a promise that tells its end.
    pub(super) fn is_quiet(&self) -> bool {
        self.sessions.none()
            && self.tables.running == 0
            && self.tables.waiting == 0
            && self.tables.open_exports == 0
            && self.tables.open_imports == 0
    }

    /// Calls that were cancelled, in either direction: each leaves an entry behind for as long as the
    /// connection lasts.
    pub(super) const fn left_behind(&self) -> usize {
        self.tables.cancelled + self.tables.abandoned
    }

    /// Whether the connection has more behind it than before it, and nobody would miss it now.
    pub(super) fn is_spent(&self) -> bool {
        self.left_behind() >= self.limits.recycle && self.is_quiet()
    }

    /// Whether calls of the peer's run here.
    pub(super) const fn serves(&self) -> bool {
        self.tables.running > 0
    }

    /// How many calls or returns may wait for each other before they are written: a part of what is in
    /// flight, so that the peer has something to do meanwhile.
    pub(super) fn gather(&self) -> usize {
        if !self.limits.judge {
            return GATHER_UNKNOWN;
        }
        let in_flight = self.tables.in_flight + self.questions();
        (in_flight / 4).clamp(GATHER_LEAST, GATHER_MOST)
    }

    /// Bytes of questions of ours that have not returned, which count for the peer's mark.
    pub(super) const fn asked_bytes(&self) -> Held {
        self.tables.asked_bytes
    }

    /// What a client's questions hold of it.
    pub(super) fn usage(&self, client: ClientId) -> Usage {
        self.tables.usage(client)
    }

    /// Questions are asked on behalf of this client from now on.
    pub(super) const fn set_client(&mut self, client: ClientId) {
        self.tables.sending = client;
    }

    /// Questions of ours that count for the peer's mark.
    pub(super) const fn questions(&self) -> usize {
        self.tables.asked.len() - self.tables.abandoned - self.tables.streaming
    }

    /// Judges a message that came in, of so many bytes, of which a [`glance`] may have been had.
    /// `queued` is what waits to be read by the peer; `reply` is called with what is to be sent to it at
    /// once.
    pub(super) fn receive(
        &mut self,
        glance: Option<Glance<'static>>,
        message: &Reader<Frame>,
        bytes: usize,
        queued: usize,
        mut reply: impl FnMut(&Message),
    ) -> Result<Verdict, Violation> {
        self.frames += 1;
        self.limits.stats.received(bytes);
        if !self.limits.judge {
            return Ok(Verdict::Pass);
        }
        let shape = match glance {
            Some(shape) => {
                self.caps.clear();
                shape
            }
            None => shape::judge(message.get_root()?, &self.limits, &mut self.caps)?,
        };
        match shape {
            Shape::Bootstrap { question } => {
                let refused = self.busy(Class::Other, 0, queued);
                let asked = Asking {
                    question,
                    depth: 0,
                    bytes,
                    class: Class::Other,
                };
                self.question(asked, refused, reply)
            }
            Shape::Call {
                question,
                target,
                class,
                elsewhere,
            } => {
                let depth = self.depth(&target)?;
                // What the RPC system makes of each capability.
                let bytes = bytes + 64 * self.caps.len();
                let refused = match depth {
                    Err(refused) => Some(refused),
                    Ok(_) => self.busy(class, bytes, queued),
                };
                let asked = Asking {
                    question,
                    depth: depth.unwrap_or(0),
                    bytes,
                    class,
                };
                let verdict = self.question(asked, refused, &mut reply)?;
                match (verdict, elsewhere) {
                    (Verdict::Pass, true) => {
                        if self.tables.elsewhere.len() >= self.limits.questions {
                            let detail = "too many results that are not taken";
                            return Err(Violation::new(Reason::Questions, detail));
                        }
                        self.tables.elsewhere.insert(question, Elsewhere::Running);
                        // capnp-rpc never runs a call whose results stay here.
                        Ok(Verdict::Replace(reply::for_its_caller(
                            message.get_root()?,
                        )?))
                    }
                    (verdict, _) => Ok(verdict),
                }
            }
            Shape::Return {
                answer,
                no_finish,
                outcome,
            } => self.returned(answer, no_finish, bytes, &outcome),
            Shape::Finish { question, release } => self.finished(question, release),
            Shape::Resolve { promise, to } => self.resolved(promise, &to),
            Shape::Release { id, count } => match self.tables.release_export(id, count) {
                true => Ok(Verdict::Pass),
                false => Err(unknown("a release of a capability that it does not hold")),
            },
            Shape::Disembargo { echo: None } => Ok(Verdict::Pass),
            Shape::Disembargo { echo: Some(id) } => match self.tables.embargoes.remove(id) {
                Some(()) => Ok(Verdict::Pass),
                None => Err(unknown("a disembargo that was not asked for")),
            },
            Shape::Unresolved(export) => {
                if let Some(id) = export
                    && !self.tables.release_export(id, 1)
                {
                    return Err(unknown("an answer to a resolve that was not sent"));
                }
                Ok(Verdict::Pass)
            }
            Shape::Abort(exception) => Err(Violation::new(
                Reason::Aborted,
                reply::text(exception, self.limits.reason_bytes.min(ABORT_BYTES)),
            )),
        }
    }

    /// The depth of a call on that target, or why it is refused.
    fn depth(&self, target: &Target) -> Result<Result<u16, Reason>, Violation> {
        let mut depth = match *target {
            Target::Export(id) if self.tables.exports.get(id).is_none() => {
                return Err(unknown("a call of a capability that it does not hold"));
            }
            Target::Export(_) => 0,
            Target::Answer(question) => match self.below(question) {
                Some((State::Refused, _)) => return Ok(Err(Reason::Refused)),
                Some((_, depth)) => depth,
                None => 0,
            },
        };
        for cap in &self.caps {
            if let Cap::Answer(question) = *cap
                && let Some((_, below)) = self.below(question)
            {
                depth = depth.max(below);
            }
        }
        Ok(match depth > self.limits.pipeline_depth {
            true => Err(Reason::PipelineDepth),
            false => Ok(depth),
        })
    }

    /// The depth of what depends on the answer to a question.
    fn below(&self, question: u32) -> Option<(State, u16)> {
        let answer = self.tables.answers.get(question)?;
        let depth = match answer.state {
            State::Running => answer.depth.saturating_add(1),
            _ => 0,
        };
        Some((answer.state, depth))
    }

    /// Why a call must not be let through now, if it must not.
    fn busy(&self, class: Class, bytes: usize, queued: usize) -> Option<Reason> {
        let Self { limits, tables, .. } = self;
        let imports = tables.imports.len() + self.caps.len();
        let promised = |cap: &&Cap| matches!(cap, Cap::Promise(_));
        let more = match self.caps.is_empty() {
            true => 0,
            false => self.caps.iter().filter(promised).count(),
        };
        if class == Class::Stream {
            // Who reads a stream may be waiting for a call, and the other way round: neither counts for the other.
            let more = tables.stream_bytes + tables::of_stream(bytes);
            let full = more > limits.stream_bytes || !self.caps.is_empty();
            return full.then_some(Reason::StreamBytes);
        }
        if tables.in_flight >= limits.in_flight {
            Some(Reason::InFlight)
        } else if !tables.bytes.has_room(bytes, limits.in_flight_bytes) {
            Some(Reason::InFlightBytes)
        } else if queued > limits.queued {
            Some(Reason::Queued)
        } else if tables.exports.len() >= limits.exports {
            Some(Reason::Exports)
        } else if imports > limits.imports {
            Some(Reason::Imports)
        } else if tables.open_imports + more > limits.promises {
            Some(Reason::Promises)
        } else {
            None
        }
    }

    fn question(
        &mut self,
        asked: Asking,
        refused: Option<Reason>,
        mut reply: impl FnMut(&Message),
    ) -> Result<Verdict, Violation> {
        let Asking {
            question,
            depth,
            bytes,
            class,
        } = asked;
        if self.tables.answers.get(question).is_some() {
            return Err(Violation::new(
                Reason::Id,
                format!("a new question with the id {question}, which is in use"),
            ));
        }
        if self.tables.answers.len() - self.tables.cancelled >= self.limits.questions {
            let detail = format!("more than {} questions", self.limits.questions);
            return Err(Violation::new(Reason::Questions, detail));
        }
        let refused = refused.or_else(|| self.take_memory(bytes));
        let Some(reason) = refused else {
            self.check_promises()?;
            self.tables.admit(question, depth, bytes, class);
            for i in 0..self.caps.len() {
                self.tables.import(self.caps[i], 0);
            }
            return Ok(Verdict::Pass);
        };
        self.limits.stats.add(reason);
        self.tables.refuse(question);
        reply(&reply::overloaded(question, explain(reason)));
        let mut given: Vec<u32> = self.caps.iter().filter_map(|cap| cap.given()).collect();
        given.sort_unstable();
        for same in given.chunk_by(|a, b| a == b) {
            reply(&reply::release(same[0], same.len() as u32));
        }
        Ok(Verdict::Keep)
    }

    /// Takes memory for one more small call, if it is there.
    fn take_memory(&mut self, bytes: usize) -> Option<Reason> {
        let small = self.tables.small();
        let small = if bytes <= SMALL { small + bytes } else { small };
        let hold = self.hold.as_mut()?;
        (!hold.try_resize(small)).then_some(Reason::IncomingBytes)
    }

    /// Gives back what calls took that are answered or given up.
    fn give_memory(&mut self) {
        if let Some(hold) = &mut self.hold {
            // Less can always be had.
            let _ = hold.try_resize(self.tables.small());
        }
    }

    /// A promise that was resolved is not sent again: to take it once more could close a loop.
    fn check_promises(&self) -> Result<(), Violation> {
        for cap in &self.caps {
            if let Cap::Promise(id) = *cap
                && self
                    .tables
                    .imports
                    .get(id)
                    .is_some_and(|i| i.kind == Kind::Resolved)
            {
                let detail = "a promise that was resolved already";
                return Err(Violation::new(Reason::PromiseLoop, detail));
            }
        }
        Ok(())
    }

    /// Whether a capability may be what a result or a promise turns out to be. One of our answers may only if it
    /// waits for nothing: else it might wait for just that. To be told where a stream is to be written to is such
    /// an answer.
    fn is_settled(&self, cap: Cap) -> bool {
        match cap {
            Cap::Answer(question) => {
                let answer = self.tables.answers.get(question);
                answer.is_some_and(|answer| answer.class == Class::Place)
            }
            _ => true,
        }
    }

    /// Capabilities outside of calls cannot be refused without losing something.
    fn check_room(&self, more: usize) -> Result<(), Violation> {
        if self.tables.imports.len() + more > self.limits.imports {
            let detail = format!("more than {} capabilities at once", self.limits.imports);
            return Err(Violation::new(Reason::Imports, detail));
        }
        if self.tables.open_imports + more > self.limits.promises
            && self.caps.iter().any(|cap| matches!(cap, Cap::Promise(_)))
        {
            let detail = format!("more than {} promises at once", self.limits.promises);
            return Err(Violation::new(Reason::Promises, detail));
        }
        Ok(())
    }

    fn returned(
        &mut self,
        answer: u32,
        no_finish: bool,
        bytes: usize,
        outcome: &Outcome<'_>,
    ) -> Result<Verdict, Violation> {
        let Some(before) = self.tables.returned(answer, no_finish, bytes) else {
            return Err(unknown("a return for a question that was not asked"));
        };
        if before == Asked::Abandoned {
            // The RPC system only forgets the question: what came with it is not looked at.
            return Ok(Verdict::Pass);
        }
        match outcome {
            Outcome::Results => {
                if !self.caps.is_empty() {
                    if !self.caps.iter().all(|cap| self.is_settled(*cap)) {
                        let detail = "a result that is a capability of one of our answers";
                        return Err(Violation::new(Reason::Form, detail));
                    }
                    self.check_promises()?;
                    self.check_room(self.caps.len())?;
                    for i in 0..self.caps.len() {
                        self.tables.import(self.caps[i], 0);
                    }
                }
                Ok(Verdict::Pass)
            }
            // A part of a stream that we wrote and that came back to us. It counts as read: what is written from now
            // on does not pass by the peer.
            Outcome::OfAnswer(taken) => {
                match self.tables.take_elsewhere(*taken, Elsewhere::Taken) {
                    true => Ok(Verdict::Replace(reply::done(answer, no_finish))),
                    false => Err(Violation::new(
                        Reason::Form,
                        "a return whose results are elsewhere",
                    )),
                }
            }
            Outcome::Exception(exception) => {
                let most = crate::error::MOST_BYTES;
                Ok(self.excepted(*exception, most, |kind, text| {
                    reply::failed(answer, no_finish, kind, text)
                }))
            }
            Outcome::Canceled => {
                self.limits.stats.add(Reason::Canceled);
                let text = "the peer cancelled the call";
                let kind = exception::Type::Failed;
                let frame = reply::failed(answer, no_finish, kind, text);
                Ok(Verdict::Replace(frame))
            }
        }
    }

    /// An exception with its text cut if need be, and with what was thrown [attached](crate::error::attach) to
    /// it. What is larger than `most` is left behind, but known to have been thrown.
    fn excepted(
        &self,
        exception: exception::Reader<'_>,
        most: usize,
        replace: impl FnOnce(exception::Type, &str) -> Frame,
    ) -> Verdict {
        let cut = reply::cut(exception, self.limits.reason_bytes);
        let thrown = details::thrown(exception);
        if cut.is_none() && thrown.is_none() {
            return Verdict::Pass;
        }
        if cut.is_some() {
            self.limits.stats.add(Reason::ReasonCut);
        }
        let mut text = cut.unwrap_or_else(|| reply::text(exception, self.limits.reason_bytes));
        if let Some(thrown) = thrown {
            let kept = (thrown.len() <= most).then_some(thrown);
            if kept.is_none() {
                self.limits.stats.add(Reason::ErrorDropped);
            }
            text = attach(kept.unwrap_or_default(), &text);
        }
        Verdict::Replace(replace(reply::kind(exception), &text))
    }

    fn finished(&mut self, question: u32, release: bool) -> Result<Verdict, Violation> {
        let state = self.tables.finish(question, release);
        self.give_memory();
        match state {
            Some(State::Refused) => return Ok(Verdict::Keep),
            Some(State::Running) => {
                self.limits.stats.cancel();
                if self.tables.cancelled > self.limits.cancelled {
                    let detail = format!("more than {} cancelled calls", self.limits.cancelled);
                    return Err(Violation::new(Reason::Cancelled, detail));
                }
            }
            // Those that are not there were returned with word that no finish is needed.
            Some(State::Returned | State::Cancelled) | None => {}
        }
        Ok(Verdict::Pass)
    }

    fn resolved(&mut self, promise: u32, to: &Resolution<'_>) -> Result<Verdict, Violation> {
        let depth = match self.tables.imports.get(promise) {
            // We let go of it while this was on its way.
            None => 0,
            Some(import) if import.kind == Kind::Promise => import.depth,
            Some(_) => return Err(unknown("a resolve of what is no open promise")),
        };
        match *to {
            Resolution::Exception(exception) => {
                self.tables.resolve_import(promise, Kind::Settled);
                // For as long as the promise is held, and there may be many.
                let most = self.limits.reason_bytes;
                Ok(self.excepted(exception, most, |kind, text| {
                    reply::unresolved(promise, kind, text)
                }))
            }
            Resolution::Capability(cap) => {
                self.resolves_to(promise, cap, depth)?;
                self.tables.resolve_import(promise, Kind::Resolved);
                Ok(Verdict::Pass)
            }
        }
    }

    fn resolves_to(&mut self, promise: u32, cap: Cap, depth: u16) -> Result<(), Violation> {
        let looped = |detail: &str| Violation::new(Reason::PromiseLoop, detail);
        match cap {
            Cap::Hosted(id) | Cap::Promise(id) if id == promise => {
                return Err(looped("a promise that resolves to itself"));
            }
            Cap::Receiver(id) => {
                let ours = self.tables.exports.get(id);
                if ours.is_some_and(|export| export.promise) {
                    return Err(looped("a promise that resolves to a promise of ours"));
                }
            }
            Cap::Answer(_) if !self.is_settled(cap) => {
                return Err(looped("a promise that resolves to one of our answers"));
            }
            Cap::Promise(_) if depth >= self.limits.promise_depth => {
                return Err(looped("too many promises that resolve to promises"));
            }
            _ => {}
        }
        self.caps.clear();
        self.caps.push(cap);
        self.check_promises()?;
        self.check_room(1)?;
        self.tables.import(cap, depth.saturating_add(1));
        Ok(())
    }

    /// What is sent in place of a return whose results stay here.
    pub(super) fn instead(&mut self, message: &Message) -> Option<Message> {
        if self.tables.elsewhere.is_empty() {
            return None;
        }
        let root: message::Reader<'_> = message.get_root_as_reader().ok()?;
        let Ok(message::Return(it)) = root.which() else {
            return None;
        };
        let it = it.ok()?;
        let (answer, no_finish) = (it.get_answer_id(), it.get_no_finish_needed());
        let elsewhere = self.tables.take_elsewhere(answer, Elsewhere::Returned);
        elsewhere.then(|| reply::elsewhere(answer, no_finish))
    }

    /// Takes note of a message that goes out, of which a [`glance`] was had. Ours are as they should be: what
    /// cannot be read is passed over.
    pub(super) fn send(&mut self, usual: Option<Glance<'static>>, message: &Message) -> Sent {
        let bytes = message.size_in_words() * 8;
        self.limits.stats.queued(bytes);
        if !self.limits.judge {
            return Sent::Return;
        }
        match usual {
            Some(Shape::Call {
                question, class, ..
            }) => {
                self.tables.ask(question, bytes, class);
                Sent::Call
            }
            Some(Shape::Return {
                answer, no_finish, ..
            }) => {
                self.tables.answer(answer, no_finish, bytes);
                self.give_memory();
                Sent::Return
            }
            Some(Shape::Finish { question, .. }) => {
                let abandoned = self.tables.finish_asked(question);
                self.limits.stats.abandon(abandoned);
                match abandoned {
                    // The callee is to stop.
                    true => Sent::Other,
                    false => Sent::Note,
                }
            }
            Some(Shape::Release { id, count }) => {
                self.tables.release_import(id, count);
                Sent::Note
            }
            _ => self.send_unusual(message, bytes).unwrap_or(Sent::Other),
        }
    }

    fn send_unusual(&mut self, message: &Message, bytes: usize) -> capnp::Result<Sent> {
        let message: message::Reader<'_> = message.get_root_as_reader()?;
        self.note(message.which()?, bytes)
    }

    fn note(&mut self, which: message::WhichReader<'_>, bytes: usize) -> capnp::Result<Sent> {
        match which {
            message::Bootstrap(it) => {
                self.tables.ask(it?.get_question_id(), bytes, Class::Other);
                return Ok(Sent::Call);
            }
            message::Call(it) => {
                let it = it?;
                let class = Class::of(it.get_interface_id(), it.get_method_id());
                self.tables.ask(it.get_question_id(), bytes, class);
                for descriptor in it.get_params()?.get_cap_table()? {
                    self.export(descriptor);
                }
                return Ok(Sent::Call);
            }
            message::Return(it) => {
                let it = it?;
                let (id, no_finish) = (it.get_answer_id(), it.get_no_finish_needed());
                self.tables.answer(id, no_finish, bytes);
                self.give_memory();
                if !no_finish && let return_::Results(results) = it.which()? {
                    for descriptor in results?.get_cap_table()? {
                        if let Some(export) = self.export(descriptor)
                            && let Some(answer) = self.tables.answers.get_mut(id)
                        {
                            answer.exports.push(export);
                        }
                    }
                }
                return Ok(Sent::Return);
            }
            message::Resolve(it) => {
                let it = it?;
                self.tables.resolve_export(it.get_promise_id());
                if let resolve::Cap(descriptor) = it.which()? {
                    self.export(descriptor?);
                }
            }
            message::Disembargo(it) => {
                if let disembargo::context::SenderLoopback(id) = it?.get_context().which()? {
                    self.tables.embargoes.insert(id, ());
                }
            }
            _ => {}
        }
        Ok(Sent::Other)
    }

    fn export(&mut self, it: capnp_rpc::rpc_capnp::cap_descriptor::Reader<'_>) -> Option<u32> {
        use capnp_rpc::rpc_capnp::cap_descriptor::{SenderHosted, SenderPromise};
        let (id, promise) = match it.which().ok()? {
            SenderHosted(id) => (id, false),
            SenderPromise(id) => (id, true),
            _ => return None,
        };
        self.tables.export(id, promise);
        Some(id)
    }
}

/// A question of the peer.
struct Asking {
    question: u32,
    /// How many questions that have not returned it depends on, one after the other.
    depth: u16,
    bytes: usize,
    class: Class,
}

/// What was sent, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// A question of ours: our own doing.
    Call,
    /// An answer to one of the peer's.
    Return,
    /// That something is not needed any more, for which nobody waits.
    Note,
    /// Anything else.
    Other,
}

impl Sent {
    /// Whether a peer can make us send it.
    pub(super) fn is_reply(self) -> bool {
        self != Self::Call
    }
}

fn unknown(detail: &str) -> Violation {
    Violation::new(Reason::Id, detail)
}

/// What a refused caller is told.
const fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::InFlight => "too many calls in flight on this connection",
        Reason::StreamBytes => "too much of the streams on this connection is not read",
        Reason::InFlightBytes => "the calls in flight on this connection are too large together",
        Reason::IncomingBytes => "the calls of this client are too large together",
        Reason::Queued => "replies on this connection are not read",
        Reason::Exports => "too many capabilities are held through this connection",
        Reason::Imports => "too many capabilities were passed through this connection",
        Reason::Promises => "too many promises were passed through this connection",
        Reason::PipelineDepth => "too many calls are pipelined on each other",
        Reason::Refused => "the call that it depends on was refused",
        _ => "too much to do",
    }
}
