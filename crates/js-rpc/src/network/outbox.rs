//! What is to be written: a queue, and the one future that empties it.
//!
//! Whatever is queued when the socket is free goes out in one write. Before that, everything else that is
//! ready to run has its turn, for as long as it queues more: the replies to messages that came together
//! leave together. Nothing waits for a peer or for a timer, so a single message leaves at once.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use capnp::{Error, serialize};
use futures::channel::oneshot;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Message;

/// Bytes that one write gathers before it begins.
const GATHER: usize = 64 * 1024;

/// Messages that are not held back for more.
const MANY: usize = 64;

/// The queue of one connection.
pub(super) struct Outbox(RefCell<State>);

#[derive(Default)]
struct State {
    queue: std::collections::VecDeque<Rc<Message>>,
    /// Set when nothing more may be queued; told when all of it is written.
    closing: Option<oneshot::Sender<()>>,
    ended: Option<Result<(), Error>>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Outbox {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self(RefCell::default()))
    }

    /// Queues a message. After the end it is dropped: the connection is lost, which capnp-rpc finds out.
    pub(super) fn push(&self, message: Rc<Message>) {
        let mut state = self.0.borrow_mut();
        if state.ended.is_none() {
            state.queue.push_back(message);
            wake(&mut state.writer);
        }
    }

    /// Lets what is queued be written, then closes the stream. Completes with `result` or with what
    /// kept it from being written.
    pub(super) async fn close(self: Rc<Self>, result: Result<(), Error>) -> Result<(), Error> {
        let closed = {
            let mut state = self.0.borrow_mut();
            let (closing, closed) = oneshot::channel();
            if state.ended.is_none() {
                state.closing = Some(closing);
                wake(&mut state.writer);
            }
            closed
        };
        // Told, or dropped because there is nobody to write any more.
        let _ = closed.await;
        match &self.0.borrow().ended {
            Some(Err(error)) => Err(error.clone()),
            _ => result,
        }
    }

    /// Completes with the error when writing fails.
    pub(super) fn broken(&self) -> impl Future<Output = Error> + '_ {
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            match &state.ended {
                Some(Err(error)) => Poll::Ready(error.clone()),
                _ => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Writes until the outbox is closed or the stream breaks.
    pub(super) async fn write_to(
        self: Rc<Self>,
        mut stream: impl AsyncWrite + Unpin,
    ) -> Result<(), Error> {
        let result = self.write_all(&mut stream).await;
        let mut state = self.0.borrow_mut();
        state.queue.clear();
        state.ended = Some(result.clone());
        wake(&mut state.reader);
        if let Some(closing) = state.closing.take() {
            let _ = closing.send(());
        }
        result
    }

    async fn write_all(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), Error> {
        let lost = |error: std::io::Error| Error::disconnected(error.to_string());
        let mut buffer = Vec::new();
        while self.gather(&mut buffer).await? {
            stream.write_all(&buffer).await.map_err(lost)?;
            buffer.clear();
            // A large message once must not cost its size for ever.
            buffer.shrink_to(GATHER);
        }
        stream.shutdown().await.map_err(lost)
    }

    /// Waits for messages and serializes what there is, up to [`GATHER`]. False: closed, and empty.
    async fn gather(&self, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        let mut seen = 0;
        poll_fn(|cx| {
            let mut state = self.0.borrow_mut();
            if state.queue.is_empty() && state.closing.is_none() {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            // Somebody queued more since the last turn: perhaps others are about to.
            if state.queue.len() > seen && state.queue.len() < MANY {
                seen = state.queue.len();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let mut state = self.0.borrow_mut();
        let some = !state.queue.is_empty();
        while buffer.len() < GATHER
            && let Some(message) = state.queue.pop_front()
        {
            serialize::write_message(&mut *buffer, &message)?;
        }
        Ok(some)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
