//! Bytes: typed arrays and `DataView`, over a buffer of their own or one that they share.

/// The class of a view over an `ArrayBuffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are JavaScript's")]
pub enum ViewKind {
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float16Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
    DataView,
}

/// Every kind with its name, its tag in the V8 format and the size of its elements in bytes.
const KINDS: [(ViewKind, &str, u8, usize); 13] = [
    (ViewKind::Int8Array, "Int8Array", b'b', 1),
    (ViewKind::Uint8Array, "Uint8Array", b'B', 1),
    (ViewKind::Uint8ClampedArray, "Uint8ClampedArray", b'C', 1),
    (ViewKind::Int16Array, "Int16Array", b'w', 2),
    (ViewKind::Uint16Array, "Uint16Array", b'W', 2),
    (ViewKind::Int32Array, "Int32Array", b'd', 4),
    (ViewKind::Uint32Array, "Uint32Array", b'D', 4),
    (ViewKind::Float16Array, "Float16Array", b'h', 2),
    (ViewKind::Float32Array, "Float32Array", b'f', 4),
    (ViewKind::Float64Array, "Float64Array", b'F', 8),
    (ViewKind::BigInt64Array, "BigInt64Array", b'q', 8),
    (ViewKind::BigUint64Array, "BigUint64Array", b'Q', 8),
    (ViewKind::DataView, "DataView", b'?', 1),
];

impl ViewKind {
    fn row(self) -> &'static (ViewKind, &'static str, u8, usize) {
        // The table is in the order of the enum: checked by a test.
        &KINDS[self as usize]
    }

    /// JavaScript's name of the class.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes in an element; 1 for `DataView`.
    pub fn element_size(self) -> usize {
        self.row().3
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub(crate) fn tag(self) -> u8 {
        self.row().2
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        KINDS.iter().find(|row| row.2 == tag).map(|row| row.0)
    }
}

/// A typed array or `DataView`.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The class.
    pub kind: ViewKind,
    /// What it looks at.
    pub buffer: ViewBuffer,
    /// Where in the buffer it starts, in bytes.
    pub offset: usize,
    /// How many bytes it covers.
    pub length: usize,
}

/// The buffer behind a [`View`].
#[derive(Clone, Debug, PartialEq)]
pub enum ViewBuffer {
    /// The whole buffer. It counts as an object of the value, just before the view.
    Own(Vec<u8>),
    /// An earlier buffer of the same value, numbered as in [`Value::BackRef`](crate::Value::BackRef).
    Shared(u32),
}

impl View {
    /// A view of all of `bytes`, whose length should be a multiple of the element size.
    pub fn new(kind: ViewKind, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            offset: 0,
            length: bytes.len(),
            buffer: ViewBuffer::Own(bytes),
        }
    }

    /// A `Uint8Array`.
    pub fn uint8(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(ViewKind::Uint8Array, bytes.into())
    }

    /// The bytes that the view covers, or `None` when its buffer is shared with an earlier object
    /// ([`Value::expanded`](crate::Value::expanded) resolves that) or is too short.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.buffer {
            ViewBuffer::Own(bytes) => bytes.get(self.offset..self.offset.checked_add(self.length)?),
            ViewBuffer::Shared(_) => None,
        }
    }

    /// As [`bytes`](Self::bytes), without a copy when the view covers its whole buffer.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self.buffer {
            ViewBuffer::Own(bytes) if self.offset == 0 && self.length == bytes.len() => Some(bytes),
            _ => self.bytes().map(<[u8]>::to_vec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, row) in KINDS.iter().enumerate() {
            assert_eq!(row.0 as usize, at);
            assert_eq!(ViewKind::from_tag(row.0.tag()), Some(row.0));
            assert_eq!(ViewKind::from_name(row.0.name()), Some(row.0));
        }
    }

    #[test]
    fn bytes_are_those_inside_the_view() {
        let view = View {
            offset: 1,
            length: 2,
            ..View::uint8([1, 2, 3, 4])
        };
        assert_eq!(view.bytes(), Some(&[2, 3][..]));
        assert_eq!(view.into_bytes(), Some(vec![2, 3]));
    }
}
