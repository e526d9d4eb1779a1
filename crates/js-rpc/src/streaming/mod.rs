//! How streams of bytes travel: those that a value refers to, in either direction, on one connection.
//!
//! Bytes are pushed: whoever sends a stream asks its receiver for a place, writes into that at once, and names the
//! place in the value. What the receiver's application has not read has not returned, so both sides know how much
//! there is, and the [guard](crate::network) bounds it beside the calls, which never wait for it.
//!
//! A stream that is passed on is a stream that is received and sent.

mod pump;
mod sink;
mod substream;
mod transfer;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use binding_span_schema::js_rpc_capnp::external_pusher::byte_source;
use binding_span_schema::js_rpc_capnp::{byte_stream, external_pusher};
use capnp::Error;
use capnp_rpc::CapabilityServerSet;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::object::{ByteSink, ByteStream, Over, StreamError, pipe};
use crate::wire::Wire;

use pump::Pump;
use sink::Sink;
pub(crate) use transfer::{Flow, Transfer};

/// What a write counts at least: what one costs besides its bytes.
pub(crate) const LEAST: usize = 8 << 10;

/// Places that are made before those that are gone are forgotten.
const SWEEP: usize = 64;

/// The streams of one connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Streams(Rc<Inner>);

struct Inner {
    /// The places that we gave, for when a value names one.
    places: RefCell<CapabilityServerSet<Place, byte_source::Client>>,
    made: Cell<usize>,
    /// What takes streams of ours in the results of the peer's calls.
    peer: RefCell<Option<external_pusher::Client>>,
    /// What takes the peer's in the results of ours.
    own: OnceCell<external_pusher::Client>,
    /// What the peer's marks leave for what it has not read, in units of [`LEAST`].
    room: Arc<Semaphore>,
    over: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// A stream that was pushed and that no value has named.
struct Place {
    stream: RefCell<Option<Claimed>>,
}

impl byte_source::Server for Place {}

struct Claimed {
    stream: ByteStream,
    over: Over,
    bytes: Rc<Cell<u64>>,
}

impl Streams {
    /// For a connection whose peer takes so many bytes that are not read.
    pub(crate) fn new(stream_bytes: usize) -> Self {
        let room = (stream_bytes / LEAST).clamp(1, Semaphore::MAX_PERMITS);
        Self(Rc::new(Inner {
            places: RefCell::default(),
            made: Cell::new(0),
            peer: RefCell::default(),
            own: OnceCell::new(),
            room: Arc::new(Semaphore::new(room)),
            over: CancellationToken::new(),
        }))
    }

    /// The connection is over, and so is every stream on it.
    pub(crate) fn end(&self) {
        self.0.over.cancel();
        drop(self.0.peer.take());
    }

    /// The peer has told what takes streams in results.
    pub(crate) fn set_peer(&self, pusher: external_pusher::Client) {
        self.0.peer.replace(Some(pusher));
    }

    /// What takes streams in the results of the peer's calls, if it has told.
    pub(crate) fn peer(&self) -> Option<external_pusher::Client> {
        self.0.peer.borrow().clone()
    }

    /// What takes the peer's streams in the results of our calls.
    pub(crate) fn pusher(&self) -> external_pusher::Client {
        let own = &self.0.own;
        own.get_or_init(|| capnp_rpc::new_client(Pusher(Rc::downgrade(&self.0))))
            .clone()
    }

    /// Answers the peer that has a stream to send.
    pub(crate) fn answer_push(
        &self,
        params: &external_pusher::PushByteStreamParams,
        mut results: external_pusher::PushByteStreamResults,
    ) -> Result<(), Error> {
        // One more than the length, and 0 if that is not known.
        let length = params.get()?.get_length_plus_one().checked_sub(1);
        let (parts, read, over) = pipe();
        let bytes = Rc::new(Cell::new(0));
        let place = Place {
            stream: RefCell::new(Some(Claimed {
                stream: ByteStream::of_pipe(read, length),
                over,
                bytes: Rc::clone(&bytes),
            })),
        };
        let mut places = self.0.places.borrow_mut();
        self.0.made.set(self.0.made.get() + 1);
        if self.0.made.get().is_multiple_of(SWEEP) {
            places.gc();
        }
        let mut results = results.get();
        results.set_source(places.new_client(place));
        results.set_sink(Sink::client(parts, bytes));
        Ok(())
    }

    /// The stream that a value names by its place. It can be named once.
    pub(crate) fn receive(
        &self,
        source: byte_source::Client,
        transfer: Rc<Transfer>,
    ) -> ByteStream {
        if let Some(stream) = self.claim(&source, &transfer) {
            return stream;
        }
        let (mut stream, is_there) = oneshot::channel();
        let streams = Rc::downgrade(&self.0);
        self.spawn(async move {
            // The answer to its push may be on its way.
            let resolved = std::pin::pin!(capnp::capability::get_resolved_cap(source));
            let source = tokio::select! {
                source = resolved => source,
                () = stream.closed() => return,
            };
            let claimed = streams.upgrade().map(Self);
            let claimed = claimed.and_then(|streams| streams.claim(&source, &transfer));
            let unknown = || StreamError::Broken("it was not sent, or is read elsewhere".into());
            // Nobody may wait for it any more.
            let _ = stream.send(claimed.ok_or_else(unknown));
        });
        ByteStream::later(is_there)
    }

    fn claim(&self, source: &byte_source::Client, transfer: &Rc<Transfer>) -> Option<ByteStream> {
        let places = self.0.places.borrow();
        let place = places.get_local_server_of_resolved(source)?;
        let Claimed {
            stream,
            over,
            bytes,
        } = place.stream.take()?;
        self.count(transfer, bytes, over, Flow::Received);
        Some(stream)
    }

    /// Sends a stream to the owner of `to`: the place that stands for it there.
    pub(crate) fn send(
        &self,
        stream: &ByteStream,
        to: &external_pusher::Client,
        wire: Wire,
        transfer: Rc<Transfer>,
        flow: Flow,
    ) -> byte_source::Client {
        let stream = stream.take();
        let mut request = to.push_byte_stream_request();
        if let Some(length) = stream.length() {
            request.get().set_length_plus_one(length.saturating_add(1));
        }
        let sent = request.send();
        let source = sent.pipeline.get_source();
        let pump = Pump::new(stream, sent.pipeline.get_sink(), &self.0.room, wire, flow);
        let asked = sent.promise;
        self.pump(pump, transfer, async move {
            // Writes that go to a place that is not there fail by themselves.
            drop(asked.await);
        });
        source
    }

    /// Gives the peer an end to write to.
    pub(crate) fn export(
        &self,
        sink: &ByteSink,
        transfer: Rc<Transfer>,
        flow: Flow,
    ) -> Result<byte_stream::Client, StreamError> {
        let (parts, over) = sink.take_parts().ok_or(StreamError::Taken)?;
        let bytes = Rc::new(Cell::new(0));
        self.count(&transfer, Rc::clone(&bytes), over, flow);
        Ok(Sink::client(parts, bytes))
    }

    /// Counts the bytes of a stream that a peer writes, when it is over.
    fn count(&self, transfer: &Rc<Transfer>, bytes: Rc<Cell<u64>>, over: Over, flow: Flow) {
        let counts = Counts {
            transfer: Rc::clone(transfer),
            bytes,
            flow,
        };
        self.spawn(async move {
            over.wait().await;
            drop(counts);
        });
    }

    /// An end of the peer's to write to.
    pub(crate) fn import(
        &self,
        to: byte_stream::Client,
        wire: Wire,
        transfer: Rc<Transfer>,
    ) -> ByteSink {
        let (sink, stream) = ByteStream::pipe();
        let pump = Pump::new(stream, to, &self.0.room, wire, Flow::Sent);
        self.pump(pump, transfer, std::future::ready(()));
        sink
    }

    /// Runs a pump, until its call has failed at the latest.
    fn pump(&self, pump: Pump, transfer: Rc<Transfer>, asked: impl Future<Output = ()> + 'static) {
        let cut = transfer.is_cut();
        self.spawn(async move {
            let run = std::pin::pin!(pump.run(&transfer));
            let run = std::pin::pin!(futures::future::join(asked, run));
            futures::future::select(run, std::pin::pin!(cut)).await;
        });
    }

    /// Runs until the connection is over.
    fn spawn(&self, run: impl Future<Output = ()> + 'static) {
        let over = self.0.over.clone();
        tokio::task::spawn_local(async move {
            over.run_until_cancelled(run).await;
        });
    }
}

/// Tells a transfer how many bytes there were, whatever ended them.
struct Counts {
    transfer: Rc<Transfer>,
    bytes: Rc<Cell<u64>>,
    flow: Flow,
}

impl Drop for Counts {
    fn drop(&mut self) {
        self.transfer.add(self.flow, self.bytes.get());
    }
}

/// Takes the peer's streams.
struct Pusher(Weak<Inner>);

impl external_pusher::Server for Pusher {
    async fn push_byte_stream(
        self: Rc<Self>,
        params: external_pusher::PushByteStreamParams,
        results: external_pusher::PushByteStreamResults,
    ) -> Result<(), Error> {
        let gone = || Error::disconnected("the connection is over".into());
        let streams = Streams(self.0.upgrade().ok_or_else(gone)?);
        streams.answer_push(&params, results)
    }
}
