//! A streamed answer on its way: read as it passes, and changed only as far as its shape wants it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use serde_json::Value;

use super::super::openai::{self, Event, Events, TooLong};
use super::super::upstream::{UpstreamBody, UpstreamError};
use super::super::workers::{AiError, Stream as Replies};
use super::Shape;
use super::open::{Failed, Open, is_stream};

/// Bytes from which on no more are gathered.
const GATHERED: usize = 8 << 10;

/// A body that passes.
pub(super) struct Tap {
    body: UpstreamBody,
    provider: String,
    headers: HeaderMap,
    /// Reads events; `None` where the body has none.
    events: Option<Events>,
    form: Form,
    /// What was made of events and is not taken yet.
    made: Made,
    /// Why there is no more, until that is returned.
    broken: Option<UpstreamError>,
    /// Bytes that are still to come, where the provider said how many.
    left: Option<u64>,
    /// Whether the answer is complete: it said so, or all of its bytes came.
    done: bool,
    /// Until the answer has ended.
    open: Option<Open>,
}

/// What leaves.
enum Form {
    /// The bytes that came.
    Bytes,
    /// The events that came, but for those with nothing but usage.
    WithoutUsage,
    /// Workers AI's events.
    Workers(Replies),
}

impl Tap {
    pub(super) fn new(
        provider: &str,
        body: UpstreamBody,
        headers: HeaderMap,
        shape: Shape,
        open: Open,
        max_event_bytes: usize,
    ) -> Self {
        let left = headers
            .get(CONTENT_LENGTH)
            .and_then(|it| it.to_str().ok()?.parse().ok());
        let events = is_stream(&headers).then(|| Events::new(max_event_bytes));
        let form = match shape {
            _ if events.is_none() => Form::Bytes,
            Shape::AsIs { drop_usage: false } => Form::Bytes,
            Shape::AsIs { drop_usage: true } => Form::WithoutUsage,
            Shape::Workers(_) => Form::Workers(Replies::new()),
        };
        Self {
            body,
            provider: provider.to_owned(),
            headers,
            events,
            form,
            made: Made::default(),
            broken: None,
            left,
            done: left == Some(0),
            open: Some(open),
        }
    }

    /// Takes what came.
    fn pass(&mut self, bytes: Bytes) -> Result<(), UpstreamError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.pass(&bytes);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
            self.done |= *left == 0;
        }
        if let Some(events) = &mut self.events {
            for event in events.push(&bytes) {
                self.take(event)?;
            }
        }
        if let Form::Bytes = self.form {
            self.made.push(bytes);
        }
        Ok(())
    }

    fn take(&mut self, event: Result<Event, TooLong>) -> Result<(), UpstreamError> {
        let event = match (event, &self.form) {
            (Ok(event), _) => event,
            // It passes, and is not read.
            (Err(_), Form::Bytes) => return Ok(()),
            (Err(error), _) => {
                return Err(UpstreamError::Broken {
                    name: self.provider.clone(),
                    reason: error.to_string(),
                });
            }
        };
        self.done |= event.is_done();
        let read: Option<Value> = match event.is_done() {
            true => None,
            false => serde_json::from_str(&event.data).ok(),
        };
        if let (Some(open), Some(read)) = (&mut self.open, &read) {
            open.read(read);
        }
        match &mut self.form {
            Form::Bytes => {}
            Form::WithoutUsage => {
                if !read.as_ref().is_some_and(openai::is_usage_only) {
                    self.made.push(openai::again(&event));
                }
            }
            Form::Workers(replies) => {
                if let Some(bytes) = replies.push(&event.data, read) {
                    self.made.push(bytes);
                }
            }
        }
        Ok(())
    }

    /// The provider has sent all of it.
    fn end(&mut self) -> Result<(), UpstreamError> {
        if let Some(event) = self.events.as_mut().and_then(Events::end) {
            self.take(event)?;
        }
        if let Form::Workers(replies) = &mut self.form {
            self.made.push(replies.end());
        }
        self.close();
        Ok(())
    }

    /// The answer has ended.
    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let failed = match &self.form {
            Form::Workers(replies) => replies.error().map(AiError::error_type),
            Form::Bytes | Form::WithoutUsage => None,
        };
        let reasons = &open.account.reading.finish_reasons;
        if self.events.is_some() && !self.done && reasons.is_empty() {
            open.incomplete();
        }
        match failed {
            None => open.end(&self.headers),
            Some(kind) => open.fail(Failed::in_stream(kind)),
        }
    }

    /// There is no more, and that is not how it should be. An event tells a Worker; whoever gets the bytes as they come
    /// gets what came, and the error.
    fn fail(&mut self, error: UpstreamError) -> Option<UpstreamError> {
        // The connection is of no use any more, and the permit is somebody else's.
        self.body = Box::pin(futures::stream::empty());
        if self.done {
            self.close();
            return None;
        }
        if let Some(open) = self.open.take() {
            open.fail(Failed::of_upstream(&error));
        }
        match &mut self.form {
            Form::Workers(replies) => {
                self.made.push(replies.fail(AiError::from(&error)));
                None
            }
            Form::Bytes | Form::WithoutUsage => Some(error),
        }
    }
}

/// A reader may go away when it has all, before the provider has ended the body.
impl Drop for Tap {
    fn drop(&mut self) {
        if self.done && self.made.is_empty() {
            self.close();
        }
    }
}

impl Stream for Tap {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // What is there at once leaves at once, as one: a write for each event costs more than all else.
        while this.open.is_some() && this.broken.is_none() && this.made.len() < GATHERED {
            let taken = match this.body.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => this.pass(bytes),
                Poll::Ready(Some(Err(error))) => Err(error),
                Poll::Ready(None) => this.end(),
                Poll::Pending if this.made.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            if let Err(error) = taken {
                this.broken = this.fail(error);
            }
        }
        if let Some(bytes) = this.made.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        Poll::Ready(this.broken.take().map(Err))
    }
}

/// What was made of events and is not taken yet. One part stays as it is, several become one.
#[derive(Default)]
struct Made {
    first: Bytes,
    more: BytesMut,
}

impl Made {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&bytes);
        }
    }

    fn len(&self) -> usize {
        self.first.len().max(self.more.len())
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn take(&mut self) -> Option<Bytes> {
        let first = std::mem::take(&mut self.first);
        let more = std::mem::take(&mut self.more);
        let all = if more.is_empty() {
            first
        } else {
            more.freeze()
        };
        Some(all).filter(|all| !all.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_taken_as_one_and_in_order() {
        let mut made = Made::default();
        assert_eq!(made.take(), None);
        for parts in [&["a"][..], &["", "a", "", "b"], &["a", "b", "c"]] {
            for part in parts {
                made.push(Bytes::from_static(part.as_bytes()));
            }
            let whole = parts.concat();
            assert_eq!(made.len(), whole.len());
            assert_eq!(made.take(), Some(Bytes::from(whole)));
            assert!(made.is_empty());
        }
    }
}
