//! A value of a result.

/// A value that SQLite returned, by its storage class.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// `NULL`, in JavaScript `null`.
    Null,
    /// A 64-bit integer. JavaScript gets a number; [`Integers`](super::Integers) says what it gets where none is equal.
    Integer(i64),
    /// A float, infinities included; SQLite stores NaN as NULL.
    Real(f64),
    /// Text. Bytes that are not UTF-8 were replaced by U+FFFD.
    Text(String),
    /// Bytes. JavaScript gets an array of numbers, as from D1.
    Blob(Vec<u8>),
}

/// What each value, row and column counts for besides its content.
pub(super) const OVERHEAD: usize = 8;

/// What a text of so many bytes counts for in [`DatabaseOptions::max_result_bytes`].
///
/// [`DatabaseOptions::max_result_bytes`]: super::DatabaseOptions::max_result_bytes
pub(super) const fn text_size(bytes: usize) -> usize {
    bytes.saturating_add(OVERHEAD)
}

/// What a blob of so many bytes counts for: it leaves as an array of numbers.
pub(super) const fn blob_size(bytes: usize) -> usize {
    bytes.saturating_mul(OVERHEAD).saturating_add(OVERHEAD)
}
