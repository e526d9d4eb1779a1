//! Requests to the admin port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::openmetrics::Scrape;
use super::util::{Daemon, LIMIT, World};

/// Where an admin port is.
#[derive(Debug, Clone)]
pub enum At {
    Unix(std::path::PathBuf),
    Tcp(String),
    /// A port on this machine, and whom to trust there and be.
    Tls(String, Arc<ClientConfig>),
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl At {
    /// The socket of that name in a test's folder.
    pub fn socket(world: &World, name: &str) -> Self {
        Self::Unix(world.path(name))
    }

    /// The port that a daemon says it has; it says so before anything else.
    pub fn said_by(daemon: &mut Daemon) -> Self {
        let line = daemon.line("admin port at");
        let at = line.split_once("admin port at ").unwrap().1;
        Self::Tcp(at.split_once(": GET").unwrap().0.to_owned())
    }

    pub fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
            Self::Tcp(at) => {
                let stream = TcpStream::connect(at).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
            Self::Tls(at, config) => {
                let stream = TcpStream::connect(at).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                let name = "localhost".try_into().unwrap();
                let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(tls, stream))
            }
        }
    }

    /// Sends a request's head, but for the empty line, and reads the answer to its end.
    #[track_caller]
    pub fn send(&self, head: &str) -> Answer {
        let answer = self.try_send(head);
        answer.unwrap_or_else(|| panic!("no answer to {head:?}"))
    }

    /// The same; nothing if the connection is closed without an answer.
    pub fn try_send(&self, head: &str) -> Option<Answer> {
        let mut stream = self.connect();
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"))
    }

    #[track_caller]
    pub fn scrape(&self) -> Scrape {
        self.scrape_as("application/openmetrics-text;version=1.0.0")
    }

    /// Scrapes in a format that is asked for; it is read as what the answer says that it is.
    #[track_caller]
    pub fn scrape_as(&self, accept: &str) -> Scrape {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n");
        let answer = self.send(&head);
        assert_eq!(answer.status, 200, "{answer:?}");
        let line = |name: &str| answer.head.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(line("vary: "), Some("accept"), "{answer:?}");
        match line("content-type: ") {
            Some("application/openmetrics-text; version=1.0.0; charset=utf-8") => {
                Scrape::read(&answer.body)
            }
            Some("text/plain; version=0.0.4; charset=utf-8") => Scrape::read_classic(&answer.body),
            other => panic!("{other:?} in {answer:?}"),
        }
    }
}
