//! Text as JavaScript has it: UTF-16 that need not be well formed.
//!
//! Nearly all text is well formed and is kept as a Rust `String`. Only text with a lone surrogate,
//! which no `String` can hold, is kept as UTF-16 code units, so that it survives a round trip.

use std::borrow::Cow;
use std::fmt;

/// A JavaScript string.
///
/// Two strings are equal when their UTF-16 code units are equal.
///
/// ```
/// use js_value::JsString;
/// let plain = JsString::from("héllo");
/// assert_eq!(plain.as_str(), Some("héllo"));
/// let lone = JsString::from_utf16(&[0x61, 0xd800]);
/// assert_eq!(lone.as_str(), None);
/// assert_eq!(lone.to_string_lossy(), "a\u{fffd}");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JsString(Repr);

// Invariant: `IllFormed` never holds well-formed UTF-16, so that equal text has one representation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    WellFormed(String),
    IllFormed(Box<[u16]>),
}

impl JsString {
    /// A string from UTF-16 code units; lone surrogates are kept.
    pub fn from_utf16(units: &[u16]) -> Self {
        match String::from_utf16(units) {
            Ok(text) => Self(Repr::WellFormed(text)),
            Err(_) => Self(Repr::IllFormed(units.into())),
        }
    }

    /// The text, or `None` when it has a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::WellFormed(text) => Some(text),
            Repr::IllFormed(_) => None,
        }
    }

    /// The code units of a string with a lone surrogate, or `None` for a well-formed one.
    pub fn as_ill_formed(&self) -> Option<&[u16]> {
        match &self.0 {
            Repr::WellFormed(_) => None,
            Repr::IllFormed(units) => Some(units),
        }
    }

    /// The text with every lone surrogate replaced by U+FFFD.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::WellFormed(text) => Cow::Borrowed(text),
            Repr::IllFormed(units) => Cow::Owned(String::from_utf16_lossy(units)),
        }
    }

    /// The text as an owned `String`, every lone surrogate replaced by U+FFFD.
    pub fn into_string_lossy(self) -> String {
        match self.0 {
            Repr::WellFormed(text) => text,
            Repr::IllFormed(units) => String::from_utf16_lossy(&units),
        }
    }

    /// The UTF-16 code units.
    pub fn to_utf16(&self) -> Vec<u16> {
        match &self.0 {
            Repr::WellFormed(text) => text.encode_utf16().collect(),
            Repr::IllFormed(units) => units.to_vec(),
        }
    }

    /// Whether the string has no code units.
    pub fn is_empty(&self) -> bool {
        self.as_str() == Some("")
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> Self {
        Self(Repr::WellFormed(text.to_owned()))
    }
}

impl From<String> for JsString {
    fn from(text: String) -> Self {
        Self(Repr::WellFormed(text))
    }
}

impl From<&String> for JsString {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Cow<'_, str>> for JsString {
    fn from(text: Cow<'_, str>) -> Self {
        Self::from(text.into_owned())
    }
}

impl Default for JsString {
    fn default() -> Self {
        Self(Repr::WellFormed(String::new()))
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl fmt::Display for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::WellFormed(text) => fmt::Debug::fmt(text, f),
            Repr::IllFormed(units) => write!(f, "utf16{units:04x?}"),
        }
    }
}

/// Borrows the name of a property for look-ups without an allocation.
pub(crate) struct Text<'a>(pub &'a str);

impl std::hash::Hash for Text<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The same as the derived hash of `JsString(Repr::WellFormed(_))`: checked by a test.
        std::mem::discriminant(&Repr::WellFormed(String::new())).hash(state);
        self.0.hash(state);
    }
}

impl indexmap::Equivalent<JsString> for Text<'_> {
    fn equivalent(&self, key: &JsString) -> bool {
        key.as_str() == Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    #[test]
    fn a_borrowed_name_hashes_as_the_string_does() {
        let state = RandomState::new();
        assert_eq!(
            state.hash_one(Text("name")),
            state.hash_one(JsString::from("name"))
        );
    }

    #[test]
    fn well_formed_utf16_equals_the_same_text() {
        assert_eq!(
            JsString::from_utf16(&[0xd83d, 0xde00]),
            JsString::from("😀")
        );
    }

    #[test]
    fn a_string_takes_three_words() {
        assert_eq!(size_of::<JsString>(), 3 * size_of::<usize>());
    }
}
