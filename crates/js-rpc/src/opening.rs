//! The first bytes of a connection: `CONNECT name HTTP/1.1`, as workerd sends it, or Cap'n Proto at
//! once.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::network::{Buffered, is_tls};
use crate::stream::ReadHalf;

/// How a peer opened its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It named a binding.
    Connect(String),
    /// It began with Cap'n Proto.
    Bare,
}

/// Bytes of a CONNECT request with all its headers.
const MAX_HEAD: u64 = 8 * 1024;

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Reads the opening of an accepted connection and answers it.
///
/// A plain HTTP request gets an answer that says what this port is, and an error here.
pub(crate) async fn accept<W: AsyncWrite + Unpin>(
    reader: &mut Buffered<ReadHalf>,
    writer: &mut W,
) -> io::Result<Opening> {
    // A Cap'n Proto frame begins with its number of segments, so a letter there would mean hundreds
    // of them.
    match reader.fill_buf().await?.first() {
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
        Some(byte) if byte.is_ascii_uppercase() => {}
        Some(_) => return Ok(Opening::Bare),
    }
    let head = read_head(reader).await?;
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["CONNECT", name, version] if version.starts_with("HTTP/1.") => {
            writer.write_all(ACCEPTED).await?;
            writer.flush().await?;
            Ok(Opening::Connect(name.to_owned()))
        }
        _ => {
            refuse(writer).await?;
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a plain HTTP request: {:?}",
                    line.chars().take(80).collect::<String>()
                ),
            ))
        }
    }
}

/// Asks the peer for a binding by name.
pub(crate) async fn connect<W: AsyncWrite + Unpin>(
    reader: &mut Buffered<ReadHalf>,
    writer: &mut W,
    name: &str,
) -> io::Result<()> {
    let request = format!("CONNECT {name} HTTP/1.1\r\n\r\n");
    writer.write_all(request.as_bytes()).await?;
    writer.flush().await?;
    let head = read_head(reader).await?;
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!(
                "the peer refused CONNECT {name}: {:?}",
                line.chars().take(80).collect::<String>()
            ),
        )),
    }
}

async fn read_head(reader: &mut Buffered<ReadHalf>) -> io::Result<String> {
    let mut head = Vec::new();
    let mut limited = reader.take(MAX_HEAD);
    loop {
        let line = limited.read_until(b'\n', &mut head).await?;
        if is_tls(&head) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "TLS is spoken there; write tls:host:port",
            ));
        }
        let ended = head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n");
        if ended {
            return String::from_utf8(head).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, "an HTTP head that is not text")
            });
        }
        if line == 0 {
            return Err(match limited.limit() {
                0 => io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an HTTP head of more than 8 KiB",
                ),
                _ => io::ErrorKind::UnexpectedEof.into(),
            });
        }
    }
}

async fn refuse<W: AsyncWrite + Unpin>(writer: &mut W) -> io::Result<()> {
    let body = "This port speaks Cap'n Proto RPC, not HTTP. Point workerd's capnpConnectHost, or \
                `bspan call --connect`, at it.\n";
    let answer = format!(
        "HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    writer.write_all(answer.as_bytes()).await?;
    writer.flush().await?;
    writer.shutdown().await
}
