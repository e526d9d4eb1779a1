//! Cap'n Proto RPC over a connected socket: our own implementation of the network that capnp-rpc runs
//! on.
//!
//! It reads frames itself, growing a message's memory only as its bytes arrive, and writes everything
//! that is queued in one go: the three messages that open a session and call, or a reply with what it
//! releases, are one system call and not one each. Outgoing messages begin with small segments, since
//! most are small.
//!
//! What a peer sends is [judged](guard) before capnp-rpc sees it, and everything that a peer can make us
//! hold or wait for is bounded: [`NetworkLimits`](crate::NetworkLimits) names all of it.

mod buffered;
mod details;
mod frame;
mod gate;
mod guard;
#[doc(hidden)]
pub mod internals;
mod outbox;
mod sessions;
mod stats;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::{FromClientHook, Promise};
use capnp::message::{self, HeapAllocator};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::channel::oneshot;
use futures::future::{Either, select};

use crate::stream::{ReadHalf, Stream, WriteHalf};
use crate::{NetworkLimits, PeerKey, RpcLimits};
pub(crate) use buffered::Buffered;
pub(crate) use frame::is_tls;
use frame::{Broken, Frame, Source, within};
pub(crate) use gate::{Gate, Need, Sending, Turn};
use guard::{Glance, Sent, Unwind, Verdict, Violation};
use outbox::Outbox;
pub(crate) use sessions::{OpenHere, OpenSessions};
pub(crate) use stats::OpenSession;
pub use stats::{NetworkStats, Reason};

/// Words of an outgoing message's first segment: enough for most calls and replies. Segments come
/// zeroed, so larger ones cost more than they save.
const FIRST_SEGMENT_WORDS: u32 = 64;

/// Messages that one peer gets in before other connections of the thread have their turn.
const TURN: usize = 16;

/// The two directions of a socket, the incoming one buffered.
pub(crate) fn split(stream: Stream) -> (Buffered<ReadHalf>, WriteHalf) {
    let (read, write) = stream.into_split();
    (Buffered::new(read), write)
}

/// The RPC system of an opened connection on which `sessions` are open, and the gate for our own calls on it.
/// It does nothing until it is polled. What comes from a `client` has its share of the memory for incoming messages.
pub(crate) fn system(
    read: Buffered<ReadHalf>,
    write: WriteHalf,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    sessions: OpenSessions,
    client: Option<PeerKey>,
    limits: &RpcLimits,
) -> (RpcSystem<Side>, Rc<Gate>) {
    let (network, gate) = Network::new(read, write, side, sessions, client, &limits.network);
    (RpcSystem::new(Box::new(network), bootstrap), gate)
}

/// A client of one type as an untyped one.
pub(crate) fn untyped<T: FromClientHook>(client: T) -> capnp::capability::Client {
    capnp::capability::Client::new(client.into_client_hook())
}

/// A network of two: us and one peer.
struct Network {
    side: Side,
    /// Until it is accepted.
    connection: Option<Connection>,
    inner: Weak<Inner>,
    driver: Option<Promise<(), Error>>,
}

/// The incoming direction, when nobody reads from it.
type Reader = Rc<RefCell<Option<Buffered<ReadHalf>>>>;

struct Inner {
    side: Side,
    reader: Reader,
    outbox: Rc<Outbox>,
    gate: Rc<Gate>,
    limits: Rc<NetworkLimits>,
    source: Option<Source>,
    /// Work that was done for the peer since others had their turn.
    work: Cell<usize>,
    /// A call waited for the peer to read and it did not: until it does, no other call waits.
    waited: Cell<bool>,
    /// Until when answers are read after writing has failed.
    read_until: Cell<Option<tokio::time::Instant>>,
    /// The peer is gone, and what it held is being let go of.
    ending: RefCell<Option<Box<Ending>>>,
    /// We are the one who closes.
    closing: Rc<Cell<bool>>,
    /// Dropped with this, which tells the driver that the connection is over.
    _over: oneshot::Sender<()>,
}

/// What the RPC system is told when nothing is held any more.
struct Ending {
    result: Result<(), Error>,
    held: Unwind,
}

struct Connection(Rc<Inner>);

impl Network {
    fn new(
        read: Buffered<ReadHalf>,
        write: WriteHalf,
        side: Side,
        sessions: OpenSessions,
        client: Option<PeerKey>,
        limits: &NetworkLimits,
    ) -> (Self, Rc<Gate>) {
        let (over, is_over) = oneshot::channel();
        // Each connection holds them once: there are many.
        let limits = Rc::new(limits.clone());
        let outbox = Outbox::new(Rc::clone(&limits));
        let source = client.map(|client| Source::new(client, &limits));
        let hold = source.as_ref().map(Source::hold);
        let gate = Gate::new(Rc::clone(&limits), sessions, Rc::clone(&outbox), hold);
        let waits = Rc::downgrade(&gate);
        outbox.when_written(move || {
            if let Some(gate) = waits.upgrade() {
                gate.moved();
            }
        });
        let reader: Reader = Rc::new(RefCell::new(Some(read)));
        let closing = Rc::new(Cell::new(false));
        let inner = Rc::new(Inner {
            side,
            reader: Rc::clone(&reader),
            outbox: Rc::clone(&outbox),
            gate: Rc::clone(&gate),
            limits: Rc::clone(&limits),
            source,
            work: Cell::new(0),
            waited: Cell::new(false),
            read_until: Cell::new(None),
            ending: RefCell::default(),
            closing: Rc::clone(&closing),
            _over: over,
        });
        let watched = Rc::clone(&gate);
        let driver = async move {
            let watched = match side {
                Side::Server => Either::Left(watch(&watched, &outbox, &limits)),
                Side::Client => Either::Right(std::future::pending()),
            };
            let written = std::pin::pin!(Rc::clone(&outbox).write_to(write));
            let written = match select(written, std::pin::pin!(watched)).await {
                Either::Left((written, _)) => written,
                Either::Right(((), written)) => written.await,
            };
            // capnp-rpc ends when this does: not before nobody uses the connection any more.
            let _ = is_over.await;
            if side == Side::Server && closing.get() && written.is_ok() {
                let reader = reader.take();
                within(limits.close, read_out(reader)).await;
            }
            written
        };
        let network = Self {
            side,
            inner: Rc::downgrade(&inner),
            connection: Some(Connection(inner)),
            driver: Some(Promise::from_future(driver)),
        };
        (network, gate)
    }
}

fn turned_away(why: &str) -> Error {
    Error::disconnected(format!(
        "{why}, and the peer had sent nothing: it may not admit us, or be full; see its log"
    ))
}

/// Reads until the peer has closed as well. A socket that is closed with something unread resets its
/// connection, and the peer loses what it has not read.
async fn read_out(reader: Option<Buffered<ReadHalf>>) {
    if let Some(mut reader) = reader {
        let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    }
}

/// Ends a client's connection on which nothing happens.
async fn watch(gate: &Gate, outbox: &Outbox, limits: &NetworkLimits) {
    tokio::time::sleep(limits.first_frame).await;
    if gate.guard.borrow().frames() == 0 {
        let detail = format!("no message came within {:?}", limits.first_frame);
        return outbox.fail(Violation::new(Reason::Late, detail));
    }
    loop {
        let before = gate.guard.borrow().frames();
        tokio::time::sleep(limits.idle).await;
        let guard = gate.guard.borrow();
        if guard.frames() == before && guard.is_quiet() {
            let detail = format!("nothing happened for {:?}", limits.idle);
            return outbox.fail(Violation::new(Reason::Idle, detail));
        }
    }
}

impl capnp_rpc::VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn capnp_rpc::Connection<Side>>> {
        if host == self.side {
            return None;
        }
        // Bootstraps are asked for before the system runs, when the connection is there.
        let inner = self.inner.upgrade()?;
        Some(Box::new(Connection(inner)))
    }

    fn accept(&mut self) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, Error> {
        match self.connection.take() {
            Some(connection) => Promise::ok(Box::new(connection)),
            None => Promise::from_future(std::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.driver
            .take()
            .unwrap_or_else(|| Promise::from_future(std::future::pending()))
    }
}

impl capnp_rpc::Connection<Side> for Connection {
    fn get_peer_vat_id(&self) -> Side {
        self.0.side
    }

    /// The hint is not taken: capnp-rpc gives the same generous one for every call.
    fn new_outgoing_message(&mut self, _words: u32) -> Box<dyn capnp_rpc::OutgoingMessage> {
        let allocator = HeapAllocator::new().first_segment_words(FIRST_SEGMENT_WORDS);
        Box::new(Outgoing {
            message: message::Builder::new(allocator),
            outbox: Rc::clone(&self.0.outbox),
            gate: Rc::clone(&self.0.gate),
        })
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn capnp_rpc::IncomingMessage>>, Error> {
        let inner = Rc::clone(&self.0);
        let Some(reader) = inner.reader.take() else {
            return Promise::err(Error::failed("a message is being received already".into()));
        };
        let mut lent = Lent {
            home: Rc::clone(&inner.reader),
            reader: Some(reader),
        };
        Promise::from_future(async move {
            let Some(reader) = &mut lent.reader else {
                return Ok(None);
            };
            let received = inner.receive(reader).await;
            drop(lent);
            Ok(received?.map(|message| Box::new(message) as Box<dyn capnp_rpc::IncomingMessage>))
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        self.0.closing.set(true);
        Promise::from_future(Rc::clone(&self.0.outbox).close(result))
    }
}

/// The incoming direction while somebody reads from it; given back when that ends, however it ends.
struct Lent {
    home: Reader,
    reader: Option<Buffered<ReadHalf>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.replace(self.reader.take());
    }
}

impl Inner {
    /// The next message for the RPC system. At the end, that which lets go of what the peer held; then
    /// `None`, or the error that it ended with.
    async fn receive(&self, reader: &mut Buffered<ReadHalf>) -> Result<Option<Incoming>, Error> {
        if self.ending.borrow().is_none() {
            let result = match self.read(reader).await {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            let guard = self.gate.guard.borrow();
            if guard.weight() <= TURN || self.closing.get() {
                return result.map(|()| None);
            }
            // The peer has said nothing of this, and wants no answer.
            self.outbox.mute(true);
            let held = guard.unwind();
            self.ending.replace(Some(Box::new(Ending { result, held })));
        }
        self.give_way().await;
        if let Some(frame) = self.let_go() {
            return Ok(Some(Incoming(frame.reader(&self.limits))));
        }
        self.outbox.mute(false);
        match self.ending.take().map_or(Ok(()), |ending| ending.result) {
            Ok(()) if self.closing.get() => Err(closed()),
            result => result.map(|()| None),
        }
    }

    /// Lets go of something that the peer held, unless nothing is left.
    fn let_go(&self) -> Option<Frame> {
        if self.closing.get() {
            return None;
        }
        let mut ending = self.ending.borrow_mut();
        let mut guard = self.gate.guard.borrow_mut();
        let (frame, work) = ending.as_mut()?.held.next(&mut guard)?;
        self.work.set(self.work.get() + work);
        Some(frame)
    }

    /// Lets others have their turn, if it was long enough.
    async fn give_way(&self) {
        if self.work.get() >= TURN {
            self.work.set(0);
            tokio::task::yield_now().await;
        }
    }

    /// The next message that the RPC system may see. `None`: the peer is done.
    async fn read(&self, reader: &mut Buffered<ReadHalf>) -> Result<Option<Incoming>, Error> {
        loop {
            self.give_way().await;
            let frame = {
                if let Some(error) = self.outbox.failure() {
                    return Err(error);
                }
                // Also while there is always more to read.
                if let Some(error) = self.outbox.unwritable()
                    && !self.may_have_answered()
                {
                    return Err(error);
                }
                if self.side == Side::Server && self.gate.guard.borrow().is_spent() {
                    let detail = "the connection is to be replaced by a new one";
                    return Err(self.refuse(Violation::new(Reason::Recycled, detail)));
                }
                let read = std::pin::pin!(frame::read(reader, &self.limits, self.source.as_ref()));
                // A peer that cannot be written to is lost, also while it says nothing.
                let broken = std::pin::pin!(self.outbox.broken());
                match select(read, broken).await {
                    Either::Left((frame, _)) => frame,
                    // A callee that closed may have answered before: what arrived is read, for a while.
                    Either::Right((error, read)) if self.may_have_answered() => {
                        within(self.limits.close, read).await.ok_or(error)?
                    }
                    Either::Right((error, _)) => return Err(error),
                }
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                // capnp-rpc 0.27.3 panics when it hears of the end after it closed by itself.
                Ok(None) if self.closing.get() => return Err(closed()),
                Ok(None) if self.is_turned_away() => return Err(turned_away("it is closed")),
                Err(Broken::Lost(why)) if self.is_turned_away() => return Err(turned_away(&why)),
                Ok(None) => return Ok(None),
                Err(Broken::Lost(reason)) => return Err(Error::disconnected(reason)),
                Err(Broken::Refused(violation)) => return Err(self.refuse(violation)),
            };
            let bytes = frame.bytes();
            let glance = guard::glance(frame.first());
            let message = Incoming(frame.reader(&self.limits));
            if self.outbox.queued() > self.limits.queued {
                Box::pin(self.let_the_peer_read(&message)).await;
            } else {
                self.waited.set(false);
            }
            match self.judge(glance, &message, bytes) {
                Ok(Verdict::Pass) => return Ok(Some(message)),
                Ok(Verdict::Replace(frame)) => {
                    return Ok(Some(Incoming(frame.reader(&self.limits))));
                }
                Ok(Verdict::Keep) => {}
                Err(violation) => return Err(self.refuse(violation)),
            }
        }
    }

    /// Whether this is a caller to whom nothing was said: whoever refuses a connection only closes it.
    fn is_turned_away(&self) -> bool {
        self.side == Side::Client && self.gate.guard.borrow().frames() == 0
    }

    /// Whether a callee that can no longer be written to may still have something for us.
    fn may_have_answered(&self) -> bool {
        if self.side != Side::Client || self.outbox.failure().is_some() {
            return false;
        }
        let now = tokio::time::Instant::now();
        let until = self.read_until.get().unwrap_or(now + self.limits.close);
        self.read_until.set(Some(until));
        now < until
    }

    fn judge(
        &self,
        glance: Option<Glance<'static>>,
        message: &Incoming,
        bytes: usize,
    ) -> Result<Verdict, Violation> {
        let queued = self.outbox.queued();
        let verdict = {
            let mut guard = self.gate.guard.borrow_mut();
            let gather = guard.gather();
            let reply = |message: &Message| self.outbox.push(message, Sent::Return, gather);
            let verdict = guard.receive(glance, &message.0, bytes, queued, reply);
            self.work.set(self.work.get() + guard.work());
            verdict
        };
        self.gate.moved();
        verdict
    }

    fn refuse(&self, violation: Violation) -> Error {
        self.limits.stats.add(violation.reason);
        violation.into_error()
    }

    /// Reads no further than to a call while much is queued for the peer: it slows its own calls down. For as long
    /// as it reads, and else once, for a short time: the peer may be waiting for us in the same way.
    async fn let_the_peer_read(&self, message: &Incoming) {
        if self.waited.get() || !message.is_call() {
            return;
        }
        loop {
            let before = self.outbox.total_written();
            let drained = self.outbox.drained(self.limits.queued);
            if within(self.limits.pause, drained).await.is_some() {
                return;
            }
            if self.outbox.total_written() == before {
                return self.waited.set(true);
            }
        }
    }
}

/// We closed it.
fn closed() -> Error {
    Error::disconnected("the connection is closed".into())
}

impl Incoming {
    fn is_call(&self) -> bool {
        use capnp_rpc::rpc_capnp::message::{Bootstrap, Call, Reader};
        let which = self
            .0
            .get_root::<Reader<'_>>()
            .map(|message| message.which());
        matches!(which, Ok(Ok(Call(_) | Bootstrap(_))))
    }
}

struct Incoming(message::Reader<Frame>);

impl capnp_rpc::IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.0.get_root()
    }
}

type Message = message::Builder<HeapAllocator>;

struct Outgoing {
    message: Message,
    outbox: Rc<Outbox>,
    gate: Rc<Gate>,
}

impl capnp_rpc::OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Message>) {
        let mut message = self.message;
        if let Some(instead) = self.gate.guard.borrow_mut().instead(&message) {
            message = instead;
        }
        let usual = match &*message.get_segments_for_output() {
            [first, ..] => guard::glance(first),
            [] => None,
        };
        if usual.is_none() {
            message = details::outgoing(message);
        }
        let (sent, gather) = {
            let mut guard = self.gate.guard.borrow_mut();
            (guard.send(usual, &message), guard.gather())
        };
        self.outbox.push(&message, sent, gather);
        self.gate.moved();
        // Only streaming calls wait for this, and this protocol has none.
        (Promise::ok(()), Rc::new(message))
    }

    fn take(self: Box<Self>) -> Message {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
