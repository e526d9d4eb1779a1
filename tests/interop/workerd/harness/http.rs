//! As much HTTP as the tests need: one request, one response, over a unix socket or TCP.

use js_rpc::Address;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

#[path = "../../answer.rs"]
mod answer;

/// Asks for a path; status and body.
pub async fn get(address: &Address, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    request_raw(address, request.as_bytes()).await
}

async fn request_raw(address: &Address, bytes: &[u8]) -> (u16, String) {
    match address {
        Address::Unix(path) => exchange(UnixStream::connect(path).await.unwrap(), bytes).await,
        Address::Tcp { host, port } | Address::Tls { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
            exchange(stream, bytes).await
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> (u16, String) {
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    answer::read(read)
}
