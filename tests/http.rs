//! A client that sends what it is told to `caller serve --http`, right or wrong.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value as Json;

use crate::util::{Daemon, LIMIT};

/// A status, the head, and the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Json,
}

/// A connection that stays open between requests.
pub struct Http(pub Box<dyn Stream>);

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Http {
    pub fn tcp(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(Box::new(stream))
    }

    pub fn unix(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(Box::new(stream))
    }

    /// Sends a request as it is.
    pub fn send(&mut self, request: &[u8]) -> Answer {
        self.0.write_all(request).unwrap();
        self.receive()
    }

    pub fn receive(&mut self) -> Answer {
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !text.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).expect("an answer");
            text.extend(byte);
        }
        let head = String::from_utf8(text).unwrap().to_lowercase();
        let length = head.split_once("content-length: ").unwrap().1;
        let length = length.split_once("\r\n").unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: serde_json::from_slice(&body).unwrap_or(Json::Null),
            head,
        }
    }

    /// A call as a program makes it, with more headers.
    pub fn post(&mut self, path: &str, more: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes())
    }
}

/// Where a caller takes HTTP.
pub fn http_of(caller: &mut Daemon) -> String {
    let line = caller.line("(HTTP, POST /v1/call/BINDING/METHOD)");
    let at = line.split_once("listening on ").unwrap().1;
    at.split_once(' ').unwrap().0.to_owned()
}
