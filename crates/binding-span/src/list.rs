//! The value of an attribute that is a list: elements of one type.

use std::borrow::Cow;
use std::fmt;

use crate::AttributeValue;

/// A list of scalars of one type, as OpenTelemetry has them.
///
/// On the wire a list is several values of one attribute, so that one of a single element arrives as that element.
/// An [`Enrichment`](crate::Enrichment) takes none that is empty: that is no value, and skipped.
///
/// ```
/// use binding_span::{AttributeList, AttributeValue, Enrichment};
/// let said = Enrichment::new().attribute("gen_ai.response.finish_reasons", ["stop", "length"]);
/// let list = AttributeList::Strings(vec!["stop".into(), "length".into()]);
/// assert_eq!(said.get("gen_ai.response.finish_reasons"), Some(&AttributeValue::from(list)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeList {
    /// Texts.
    Strings(Vec<Cow<'static, str>>),
    /// Booleans.
    Bools(Vec<bool>),
    /// Signed integers of 64 bits.
    Int64s(Vec<i64>),
    /// Doubles.
    Float64s(Vec<f64>),
}

impl AttributeList {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Strings(list) => list.len(),
            Self::Bools(list) => list.len(),
            Self::Int64s(list) => list.len(),
            Self::Float64s(list) => list.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that its elements count for in [`Limits::total_bytes`](crate::Limits::total_bytes).
    pub fn size(&self) -> usize {
        match self {
            Self::Strings(list) => list.iter().map(|text| text.len()).sum(),
            other => 8 * other.len(),
        }
    }

    /// The bytes of its longest text, 0 if it has none.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Self::Strings(list) => list.iter().map(|text| text.len()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// What it takes in memory besides the bytes of [`size`](Self::size), at most about.
    pub(crate) fn overhead(&self) -> usize {
        let element = match self {
            Self::Strings(_) => size_of::<Cow<'static, str>>(),
            _ => 0,
        };
        size_of::<Self>() + self.len() * element
    }

    /// As [`AttributeValue::is_same`].
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float64s(one), Self::Float64s(other)) => {
                let bits = |x: &f64| x.to_bits();
                one.iter().map(bits).eq(other.iter().map(bits))
            }
            _ => self == other,
        }
    }

    /// A list of these scalars, if they are of one type; integers among doubles become the nearest doubles. None if
    /// there are no elements, or one is none, a list, or of another type: such a list is skipped.
    ///
    /// For readers of a language with one kind of numbers, and of JSON.
    ///
    /// ```
    /// use binding_span::{AttributeList, AttributeValue};
    /// let of = |numbers: &[f64]| {
    ///     let elements = numbers.iter().map(|&number| Some(AttributeValue::from_number(number)));
    ///     AttributeList::from_elements(elements)
    /// };
    /// assert_eq!(of(&[1.0, 2.0]), Some(AttributeList::Int64s(vec![1, 2])));
    /// assert_eq!(of(&[1.0, 2.5]), Some(AttributeList::Float64s(vec![1.0, 2.5])));
    /// assert_eq!(of(&[]), None);
    /// ```
    pub fn from_elements(
        elements: impl IntoIterator<Item = Option<AttributeValue>>,
    ) -> Option<Self> {
        let mut elements = elements.into_iter();
        let mut list = match elements.next()?? {
            AttributeValue::String(text) => Self::Strings(vec![text]),
            AttributeValue::Bool(value) => Self::Bools(vec![value]),
            AttributeValue::Int64(value) => Self::Int64s(vec![value]),
            AttributeValue::Float64(value) => Self::Float64s(vec![value]),
            AttributeValue::List(_) => return None,
        };
        for element in elements {
            match (&mut list, element?) {
                (Self::Strings(list), AttributeValue::String(text)) => list.push(text),
                (Self::Bools(list), AttributeValue::Bool(value)) => list.push(value),
                (Self::Int64s(list), AttributeValue::Int64(value)) => list.push(value),
                (Self::Float64s(list), AttributeValue::Float64(value)) => list.push(value),
                (Self::Float64s(list), AttributeValue::Int64(value)) => list.push(value as f64),
                (Self::Int64s(integers), AttributeValue::Float64(value)) => {
                    let mut doubles: Vec<f64> = integers.iter().map(|&n| n as f64).collect();
                    doubles.push(value);
                    list = Self::Float64s(doubles);
                }
                _ => return None,
            }
        }
        Some(list)
    }
}

/// For people: texts are quoted and escaped, so that where one ends can be seen.
impl fmt::Display for AttributeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strings(list) => f.debug_list().entries(list).finish(),
            Self::Bools(list) => f.debug_list().entries(list).finish(),
            Self::Int64s(list) => f.debug_list().entries(list).finish(),
            Self::Float64s(list) => f.debug_list().entries(list).finish(),
        }
    }
}

impl From<AttributeList> for AttributeValue {
    fn from(list: AttributeList) -> Self {
        Self::List(Box::new(list))
    }
}

macro_rules! from {
    ($($element:ty => $variant:ident,)*) => {
        $(
            impl From<Vec<$element>> for AttributeValue {
                fn from(list: Vec<$element>) -> Self {
                    AttributeList::$variant(list.into_iter().map(Into::into).collect()).into()
                }
            }

            impl From<&[$element]> for AttributeValue {
                fn from(list: &[$element]) -> Self {
                    AttributeList::$variant(list.iter().cloned().map(Into::into).collect()).into()
                }
            }

            impl<const N: usize> From<[$element; N]> for AttributeValue {
                fn from(list: [$element; N]) -> Self {
                    AttributeList::$variant(list.into_iter().map(Into::into).collect()).into()
                }
            }
        )*
    };
}

from! {
    &'static str => Strings,
    String => Strings,
    Cow<'static, str> => Strings,
    bool => Bools,
    i64 => Int64s,
    i32 => Int64s,
    u32 => Int64s,
    f64 => Float64s,
    f32 => Float64s,
}
