//! As much HTTP as the tests need: one request, one response, over a unix socket or TCP.

use js_rpc::Address;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

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
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)
    } else {
        body.to_owned()
    };
    (status.unwrap_or_else(|| panic!("not HTTP: {answer}")), body)
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&behind[..size]);
        rest = behind[size..].trim_start_matches("\r\n");
    }
    body
}
