//! Cap'n Proto RPC over a connected socket: our own implementation of the network that capnp-rpc runs
//! on.
//!
//! It reads frames itself, growing a message's memory only as its bytes arrive, and writes everything
//! that is queued in one go: the three messages that open a session and call, or a reply with what it
//! releases, are one system call and not one each. Outgoing messages begin with small segments, since
//! most are small.

mod frame;
mod outbox;

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::{FromClientHook, Promise};
use capnp::message::{self, HeapAllocator, ReaderOptions};
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures::channel::oneshot;
use futures::future::{Either, select};
use tokio::io::BufReader;

use crate::RpcLimits;
use crate::stream::{ReadHalf, Stream, WriteHalf};
use frame::Frame;
use outbox::Outbox;

/// Bytes of the read buffer; more gains nothing, and an idle connection costs it.
const BUFFER: usize = 8 * 1024;

/// Words of an outgoing message's first segment: enough for most calls and replies. Segments come
/// zeroed, so larger ones cost more than they save.
const FIRST_SEGMENT_WORDS: u32 = 64;

/// The two directions of a socket, the incoming one buffered.
pub(crate) fn split(stream: Stream) -> (BufReader<ReadHalf>, WriteHalf) {
    let (read, write) = stream.into_split();
    (BufReader::with_capacity(BUFFER, read), write)
}

/// The RPC system of an opened connection. It does nothing until it is polled.
pub(crate) fn system(
    read: BufReader<ReadHalf>,
    write: WriteHalf,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    limits: &RpcLimits,
) -> RpcSystem<Side> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(limits.message_words));
    RpcSystem::new(
        Box::new(Network::new(read, write, side, options)),
        bootstrap,
    )
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

struct Inner {
    side: Side,
    reader: RefCell<Option<BufReader<ReadHalf>>>,
    outbox: Rc<Outbox>,
    options: ReaderOptions,
    /// Dropped with this, which tells the driver that the connection is over.
    _over: oneshot::Sender<()>,
}

struct Connection(Rc<Inner>);

impl Network {
    fn new(
        read: BufReader<ReadHalf>,
        write: WriteHalf,
        side: Side,
        options: ReaderOptions,
    ) -> Self {
        let (over, is_over) = oneshot::channel();
        let outbox = Outbox::new();
        let inner = Rc::new(Inner {
            side,
            reader: RefCell::new(Some(read)),
            outbox: Rc::clone(&outbox),
            options,
            _over: over,
        });
        let driver = async move {
            let written = outbox.write_to(write).await;
            // capnp-rpc ends when this does: not before nobody uses the connection any more.
            let _ = is_over.await;
            written
        };
        Self {
            side,
            inner: Rc::downgrade(&inner),
            connection: Some(Connection(inner)),
            driver: Some(Promise::from_future(driver)),
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
        })
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn capnp_rpc::IncomingMessage>>, Error> {
        let inner = Rc::clone(&self.0);
        let Some(mut reader) = inner.reader.take() else {
            return Promise::err(Error::failed("a message is being received already".into()));
        };
        Promise::from_future(async move {
            let frame = {
                let read = std::pin::pin!(frame::read(&mut reader, inner.options));
                // A peer that cannot be written to is lost, also while it says nothing.
                let broken = std::pin::pin!(inner.outbox.broken());
                match select(read, broken).await {
                    Either::Left((frame, _)) => frame?,
                    Either::Right((error, _)) => return Err(error),
                }
            };
            inner.reader.replace(Some(reader));
            Ok(frame.map(|frame| Box::new(Incoming(frame)) as Box<dyn capnp_rpc::IncomingMessage>))
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        Promise::from_future(Rc::clone(&self.0.outbox).close(result))
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
}

impl capnp_rpc::OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Message>) {
        let message = Rc::new(self.message);
        self.outbox.push(Rc::clone(&message));
        // Only streaming calls wait for this, and this protocol has none.
        (Promise::ok(()), message)
    }

    fn take(self: Box<Self>) -> Message {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
