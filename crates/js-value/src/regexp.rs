//! Regular expressions: source and flags, never run here.

use crate::JsString;
use std::fmt;
use std::str::FromStr;

/// A `RegExp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegExp {
    /// The text between the slashes.
    pub source: JsString,
    /// The letters behind the second slash.
    pub flags: RegExpFlags,
}

/// The flags of a [`RegExp`], printed in JavaScript's order: `dgimsuvy`.
///
/// ```
/// use js_value::RegExpFlags;
/// assert_eq!("ig".parse::<RegExpFlags>()?.to_string(), "gi");
/// # Ok::<(), js_value::UnknownFlag>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegExpFlags(u32);

/// V8's bit of each flag. Bit 6, V8's own `linear`, never travels.
const FLAGS: [(char, u32); 8] = [
    ('d', 1 << 7),
    ('g', 1 << 0),
    ('i', 1 << 1),
    ('m', 1 << 2),
    ('s', 1 << 5),
    ('u', 1 << 4),
    ('v', 1 << 8),
    ('y', 1 << 3),
];

/// A letter that is no flag of a regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a flag of a regular expression")]
pub struct UnknownFlag(pub char);

impl RegExpFlags {
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        let known = FLAGS.iter().fold(0, |all, (_, bit)| all | bit);
        (bits & !known == 0).then_some(Self(bits))
    }
}

impl FromStr for RegExpFlags {
    type Err = UnknownFlag;

    fn from_str(letters: &str) -> Result<Self, UnknownFlag> {
        let mut bits = 0;
        for letter in letters.chars() {
            let known = FLAGS.iter().find(|(flag, _)| *flag == letter);
            bits |= known.ok_or(UnknownFlag(letter))?.1;
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for RegExpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FLAGS
            .iter()
            .filter(|(_, bit)| self.0 & bit != 0)
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}
