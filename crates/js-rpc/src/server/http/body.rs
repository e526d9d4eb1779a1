//! Bodies of requests as streams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Body, Incoming};
use tokio::time::Sleep;

use crate::object::ByteStream;

/// A request's body. A client may take so long for the next part of it, once somebody waits for that.
pub(super) fn stream(body: Incoming, patience: Duration, received: Arc<AtomicU64>) -> ByteStream {
    if body.is_end_stream() {
        return ByteStream::empty();
    }
    let length = body.size_hint().exact();
    let stream = ByteStream::new(Reading {
        body,
        patience,
        waiting: None,
        received,
    });
    match length {
        Some(length) => stream.with_length(length),
        None => stream,
    }
}

struct Reading {
    body: Incoming,
    patience: Duration,
    /// Set while the reader waits.
    waiting: Option<Pin<Box<Sleep>>>,
    received: Arc<AtomicU64>,
}

impl Stream for Reading {
    type Item = Result<Bytes, String>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) else {
                let wait = || Box::pin(tokio::time::sleep(this.patience));
                let waiting = this.waiting.get_or_insert_with(wait);
                return waiting.as_mut().poll(cx).map(|()| {
                    let patience = this.patience;
                    Some(Err(format!("nothing of the body came for {patience:?}")))
                });
            };
            this.waiting = None;
            return Poll::Ready(match next {
                None => None,
                Some(Err(error)) => Some(Err(format!("the body cannot be read: {error}"))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        this.received.fetch_add(bytes.len() as u64, Relaxed);
                        Some(Ok(bytes))
                    }
                    // Trailers have no place in a request as JavaScript has it.
                    Err(_) => continue,
                },
            });
        }
    }
}
