//! Streams of bytes as parts of values: what JavaScript has as `ReadableStream` and `WritableStream`.
//!
//! Both are the ends of a pipe whose parts count as unread until the reader takes them. Whoever writes waits
//! for that, here and over the network, so a stream holds no more than its writers have on their way.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes that a writer may have unread before it waits.
pub(crate) const WINDOW: usize = 128 << 10;

/// Why a stream ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Whoever wrote it stopped in the middle, or the connection to it was lost.
    #[error("the stream broke off: {0}")]
    Broken(String),
    /// Nobody reads it any more.
    #[error("the stream is not read any more")]
    Canceled,
    /// It has more bytes than were asked for.
    #[error("the stream has more than {0} bytes")]
    TooLong(usize),
    /// It has another length than it was declared to have.
    #[error("a stream of {declared} bytes ended after {seen}")]
    Length {
        /// Bytes that it was to have.
        declared: u64,
        /// Bytes that came, or would have come.
        seen: u64,
    },
    /// Another clone of it was sent already.
    #[error("the stream was passed on already")]
    Taken,
}

/// A stream of bytes that can be part of a call's values: a `ReadableStream` in JavaScript.
///
/// It is a [`Stream`] and an [`http_body::Body`]. Clones are the same stream, and whoever reads or sends one of
/// them has it. Dropping the last one cancels it: whoever writes it finds out.
#[derive(Clone)]
pub struct ByteStream(Arc<Mutex<Reading>>);

struct Reading {
    source: Source,
    /// Bytes that are declared to be left.
    left: Option<u64>,
    declared: u64,
    /// What its bytes are encoded with, as workerd numbers it; 0 is nothing.
    encoding: u16,
}

enum Source {
    Whole(Bytes),
    Pipe(PipeReader),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>),
    Ended,
    Taken,
}

/// What goes through a pipe.
pub(crate) enum Part {
    /// Bytes, and what to tell when they were read.
    Bytes(Bytes, oneshot::Sender<()>),
    /// Nothing follows; and what to tell when that was read.
    End(oneshot::Sender<()>),
    /// It broke off.
    Broken(StreamError),
}

/// The reading end of a pipe.
pub(crate) struct PipeReader {
    parts: mpsc::UnboundedReceiver<Part>,
    #[allow(dead_code, reason = "held for its drop")]
    over: DropGuard,
}

/// Completes when nobody reads a pipe any more, or all of it was read.
#[derive(Clone)]
pub(crate) struct Over(CancellationToken);

impl Over {
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// A pipe: where its parts are put, and where they are read.
pub(crate) fn pipe() -> (mpsc::UnboundedSender<Part>, PipeReader, Over) {
    let (parts, read) = mpsc::unbounded_channel();
    let over = CancellationToken::new();
    let reader = PipeReader {
        parts: read,
        over: over.clone().drop_guard(),
    };
    (parts, reader, Over(over))
}

impl ByteStream {
    /// A stream without a byte.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A stream of what another one yields. It is polled on whichever thread reads it.
    pub fn new<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let broken = |error: E| StreamError::Broken(error.to_string());
        let stream = futures::StreamExt::map(stream, move |item| item.map_err(broken));
        Self::of(Source::Stream(Box::pin(stream)), None)
    }

    /// A pipe: what is written to one end is read from the other. The writer may be
    /// 128 KiB ahead.
    pub fn pipe() -> (ByteSink, Self) {
        let (parts, read, over) = pipe();
        (ByteSink::of(parts, over), Self::of_pipe(read, None))
    }

    /// What comes through a pipe.
    pub(crate) fn of_pipe(read: PipeReader, length: Option<u64>) -> Self {
        Self::of(Source::Pipe(read), length)
    }

    /// A stream that is known later.
    pub(crate) fn later(stream: oneshot::Receiver<Result<Self, StreamError>>) -> Self {
        let stream = async move {
            match stream.await {
                Ok(stream) => stream,
                Err(_) => Err(StreamError::Broken("its connection was lost".into())),
            }
        };
        let stream = futures::TryStreamExt::try_flatten(futures::stream::once(stream));
        Self::of(Source::Stream(Box::pin(stream)), None)
    }

    fn of(source: Source, length: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(Reading {
            source,
            left: length,
            declared: length.unwrap_or_default(),
            encoding: 0,
        })))
    }

    /// The same stream, which is to have so many bytes. One that has not fails with
    /// [`StreamError::Length`].
    #[must_use]
    pub fn with_length(self, bytes: u64) -> Self {
        self.with(|reading| {
            reading.left = Some(bytes);
            reading.declared = bytes;
        });
        self
    }

    /// Bytes that are left, if that is known.
    pub fn length(&self) -> Option<u64> {
        self.with(|reading| match &reading.source {
            Source::Whole(bytes) => Some(bytes.len() as u64),
            Source::Ended => Some(0),
            _ => reading.left,
        })
    }

    /// What the bytes are still encoded with, as in a `Content-Encoding` header: a Worker passes on the body of a
    /// response that it fetched as it came.
    pub fn content_encoding(&self) -> Option<&'static str> {
        match self.encoding() {
            1 => Some("gzip"),
            2 => Some("br"),
            _ => None,
        }
    }

    pub(crate) fn encoding(&self) -> u16 {
        self.with(|reading| reading.encoding)
    }

    pub(crate) fn with_encoding(self, encoding: u16) -> Self {
        self.with(|reading| reading.encoding = encoding);
        self
    }

    /// Reads all of it, up to so many bytes.
    ///
    /// # Errors
    /// Those of the stream, and [`StreamError::TooLong`].
    pub async fn read_to_end(mut self, most: usize) -> Result<Bytes, StreamError> {
        use futures::StreamExt;
        let mut first = Bytes::new();
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await {
            let bytes = bytes?;
            if first.len() + all.len() + bytes.len() > most {
                return Err(StreamError::TooLong(most));
            }
            match (first.is_empty(), all.is_empty()) {
                (true, true) => first = bytes,
                _ => {
                    if all.is_empty() {
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&bytes);
                }
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }

    /// This stream as the only one: other clones of it have nothing any more.
    pub(crate) fn take(&self) -> Self {
        let reading = self.with(|reading| Reading {
            source: std::mem::replace(&mut reading.source, Source::Taken),
            left: reading.left,
            declared: reading.declared,
            encoding: reading.encoding,
        });
        Self(Arc::new(Mutex::new(reading)))
    }

    fn with<R>(&self, run: impl FnOnce(&mut Reading) -> R) -> R {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        let next = match &mut self.source {
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Ended;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Source::Pipe(pipe) => match ready!(pipe.parts.poll_recv(cx)) {
                Some(Part::Bytes(bytes, read)) => {
                    // Whoever wrote it may be gone.
                    let _ = read.send(());
                    Some(Ok(bytes))
                }
                Some(Part::End(read)) => {
                    let _ = read.send(());
                    None
                }
                Some(Part::Broken(error)) => Some(Err(error)),
                None => Some(Err(StreamError::Broken("its writer is gone".into()))),
            },
            Source::Stream(stream) => ready!(stream.as_mut().poll_next(cx)),
            Source::Ended => None,
            Source::Taken => Some(Err(StreamError::Taken)),
        };
        let next = self.count(next);
        if !matches!(next, Some(Ok(_))) && !matches!(self.source, Source::Taken) {
            self.source = Source::Ended;
        }
        Poll::Ready(next)
    }

    /// Holds the stream to its length.
    fn count(
        &mut self,
        next: Option<Result<Bytes, StreamError>>,
    ) -> Option<Result<Bytes, StreamError>> {
        let Some(left) = &mut self.left else {
            return next;
        };
        let (bytes, ended) = match &next {
            Some(Ok(bytes)) => (bytes.len() as u64, false),
            Some(Err(_)) => return next,
            None => (0, true),
        };
        if bytes > *left || (ended && *left > 0) {
            let seen = self.declared - *left + bytes;
            let declared = self.declared;
            self.left = None;
            return Some(Err(StreamError::Length { declared, seen }));
        }
        *left -= bytes;
        next
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.with(|reading| reading.poll(cx))
    }
}

impl http_body::Body for ByteStream {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StreamError>>> {
        self.poll_next(cx)
            .map(|next| next.map(|item| item.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|reading| match &reading.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Ended => true,
            _ => false,
        })
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length()
            .map_or_else(Default::default, http_body::SizeHint::with_exact)
    }
}

impl<B: Into<Bytes>> From<B> for ByteStream {
    fn from(bytes: B) -> Self {
        Self::of(Source::Whole(bytes.into()), None)
    }
}

impl Default for ByteStream {
    fn default() -> Self {
        Self::empty()
    }
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.length() {
            Some(length) => write!(f, "ByteStream({length} bytes)"),
            None => f.write_str("ByteStream"),
        }
    }
}

/// The writing end of a stream of bytes: a `WritableStream` in JavaScript.
///
/// It is a [`Sink`]. Clones are the same end. [`end`](Self::end) it, or whoever reads it finds that it broke off.
#[derive(Clone)]
pub struct ByteSink(Arc<Mutex<Writing>>);

struct Writing {
    parts: Option<mpsc::UnboundedSender<Part>>,
    over: Over,
    /// What was written and not read.
    unread: VecDeque<(usize, oneshot::Receiver<()>)>,
    bytes: usize,
}

impl ByteSink {
    fn of(parts: mpsc::UnboundedSender<Part>, over: Over) -> Self {
        Self(Arc::new(Mutex::new(Writing {
            parts: Some(parts),
            over,
            unread: VecDeque::new(),
            bytes: 0,
        })))
    }

    /// Writes, when at most 128 KiB are unread.
    ///
    /// # Errors
    /// [`StreamError::Canceled`] when nobody reads any more.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), StreamError> {
        let bytes = bytes.into();
        std::future::poll_fn(|cx| self.with(|writing| writing.poll(cx, WINDOW))).await?;
        self.with(|writing| writing.start(bytes))
    }

    /// Says that nothing follows, and waits until all of it was read, here or by what sends it on.
    ///
    /// # Errors
    /// [`StreamError::Canceled`] when nobody reads any more.
    pub async fn end(&self) -> Result<(), StreamError> {
        self.with(Writing::end);
        std::future::poll_fn(|cx| self.with(|writing| writing.poll(cx, 0))).await
    }

    /// Breaks the stream off: whoever reads it gets an error with this text.
    pub fn fail(&self, why: impl Into<String>) {
        let why = StreamError::Broken(why.into());
        if let Some(parts) = self.with(|writing| writing.parts.take()) {
            let _ = parts.send(Part::Broken(why));
        }
    }

    /// Completes when nobody reads the stream any more.
    pub async fn closed(&self) {
        let over = self.with(|writing| writing.over.clone());
        over.wait().await;
    }

    /// The pipe as its only writer has it: other clones have nothing any more.
    pub(crate) fn take_parts(&self) -> Option<(mpsc::UnboundedSender<Part>, Over)> {
        self.with(|writing| Some((writing.parts.take()?, writing.over.clone())))
    }

    fn with<R>(&self, run: impl FnOnce(&mut Writing) -> R) -> R {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Writing {
    /// Waits until at most `most` bytes are unread.
    fn poll(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<(), StreamError>> {
        while let Some((bytes, read)) = self.unread.front_mut() {
            if self.bytes <= most && most > 0 {
                break;
            }
            let bytes = *bytes;
            let outcome = ready!(Pin::new(read).poll(cx));
            self.unread.pop_front();
            self.bytes -= bytes;
            outcome.map_err(|_| StreamError::Canceled)?;
        }
        Poll::Ready(Ok(()))
    }

    fn start(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let parts = self.parts.as_ref().ok_or(StreamError::Taken)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let (read, is_read) = oneshot::channel();
        self.unread.push_back((bytes.len(), is_read));
        self.bytes += bytes.len();
        let sent = parts.send(Part::Bytes(bytes, read));
        sent.map_err(|_| StreamError::Canceled)
    }

    fn end(&mut self) {
        if let Some(parts) = self.parts.take() {
            // Whoever does not read it finds nothing missing.
            let (read, is_read) = oneshot::channel();
            let _ = parts.send(Part::End(read));
            self.unread.push_back((0, is_read));
        }
    }
}

impl Sink<Bytes> for ByteSink {
    type Error = StreamError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.with(|writing| writing.poll(cx, WINDOW))
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), StreamError> {
        self.with(|writing| writing.start(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.with(|writing| writing.poll(cx, 0))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.with(|writing| {
            writing.end();
            writing.poll(cx, 0)
        })
    }
}

impl std::fmt::Debug for ByteSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ByteSink")
    }
}
