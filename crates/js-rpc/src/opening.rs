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
    /// It began with an HTTP request of another method; these bytes of it were read.
    Http(Vec<u8>),
}

/// Bytes of a CONNECT request with all its headers.
const MAX_HEAD: u64 = 8 * 1024;

const CONNECT: &[u8] = b"CONNECT ";

const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Reads the opening of an accepted connection, and answers it if it names a binding.
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
    let mut head = Vec::new();
    while CONNECT.starts_with(&head) && head.len() < CONNECT.len() {
        head.push(reader.read_u8().await?);
    }
    if head != CONNECT {
        return Ok(Opening::Http(head));
    }
    let head = read_head(reader, head).await?;
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["CONNECT", name, version] if version.starts_with("HTTP/1.") => {
            writer.write_all(ACCEPTED).await?;
            writer.flush().await?;
            Ok(Opening::Connect(name.to_owned()))
        }
        _ => {
            let text = "What is sent here is CONNECT NAME HTTP/1.1.\n";
            refuse(writer, "400 Bad Request", text).await?;
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a CONNECT request that cannot be read: {:?}",
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
    let head = read_head(reader, Vec::new()).await?;
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

/// Reads a head of which some was read.
async fn read_head(reader: &mut Buffered<ReadHalf>, mut head: Vec<u8>) -> io::Result<String> {
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

/// What a listener says to HTTP requests that it cannot serve.
pub(crate) const NOT_HTTP: &str = "This port speaks Cap'n Proto RPC, not HTTP. Point workerd's \
                                   capnpConnectHost, or `bspan call --connect`, at it.\n";

/// Answers an HTTP request without HTTP.
pub(crate) async fn refuse<W: AsyncWrite + Unpin>(
    writer: &mut W,
    status: &str,
    text: &str,
) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    writer.write_all(answer.as_bytes()).await?;
    writer.flush().await?;
    writer.shutdown().await
}
