//! As much HTTP as the tests need to ask a server directly: one request, one answer, read to its end or not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

#[path = "../../answer.rs"]
mod answer;

/// The longest that a server may say nothing.
const QUIET: Duration = Duration::from_secs(60);

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The lines of its head, in lower case.
    pub head: Vec<String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.iter().filter_map(|line| line.split_once(':'));
        values
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    }

    /// The events of a stream that is whole: the data of each, without the last, `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let mut data: Vec<_> = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.body);
        data.into_iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }
}

/// Asks for an address; None if nobody listens there.
pub fn get(url: &str) -> Option<Answer> {
    let (host, path) = parts(url);
    let mut stream = TcpStream::connect(host).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    Some(whole(stream))
}

/// Posts JSON with a key.
pub fn post(url: &str, key: &str, body: &Value) -> Answer {
    post_with(url, key, "", body)
}

/// The same with lines of a head besides, each with its end.
pub fn post_with(url: &str, key: &str, more: &str, body: &Value) -> Answer {
    whole(begin(url, key, more, &body.to_string()))
}

/// Posts a text that need not be JSON.
pub fn post_text(url: &str, key: &str, body: &str) -> Answer {
    whole(begin(url, key, "", body))
}

/// Posts, and reads of the answer only what comes until a line that contains this. The connection, with all that comes
/// behind it.
pub fn post_until(url: &str, key: &str, body: &Value, part: &str) -> BufReader<TcpStream> {
    let mut reader = BufReader::new(begin(url, key, "", &body.to_string()));
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert_ne!(
            reader.read_line(&mut line).unwrap(),
            0,
            "it ended before {part:?}"
        );
    }
    reader
}

fn begin(url: &str, key: &str, more: &str, body: &str) -> TcpStream {
    let (host, path) = parts(url);
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(QUIET)).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

fn whole(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let head = head.lines().map(str::to_ascii_lowercase).collect();
    let (status, body) = answer::read(bytes);
    Answer { status, head, body }
}
