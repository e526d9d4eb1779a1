//! What a database and its worker processes say to each other, over a pair of sockets: frames of a head, which
//! says what it is, and a body of bytes that neither the head nor its reader looks into.
//!
//! ```text
//! length of the rest: u32 | length of the head: u32 | head (postcard) | body        (little endian)
//! ```
//!
//! Both ends are the same program, so there are no versions.

use std::time::Duration;

use binding_span::{AttributeList, AttributeValue, Enrichment};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::d1::DatabaseOptions;
use crate::d1::http::HttpCall;

/// Bytes before a frame's head.
pub(super) const PREFIX: usize = 8;

/// The longest frame that is read: an answer has at most a few times the bytes of a result.
pub(super) const LONGEST: usize = 256 << 20;

/// From the database to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Open the file; the first order.
    Open(Opening),
    /// Run a call, whose arguments are the body.
    Call(Call),
    /// End the call of this number, if it still runs.
    Stop { call: u32, why: Why },
}

/// A call for a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) time_left: Duration,
    /// Whether the worker is to describe the call before it runs it.
    pub(super) describe: bool,
    /// What the database knows of earlier calls: the last bookmark, and the row id of the last insert.
    pub(super) bookmark: u64,
    pub(super) last_row_id: i64,
}

/// How a call was made, which says what its arguments and its reply are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Kind {
    /// As a method: values, as they travel.
    Method,
    /// As a plain HTTP request: JSON.
    Http(HttpCall),
}

/// Why a call is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// Nobody waits for it.
    Cancelled,
    /// Others wait.
    GiveWay,
}

/// From a worker to the database.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The file is open.
    Opened,
    /// It is not, and why.
    NotOpened(String),
    /// What a call is about, before it runs.
    Describes { call: u32, about: Tags },
    /// The call writes, and this worker cannot.
    NeedsWriter { call: u32 },
    /// The call ended before its end, because others wait. It left nothing behind.
    GaveWay { call: u32 },
    /// The call was answered: the reply is the body.
    Answered(Answered),
    /// The arguments are not what the method takes: the error is the body.
    Refused { call: u32 },
}

/// What came of a call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) call: u32,
    /// The kind and text of its failure.
    pub(super) failure: Option<(String, String)>,
    /// What the caller's span gets.
    pub(super) tags: Tags,
    /// The bookmark of the reply.
    pub(super) session: Option<String>,
    pub(super) bookmark: u64,
    pub(super) last_row_id: i64,
    /// Whether the worker is the one that writes.
    pub(super) wrote: bool,
    /// The worker ends with this call: what it has open is of no use any more.
    pub(super) last: bool,
}

/// What a worker opens, and within which bounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) path: std::path::PathBuf,
    pub(super) writes: bool,
    pub(super) memory: u64,
    pub(super) options: DatabaseOptions,
}

impl Opening {
    pub(super) fn name(&self) -> &str {
        self.options.name.as_deref().unwrap_or_default()
    }
}

/// Enrichment between processes of ours.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tags {
    name: Option<String>,
    attributes: Vec<(String, Tag)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Tag {
    Text(String),
    Bool(bool),
    Int(i64),
    Float(f64),
    Texts(Vec<String>),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

impl From<Enrichment> for Tags {
    fn from(enrichment: Enrichment) -> Self {
        let attributes = enrichment.attributes().iter().map(|attribute| {
            let value = match &attribute.value {
                AttributeValue::String(text) => Tag::Text(text.clone().into_owned()),
                AttributeValue::Bool(value) => Tag::Bool(*value),
                AttributeValue::Int64(value) => Tag::Int(*value),
                AttributeValue::Float64(value) => Tag::Float(*value),
                AttributeValue::List(list) => match &**list {
                    AttributeList::Strings(list) => {
                        Tag::Texts(list.iter().map(|text| text.to_string()).collect())
                    }
                    AttributeList::Bools(list) => Tag::Bools(list.clone()),
                    AttributeList::Int64s(list) => Tag::Ints(list.clone()),
                    AttributeList::Float64s(list) => Tag::Floats(list.clone()),
                },
            };
            (attribute.key.clone().into_owned(), value)
        });
        Self {
            name: enrichment.span_name().map(str::to_owned),
            attributes: attributes.collect(),
        }
    }
}

impl From<Tags> for Enrichment {
    fn from(tags: Tags) -> Self {
        let mut enrichment = Self::new();
        if let Some(name) = tags.name {
            enrichment.set_name(name);
        }
        for (key, value) in tags.attributes {
            match value {
                Tag::Text(text) => enrichment.set_attribute(key, text),
                Tag::Bool(value) => enrichment.set_attribute(key, value),
                Tag::Int(value) => enrichment.set_attribute(key, value),
                Tag::Float(value) => enrichment.set_attribute(key, value),
                Tag::Texts(list) => enrichment.set_attribute(key, list),
                Tag::Bools(list) => enrichment.set_attribute(key, list),
                Tag::Ints(list) => enrichment.set_attribute(key, list),
                Tag::Floats(list) => enrichment.set_attribute(key, list),
            };
        }
        enrichment
    }
}

/// What is before a frame's body: its lengths and its head.
pub(super) fn head(head: &impl Serialize, body: usize) -> Vec<u8> {
    let frame = vec![0; PREFIX];
    // A head holds what we made ourselves, and a vector takes all of it.
    let mut frame = postcard::to_extend(head, frame).unwrap_or_default();
    let head = frame.len().saturating_sub(PREFIX);
    let rest = head + body + 4;
    for (at, length) in [(0, rest), (4, head)] {
        if let Some(place) = frame.get_mut(at..at + 4) {
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    frame
}

/// Bytes that were read, of which complete frames can be taken.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Made once, and kept for what comes.
    buffer: Vec<u8>,
    filled: usize,
}

/// A frame that was read.
pub(super) struct Frame<T> {
    pub(super) head: T,
    pub(super) body: Vec<u8>,
}

/// What is not a frame: the other end is not the same program, or lost its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame")]
pub(super) struct NotAFrame;

/// Bytes that are read at once, at least and at most; a larger frame's buffer is not kept.
const LEAST: usize = 16 << 10;
const MOST: usize = 1 << 20;

impl Frames {
    /// Where the next bytes go.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        let whole = self.word(0).map_or(PREFIX, |rest| rest + 4);
        let lacks = whole.saturating_sub(self.filled).clamp(LEAST, MOST);
        let end = self.filled + lacks;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(self.filled..end).unwrap_or_default()
    }

    /// So many bytes were put there.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.filled = (self.filled + bytes).min(self.buffer.len());
    }

    /// Whether a part of a frame is there.
    pub(super) const fn has_begun(&self) -> bool {
        self.filled > 0
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    fn word(&self, at: usize) -> Option<usize> {
        let bytes: [u8; 4] = self.bytes().get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    }

    /// The next frame, if all of it is there.
    pub(super) fn take<T: DeserializeOwned>(&mut self) -> Result<Option<Frame<T>>, NotAFrame> {
        let Some(rest) = self.word(0) else {
            return Ok(None);
        };
        if !(4..=LONGEST).contains(&rest) {
            return Err(NotAFrame);
        }
        let end = rest + 4;
        let (Some(head), true) = (self.word(4), self.filled >= end) else {
            return Ok(None);
        };
        let start = PREFIX + head;
        let bytes = self.bytes();
        let read = bytes.get(PREFIX..start).filter(|_| start <= end);
        let head = postcard::from_bytes(read.ok_or(NotAFrame)?).map_err(|_| NotAFrame)?;
        let body = bytes.get(start..end).unwrap_or_default().to_vec();
        self.remove(end);
        Ok(Some(Frame { head, body }))
    }

    fn remove(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
        if self.buffer.len() > MOST && self.filled < LEAST {
            self.buffer.truncate(LEAST);
            self.buffer.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(order: &Order, body: &[u8]) -> Vec<u8> {
        let mut bytes = head(order, body.len());
        bytes.extend_from_slice(body);
        bytes
    }

    fn put(frames: &mut Frames, bytes: &[u8]) {
        frames.spare()[..bytes.len()].copy_from_slice(bytes);
        frames.advance(bytes.len());
    }

    #[test]
    fn tags_come_out_as_they_went_in() {
        let said = Enrichment::new()
            .name("d1.query")
            .attribute("text", "a")
            .attribute("bool", true)
            .attribute("int", i64::MIN)
            .attribute("float", 1.0)
            .attribute("texts", ["a", ""])
            .attribute("bools", [true])
            .attribute("ints", [1, 2])
            .attribute("floats", [1.0, 2.5]);
        let sent = postcard::to_allocvec(&Tags::from(said.clone())).unwrap();
        let read: Tags = postcard::from_bytes(&sent).unwrap();
        assert_eq!(Enrichment::from(read), said);
    }

    #[test]
    fn frames_are_read_however_they_arrive() {
        let stop = |call| Order::Stop {
            call,
            why: Why::GiveWay,
        };
        let mut sent = frame(&stop(7), b"body");
        sent.extend(frame(&stop(8), b""));
        for step in 1..=sent.len() {
            let mut frames = Frames::default();
            let mut read = Vec::new();
            for part in sent.chunks(step) {
                put(&mut frames, part);
                while let Some(frame) = frames.take::<Order>().unwrap() {
                    read.push((format!("{:?}", frame.head), frame.body));
                }
            }
            assert_eq!(
                read,
                [
                    (format!("{:?}", stop(7)), b"body".to_vec()),
                    (format!("{:?}", stop(8)), Vec::new())
                ],
                "{step}"
            );
            assert!(!frames.has_begun());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [
            &[0, 0, 0, 0, 0, 0, 0, 0][..],
            &[255; 8],
            &[4, 0, 0, 0, 9, 0, 0, 0],
            &[5, 0, 0, 0, 1, 0, 0, 0, 99],
        ] {
            let mut frames = Frames::default();
            put(&mut frames, bytes);
            assert!(frames.take::<Order>().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn tags_come_back_as_they_went() {
        let all = Enrichment::new()
            .name("d1.query")
            .attribute("text", "x")
            .attribute("bool", true)
            .attribute("int", i64::MIN)
            .attribute("float", 0.5);
        let bytes = postcard::to_allocvec(&Tags::from(all.clone())).unwrap();
        let tags: Tags = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(Enrichment::from(tags), all);
    }
}
