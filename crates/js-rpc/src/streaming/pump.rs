//! Writes a stream to a peer, as fast as it reads.

use std::rc::Rc;
use std::sync::Arc;

use binding_span_schema::call_capnp::watched_stream;
use binding_span_schema::js_rpc_capnp::byte_stream;
use bytes::{Bytes, BytesMut};
use capnp::Error;
use capnp::capability::FromClientHook;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Flow, LEAST, Transfer};
use crate::object::{ByteStream, StreamError, WINDOW};
use crate::wire::Wire;

/// Bytes of one write. With what is around them it is still a [small](crate::budget::SMALL) message.
const CHUNK: usize = 60 << 10;

pub(super) struct Pump {
    stream: ByteStream,
    sink: byte_stream::Client,
    /// Shared by all that is written on the connection.
    room: Arc<Semaphore>,
    /// How the peer is called: ours tell when nobody reads any more.
    wire: Wire,
    /// As which the bytes count.
    flow: Flow,
}

/// A write on its way: what it counts in the window, and how it went.
type Write = LocalBoxFuture<'static, (usize, Result<(), Error>)>;

impl Pump {
    pub(super) fn new(
        stream: ByteStream,
        sink: byte_stream::Client,
        room: &Arc<Semaphore>,
        wire: Wire,
        flow: Flow,
    ) -> Self {
        Self {
            stream,
            sink,
            room: Arc::clone(room),
            wire,
            flow,
        }
    }

    /// Writes until the stream's end, or until one of both sides breaks off. The other finds out: the stream is
    /// dropped, or the sink without an end.
    pub(super) async fn run(self, transfer: &Rc<Transfer>) {
        let Self {
            mut stream,
            sink,
            room,
            wire,
            flow,
        } = self;
        transfer.add(flow, 0);
        let mut writes: FuturesUnordered<Write> = FuturesUnordered::new();
        let mut unread = 0;
        // What was taken from the stream and not written yet, and the room for the next part of it: there, or waited for.
        let mut rest = Bytes::new();
        let mut permit: Option<Permit> = None;
        let mut waiting: Option<LocalBoxFuture<'static, Permit>> = None;
        let mut ending: Option<Ending> = None;
        let mut ended = false;
        let mut canceled = std::pin::pin!(canceled(&sink, &room, wire));
        let mut asked = true;
        loop {
            // What is there goes in one write, which costs much more than a few bytes do. Nothing is waited for.
            while ending.is_none() && !rest.is_empty() && rest.len() < LEAST && waiting.is_none() {
                match stream.next().now_or_never() {
                    Some(next) => take(next, &mut rest, &mut ending),
                    None => break,
                }
            }
            while waiting.is_none() && !rest.is_empty() {
                let next = rest.len().min(CHUNK);
                // As much as the room that it takes: small writes of one stream would leave none to others.
                if unread + next.max(LEAST) > WINDOW {
                    break;
                }
                let blocks = next.div_ceil(LEAST) as u32;
                let permitted = permit.take().ok_or(());
                let permitted =
                    permitted.or_else(|()| Arc::clone(&room).try_acquire_many_owned(blocks));
                let Ok(permitted) = permitted else {
                    waiting = Some(acquire(&room, blocks));
                    break;
                };
                unread += next.max(LEAST);
                transfer.add(flow, next as u64);
                writes.push(write(&sink, &rest.split_to(next), permitted));
            }
            if rest.is_empty() && !ended {
                match ending {
                    // Without an end, it is broken there as well.
                    Some(Ending::Broken) => return,
                    Some(Ending::Whole) => {
                        ended = true;
                        writes.push(end(&sink));
                    }
                    None => {}
                }
            }
            if ended && writes.is_empty() {
                break;
            }
            // What comes while a write waits for those before it becomes a part of it, up to what it counts at least.
            let takes = rest.is_empty() || (rest.len() < LEAST && waiting.is_none());
            tokio::select! {
                biased;
                over = &mut canceled, if asked => {
                    asked = false;
                    if over {
                        // Nothing more is wanted, and what is on its way returns.
                        drop(stream);
                        while writes.next().await.is_some() {}
                        return;
                    }
                }
                Some((bytes, outcome)) = writes.next(), if !writes.is_empty() => {
                    if outcome.is_err() {
                        return;
                    }
                    unread -= bytes;
                }
                permitted = wait(&mut waiting), if waiting.is_some() => {
                    waiting = None;
                    permit = Some(permitted);
                }
                next = stream.next(), if takes && ending.is_none() => {
                    take(next, &mut rest, &mut ending);
                }
            }
        }
        // A question that returns costs nothing; one that is given up leaves something behind.
        if asked {
            canceled.await;
        }
    }
}

/// How a stream ended.
enum Ending {
    Whole,
    Broken,
}

/// Takes what a stream yielded.
fn take(next: Option<Result<Bytes, StreamError>>, rest: &mut Bytes, ending: &mut Option<Ending>) {
    match next {
        Some(Ok(bytes)) if rest.is_empty() => *rest = bytes,
        Some(Ok(bytes)) => {
            let shared = |rest: Bytes| BytesMut::from(rest.as_ref());
            let mut both = std::mem::take(rest).try_into_mut().unwrap_or_else(shared);
            both.extend_from_slice(&bytes);
            *rest = both.freeze();
        }
        Some(Err(_)) => *ending = Some(Ending::Broken),
        None => *ending = Some(Ending::Whole),
    }
}

type Permit = OwnedSemaphorePermit;

fn acquire(room: &Arc<Semaphore>, blocks: u32) -> LocalBoxFuture<'static, Permit> {
    let permit = Arc::clone(room).acquire_many_owned(blocks);
    Box::pin(async move {
        match permit.await {
            Ok(permit) => permit,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    })
}

async fn wait(permit: &mut Option<LocalBoxFuture<'static, Permit>>) -> Permit {
    match permit {
        Some(permit) => permit.await,
        None => std::future::pending().await,
    }
}

/// Whether nobody reads any more, or all was read, when the peer tells. workerd only tells when something is
/// written, and so does a peer that has too much to do.
async fn canceled(sink: &byte_stream::Client, room: &Arc<Semaphore>, wire: Wire) -> bool {
    if wire == Wire::ThreeCalls {
        return false;
    }
    let Ok(_permit) = Arc::clone(room).try_acquire_owned() else {
        return false;
    };
    let watched: watched_stream::Client = sink.clone().cast_to();
    let canceled = watched.cancelled_request().send().promise;
    drop(watched);
    canceled.await.is_ok()
}

fn write(sink: &byte_stream::Client, bytes: &Bytes, permit: Permit) -> Write {
    let mut request = sink.write_request();
    request.get().set_bytes(bytes);
    let written = request.send().promise;
    let length = bytes.len().max(LEAST);
    Box::pin(async move {
        let outcome = written.await.map(drop);
        drop(permit);
        (length, outcome)
    })
}

fn end(sink: &byte_stream::Client) -> Write {
    let ended = sink.end_request().send().promise;
    Box::pin(async move { (0, ended.await.map(drop)) })
}
