//! A unix socket for which the kernel wakes us when there is something to read, and only then.
//!
//! Whenever the peer reads, the kernel calls the socket writable anew, and wakes everybody who asked to hear
//! of that: each message would wake its sender twice, once for nothing. So nobody asks, until a write
//! finds the socket full. TCP sockets do not do this.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::task::coop;

/// What is read from a unix socket.
#[derive(Debug)]
pub(crate) struct ReadHalf(Arc<Socket>);

/// What is written to one; dropped, the peer reads to the end.
#[derive(Debug)]
pub(crate) struct WriteHalf(Arc<Socket>);

/// The two directions of a socket. An error comes out when they are used.
pub(super) fn split(stream: tokio::net::UnixStream) -> (ReadHalf, WriteHalf) {
    let fd = stream
        .into_std()
        .and_then(|stream| register(stream, Interest::READABLE));
    let socket = Arc::new(Socket(Mutex::new(Registered {
        fd: fd.map_err(|error| error.kind()),
        waits_to_write: false,
        reader: None,
    })));
    (ReadHalf(Arc::clone(&socket)), WriteHalf(socket))
}

#[allow(unsafe_code, reason = "no safe way to ask tokio for one direction")]
fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the stream owns its descriptor, which stays the same and open until the stream is dropped,
    // and nobody else gets it before it is taken out again.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}

#[derive(Debug)]
struct Socket(Mutex<Registered>);

/// The socket, and what the kernel is asked about it.
#[derive(Debug)]
struct Registered {
    fd: Result<AsyncFd<UnixStream>, ErrorKind>,
    /// Also when it is writable: from the first time on that it was full.
    waits_to_write: bool,
    /// Who waits to read, until then.
    reader: Option<Waker>,
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    fn fd(&self) -> io::Result<&AsyncFd<UnixStream>> {
        self.fd.as_ref().map_err(|kind| io::Error::from(*kind))
    }

    /// Asks the kernel to tell when the socket is writable, too.
    #[cold]
    fn wait_to_write(&mut self) -> io::Result<()> {
        let lost = Err(ErrorKind::NotConnected);
        let stream = std::mem::replace(&mut self.fd, lost)
            .map_err(io::Error::from)?
            .into_inner();
        let both = Interest::READABLE | Interest::WRITABLE;
        let fd = register(stream, both);
        self.waits_to_write = true;
        // It is registered where nobody will look.
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        let (fd, outcome) = match fd {
            Ok(fd) => (Ok(fd), Ok(())),
            Err(error) => (Err(error.kind()), Err(error)),
        };
        self.fd = fd;
        outcome
    }

    fn keep(&mut self, reader: &Waker) {
        match &self.reader {
            _ if self.waits_to_write => {}
            Some(kept) if kept.will_wake(reader) => {}
            _ => self.reader = Some(reader.clone()),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.0.lock();
        let room = into.initialize_unfilled();
        loop {
            let Poll::Ready(ready) = socket.fd()?.poll_read_ready(cx) else {
                socket.keep(cx.waker());
                return Poll::Pending;
            };
            let mut ready = ready?;
            // If there was something in between, this is tried again.
            let Ok(read) = ready.try_io(|fd| fd.get_ref().read(room)) else {
                continue;
            };
            let read = read?;
            // Less than there was room for: the kernel has no more, and tells when it has.
            if read > 0 && read < room.len() {
                ready.clear_ready();
            }
            into.advance(read);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.lock();
        if !socket.waits_to_write {
            let turn = ready!(coop::poll_proceed(cx));
            match socket.fd()?.get_ref().write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => socket.wait_to_write()?,
                written => {
                    turn.made_progress();
                    return Poll::Ready(written);
                }
            }
        }
        loop {
            let mut ready = ready!(socket.fd()?.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| fd.get_ref().write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().fd()?.get_ref().shutdown(Shutdown::Write))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if let Ok(fd) = &self.0.lock().fd {
            // Nothing is lost if the peer closed before.
            let _ = fd.get_ref().shutdown(Shutdown::Write);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> ((ReadHalf, WriteHalf), (ReadHalf, WriteHalf)) {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        (split(near), split(far))
    }

    #[tokio::test]
    async fn both_directions_go_on_when_the_socket_was_full() {
        let ((mut read, mut write), (mut peer_read, mut peer_write)) = pair();
        let much: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let sent = much.clone();
        // It waits to read while the other direction fills up.
        let reader = tokio::spawn(async move {
            let mut two = [0; 2];
            read.read_exact(&mut two).await.unwrap();
            two
        });
        let writer = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            assert!(write.0.lock().waits_to_write);
            write.shutdown().await.unwrap();
        });
        let mut arrived = vec![0];
        peer_read.read_exact(&mut arrived).await.unwrap();
        peer_write.write_all(b"ok").await.unwrap();
        assert_eq!(&reader.await.unwrap(), b"ok");
        peer_read.read_to_end(&mut arrived).await.unwrap();
        assert!(arrived == much);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_half_that_is_dropped_ends_what_the_peer_reads() {
        let ((_read, write), (mut peer_read, _peer_write)) = pair();
        drop(write);
        assert_eq!(peer_read.read(&mut [0; 8]).await.unwrap(), 0);
    }

    /// What the kernel is asked to tell of a descriptor, as the epoll instances of this process say.
    fn asked(fd: &AsyncFd<UnixStream>) -> u32 {
        let instances = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let texts = instances.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
        let texts: Vec<_> = texts.collect();
        let number = fd.get_ref().as_raw_fd().to_string();
        let lines = texts.iter().flat_map(|text| text.lines());
        let mut words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = words.find(|words| words.starts_with(&["tfd:", &number]));
        u32::from_str_radix(line.expect("it is registered")[3], 16).unwrap()
    }

    #[tokio::test]
    async fn who_writes_is_told_of_room_only_after_there_was_none() {
        const WRITABLE: u32 = 4;
        let ((read, mut write), (mut peer_read, _peer_write)) = pair();
        write.write_all(b"message").await.unwrap();
        assert_eq!(asked(read.0.lock().fd().unwrap()) & WRITABLE, 0);
        let much = vec![0; 3_000_000];
        let writer = tokio::spawn(async move { write.write_all(&much).await });
        let mut sink = tokio::io::sink();
        tokio::io::copy(&mut peer_read, &mut sink).await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(asked(read.0.lock().fd().unwrap()) & WRITABLE, WRITABLE);
    }
}
