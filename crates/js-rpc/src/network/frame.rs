//! Reading one message: a table of segment lengths, then the segments.
//!
//! What the table claims is checked before anything is allocated for it, and memory grows only as bytes
//! arrive: a peer that claims much and sends little costs little.

use std::ops::Range;

use capnp::message::{Reader, ReaderOptions, ReaderSegments};
use capnp::{Error, Word};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Segments of one message that we read; honest ones have a handful.
const MAX_SEGMENTS: u32 = 512;

/// Bytes that are allocated ahead of what has arrived.
const AHEAD: usize = 64 * 1024;

/// The segments of one message, in one buffer.
pub(crate) struct Frame {
    words: Vec<Word>,
    /// Word ranges; the first one apart, since most messages have only that.
    first: usize,
    more: Vec<Range<usize>>,
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

/// Reads a message; `None` if the stream ended before it began.
///
/// # Errors
/// `Disconnected` if the stream ended or broke within it, `Failed` if the table cannot be right.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    options: ReaderOptions,
) -> Result<Option<Reader<Frame>>, Error> {
    let mut head = [0; 8];
    // The first read apart: a stream that ends here ends as it should.
    let begun = reader.read(&mut head).await.map_err(broken)?;
    if begun == 0 {
        return Ok(None);
    }
    reader
        .read_exact(&mut head[begun..])
        .await
        .map_err(broken)?;
    let more = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let first = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if more >= MAX_SEGMENTS {
        return Err(Error::failed(format!(
            "not a Cap'n Proto message: it claims {} segments",
            u64::from(more) + 1
        )));
    }
    let limit = options.traversal_limit_in_words.unwrap_or(usize::MAX);
    let mut total = check(first, limit)?;
    let mut segments = Vec::new();
    if more > 0 {
        // An odd number of lengths is padded to a word; the first is in the head.
        let mut table = vec![0; (more as usize).next_multiple_of(2) * 4];
        reader.read_exact(&mut table).await.map_err(broken)?;
        for length in table.chunks_exact(4).take(more as usize) {
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
            let start = total;
            total = check(start + length as usize, limit)?;
            segments.push(start..total);
        }
    }
    let frame = Frame {
        words: read_words(reader, total).await?,
        first,
        more: segments,
    };
    Ok(Some(Reader::new(frame, options)))
}

fn check(words: usize, limit: usize) -> Result<usize, Error> {
    if words > limit {
        return Err(Error::failed(format!(
            "a message of {words} words or more, where at most {limit} are allowed"
        )));
    }
    Ok(words)
}

async fn read_words<R: AsyncRead + Unpin>(
    reader: &mut R,
    total: usize,
) -> Result<Vec<Word>, Error> {
    let mut words = Vec::new();
    while words.len() < total {
        let start = words.len();
        // At least as much again as has arrived, so that large messages are not copied often.
        let ahead = start.max(AHEAD / 8);
        let end = total.min(start + ahead);
        words.resize(end, capnp::word(0, 0, 0, 0, 0, 0, 0, 0));
        let fresh = Word::words_to_bytes_mut(&mut words[start..end]);
        reader.read_exact(fresh).await.map_err(broken)?;
    }
    Ok(words)
}

fn broken(error: std::io::Error) -> Error {
    Error::disconnected(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the peer closed the connection in mid-message".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: usize) -> ReaderOptions {
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(words));
        options
    }

    async fn lengths(mut bytes: &[u8]) -> Result<Option<Vec<usize>>, Error> {
        let reader = read(&mut bytes, options(1000)).await?;
        Ok(reader.map(|reader| {
            let segments = reader.into_segments();
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
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "cut at {cut}");
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
            let error = lengths(bytes).await.unwrap_err();
            assert_eq!(error.kind, capnp::ErrorKind::Failed);
            assert!(error.extra.contains(says), "{error}");
        }
    }
}
