//! One HTTP request to a service of ours, from its head to the end of its response's body. There is nobody to carry
//! enrichment to: it goes to the callee's own span.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context as Poller, Poll, ready};

use binding_span::{CallScope, Enrichment, SpanContext};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use js_value::JsError;
use tracing::Instrument;

use crate::deadlines::Deadline;
use crate::object::http::FETCH;
use crate::object::{ByteStream, Context, Operation, Service, StreamError};
use crate::shared::{InFlight, Shared};
use crate::telemetry::{self, CallInfo, CallSpan, HttpInfo, Place};
use crate::{CallError, ClientId};

/// What stands around a request.
pub(crate) struct Around {
    pub(crate) shared: Rc<Shared>,
    pub(crate) binding: Rc<str>,
    /// The caller's span, if it is told.
    pub(crate) caller: Option<SpanContext>,
    pub(crate) client: ClientId,
    /// Counts the bytes of the request's body that are read.
    pub(crate) received: Arc<AtomicU64>,
}

/// Has a service answer a request. Dropped before it did, the request was abandoned.
pub(crate) async fn fetch(
    service: &dyn Service,
    request: Request<ByteStream>,
    around: Around,
) -> Result<Response<FetchBody>, CallError> {
    let Around {
        shared,
        binding,
        caller,
        client,
        received,
    } = around;
    let info = CallInfo {
        binding: &binding,
        method: FETCH,
        operation: &Operation::Call,
        http: Some(HttpInfo {
            method: request.method(),
            path: request.uri().path(),
        }),
    };
    let span = CallSpan::server(Place::remote(caller), &info, shared.sinks());
    let mut serving = Serving {
        scope: span.scope(),
        span,
        received,
        sent: 0,
        ended: false,
        _in_flight: shared.enter(),
    };
    let cx = Context {
        scope: serving.scope.clone(),
        binding,
        caller,
        client,
    };
    let method = service.fetch(request, &cx);
    // A method that panics costs its own request alone.
    let contained = std::panic::AssertUnwindSafe(method).catch_unwind();
    let traced = contained.instrument(serving.span.tracing());
    let scoped = serving.scope.scope(traced);
    let ended = Deadline::after(shared.limits.handler).hold(&shared.deadlines, scoped);
    let thrown = |error| CallError::Thrown(Box::new(error));
    let panicked = |_| Err(JsError::error("internal error: the method panicked"));
    let outcome = ended
        .await
        .and_then(|result| result.unwrap_or_else(panicked).map_err(thrown));
    match outcome {
        Ok(response) => {
            serving.responded(response.status());
            Ok(response.map(|stream| FetchBody {
                stream,
                serving: Some(serving),
                in_flight: None,
            }))
        }
        Err(error) => {
            serving.end(Err(&error));
            Err(error)
        }
    }
}

/// A request that is being served, until its response's body has ended.
struct Serving {
    span: CallSpan,
    scope: CallScope,
    /// Bytes of the request's body that were read, and of the response's that were sent.
    received: Arc<AtomicU64>,
    sent: u64,
    ended: bool,
    _in_flight: InFlight,
}

impl Serving {
    /// The head of the response is there.
    fn responded(&self, status: http::StatusCode) {
        self.span.apply(&telemetry::responded(status));
        let stated = self.scope.said().stated_error();
        let stated = stated.or_else(|| telemetry::failed_response(status));
        self.span.returned(stated.as_ref());
    }

    /// The request is over.
    fn end(&mut self, outcome: Result<(), &CallError>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let said = self.scope.drain();
        self.apply(&said);
        let received = self.received.load(Relaxed);
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut sizes = Enrichment::new();
        if received > 0 {
            sizes.set_attribute("http.request.body.size", size(received));
        }
        if self.sent > 0 {
            sizes.set_attribute("http.response.body.size", size(self.sent));
        }
        self.apply(&sizes);
        self.span.dropped(&said);
        match outcome {
            Err(error) => self.span.failed(error, said.stated_error().as_ref()),
            Ok(()) => {
                if let Some(error) = said.stated_error() {
                    self.span.failed_as_stated(&error);
                }
            }
        }
    }

    fn apply(&self, said: &Enrichment) {
        if !said.is_silent() {
            self.span.apply(said);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end(Err(&CallError::Canceled));
    }
}

/// The body of a response. The request's span is open until it has ended, and what the service says meanwhile counts.
pub(crate) struct FetchBody {
    stream: ByteStream,
    serving: Option<Serving>,
    #[allow(dead_code, reason = "held for its drop")]
    in_flight: Option<InFlight>,
}

impl FetchBody {
    /// A body that nobody serves.
    pub(crate) const fn of(stream: ByteStream) -> Self {
        Self {
            stream,
            serving: None,
            in_flight: None,
        }
    }

    /// The body of a response that is passed on: a shutdown waits for it.
    pub(crate) fn passed_on(stream: ByteStream, in_flight: InFlight) -> Self {
        let mut body = Self::of(stream);
        body.in_flight = Some(in_flight);
        body
    }

    /// The same with another stream: what is sent of the response in place of its body.
    pub(crate) fn replace(&mut self, stream: impl FnOnce(ByteStream) -> ByteStream) {
        self.stream = stream(std::mem::take(&mut self.stream));
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.stream.length()
    }

    fn end(&mut self, outcome: Result<(), &CallError>) {
        if let Some(mut serving) = self.serving.take() {
            serving.end(outcome);
        }
    }
}

impl http_body::Body for FetchBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        let mut poll = |cx: &mut Poller<'_>| this.stream.poll_next_unpin(cx);
        let next = match &this.serving {
            None => ready!(poll(cx)),
            Some(serving) => {
                let in_span = || serving.span.tracing().in_scope(|| poll(cx));
                ready!(serving.scope.in_scope(in_span))
            }
        };
        match &next {
            Some(Ok(bytes)) => {
                if let Some(serving) = &mut this.serving {
                    serving.sent += bytes.len() as u64;
                }
            }
            Some(Err(error)) => {
                let error = JsError::error(error.to_string());
                this.end(Err(&CallError::Thrown(Box::new(error))));
            }
            None => this.end(Ok(())),
        }
        Poll::Ready(next.map(|part| part.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::Body::size_hint(&self.stream)
    }
}

impl Drop for FetchBody {
    /// Whoever sends a body of a known length need not look for its end.
    fn drop(&mut self) {
        if self.stream.length() == Some(0) {
            self.end(Ok(()));
        }
    }
}
