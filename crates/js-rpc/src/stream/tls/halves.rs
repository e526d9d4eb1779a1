//! A connection under TLS, and its two directions, whose failures say what the peer said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::explain;

/// A connection under TLS.
#[derive(Debug)]
pub(crate) struct Stream(TlsStream<TcpStream>);

/// What is read from one.
#[derive(Debug)]
pub(crate) struct ReadHalf(tokio::io::ReadHalf<TlsStream<TcpStream>>);

/// What is written to one. Flush it: what the socket did not take at once waits for that.
#[derive(Debug)]
pub(crate) struct WriteHalf(tokio::io::WriteHalf<TlsStream<TcpStream>>);

impl<T: Into<TlsStream<TcpStream>>> From<T> for Stream {
    fn from(stream: T) -> Self {
        Self(stream.into())
    }
}

impl Stream {
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = tokio::io::split(self.0);
        (ReadHalf(read), WriteHalf(write))
    }
}

fn explained<T>(poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    poll.map_err(explain::broken)
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_read(cx, buf))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        explained(Pin::new(&mut self.0).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        explained(Pin::new(&mut self.0).poll_shutdown(cx))
    }
}
