//! The value of an attribute: one of four scalars or a list of one of them, and what becomes one.

use std::borrow::Cow;

use crate::AttributeList;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// UTF-8 text.
    String(Cow<'static, str>),
    /// A boolean.
    Bool(bool),
    /// A signed integer of 64 bits.
    Int64(i64),
    /// A double; NaN and the infinities are values like any other.
    Float64(f64),
    /// Several of one of these. Rare, hence behind a pointer: a value is no larger for it.
    List(Box<AttributeList>),
}

/// One tag of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The key, 1 to 256 bytes.
    pub key: Cow<'static, str>,
    /// The value.
    pub value: AttributeValue,
}

impl Attribute {
    /// An attribute of `key` and `value`.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<AttributeValue>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// 2^63, the first double above `i64::MAX`; exact.
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

impl AttributeValue {
    /// A JavaScript or JSON number: int64 when it is finite, integral and in [-2^63, 2^63) (so -0
    /// becomes 0), otherwise float64.
    ///
    /// ```
    /// # use binding_span::AttributeValue;
    /// assert_eq!(AttributeValue::from_number(3.0), AttributeValue::Int64(3));
    /// assert_eq!(AttributeValue::from_number(1.5), AttributeValue::Float64(1.5));
    /// assert_eq!(AttributeValue::from_number(-0.0), AttributeValue::Int64(0));
    /// ```
    pub fn from_number(number: f64) -> Self {
        let integral = number.trunc() == number;
        if integral && (-TWO_POW_63..TWO_POW_63).contains(&number) {
            Self::Int64(number as i64)
        } else {
            Self::Float64(number)
        }
    }

    /// The bytes that this value counts for in [`Limits::total_bytes`](crate::Limits::total_bytes).
    pub fn size(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::List(list) => list.size(),
            _ => 8,
        }
    }

    /// The bytes of memory that it takes besides its own, at most about: for budgets of those who keep it.
    pub fn footprint(&self) -> usize {
        match self {
            Self::List(list) => list.size() + list.overhead(),
            scalar => scalar.size(),
        }
    }

    /// The bytes of its text, or of the longest one of a list; 0 if there is none.
    pub(crate) fn longest_text(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::List(list) => list.longest(),
            _ => 0,
        }
    }

    /// How many elements it has: one unless it is a list.
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            _ => 1,
        }
    }

    /// Whether it is the same value of the same type: doubles by their bits, so that NaN is itself and
    /// -0 is not 0.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float64(one), Self::Float64(other)) => one.to_bits() == other.to_bits(),
            (Self::List(one), Self::List(other)) => one.is_same(other),
            _ => self == other,
        }
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// For people; text comes as it is, not escaped, but in a list quoted and escaped.
impl std::fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Bool(value) => value.fmt(f),
            Self::Int64(value) => value.fmt(f),
            Self::Float64(value) => write!(f, "{value:?}"),
            Self::List(list) => list.fmt(f),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident,)*) => {
        $(impl From<$source> for AttributeValue {
            fn from(value: $source) -> Self { Self::$variant(value.into()) }
        })*
    };
}

from! {
    &'static str => String,
    String => String,
    Cow<'static, str> => String,
    bool => Bool,
    i64 => Int64,
    i32 => Int64,
    i16 => Int64,
    i8 => Int64,
    u32 => Int64,
    u16 => Int64,
    u8 => Int64,
    f64 => Float64,
    f32 => Float64,
}

/// Int64 where it fits, otherwise the nearest float64.
impl From<u64> for AttributeValue {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Float64(value as f64), Self::Int64)
    }
}

/// As for `u64`.
impl From<usize> for AttributeValue {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

/// What can be given as an attribute's value: a scalar, a list of them, or something that may be neither.
///
/// `None` means "no value": the attribute is skipped, an earlier one of the same key stays. An empty list is no
/// value.
pub trait IntoAttributeValue {
    /// The value, if there is one.
    fn into_attribute_value(self) -> Option<AttributeValue>;
}

impl<T: Into<AttributeValue>> IntoAttributeValue for T {
    fn into_attribute_value(self) -> Option<AttributeValue> {
        Some(self.into()).filter(|value| value.elements() > 0)
    }
}

/// An optional value; `None` is skipped.
///
/// ```
/// use binding_span::{Enrichment, Maybe};
/// let cached: Option<bool> = None;
/// assert!(Enrichment::new().attribute("cached", Maybe(cached)).is_empty());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Maybe<T>(pub Option<T>);

impl<T: Into<AttributeValue>> IntoAttributeValue for Maybe<T> {
    fn into_attribute_value(self) -> Option<AttributeValue> {
        self.0?.into_attribute_value()
    }
}

/// Strings, booleans and numbers, and arrays of one of these. Numbers of an array are int64 if all are, otherwise
/// float64. Null, objects, and arrays that are empty or of several types are skipped.
#[cfg(feature = "json")]
impl IntoAttributeValue for &serde_json::Value {
    fn into_attribute_value(self) -> Option<AttributeValue> {
        match self {
            serde_json::Value::Array(elements) => {
                AttributeList::from_elements(elements.iter().map(json_scalar)).map(Into::into)
            }
            other => json_scalar(other),
        }
    }
}

#[cfg(feature = "json")]
fn json_scalar(value: &serde_json::Value) -> Option<AttributeValue> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(text.clone().into()),
        Value::Bool(value) => Some((*value).into()),
        Value::Number(number) => number
            .as_i64()
            .map(AttributeValue::Int64)
            .or_else(|| number.as_f64().map(AttributeValue::from_number)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// As for a reference to one.
#[cfg(feature = "json")]
impl IntoAttributeValue for serde_json::Value {
    fn into_attribute_value(self) -> Option<AttributeValue> {
        (&self).into_attribute_value()
    }
}
