//! Server-sent events out of the chunks of a body, which may be cut anywhere.
//!
//! Written here because this is a tap: bytes are pushed as they pass, and pass whatever is made of them. The crates that
//! there are own the stream that they read (`eventsource-stream`, `sse-stream`), hold an event of any length, and
//! `eventsource-stream` scans an unfinished line again with each chunk, which a peer can make quadratic.
//!
//! As the HTML standard has it: lines end with CR, LF or both; a byte order mark at the start, comments, `id`, `retry` and
//! unknown fields are skipped; several `data` lines are joined by LF; an event without data is none.

use bytes::Bytes;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ai) struct Event {
    /// `event`, if it has one: Anthropic's and OpenAI's `responses` name theirs.
    pub name: Option<String>,
    /// `data`.
    pub data: String,
}

impl Event {
    /// Whether this is OpenAI's end of a stream.
    pub fn is_done(&self) -> bool {
        self.data.trim() == "[DONE]"
    }
}

/// An event that was longer than it may be. It was dropped; those after it are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {0} bytes")]
pub(in crate::ai) struct TooLong(pub usize);

/// The events of one stream.
pub(in crate::ai) struct Events {
    max_bytes: usize,
    /// What came of the line that has not ended.
    line: Vec<u8>,
    /// The event so far: each `data` line with an LF after it.
    data: Vec<u8>,
    has_data: bool,
    name: Option<Vec<u8>>,
    /// It has become too long: nothing more is kept until it ends.
    too_long: bool,
    /// The last byte was a CR, and an LF after it belongs to it.
    after_cr: bool,
    first_line: bool,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Events {
    /// Events of at most so many bytes each, of which no more than that is ever held.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: None,
            too_long: false,
            after_cr: false,
            first_line: true,
        }
    }

    /// The events that end within these bytes.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Result<Event, TooLong>> {
        let mut events = Vec::new();
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.keep(&bytes[..end]);
            events.extend(self.end_line());
            let cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.keep(bytes);
        events
    }

    /// The event that the stream's end left without its empty line. The standard drops it; servers that
    /// forget the line after `[DONE]` exist. What was cut off within is data as well, and seldom JSON.
    pub fn end(&mut self) -> Option<Result<Event, TooLong>> {
        if !self.line.is_empty() {
            // An empty line would be the event's end, which comes next.
            if let Some(event) = self.end_line() {
                return Some(event);
            }
        }
        self.end_event()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.too_long {
            // One byte is enough to know that the line is not empty.
            if self.line.is_empty() {
                self.line.push(bytes[0]);
            }
            return;
        }
        // Of a comment, however long, nothing else is needed.
        if self.line.first() == Some(&b':') {
            return;
        }
        if bytes[0] == b':' && self.line.is_empty() {
            self.line.push(b':');
            return;
        }
        let name = self.name.as_ref().map_or(0, Vec::len);
        if self.line.len() + self.data.len() + name + bytes.len() > self.max_bytes {
            self.too_long = true;
            self.line = vec![b'.'];
            self.data = Vec::new();
            self.name = None;
            return;
        }
        self.line.extend_from_slice(bytes);
    }

    fn end_line(&mut self) -> Option<Result<Event, TooLong>> {
        let first = std::mem::take(&mut self.first_line);
        let mut line = self.line.as_slice();
        if first {
            line = line.strip_prefix(MARK).unwrap_or(line);
        }
        if line.is_empty() {
            self.line.clear();
            return self.end_event();
        }
        if !self.too_long {
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &line[line.len()..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => {
                    if self.has_data {
                        self.data.push(b'\n');
                    }
                    self.has_data = true;
                    self.data.extend_from_slice(value);
                }
                b"event" => self.name = Some(value.to_vec()),
                _ => {}
            }
        }
        self.line.clear();
        None
    }

    fn end_event(&mut self) -> Option<Result<Event, TooLong>> {
        let data = std::mem::take(&mut self.data);
        let name = self.name.take();
        let has_data = std::mem::take(&mut self.has_data);
        if std::mem::take(&mut self.too_long) {
            return Some(Err(TooLong(self.max_bytes)));
        }
        has_data.then(|| {
            Ok(Event {
                name: name.filter(|name| !name.is_empty()).map(text),
                data: text(data),
            })
        })
    }
}

/// As the standard decodes: what is no UTF-8 becomes U+FFFD.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// An event with this data, which is one line, as it is sent.
pub(in crate::ai) fn event(data: impl std::fmt::Display) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// An event that came, as it is sent on.
pub(in crate::ai) fn again(event: &Event) -> Bytes {
    let mut text = String::with_capacity(event.data.len() + 16);
    if let Some(name) = &event.name {
        text.push_str("event: ");
        text.push_str(name);
        text.push('\n');
    }
    for line in event.data.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]], max_bytes: usize) -> Vec<Result<Event, TooLong>> {
        let mut events = Events::new(max_bytes);
        let mut out: Vec<_> = chunks.iter().flat_map(|bytes| events.push(bytes)).collect();
        out.extend(events.end());
        out
    }

    fn data(text: &str) -> Result<Event, TooLong> {
        Ok(Event {
            name: None,
            data: text.into(),
        })
    }

    fn named(name: &str, text: &str) -> Result<Event, TooLong> {
        Ok(Event {
            name: Some(name.into()),
            data: text.into(),
        })
    }

    /// A stream with everything in it, and its events.
    fn everything() -> (Vec<u8>, Vec<Result<Event, TooLong>>) {
        let stream = "\u{feff}data: {\"a\":1}\n\n: comment\n\nevent: message_start\r\ndata:no space\r\n\r\n\
             data:  two spaces\r\rid: 7\nretry: 10\nunknown: x\ndata\ndata: über 😀\n\n\
             event: only a name\n\ndata: one\ndata: two\nevent:\n\n\n\ndata: [DONE]\n\n";
        let events = vec![
            data("{\"a\":1}"),
            named("message_start", "no space"),
            data(" two spaces"),
            data("\nüber 😀"),
            data("one\ntwo"),
            data("[DONE]"),
        ];
        (stream.into(), events)
    }

    #[test]
    fn events_are_what_the_standard_says() {
        let (stream, wanted) = everything();
        assert_eq!(all(&[&stream], 4096), wanted);
        assert!(wanted.last().unwrap().as_ref().unwrap().is_done());
        assert!(!wanted[0].as_ref().unwrap().is_done());
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut() {
        let (stream, wanted) = everything();
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(all(&bytes, 4096), wanted);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let cut = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(all(&cut, 4096), wanted, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_the_end_leaves_without_its_empty_line_is_an_event() {
        for stream in [
            "data: [DONE]",
            "data: [DONE]\n",
            "data: [DONE]\r",
            "data: [DONE]\r\n",
        ] {
            assert_eq!(
                all(&[stream.as_bytes()], 64),
                [data("[DONE]")],
                "{stream:?}"
            );
        }
        assert_eq!(all(&[b": comment"], 64), []);
        assert_eq!(all(&[b""], 64), []);
        assert_eq!(all(&["\u{feff}".as_bytes()], 64), []);
    }

    #[test]
    fn an_event_that_is_too_long_is_dropped_alone_and_not_held() {
        let mut events = Events::new(100);
        let mut out = events.push(b"data: before\n\ndata: ");
        for _ in 0..1000 {
            out.extend(events.push(&[b'x'; 1000]));
            assert!(events.line.capacity() + events.data.capacity() <= 1200);
        }
        out.extend(events.push(b"\ndata: still the same\n\ndata: after\n\n"));
        assert_eq!(out, [data("before"), Err(TooLong(100)), data("after")]);

        // Many lines are no way around it, nor is a name.
        let mut events = Events::new(100);
        let mut out = Vec::new();
        for _ in 0..1000 {
            out.extend(events.push(b"data: 0123456789\n"));
            assert!(events.data.len() <= 100);
        }
        out.extend(events.push(b"\n"));
        out.extend(events.push(format!("event: {}\n", "n".repeat(90)).as_bytes()));
        out.extend(events.push(b"data: 0123456789\n\n"));
        assert_eq!(out, [Err(TooLong(100)), Err(TooLong(100))]);
        // Cut off within.
        let long = [b"data: ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(all(&[&long], 100), [Err(TooLong(100))]);
    }

    #[test]
    fn empty_data_lines_count_as_well() {
        let mut events = Events::new(100);
        for _ in 0..100_000 {
            assert_eq!(events.push(b"data\n"), []);
            assert!(events.data.len() <= 101);
        }
        assert_eq!(events.push(b"\n"), [Err(TooLong(100))]);
    }

    #[test]
    fn a_comment_may_be_as_long_as_it_likes() {
        let mut events = Events::new(100);
        let mut out = events.push(b"data: kept\n:");
        for _ in 0..1000 {
            out.extend(events.push(&[b'x'; 100]));
        }
        out.extend(events.push(b"\n\n"));
        assert_eq!(out, [data("kept")]);
    }

    #[test]
    fn what_is_no_utf8_is_replaced_and_not_an_error() {
        assert_eq!(all(&[b"data: a\xffb\n\n"], 64), [data("a\u{fffd}b")]);
    }

    #[test]
    fn an_event_that_is_sent_is_the_event_that_is_read() {
        assert_eq!(all(&[&event("{\"a\":\"b\"}")], 64), [data("{\"a\":\"b\"}")]);
    }
}
