//! What is to be written: a queue of bytes, and the one future that empties it.
//!
//! Whatever is queued when the socket is free goes out in one write. Before that, everything else that is
//! ready to run has its turn, for as long as it queues more: the replies to messages that came together
//! leave together. Not all of them, if they are many: a part of what is in flight leaves as soon as it
//! is there, or the two peers would take turns where they could both work.
//!
//! Nothing waits for a peer or for a timer, so a single message leaves at once. Only finishes and releases, for
//! which nobody waits, wait once for the runtime to look at its sockets, and leave with the next call if
//! there is one by then.
//!
//! A peer that does not read cannot make the queue grow without bound, nor hold the connection: there
//! are caps on both, and each ends the connection.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::{Error, serialize};
use futures::channel::oneshot;
use futures::poll;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::Message;
use super::guard::{Sent, Violation};
use super::stats::Reason;
use crate::NetworkLimits;

/// Bytes that one write gathers before it begins.
const GATHER: usize = 64 * 1024;

/// Bytes of the buffer that a connection keeps while nothing is queued.
const KEEP: usize = 1024;

/// The queue of one connection.
pub(super) struct Outbox {
    state: RefCell<State>,
    limits: Rc<NetworkLimits>,
    /// Called when something was written, while much is queued.
    written: OnceCell<Box<dyn Fn()>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Batch>,
    /// A buffer for the next messages.
    spare: Vec<u8>,
    bytes: usize,
    /// Bytes that were written since it began.
    total_written: u64,
    /// What was queued since the writer last took something.
    fresh: Fresh,
    /// The writer waits with what nobody waits for.
    patient: bool,
    /// Messages that the peer made us send.
    replies: usize,
    /// Set when nothing more may be queued, with until when; told when all of it is written.
    closing: Option<(oneshot::Sender<()>, Instant)>,
    /// What is queued now has nobody who wants it.
    muted: bool,
    /// Why the connection must end, found out by others than its reader.
    failed: Option<Error>,
    ended: Option<Result<(), Error>>,
    writer: Option<Waker>,
    reader: Option<Waker>,
    /// Who waits for the queue to shrink.
    drain: Option<Waker>,
}

#[derive(Default)]
struct Fresh {
    messages: usize,
    /// Calls and returns among them.
    calls: usize,
    /// Those that are not held back for more.
    gather: usize,
    /// Somebody waits for one of them.
    urgent: bool,
}

/// Whole messages: about [`GATHER`] bytes of them, or one larger message.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    replies: usize,
}

impl Outbox {
    pub(super) fn new(limits: Rc<NetworkLimits>) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::default(),
            limits,
            written: OnceCell::new(),
        })
    }

    /// Has `call` called when something was written of much that is queued.
    pub(super) fn when_written(&self, call: impl Fn() + 'static) {
        let _ = self.written.set(Box::new(call));
    }

    /// Bytes that wait to be read by the peer.
    pub(super) fn queued(&self) -> usize {
        self.state.borrow().bytes
    }

    /// Bytes that the peer, or the socket, has taken so far.
    pub(super) fn total_written(&self) -> u64 {
        self.state.borrow().total_written
    }

    /// Queues a message. After the end it is dropped: the connection is lost, which capnp-rpc finds out.
    /// When so many calls or returns are queued as are to be gathered, they leave.
    pub(super) fn push(&self, message: &Message, sent: Sent, gather: usize) {
        let mut state = self.state.borrow_mut();
        if state.ended.is_some() || state.muted {
            return;
        }
        let mut batch = match state.queue.back() {
            Some(last) if last.bytes.len() < GATHER => state.queue.pop_back().unwrap_or_default(),
            _ => Batch {
                bytes: std::mem::take(&mut state.spare),
                replies: 0,
            },
        };
        let before = batch.bytes.len();
        let written = serialize::write_message(&mut batch.bytes, message);
        let bytes = state.bytes + batch.bytes.len() - before;
        self.hold(&mut state, bytes);
        batch.replies += usize::from(sent.is_reply());
        state.queue.push_back(batch);
        state.replies += usize::from(sent.is_reply());
        let fresh = &mut state.fresh;
        fresh.messages += 1;
        fresh.calls += usize::from(matches!(sent, Sent::Call | Sent::Return));
        fresh.gather = gather;
        fresh.urgent |= sent != Sent::Note;
        if let Err(error) = written {
            state.failed.get_or_insert(error);
        }
        let limits = &self.limits;
        if state.bytes > limits.max_queued || state.replies > limits.max_queued_replies {
            self.overflow(&mut state);
        }
        if !state.patient || state.fresh.urgent {
            wake(&mut state.writer);
        }
    }

    /// From now on messages are dropped, or queued again.
    pub(super) fn mute(&self, muted: bool) {
        self.state.borrow_mut().muted = muted;
    }

    fn hold(&self, state: &mut State, bytes: usize) {
        self.limits.stats.queue(state.bytes, bytes);
        state.bytes = bytes;
    }

    /// Too much that the peer does not read: nothing of it is worth keeping.
    fn overflow(&self, state: &mut State) {
        let (bytes, messages) = (state.bytes, state.replies);
        state.queue.clear();
        self.hold(state, 0);
        state.replies = 0;
        let detail = format!("{bytes} bytes in {messages} replies are not read");
        self.fail_with(state, Violation::new(Reason::Unread, detail));
    }

    /// Ends the connection: whoever receives from it gets this.
    pub(super) fn fail(&self, violation: Violation) {
        self.fail_with(&mut self.state.borrow_mut(), violation);
    }

    fn fail_with(&self, state: &mut State, violation: Violation) {
        if state.failed.is_none() {
            self.limits.stats.add(violation.reason);
            state.failed = Some(violation.into_error());
        }
        wake(&mut state.reader);
        wake(&mut state.drain);
    }

    /// Lets what is queued be written, for a short time, then closes the stream. Completes with
    /// `result` or with what kept it from being written.
    pub(super) async fn close(self: Rc<Self>, result: Result<(), Error>) -> Result<(), Error> {
        let closed = {
            let mut state = self.state.borrow_mut();
            let (closing, closed) = oneshot::channel();
            if state.ended.is_none() {
                state.closing = Some((closing, Instant::now() + self.limits.close));
                wake(&mut state.writer);
            }
            closed
        };
        // Told, or dropped because there is nobody to write any more.
        let _ = closed.await;
        match &self.state.borrow().ended {
            Some(Err(error)) => Err(error.clone()),
            _ => result,
        }
    }

    /// Why the connection must end, if it must.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.borrow().failed.clone()
    }

    /// Why nothing can be written any more, if so.
    pub(super) fn unwritable(&self) -> Option<Error> {
        match &self.state.borrow().ended {
            Some(Err(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Completes with the error when writing fails, or when the connection must end.
    pub(super) fn broken(&self) -> impl Future<Output = Error> + '_ {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match (&state.failed, &state.ended) {
                (Some(error), _) | (None, Some(Err(error))) => Poll::Ready(error.clone()),
                _ => {
                    keep(&mut state.reader, cx.waker());
                    Poll::Pending
                }
            }
        })
    }

    /// Completes when no more than `bytes` are queued, or when the connection must end.
    pub(super) fn drained(&self, bytes: usize) -> impl Future<Output = ()> + '_ {
        poll_fn(move |cx| {
            let mut state = self.state.borrow_mut();
            if state.bytes <= bytes || state.failed.is_some() || state.ended.is_some() {
                return Poll::Ready(());
            }
            keep(&mut state.drain, cx.waker());
            Poll::Pending
        })
    }

    /// Writes until the outbox is closed or the stream breaks.
    pub(super) async fn write_to(
        self: Rc<Self>,
        mut stream: impl AsyncWrite + Unpin,
    ) -> Result<(), Error> {
        let result = self.write_all(&mut stream).await;
        let mut state = self.state.borrow_mut();
        (state.queue, state.spare) = Default::default();
        self.hold(&mut state, 0);
        state.ended = Some(result.clone());
        wake(&mut state.reader);
        wake(&mut state.drain);
        if let Some((closing, _)) = state.closing.take() {
            let _ = closing.send(());
        }
        result
    }

    async fn write_all(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), Error> {
        let lost = |error: std::io::Error| Error::disconnected(error.to_string());
        while let Some(batch) = self.gather().await {
            let mut left = &batch.bytes[..];
            while !left.is_empty() {
                let written = self.patiently(stream.write(left)).await?.map_err(lost)?;
                if written == 0 {
                    return Err(Error::disconnected("the peer closed the connection".into()));
                }
                left = &left[written..];
                self.written(written);
            }
            // Nothing to do without TLS, which may still hold what the socket did not take.
            self.patiently(stream.flush()).await?.map_err(lost)?;
            self.recycle(batch);
        }
        self.patiently(stream.shutdown()).await?.map_err(lost)
    }

    /// What a write gives, unless the peer reads nothing for too long.
    async fn patiently<T>(&self, write: impl Future<Output = T>) -> Result<T, Error> {
        let mut write = std::pin::pin!(write);
        if let Poll::Ready(done) = poll!(&mut write) {
            return Ok(done);
        }
        let stall = self.limits.write_stall;
        let stalled = async {
            if let Ok(until) = tokio::time::timeout(stall, self.closing()).await {
                tokio::time::sleep_until(until).await;
            }
        };
        tokio::select! {
            done = write => Ok(done),
            () = stalled => {
                let detail = format!("the peer has read nothing for {stall:?}");
                let violation = Violation::new(Reason::WriteStall, detail);
                self.limits.stats.add(violation.reason);
                Err(violation.into_error())
            }
        }
    }

    /// Completes when the outbox is closing, with until when it may.
    fn closing(&self) -> impl Future<Output = Instant> + '_ {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if let Some((_, until)) = state.closing {
                return Poll::Ready(until);
            }
            keep(&mut state.writer, cx.waker());
            Poll::Pending
        })
    }

    fn written(&self, bytes: usize) {
        let mut state = self.state.borrow_mut();
        let (before, left) = (state.bytes, state.bytes.saturating_sub(bytes));
        self.hold(&mut state, left);
        state.total_written += bytes as u64;
        if state.bytes <= self.limits.queued {
            wake(&mut state.drain);
        }
        drop(state);
        if before > self.limits.queued
            && let Some(written) = self.written.get()
        {
            written();
        }
    }

    /// Keeps a buffer for the next messages. A large message once must not cost its size for ever.
    fn recycle(&self, Batch { bytes, replies }: Batch) {
        let (mut buffer, mut state) = (bytes, self.state.borrow_mut());
        state.replies = state.replies.saturating_sub(replies);
        buffer.clear();
        if state.queue.is_empty() {
            buffer.shrink_to(KEEP);
        }
        if state.spare.capacity() == 0 && buffer.capacity() <= 2 * GATHER {
            state.spare = buffer;
        }
    }

    /// Waits for messages and takes what there is, up to about [`GATHER`]. `None`: closed, and empty.
    async fn gather(&self) -> Option<Batch> {
        let mut seen = 0;
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.queue.is_empty() && state.closing.is_none() {
                state.patient = false;
                keep(&mut state.writer, cx.waker());
                return Poll::Pending;
            }
            let fresh = &state.fresh;
            let (more, enough) = (fresh.messages > seen, fresh.calls >= fresh.gather);
            if fresh.messages > 0 && !fresh.urgent && state.closing.is_none() {
                if !std::mem::replace(&mut state.patient, true) {
                    keep(&mut state.writer, cx.waker());
                    after_the_sockets(cx);
                    return Poll::Pending;
                }
            } else if more && !enough {
                // Somebody queued more since the last turn: perhaps others are about to.
                seen = fresh.messages;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.patient = false;
            Poll::Ready(())
        })
        .await;
        let mut state = self.state.borrow_mut();
        let batch = state.queue.pop_front();
        if state.queue.is_empty() {
            state.fresh = Fresh::default();
        }
        batch
    }
}

/// What is not written any more is not queued either.
impl Drop for Outbox {
    fn drop(&mut self) {
        self.limits.stats.queue(self.state.get_mut().bytes, 0);
    }
}

/// Has us polled again when the runtime has looked at its sockets.
fn after_the_sockets(cx: &mut Context<'_>) {
    let turn = std::pin::pin!(tokio::task::yield_now());
    let _ = turn.poll(cx);
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(kept) if kept.will_wake(waker) => {}
        _ => *slot = Some(waker.clone()),
    }
}
