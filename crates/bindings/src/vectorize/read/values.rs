//! The values of a vector: numbers, of which no more are kept than a vector can have.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
        if self.kept.len() < most {
            self.kept.push(value);
        }
        self.count += 1;
    }

    /// Reads a list of numbers, and keeps so many of them.
    ///
    /// # Errors
    /// Which element is no number; none if it is not a list.
    pub(super) fn read(text: &str, most: usize) -> Result<Self, Option<usize>> {
        let mut from = serde_json::Deserializer::from_str(text);
        if let Ok(values) = from.deserialize_seq(Numbers(most)) {
            return Ok(values);
        }
        // Something is wrong, or beyond float64: slowly, to say where.
        let mut from = serde_json::Deserializer::from_str(text);
        from.deserialize_seq(Texts(most)).map_err(|_| None)?
    }
}

struct Numbers(usize);

impl<'de> Visitor<'de> for Numbers {
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

struct Texts(usize);

impl<'de> Visitor<'de> for Texts {
    type Value = Result<Values, Option<usize>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut wrong) = (Values::default(), None);
        while let Some(value) = list.next_element::<&RawValue>()? {
            let text = value.get();
            // RawValue has seen to it that it is JSON's form of a number.
            let number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            match number {
                true => values.push(text.parse().ok(), self.0),
                false if text == "null" => values.push(None, self.0),
                false => {
                    wrong.get_or_insert(values.count);
                    values.count += 1;
                }
            }
        }
        Ok(match wrong {
            Some(at) => Err(Some(at)),
            None => Ok(values),
        })
    }
}
