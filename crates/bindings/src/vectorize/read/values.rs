//! The values of a vector: numbers, of which no more are kept than a vector can have.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// Values as they were read.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// At most as many as there may be.
    pub(super) kept: Vec<f32>,
    /// How many there were.
    pub(super) count: usize,
    /// The first that float32 does not have: infinite, not a number, or null, which is how JSON has those.
    pub(super) not_finite: Option<usize>,
}

impl Values {
    pub(super) fn push(&mut self, value: Option<f64>, most: usize) {
        let value = value.map_or(f32::NAN, |value| value as f32);
        if !value.is_finite() {
            self.not_finite.get_or_insert(self.count);
        }
        // One more than there may be tells that there were too many.
        if self.kept.len() <= most {
            self.kept.push(value);
        }
        self.count += 1;
    }
}

/// Reads a list of numbers, and keeps so many of them.
pub(super) struct AtMost(pub(super) usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Values;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Values, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
        let mut values = Values::default();
        while let Some(value) = list.next_element::<Option<f64>>()? {
            values.push(value, self.0);
        }
        Ok(values)
    }
}
