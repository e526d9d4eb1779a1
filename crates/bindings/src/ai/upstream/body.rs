//! An answer's body on its way: it holds the permit, and knows how it ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::UpstreamError;
use super::breaker::Attempt;

/// The longest idle time, so that the clock can represent its end.
const MAX_SILENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is left of an answer.
pub(super) struct Body {
    name: String,
    /// The chunk that was waited for, before the answer was passed on.
    first: Option<Bytes>,
    open: Option<Open>,
    idle_timeout: Duration,
    silence: Pin<Box<Sleep>>,
    /// Whether the silence is the provider's. While nobody reads it is not.
    is_waiting: bool,
}

/// Dropped in this order: the connection is closed before another request may begin.
struct Open {
    chunks: BoxStream<'static, Result<Bytes, UpstreamError>>,
    attempt: Attempt,
    _permit: OwnedSemaphorePermit,
}

impl Body {
    /// A body that begins with `first`; without that it has ended already.
    pub(super) fn new(
        name: &str,
        first: Option<Bytes>,
        chunks: BoxStream<'static, Result<Bytes, UpstreamError>>,
        idle_timeout: Duration,
        mut attempt: Attempt,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let idle_timeout = idle_timeout.min(MAX_SILENCE);
        let open = match first {
            Some(_) => Some(Open {
                chunks,
                attempt,
                _permit: permit,
            }),
            None => {
                attempt.succeeded();
                None
            }
        };
        Self {
            name: name.to_owned(),
            first,
            open,
            idle_timeout,
            silence: Box::pin(tokio::time::sleep(idle_timeout)),
            is_waiting: false,
        }
    }

    fn end(&mut self, succeeded: bool) {
        if let Some(mut open) = self.open.take() {
            match succeeded {
                true => open.attempt.succeeded(),
                false => open.attempt.failed(),
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(open) = &mut this.open else {
            return Poll::Ready(None);
        };
        match open.chunks.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                this.is_waiting = false;
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end(false);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.end(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                if !this.is_waiting {
                    this.is_waiting = true;
                    let until = Instant::now() + this.idle_timeout;
                    this.silence.as_mut().reset(until);
                }
                std::task::ready!(this.silence.as_mut().poll(cx));
                this.end(false);
                Poll::Ready(Some(Err(UpstreamError::Timeout {
                    name: this.name.clone(),
                    after: this.idle_timeout,
                })))
            }
        }
    }
}
