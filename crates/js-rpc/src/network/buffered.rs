//! A buffered reader that has a buffer only while something is in it.
//!
//! Idle connections are many, and 8 KiB for each would be most of what they cost. A buffer is taken from the
//! thread's pool to read into, and given back when the socket has no more.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// Bytes of a buffer; more gains nothing.
const BUFFER: usize = 8 * 1024;

/// Buffers that a thread keeps for the next connection that has something to read.
const POOL: usize = 16;

type Bytes = Box<[u8]>;

thread_local! {
    static FREE: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

fn take() -> Bytes {
    let free = FREE.try_with(|free| free.borrow_mut().pop());
    let free = free.ok().flatten();
    free.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
}

fn give_back(buffer: Bytes) {
    // Without the pool while the thread ends.
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < POOL {
            free.push(buffer);
        }
    });
}

/// Reads from `inner` through a buffer.
pub(crate) struct Buffered<R> {
    inner: R,
    /// Without one, nothing is buffered.
    buffer: Option<Bytes>,
    /// What of the buffer is not read yet.
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> Buffered<R> {
    pub(crate) const fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: None,
            start: 0,
            end: 0,
        }
    }

    /// Reads into the buffer, of which nothing is left.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (self.start, self.end) = (0, 0);
        let mut buffer = self.buffer.take().unwrap_or_else(take);
        let mut into = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut into);
        self.end = into.filled().len();
        match self.end {
            0 => give_back(buffer),
            _ => self.buffer = Some(buffer),
        }
        read
    }

    /// What is buffered.
    fn rest(&self) -> &[u8] {
        let buffer = self.buffer.as_deref().unwrap_or_default();
        buffer.get(self.start..self.end).unwrap_or_default()
    }
}

impl<R> Drop for Buffered<R> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            give_back(buffer);
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Buffered<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            // What is as large as a buffer needs none.
            if into.remaining() >= BUFFER {
                return Pin::new(&mut this.inner).poll_read(cx, into);
            }
            ready!(this.fill(cx))?;
        }
        let rest = this.rest();
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        this.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for Buffered<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.start == this.end {
            ready!(this.fill(cx))?;
        }
        Poll::Ready(Ok(this.rest()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.start = (this.start + amount).min(this.end);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_however_it_is_cut() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let (ours, mut theirs) = tokio::io::duplex(5000);
        let written = bytes.clone();
        tokio::spawn(async move { theirs.write_all(&written).await });
        let mut reader = Buffered::new(ours);
        let mut read = Vec::new();
        for size in [1, 8, 0, 7000, 8192, 20_000, 3].into_iter().cycle() {
            let mut part = vec![0; size];
            let left = bytes.len() - read.len();
            let part = &mut part[..size.min(left)];
            reader.read_exact(part).await.unwrap();
            read.extend_from_slice(part);
            if read.len() == bytes.len() {
                break;
            }
            let buffered = reader.fill_buf().await.unwrap();
            read.extend_from_slice(&buffered[..1]);
            reader.consume(1);
        }
        assert_eq!(read, bytes);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn who_waits_has_no_buffer() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut reader = Buffered::new(ours);
        for _ in 0..3 {
            let mut two = [0; 2];
            assert!(futures::poll!(Box::pin(reader.read_exact(&mut two))).is_pending());
            assert!(reader.buffer.is_none());
            theirs.write_all(b"abc").await.unwrap();
            reader.read_exact(&mut two).await.unwrap();
            assert!(reader.buffer.is_some(), "there is one byte more");
            assert_eq!(reader.read_u8().await.unwrap(), b'c');
        }
    }
}
