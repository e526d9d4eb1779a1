//! The details of an exception, of which capnp-rpc 0.27.3 knows nothing: a third pointer in `Exception`, to a list
//! of structs, each an id and the bytes that belong to it.
//!
//! workerd (1.20261117.1, captured in both directions) has what was thrown there, serialized as a value, with and
//! without the text `remote.jsg.Error: message` beside it:
//!
//! ```text
//! struct Exception { reason @0 :Text; type @3 :Type; trace @4 :Text; details @5 :List(Detail); .. }
//! struct Detail { id @0 :UInt64; data @1 :Data; }
//! ```
//!
//! Of the ids that it writes two matter. [`THROWN`] has the value, and is missing where that cannot be
//! serialized: an error with a function among its properties, a symbol. [`IN_FULL`] is one byte, 1, and says that
//! the value counts: without it workerd makes an error from the text and ignores the value. It ignores it as well
//! where the text is no JavaScript error. The others are for its own log and its tail.

use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions, SegmentArray};
use capnp::traits::IntoInternalStructReader;
use capnp::{any_pointer, data, struct_list};
use capnp_rpc::rpc_capnp::{exception, message, payload, resolve, return_};

use super::Message;
use crate::error::detach;

const THROWN: u64 = 0xe802_7292_171b_1646;
const IN_FULL: u64 = 0xbdc9_17cd_ea1f_7681;

/// Details that are looked at; workerd writes four.
const MOST: u32 = 16;

/// The bytes of what was thrown, if they came with the exception.
pub(super) fn thrown<'a>(exception: exception::Reader<'a>) -> Option<&'a [u8]> {
    // Any struct does: what is read of each is its first word and its first pointer.
    type Details<'a> = struct_list::Reader<'a, payload::Owned>;
    let details = exception.into_internal_struct_reader().get_pointer_field(2);
    let details: Details<'a> = any_pointer::Reader::new(details).get_as().ok()?;
    (0..details.len().min(MOST))
        .map(|at| details.get(at).into_internal_struct_reader())
        .find(|detail| detail.get_data_field::<u64>(0) == THROWN)
        .and_then(|detail| {
            let bytes = any_pointer::Reader::new(detail.get_pointer_field(0));
            bytes.get_as::<data::Reader<'a>>().ok()
        })
}

/// An outgoing message as it is to be written: what was thrown goes from the text of an exception into its
/// details.
pub(super) fn outgoing(message: Message) -> Message {
    rewritten(&message).unwrap_or(message)
}

fn rewritten(message: &Message) -> Option<Message> {
    let it: message::Reader<'_> = message.get_root_as_reader().ok()?;
    let (kind, body, exception) = match it.which().ok()? {
        message::Return(it) => {
            let it = it.ok()?;
            let return_::Exception(exception) = it.which().ok()? else {
                return None;
            };
            let answer = u64::from(it.get_answer_id());
            // True is the default, and written as zero.
            let release = u64::from(!it.get_release_param_caps());
            let no_finish = u64::from(it.get_no_finish_needed());
            let data = answer | release << 32 | no_finish << 33 | EXCEPTION << 48;
            (RETURN, vec![data, 0], exception.ok()?)
        }
        message::Resolve(it) => {
            let it = it.ok()?;
            let resolve::Exception(exception) = it.which().ok()? else {
                return None;
            };
            let data = u64::from(it.get_promise_id()) | EXCEPTION << 32;
            (RESOLVE, vec![data], exception.ok()?)
        }
        message::Abort(exception) => (ABORT, Vec::new(), exception.ok()?),
        _ => return None,
    };
    let (thrown, text) = detach(exception.get_reason().ok()?.to_str().ok()?);
    let thrown = thrown?;
    let mut words = Words(vec![0]);
    let at = words.structure(0, &[kind], 1);
    let at = match kind {
        ABORT => at,
        _ => words.structure(at, &body, 1),
    };
    let kind = exception.get_type().unwrap_or(exception::Type::Failed);
    let at = words.structure(at, &[u64::from(kind as u16) << 32], 3);
    words.bytes(at, &[text.as_bytes(), b"\0"].concat());
    // One that was too large on its way here.
    if !thrown.is_empty() {
        words.details(at + 2, &[(THROWN, &thrown), (IN_FULL, &[1])]);
    }
    words.message()
}

/// Discriminants: of messages, and of an exception in a return and in a resolve.
const ABORT: u64 = 1;
const RETURN: u64 = 3;
const RESOLVE: u64 = 5;
const EXCEPTION: u64 = 1;

/// One segment of a message, written front to back (<https://capnproto.org/encoding.html>).
struct Words(Vec<u64>);

impl Words {
    /// Lets the pointer at `at` lead to what comes next, of this kind.
    fn lead(&mut self, at: usize, kind: u64) {
        let offset = self.0.len() - at - 1;
        self.0[at] = (offset as u64) << 2 | kind;
    }

    /// A struct, and where its pointers begin.
    fn structure(&mut self, at: usize, data: &[u64], pointers: usize) -> usize {
        self.lead(at, size(data.len(), pointers));
        self.0.extend(data);
        let begin = self.0.len();
        self.0.resize(begin + pointers, 0);
        begin
    }

    /// A list of bytes.
    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.lead(at, 1 | 2 << 32 | (bytes.len() as u64) << 35);
        self.0.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        }));
    }

    /// A list of structs, each an id and its bytes.
    fn details(&mut self, at: usize, details: &[(u64, &[u8])]) {
        self.lead(at, 1 | 7 << 32 | (details.len() as u64 * 2) << 35);
        self.0.push((details.len() as u64) << 2 | size(1, 1));
        let begin = self.0.len();
        self.0.extend(details.iter().flat_map(|(id, _)| [*id, 0]));
        for (nth, (_, bytes)) in details.iter().enumerate() {
            self.bytes(begin + nth * 2 + 1, bytes);
        }
    }

    fn message(self) -> Option<Message> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let segments = [&bytes[..]];
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(None);
        let reader = Reader::new(SegmentArray::new(&segments), options);
        let words = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
        let root: any_pointer::Reader<'_> = reader.get_root().ok()?;
        message.set_root(root).ok()?;
        Some(message)
    }
}

/// The sizes of a struct, as a pointer has them.
const fn size(data: usize, pointers: usize) -> u64 {
    (data as u64) << 32 | (pointers as u64) << 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::attach;

    /// What workerd 1.20261117.1 returned for `throw Object.assign(new Error("stock is low"), {retryable: true})`.
    const CAPTURED: &str = include_str!("testdata/retryable.hex");

    fn captured() -> Vec<u8> {
        let digits = CAPTURED.trim().as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    }

    fn bytes(message: &Message) -> Vec<u8> {
        capnp::serialize::write_message_to_words(message)
    }

    /// Reads the exception of a message.
    fn exception<T>(mut bytes: &[u8], read: impl FnOnce(exception::Reader<'_>) -> T) -> T {
        let message = capnp::serialize::read_message(&mut bytes, ReaderOptions::new()).unwrap();
        let it: message::Reader<'_> = message.get_root().unwrap();
        read(match it.which().unwrap() {
            message::Return(it) => match it.unwrap().which().unwrap() {
                return_::Exception(exception) => exception.unwrap(),
                _ => panic!("no exception"),
            },
            message::Resolve(it) => match it.unwrap().which().unwrap() {
                resolve::Exception(exception) => exception.unwrap(),
                _ => panic!("no exception"),
            },
            message::Abort(exception) => exception.unwrap(),
            _ => panic!("another message"),
        })
    }

    fn reason(exception: exception::Reader<'_>) -> String {
        exception.get_reason().unwrap().to_string().unwrap()
    }

    fn built(fill: impl FnOnce(message::Builder<'_>)) -> Message {
        let mut message = Builder::new(HeapAllocator::new());
        fill(message.init_root());
        message
    }

    #[test]
    fn what_workerd_wrote_is_found() {
        exception(&captured(), |it| {
            assert_eq!(reason(it), "remote.jsg.Error: stock is low");
            assert_eq!(it.get_type().unwrap(), exception::Type::Disconnected);
            let thrown = thrown(it).unwrap();
            let value = js_value::decode(thrown, &js_value::DecodeLimits::default()).unwrap();
            assert_eq!(value.get("retryable"), Some(&true.into()));
        });
    }

    #[test]
    fn what_is_attached_goes_into_the_details() {
        let text = attach(b"\xff\x0f0", "remote.jsg.Error: a\0b");
        let fill = |mut exception: exception::Builder<'_>| {
            exception.set_type(exception::Type::Overloaded);
            exception.set_reason(&text);
        };
        let messages = [
            built(|m| {
                let mut it = m.init_return();
                it.set_answer_id(7);
                it.set_no_finish_needed(true);
                it.set_release_param_caps(false);
                fill(it.init_exception());
            }),
            built(|m| {
                let mut it = m.init_resolve();
                it.set_promise_id(7);
                fill(it.init_exception());
            }),
            built(|m| fill(m.init_abort())),
        ];
        for message in messages {
            let out = bytes(&outgoing(message));
            let secret = &text.as_bytes()[..34];
            assert!(!out.windows(secret.len()).any(|window| window == secret));
            exception(&out, |it| {
                assert_eq!(reason(it), "remote.jsg.Error: a\0b");
                assert_eq!(it.get_type().unwrap(), exception::Type::Overloaded);
                assert_eq!(thrown(it), Some(&b"\xff\x0f0"[..]));
            });
            let mut out = &out[..];
            let read = capnp::serialize::read_message(&mut out, ReaderOptions::new()).unwrap();
            let it: message::Reader<'_> = read.get_root().unwrap();
            match it.which().unwrap() {
                message::Return(it) => {
                    let it = it.unwrap();
                    assert_eq!(it.get_answer_id(), 7);
                    assert!(it.get_no_finish_needed() && !it.get_release_param_caps());
                }
                message::Resolve(it) => assert_eq!(it.unwrap().get_promise_id(), 7),
                _ => {}
            }
        }
    }

    #[test]
    fn every_other_message_goes_out_as_it_is() {
        let real = attach(b"\xff\x0f0", "x");
        for text in ["remote.jsg.Error: x", "", &real[1..]] {
            let message = built(|m| m.init_return().init_exception().set_reason(text));
            let before = bytes(&message);
            assert_eq!(bytes(&outgoing(message)), before);
        }
        // One that was too large when it came in.
        let text = attach(b"", "x");
        let message = built(|m| m.init_return().init_exception().set_reason(&text));
        exception(&bytes(&outgoing(message)), |it| {
            assert_eq!((reason(it).as_str(), thrown(it)), ("x", None));
        });
    }

    #[test]
    fn lists_that_are_no_details_are_no_details() {
        let list = |kind: u64, count: u64| 1 | kind << 32 | count << 35;
        let cases: [(&str, &[u64]); 12] = [
            ("null", &[0]),
            ("a struct", &[size(1, 1), THROWN, 0]),
            ("a capability", &[3]),
            ("bytes", &[list(2, 8), THROWN]),
            ("words", &[list(5, 1), THROWN]),
            ("voids", &[list(0, (1 << 29) - 1)]),
            ("structs of no size", &[list(7, 0), 500_000_000 << 2]),
            ("beyond the segment", &[list(7, 1 << 20)]),
            (
                "more than there is room for",
                &[list(7, 2), 900 << 2 | size(1, 1), THROWN, 0],
            ),
            ("no data", &[list(7, 2), 1 << 2 | size(1, 1), THROWN, 0]),
            (
                "data beyond the segment",
                &[list(7, 2), 1 << 2 | size(1, 1), THROWN, list(2, 1 << 20)],
            ),
            (
                "data that is a struct",
                &[list(7, 2), 1 << 2 | size(1, 1), THROWN, size(1, 0), 7],
            ),
        ];
        for (name, words) in cases {
            let mut it = Words(vec![0]);
            let at = it.structure(0, &[ABORT], 1);
            let at = it.structure(at, &[0], 3);
            // The list pointer is the last of the three: what it leads to comes next.
            it.0.truncate(at + 2);
            it.0.extend(words);
            let head = (it.0.len() as u64) << 32;
            let frame: Vec<u8> = [head]
                .iter()
                .chain(&it.0)
                .flat_map(|w| w.to_le_bytes())
                .collect();
            exception(&frame, |it| {
                let found = thrown(it).unwrap_or_default();
                assert!(found.is_empty(), "{name}: {found:?}");
            });
        }
    }

    #[test]
    fn only_the_first_details_are_looked_at() {
        let details: Vec<(u64, &[u8])> = (0..MOST.into()).map(|id| (id, &b"x"[..])).collect();
        for (before, found) in [(MOST - 1, true), (MOST, false)] {
            let mut it = Words(vec![0]);
            let at = it.structure(0, &[ABORT], 1);
            let at = it.structure(at, &[0], 3);
            let before = &details[..before as usize];
            it.details(at + 2, &[before, &[(THROWN, b"yes")]].concat());
            let message = bytes(&it.message().unwrap());
            exception(&message, |it| assert_eq!(thrown(it).is_some(), found));
        }
    }
}
