//! Cap'n Proto messages made word by word: <https://capnproto.org/encoding.html>.

/// The kinds of list pointers that are needed here.
pub const BYTES: u64 = 2;
pub const STRUCTS: u64 = 7;

/// A segment in the making. Objects are appended; pointers may name any of them, any number of times.
#[derive(Clone)]
pub struct Words(pub Vec<u64>);

impl Words {
    /// A root enrichment with its two null pointers: the name at word 1, the attributes at word 2.
    pub fn new() -> Self {
        Self(vec![2 << 48, 0, 0])
    }

    pub fn push(&mut self, words: &[u64]) -> usize {
        self.0.extend_from_slice(words);
        self.0.len() - words.len()
    }

    pub fn text(&mut self, bytes: &[u8]) -> (usize, u64) {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len() / 8 * 8 + 8, 0);
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap());
        let words: Vec<u64> = padded.chunks(8).map(word).collect();
        (self.push(&words), bytes.len() as u64 + 1)
    }

    /// Makes the pointer at `from` a list pointer to `to`.
    pub fn point(&mut self, from: usize, to: usize, kind: u64, count: u64) {
        let offset = (to as i64 - from as i64 - 1) as u64 & 0x3fff_ffff;
        self.0[from] = 1 | offset << 2 | kind << 32 | count << 35;
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

    /// The attributes; the element `i` has its key at word `2 * i` and its values at the next.
    pub fn attributes(&mut self, count: u64) -> usize {
        self.structs(2, count, 0, 2)
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

    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
