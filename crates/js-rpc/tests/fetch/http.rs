//! An HTTP client that sends what it is given, however wrong that is.

use js_rpc::Address;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use crate::common::SOON;

trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

/// A connection.
pub struct Client(BufReader<Box<dyn Socket>>);

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
    /// Whether its body ended as its head promised.
    pub whole: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub async fn connect(address: &Address) -> Self {
        let socket: Box<dyn Socket> = match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            Address::Tcp { host, port } | Address::Tls { host, port } => {
                Box::new(TcpStream::connect((host.as_str(), *port)).await.unwrap())
            }
        };
        Self(BufReader::new(socket))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends nothing more.
    pub async fn finish(&mut self) {
        // It may be closed already.
        let _ = self.0.shutdown().await;
    }

    /// The next response, but for its body. `None`: the connection was closed.
    pub async fn head(&mut self) -> Option<Response> {
        let mut head = String::new();
        let read = async {
            while !head.ends_with("\r\n\r\n") {
                let more = self.0.read_line(&mut head).await;
                if !more.is_ok_and(|more| more > 0) {
                    return None;
                }
            }
            Some(())
        };
        tokio::time::timeout(SOON, read).await.expect("an answer")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Response {
            status,
            head,
            body: Vec::new(),
            whole: true,
        })
    }

    /// The next response.
    pub async fn response(&mut self, bodiless: bool) -> Option<Response> {
        let mut response = self.head().await?;
        if !bodiless {
            let read = self.body(&mut response);
            response.whole = tokio::time::timeout(SOON, read)
                .await
                .expect("a body")
                .is_ok();
        }
        Some(response)
    }

    async fn body(&mut self, into: &mut Response) -> std::io::Result<()> {
        if let Some(length) = into.header("content-length") {
            let length: u64 = length.parse().unwrap();
            let read = (&mut self.0)
                .take(length)
                .read_to_end(&mut into.body)
                .await?;
            return match read as u64 == length {
                true => Ok(()),
                false => Err(std::io::ErrorKind::UnexpectedEof.into()),
            };
        }
        assert_eq!(
            into.header("transfer-encoding"),
            Some("chunked"),
            "{into:?}"
        );
        while let Some(chunk) = self.chunk().await? {
            into.body.extend(chunk);
        }
        Ok(())
    }

    /// The next chunk of a body, which is none behind the last one.
    pub async fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut size = String::new();
        if self.0.read_line(&mut size).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// All that still comes, until the connection is closed.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        let read = tokio::time::timeout(SOON, read).await;
        // Closed with something unread is an error.
        let _ = read.expect("it is closed");
        rest
    }

    /// Whether nothing more comes.
    pub async fn is_closed(&mut self) -> bool {
        self.rest().await.is_empty()
    }
}

/// The response to one request on a connection of its own.
pub async fn ask(address: &Address, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let mut client = Client::connect(address).await;
    client.send(request).await;
    let response = client.response(request.starts_with(b"HEAD")).await;
    response.unwrap_or_else(|| panic!("no answer to {:?}", request.escape_ascii().to_string()))
}

/// The same with a GET of a path.
pub async fn get(address: &Address, path: &str) -> Response {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: svc\r\n\r\n")).await
}
