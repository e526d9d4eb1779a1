//! Reading one message: a table of segment lengths, then the segments.
//!
//! What the table claims is checked before anything is allocated for it, and memory grows only as bytes
//! arrive: a peer that claims much and sends little costs little.

use std::future::Future;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use capnp::Word;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions, ReaderSegments};
use futures::poll;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::guard::Violation;
use super::stats::Reason;
use crate::budget::{Hold, SMALL};
use crate::{NetworkLimits, PeerKey};

/// Words that are allocated ahead of what has arrived.
const AHEAD: usize = 8 * 1024;

/// What words are before they arrive.
static ZEROS: [Word; AHEAD] = [capnp::word(0, 0, 0, 0, 0, 0, 0, 0); AHEAD];

/// Words that may be visited of any message, besides several times its size: small messages are walked
/// more often than large ones.
const TRAVERSAL: usize = 8 * 1024;

/// The segments of one message, in one buffer.
pub(crate) struct Frame {
    words: Vec<Word>,
    /// Word ranges; the first one apart, since most messages have only that.
    first: usize,
    more: Vec<Range<usize>>,
    /// What it takes of the memory for incoming messages, for as long as it is there.
    _hold: Option<Hold>,
}

/// Whose messages are read, where they share memory with those of others.
#[derive(Clone)]
pub(super) struct Source {
    client: PeerKey,
    limits: Rc<NetworkLimits>,
}

impl Source {
    pub(super) fn new(client: PeerKey, limits: &Rc<NetworkLimits>) -> Self {
        let limits = Rc::clone(limits);
        Self { client, limits }
    }

    /// Nothing yet of the memory for incoming messages.
    pub(super) fn hold(&self) -> Hold {
        let limits = &self.limits;
        limits.incoming.hold(self.client, limits.incoming_bytes)
    }

    /// Memory for so many bytes, as soon as it is there.
    async fn reserve(&self, bytes: usize) -> Result<Option<Hold>, Broken> {
        if bytes <= SMALL {
            return Ok(None);
        }
        let mut hold = self.hold();
        let limit = self.limits.frame;
        match within(limit, hold.resize(bytes)).await {
            Some(()) => Ok(Some(hold)),
            None => Err(Broken::Refused(Violation::new(
                Reason::IncomingBytes,
                format!(
                    "there was no memory for a message of {bytes} bytes within {limit:?}: others of this client \
                     take its share"
                ),
            ))),
        }
    }
}

impl Frame {
    /// A message that we made ourselves.
    pub(super) fn of(message: &Builder<HeapAllocator>) -> Self {
        let segments = message.get_segments_for_output();
        let mut words = Vec::new();
        let mut ranges = Vec::new();
        for segment in &*segments {
            let start = words.len();
            let bytes = segment.chunks_exact(8);
            words
                .extend(bytes.map(|b| capnp::word(b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7])));
            ranges.push(start..words.len());
        }
        let more = ranges.split_off(1.min(ranges.len()));
        let first = ranges.first().map_or(0, |range| range.end);
        Self {
            words,
            first,
            more,
            _hold: None,
        }
    }

    /// The first segment.
    pub(super) fn first(&self) -> &[u8] {
        Word::words_to_bytes(&self.words[..self.first])
    }

    /// Its size, all segments together.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// A reader that visits the message a bounded number of times.
    pub(super) fn reader(self, limits: &NetworkLimits) -> Reader<Self> {
        let traversal = self.words.len().saturating_mul(limits.traversals);
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(traversal.saturating_add(TRAVERSAL)));
        options.nesting_limit(i32::try_from(limits.nesting).unwrap_or(i32::MAX));
        Reader::new(self, options)
    }
}

impl ReaderSegments for Frame {
    fn get_segment(&self, id: u32) -> Option<&[u8]> {
        let range = match id {
            0 => 0..self.first,
            _ => self.more.get(id as usize - 1)?.clone(),
        };
        Some(Word::words_to_bytes(&self.words[range]))
    }

    fn len(&self) -> usize {
        1 + self.more.len()
    }
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Broken {
    /// The stream ended or broke within it.
    Lost(String),
    /// It cannot be right, or it did not come in time.
    Refused(Violation),
}

/// What begins with a number of segments that no message has: most often another protocol.
fn strange(head: &[u8; 8], more: u32) -> String {
    let what = match head {
        [b'H', b'T', b'T', b'P', b'/', ..] => {
            "HTTP is spoken there; give the address of a --listen, not of --http or --admin".into()
        }
        tls if is_tls(tls) => "TLS is spoken there; write tls:host:port".into(),
        _ => format!("it claims {} segments", u64::from(more) + 1),
    };
    format!("not a Cap'n Proto message: {what}")
}

/// Whether bytes begin as a record of TLS does: an alert or a handshake.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}

/// Reads a message; `None` if the stream ended before it began.
pub(super) async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    limits: &NetworkLimits,
    source: Option<&Source>,
) -> Result<Option<Frame>, Broken> {
    let mut head = [0; 8];
    // The first read apart: a stream that ends here ends as it should, and may take any time.
    let begun = reader.read(&mut head).await.map_err(broken)?;
    if begun == 0 {
        return Ok(None);
    }
    if begun < head.len() {
        let rest = exact(reader, &mut head[begun..], limits).await;
        // An alert of TLS is shorter than our head, and the last that a peer says who expects TLS.
        if rest.is_err() && is_tls(&head) {
            return Err(refused(strange(&head, 0)));
        }
        rest?;
    }
    let more = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let first = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if more >= limits.segments {
        return Err(refused(strange(&head, more)));
    }
    let mut total = check(first, limits)?;
    let mut segments = Vec::new();
    if more > 0 {
        // An odd number of lengths is padded to a word; the first is in the head.
        let mut table = vec![0; (more as usize).next_multiple_of(2) * 4];
        exact(reader, &mut table, limits).await?;
        for length in table.chunks_exact(4).take(more as usize) {
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
            let start = total;
            total = check(start + length as usize, limits)?;
            segments.push(start..total);
        }
    }
    let hold = match source {
        // For all of it before any of it is read: messages that have half arrived would wait for each other.
        Some(source) => source.reserve(total * 8).await?,
        None => None,
    };
    Ok(Some(Frame {
        words: read_words(reader, total, limits).await?,
        first,
        more: segments,
        _hold: hold,
    }))
}

fn refused(detail: String) -> Broken {
    Broken::Refused(Violation::new(Reason::Frame, detail))
}

fn check(words: usize, limits: &NetworkLimits) -> Result<usize, Broken> {
    let limit = limits.frame_bytes / 8;
    if words > limit {
        return Err(refused(format!(
            "a message of {words} words or more, where at most {limit} are allowed"
        )));
    }
    Ok(words)
}

async fn read_words<R: AsyncRead + Unpin>(
    reader: &mut R,
    total: usize,
    limits: &NetworkLimits,
) -> Result<Vec<Word>, Broken> {
    let mut words = Vec::new();
    while words.len() < total {
        let start = words.len();
        // At least as much again as has arrived, so that large messages are not copied often.
        let ahead = start.max(AHEAD);
        let end = total.min(start + ahead);
        words.reserve_exact(end - start);
        // A part at a time is copied, which takes no time also in a build without optimization.
        while words.len() < end {
            let part = AHEAD.min(end - words.len());
            words.extend_from_slice(&ZEROS[..part]);
        }
        let fresh = Word::words_to_bytes_mut(&mut words[start..end]);
        exact(reader, fresh, limits).await?;
    }
    Ok(words)
}

async fn exact<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut [u8],
    limits: &NetworkLimits,
) -> Result<(), Broken> {
    match within(limits.frame, reader.read_exact(buffer)).await {
        Some(read) => read.map(drop).map_err(broken),
        None => Err(Broken::Refused(Violation::new(
            Reason::Late,
            format!(
                "the rest of a message did not come within {:?}",
                limits.frame
            ),
        ))),
    }
}

/// What a future gives in time. A timer is made only if it is not ready at once.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    if let std::task::Poll::Ready(value) = poll!(&mut future) {
        return Some(value);
    }
    // Apart, since it is seldom needed and would make every future around it large.
    Box::pin(tokio::time::timeout(limit, future)).await.ok()
}

fn broken(error: std::io::Error) -> Broken {
    Broken::Lost(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the peer closed the connection in mid-message".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> NetworkLimits {
        NetworkLimits {
            frame_bytes: 8000,
            frame: Duration::from_millis(20),
            ..NetworkLimits::default()
        }
    }

    async fn lengths(mut bytes: &[u8]) -> Result<Option<Vec<usize>>, Broken> {
        let frame = read(&mut bytes, &limits(), None).await?;
        Ok(frame.map(|segments| {
            let length = |id| segments.get_segment(id as u32).unwrap().len() / 8;
            (0..segments.len()).map(length).collect()
        }))
    }

    fn message(lengths: &[u32]) -> Vec<u8> {
        let mut bytes = (lengths.len() as u32 - 1).to_le_bytes().to_vec();
        lengths.iter().for_each(|l| bytes.extend(l.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let words: u32 = lengths.iter().sum();
        bytes.resize(bytes.len() + words as usize * 8, 7);
        bytes
    }

    #[tokio::test]
    async fn segments_are_found() {
        for table in [&[1][..], &[0], &[1, 2], &[3, 0, 2], &[1; 512]] {
            let bytes = message(table);
            let expected: Vec<usize> = table.iter().map(|&l| l as usize).collect();
            assert_eq!(lengths(&bytes).await.unwrap(), Some(expected));
        }
        assert_eq!(lengths(&[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_message_that_is_cut_is_a_lost_connection() {
        let whole = message(&[1, 2, 3]);
        for cut in 1..whole.len() {
            let error = lengths(&whole[..cut]).await.unwrap_err();
            assert!(matches!(error, Broken::Lost(_)), "cut at {cut}: {error:?}");
        }
    }

    #[test]
    fn other_protocols_are_called_by_their_names() {
        for (head, says) in [
            (b"HTTP/1.1", "HTTP is spoken there"),
            (b"\x15\x03\x03\0\x02\x02\x32\0", "TLS is spoken there"),
            (b"SSH-2.0-", "it claims 759714644 segments"),
        ] {
            let more = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let said = strange(head, more);
            assert!(said.contains(says), "{said}");
        }
    }

    #[tokio::test]
    async fn a_table_that_claims_too_much_is_refused_before_the_segments_come() {
        let cases = [
            (&b"GET / HTTP/1.1\r\n"[..], "segments"),
            (&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f], "words"),
            (
                &[1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
                "words",
            ),
        ];
        for (bytes, says) in cases {
            let Err(Broken::Refused(violation)) = lengths(bytes).await else {
                panic!("it is read");
            };
            assert_eq!(violation.reason, Reason::Frame);
            assert!(violation.detail.contains(says), "{violation:?}");
        }
    }

    #[tokio::test]
    async fn a_message_that_stops_in_the_middle_is_late() {
        let whole = message(&[1, 2, 3]);
        for cut in [1, 8, 12, 20] {
            let (mut ours, mut theirs) = tokio::io::duplex(1024);
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &whole[..cut])
                .await
                .unwrap();
            let read = read(&mut ours, &limits(), None).await;
            let Err(Broken::Refused(violation)) = read else {
                panic!("cut at {cut}");
            };
            assert_eq!(violation.reason, Reason::Late);
        }
    }
}
