//! A callee that no honest program is: its reply is made word by word
//! (<https://capnproto.org/encoding.html>), so that pointers can alias, lie and be missing.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp_rpc::rpc_capnp::{exception, message};
use js_rpc::Address;

use super::relay::{ONE_MESSAGE, call_id, method_of, question_of};

/// The kinds of list pointers that are needed here.
const BYTES: u64 = 2;
const STRUCTS: u64 = 7;

/// How calls travel to a callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// As between our own peers.
    OneMessage,
    /// As with workerd.
    ThreeCalls,
}

pub const WIRES: [Wire; 2] = [Wire::OneMessage, Wire::ThreeCalls];

/// The words of one segment: a `Return` message whose results are a `CallResults`. Objects are
/// appended; pointers may name any of them, any number of times.
#[derive(Clone)]
pub struct Words(pub Vec<u64>);

/// An attribute: its key, and its values as [`Words::values`] takes them.
pub type Attribute<'a> = (&'a [u8], &'a [(u64, u64)]);

/// A result of some size, so that reading it is noticed.
pub const RESULT: &str = match std::str::from_utf8(&[b'r'; 16 * 1024]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// Where the results struct's pointers begin, and where the pointer to it is.
const RESULTS: usize = 9;
const CONTENT: usize = 6;

impl Words {
    /// Results with `pointers` pointers (4 in our schema, 3 in the one before), all null but the
    /// first, the value 3.
    pub fn results(pointers: u64) -> Self {
        let mut words = Self(vec![
            1 << 32 | 1 << 48, // root: a Message of one data word and one pointer
            3,                 // which is a Return,
            2 << 32 | 1 << 48, // of two data words and one pointer:
            0,                 // the answer's id, and results
            0,
            2 << 48,                           // a Payload of two pointers:
            1 << 2 | 1 << 32 | pointers << 48, // content (behind the next word): one data word
            0,                                 // no capabilities
            0,                                 // no disposer
        ]);
        words.push(&vec![0; pointers as usize]);
        let value = words.push(&[0, 0]);
        words.point_struct(RESULTS, value, 0, 2);
        words.set_value(&[0xff, 0x0f, 0x49, 0x06]);
        words
    }

    /// The result's value, as V8 serializes it.
    pub fn set_value(&mut self, bytes: &[u8]) {
        let value = RESULTS + (self.0[6] >> 48) as usize;
        let data = self.bytes_object(bytes);
        self.point(value, data, BYTES, bytes.len() as u64);
    }

    /// Results with the value [`RESULT`] and an enrichment of two null pointers; where those are: the
    /// name's, then the attributes'.
    pub fn enriched() -> (Self, usize, usize) {
        let mut words = Self::results(4);
        // A string of one byte a character, its length in groups of 7 bits.
        let text = [&[0xff, 0x0f, b'"', 0x80, 0x80, 0x01], RESULT.as_bytes()].concat();
        words.set_value(&text);
        let at = words.push(&[0, 0]);
        words.point_struct(RESULTS + 3, at, 0, 2);
        (words, at, at + 1)
    }

    /// Where the pointer to the enrichment is.
    pub const ENRICHMENT: usize = RESULTS + 3;

    pub fn push(&mut self, words: &[u64]) -> usize {
        self.0.extend_from_slice(words);
        self.0.len() - words.len()
    }

    fn bytes_object(&mut self, bytes: &[u8]) -> usize {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(8), 0);
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap());
        let words: Vec<u64> = padded.chunks(8).map(word).collect();
        self.push(&words)
    }

    /// A text object: where, and how long with its NUL.
    pub fn text(&mut self, bytes: &[u8]) -> (usize, u64) {
        let at = self.bytes_object(&[bytes, &[0]].concat());
        (at, bytes.len() as u64 + 1)
    }

    /// Makes the pointer at `from` a list pointer to `to`.
    pub fn point(&mut self, from: usize, to: usize, kind: u64, count: u64) {
        self.0[from] = 1 | offset(from, to) | kind << 32 | count << 35;
    }

    pub fn point_struct(&mut self, from: usize, to: usize, data: u64, pointers: u64) {
        self.0[from] = offset(from, to) | data << 32 | pointers << 48;
    }

    pub fn point_text(&mut self, from: usize, (to, len): (usize, u64)) {
        self.point(from, to, BYTES, len);
    }

    /// A list of structs, null all over, that `from` points to; where its first element is.
    pub fn structs(&mut self, from: usize, count: u64, data: u64, pointers: u64) -> usize {
        let tag = self.push(&[count << 2 | data << 32 | pointers << 48]);
        let words = count * (data + pointers);
        self.push(&vec![0; words as usize]);
        self.point(from, tag, STRUCTS, words);
        tag + 1
    }

    /// Values for the attribute whose value pointer is at `from`; a value is two data words (the tag
    /// in the lowest 16 bits of the first) and a pointer.
    pub fn values(&mut self, from: usize, tags: &[(u64, u64)]) -> usize {
        let first = self.structs(from, tags.len() as u64, 2, 1);
        for (i, (tag, data)) in tags.iter().enumerate() {
            self.0[first + 3 * i] = *tag;
            self.0[first + 3 * i + 1] = *data;
        }
        first
    }

    /// Results with these attributes: each a key and its values.
    pub fn with_attributes(attributes: &[Attribute<'_>]) -> Self {
        let (mut words, _, list) = Self::enriched();
        let first = words.structs(list, attributes.len() as u64, 0, 2);
        for (i, (key, values)) in attributes.iter().enumerate() {
            let key = words.text(key);
            words.point_text(first + 2 * i, key);
            words.values(first + 2 * i + 1, values);
        }
        words
    }

    /// The same as the results of a call in one message: a `Response` of four pointers, of which these results
    /// are the first, and their enrichment the third.
    fn in_one_message(&self) -> Self {
        let mut words = self.clone();
        let response = words.push(&[0; 4]);
        let pointers = self.0[CONTENT] >> 48;
        words.point_struct(response, RESULTS - 1, 1, pointers);
        if pointers > 3 {
            // Whatever it is, and wherever it leads to.
            let enrichment = self.0[Self::ENRICHMENT];
            let leads = ((enrichment as u32 as i32) >> 2) as i64 + Self::ENRICHMENT as i64 + 1;
            if enrichment != 0 {
                let moved = ((leads - response as i64 - 3) as u64 & 0x3fff_ffff) << 2;
                words.0[response + 2] = enrichment & !0xffff_fffc | moved;
                words.0[Self::ENRICHMENT] = 0;
            }
        }
        words.point_struct(CONTENT, response, 0, 4);
        words
    }

    fn frame(&self, answer: u32) -> Vec<u8> {
        let mut words = self.0.clone();
        words[3] |= u64::from(answer);
        let head = (words.len() as u64) << 32; // one segment
        let all = std::iter::once(head).chain(words);
        all.flat_map(u64::to_le_bytes).collect()
    }
}

fn offset(from: usize, to: usize) -> u64 {
    ((to as i64 - from as i64 - 1) as u64 & 0x3fff_ffff) << 2
}

/// Answers each call with `reply`, says whether it takes calls in one message, and does nothing else, on threads
/// of its own.
pub fn answer_with(reply: Words, wire: Wire, dir: &tempfile::TempDir) -> Address {
    let path = dir.path().join("words");
    let listener = UnixListener::bind(&path).unwrap();
    let reply = match wire {
        Wire::ThreeCalls => reply,
        Wire::OneMessage => reply.in_one_message(),
    };
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let reply = reply.clone();
            std::thread::spawn(move || answer(&stream, &reply, wire));
        }
    });
    Address::Unix(path)
}

fn answer(stream: &UnixStream, reply: &Words, wire: Wire) {
    let (mut from, mut to) = (stream, stream);
    while let Ok(message) = capnp::serialize::read_message(&mut from, ReaderOptions::new()) {
        let root: message::Reader<'_> = message.get_root().unwrap();
        let Some((called, id)) = method_of(root).zip(call_id(root)) else {
            continue;
        };
        let answer = match called {
            (ONE_MESSAGE, 1) => pong(id, wire),
            (ONE_MESSAGE, _) => {
                assert_eq!(wire, Wire::OneMessage, "it said that it takes none");
                reply.frame(id)
            }
            _ if question_of(root).is_some() => reply.frame(id),
            _ => continue,
        };
        if to.write_all(&answer).is_err() {
            return;
        }
    }
}

/// The answer to `ping`: of one who knows it, and of one who does not.
pub fn pong(question: u32, wire: Wire) -> Vec<u8> {
    let mut message = Builder::new(HeapAllocator::new());
    let mut answer = message.init_root::<message::Builder<'_>>().init_return();
    answer.set_answer_id(question);
    match wire {
        Wire::OneMessage => _ = answer.init_results(),
        Wire::ThreeCalls => {
            let mut exception = answer.init_exception();
            exception.set_type(exception::Type::Unimplemented);
            exception.set_reason("what is that?");
        }
    }
    capnp::serialize::write_message_to_words(&message)
}
