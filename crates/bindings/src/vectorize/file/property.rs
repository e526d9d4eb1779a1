//! Values of properties: as keys of a metadata index, and compared with what a filter asks.

use std::cmp::Ordering;

use rusqlite::types::Value as Key;
use serde_json::Value;

use crate::vectorize::filter::{Clause, Scalar, Test};
use crate::vectorize::metadata::property;
use crate::vectorize::vector::Metadata;

/// The key of a value in a metadata index. `null` has none.
pub(super) fn key(value: &Value) -> Option<Key> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Key::Blob(vec![u8::from(*value)])),
        Value::Number(number) => Some(Key::Real(number.as_f64()?)),
        Value::String(text) => Some(Key::Text(text.clone())),
        Value::Array(_) | Value::Object(_) => Some(Key::Blob(vec![2])),
    }
}

/// The key of a vector's property.
pub(super) fn key_of(metadata: Option<&Metadata>, path: &str) -> Option<Key> {
    key(property(metadata?, path.split('.'))?)
}

/// Keys between which all values of a type are: from the first one on, and below the second.
pub(super) fn range(of: &Scalar) -> Option<(Key, Key)> {
    match of {
        Scalar::Null => None,
        Scalar::Number(_) => Some((Key::Real(f64::NEG_INFINITY), Key::Text(String::new()))),
        Scalar::String(_) => Some((Key::Text(String::new()), Key::Blob(Vec::new()))),
        Scalar::Boolean(_) => Some((Key::Blob(vec![0]), Key::Blob(vec![2]))),
    }
}

/// The key of a filter's value; `null` has none.
pub(super) fn key_of_scalar(scalar: &Scalar) -> Option<Key> {
    match scalar {
        Scalar::Null => None,
        Scalar::String(text) => Some(Key::Text(text.clone())),
        Scalar::Number(number) => Some(Key::Real(*number)),
        Scalar::Boolean(value) => Some(Key::Blob(vec![u8::from(*value)])),
    }
}

/// Whether a vector has what is asked for.
pub(super) fn matches(clause: &Clause, metadata: &Metadata) -> bool {
    let value = property(metadata, &clause.path);
    let is = |to: &Scalar| compare(value, to);
    let equal = |to: &Scalar| is(to) == Some(Ordering::Equal);
    match &clause.test {
        Test::Equal(to) => equal(to),
        Test::NotEqual(to) => !equal(to),
        Test::Less(to) => is(to).is_some_and(Ordering::is_lt),
        Test::LessOrEqual(to) => is(to).is_some_and(Ordering::is_le),
        Test::Greater(to) => is(to).is_some_and(Ordering::is_gt),
        Test::GreaterOrEqual(to) => is(to).is_some_and(Ordering::is_ge),
        Test::In(list) => list.iter().any(equal),
        Test::NotIn(list) => !list.iter().any(equal),
    }
}

/// Nothing if they are of different types.
fn compare(value: Option<&Value>, to: &Scalar) -> Option<Ordering> {
    match (value.unwrap_or(&Value::Null), to) {
        (Value::Null, Scalar::Null) => Some(Ordering::Equal),
        (Value::String(value), Scalar::String(to)) => Some(value.as_bytes().cmp(to.as_bytes())),
        (Value::Number(value), Scalar::Number(to)) => value.as_f64()?.partial_cmp(to),
        (Value::Bool(value), Scalar::Boolean(to)) => Some(value.cmp(to)),
        _ => None,
    }
}
