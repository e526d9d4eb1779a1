//! Bytes that are no message, or one that cannot be read: the same for both roles.

use crate::messages::bootstrap;

/// What happens to a connection on which such bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is closed at once, with an abort or without.
    Closed,
    /// It is closed once the rest is overdue.
    Late,
}

pub struct Raw {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub end: End,
}

/// A frame of one segment with these words.
pub fn frame(words: &[u64]) -> Vec<u8> {
    let head = (words.len() as u64) << 32;
    let all = std::iter::once(head).chain(words.iter().copied());
    all.flat_map(u64::to_le_bytes).collect()
}

fn head(segments: u32, first: u32) -> Vec<u8> {
    [(segments - 1).to_le_bytes(), first.to_le_bytes()].concat()
}

/// A struct pointer to what comes next.
pub const fn at(offset: u64, data: u64, pointers: u64) -> u64 {
    offset << 2 | data << 32 | pointers << 48
}

pub const fn list(offset: u64, kind: u64, count: u64) -> u64 {
    1 | offset << 2 | kind << 32 | count << 35
}

/// A message of one kind, whose body has these sizes and words.
fn body(kind: u64, data: u64, pointers: u64, words: &[u64]) -> Vec<u8> {
    frame(&[&[at(0, 1, 1), kind, at(0, data, pointers)], words].concat())
}

/// A call on the bootstrap, question 1, whose table of capabilities is this list pointer, and what
/// comes behind it.
fn cap_table(pointer: u64, behind: &[u64]) -> Vec<u8> {
    // Call: 3 data words, 3 pointers: target, params, third party. Target: 1 + 1. Payload: 0 + 2.
    let words = [1, 1, 0, at(2, 1, 1), at(3, 0, 2), 0, 0, 0, 0, pointer];
    body(2, 3, 3, &[&words[..], behind].concat())
}

/// A call on the answer to question 0, whose steps are this list pointer, and what comes behind it.
fn transform(pointer: u64, behind: &[u64]) -> Vec<u8> {
    // Target: 1 data word (which: promisedAnswer), 1 pointer. PromisedAnswer: 1 + 1.
    let words = [1, 1, 0, at(2, 1, 1), 0, 0, 1 << 32, at(0, 1, 1), 0, pointer];
    body(2, 3, 3, &[&words[..], behind].concat())
}

pub fn all() -> Vec<Raw> {
    use End::{Closed, Late};
    let words = 1 << 20;
    let mut cases: Vec<(&'static str, Vec<u8>, End)> = vec![
        ("a segment of 16 GiB", head(1, i32::MAX as u32), Closed),
        (
            "a segment just over the cap",
            head(1, (33 << 17) + 1),
            Closed,
        ),
        ("four billion segments", head(u32::MAX, 1), Closed),
        ("segments just over the cap", head(513, 1), Closed),
        (
            "512 segments of 16 GiB",
            [head(512, 1), vec![0xff; 512 * 4 + 4]].concat(),
            Closed,
        ),
        ("noise", vec![0xa5; 64 << 10], Closed),
        ("all ones", vec![0xff; 4096], Closed),
        ("an ssh banner", b"ssh-2.0-OpenSSH_9.9\r\n".to_vec(), Closed),
        (
            "a tls hello",
            [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat(),
            Closed,
        ),
        ("a message without a word", head(1, 0), Closed),
        (
            "a frame whose segments are all empty",
            [head(4, 0), vec![0; 16]].concat(),
            Closed,
        ),
        ("half a head", vec![0, 0, 0, 0], Late),
        ("a head, and nothing", head(1, 1000), Late),
        (
            "a table of segments that stops",
            [head(100, 1), vec![1; 80]].concat(),
            Late,
        ),
        (
            "32 MiB claimed, 1 KiB sent",
            [head(1, 4 << 20), vec![0; 1024]].concat(),
            Late,
        ),
        (
            "the last byte is missing",
            bootstrap(0)[..bootstrap(0).len() - 1].to_vec(),
            Late,
        ),
        ("a null root", frame(&[0]), Closed),
        (
            "a root beyond the segment",
            frame(&[at(1000, 1, 1)]),
            Closed,
        ),
        (
            "a root before the segment",
            frame(&[at(0x3fff_ff00, 1, 1)]),
            Closed,
        ),
        (
            "a root of 64 Ki words in one",
            frame(&[at(0, 0xffff, 0xffff), 0]),
            Closed,
        ),
        ("a root that is a list", frame(&[list(0, 2, 8), 0]), Closed),
        ("a root that is a capability", frame(&[3, 0]), Closed),
        ("a root of a kind that is not", frame(&[7, 0]), Closed),
        ("a far root to no segment", frame(&[2 | 9 << 32, 0]), Closed),
        ("a far root to itself", frame(&[2, 0]), Closed),
        ("a far root beyond", frame(&[2 | 1000 << 3, 0]), Closed),
        ("a double far root to itself", frame(&[6, 0, 0]), Closed),
        (
            "a double far root to far pointers",
            frame(&[6 | 1 << 3, 2, 2, 2]),
            Closed,
        ),
        (
            "a call that is a list",
            frame(&[at(0, 1, 1), 2, list(0, 2, 8), 0]),
            Closed,
        ),
        (
            "a call beyond the segment",
            frame(&[at(0, 1, 1), 2, at(99, 3, 3)]),
            Closed,
        ),
        (
            "a call of a null target",
            body(2, 3, 3, &[1, 0, 0, 0, 0, 0]),
            Closed,
        ),
        (
            "capabilities: 500 million of no size",
            cap_table(list(0, 7, 0), &[at(500_000_000, 0, 0)]),
            Closed,
        ),
        (
            "capabilities: 500 million voids",
            cap_table(list(0, 0, (1 << 29) - 1), &[]),
            Closed,
        ),
        (
            "capabilities: bits",
            cap_table(list(0, 1, 64), &[0]),
            Closed,
        ),
        (
            "capabilities: a count that the list has no room for",
            cap_table(list(0, 7, 2), &[at(900, 1, 1), 0, 0]),
            Closed,
        ),
        (
            "capabilities: a list beyond the segment",
            cap_table(list(9, 7, 1 << 20), &[]),
            Closed,
        ),
        (
            "capabilities: a struct",
            cap_table(at(0, 1, 1), &[0, 0]),
            Closed,
        ),
        (
            "steps: 500 million of no size",
            transform(list(0, 7, 0), &[at(500_000_000, 0, 0)]),
            Closed,
        ),
        (
            "steps: 500 million voids",
            transform(list(0, 0, (1 << 29) - 1), &[]),
            Closed,
        ),
        (
            "steps: of a kind that is not",
            transform(list(0, 7, 1), &[at(1, 1, 0), 9]),
            Closed,
        ),
        (
            "steps: 33",
            transform(list(0, 7, 33), &[&[at(33, 1, 0)][..], &[0; 33]].concat()),
            Closed,
        ),
        (
            "not implemented: an unknown kind",
            body(0, 1, 1, &[99, 0]),
            Closed,
        ),
        ("not implemented: a call", body(0, 1, 1, &[2, 0]), Closed),
        (
            "not implemented: itself",
            frame(&[at(0, 1, 1), 0, at(0x3fff_fffd, 1, 1)]),
            Closed,
        ),
        (
            "an abort whose reason is nowhere",
            body(1, 1, 2, &[0, list(9000, 2, 80), 0]),
            Closed,
        ),
        (
            "an abort whose reason does not end",
            body(1, 1, 2, &[0, list(1, 2, 8), 0, u64::MAX]),
            Closed,
        ),
    ];
    for (name, kind) in [
        ("save", 7),
        ("delete", 9),
        ("provide", 10),
        ("accept", 11),
        ("join", 12),
        ("kind 14", 14),
        ("kind 65535", 65_535),
    ] {
        cases.push((name, body(kind, 1, 1, &[0, 0]), Closed));
    }
    let mut zeros = head(1, words);
    zeros.resize(8 + words as usize * 8, 0);
    cases.push(("8 MiB of nothing", zeros, Closed));
    let nulls = frame(&[0]);
    cases.push(("a thousand null roots", nulls.repeat(1000), Closed));
    let make = |(name, bytes, end)| Raw { name, bytes, end };
    cases.into_iter().map(make).collect()
}
