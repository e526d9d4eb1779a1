//! `Serialize` and `Deserialize` for our own types.
//!
//! A value of ours inside a user's struct passes to our serializer whole, through a slot of the
//! thread, announced by a newtype struct with a name of our own; likewise back. Any other format
//! (serde_json, say) sees the newtype's content: the value as JSON, by the crate's table.

use super::VALUE_TOKEN;
use crate::{Date, JsError, JsString, Object, Value};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};
use std::cell::Cell;
use std::fmt;

thread_local! {
    static PASSED: Cell<Option<Value>> = const { Cell::new(None) };
}

/// Takes what the other side passed, if it did.
pub(super) fn take_passed() -> Option<Value> {
    PASSED.take()
}

/// Passes a value to the other side, which must be the next thing that runs.
pub(super) fn pass(value: Value) {
    PASSED.set(Some(value));
}

/// The value as JSON: converted only if a format other than ours asks.
struct AsJson<'a>(&'a Value);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        take_passed(); // for a format that is not ours
        let json = self.0.to_json().map_err(ser::Error::custom)?;
        json.serialize(serializer)
    }
}

/// Into [`to_value`](crate::to_value) as it is, into any other format as [JSON](crate#json).
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Expanded, since the numbers of references would be wrong inside another value.
        pass(self.expanded().map_err(ser::Error::custom)?);
        let done = serializer.serialize_newtype_struct(VALUE_TOKEN, &AsJson(self));
        take_passed();
        done
    }
}

/// From [`from_value`](crate::from_value) as it is, from any other format as [JSON](crate#json).
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JavaScript value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                content: D,
            ) -> Result<Value, D::Error> {
                match take_passed() {
                    Some(value) => Ok(value),
                    None => {
                        let json = serde_json::Value::deserialize(content)?;
                        Value::from_json(json).map_err(de::Error::custom)
                    }
                }
            }
        }

        deserializer.deserialize_newtype_struct(VALUE_TOKEN, AnyValue)
    }
}

macro_rules! through_value {
    ($($type:ty, $what:literal, $to:expr, $from:pat => $back:expr;)*) => {$(
        #[doc = concat!("As the [`Value`] that is ", $what, ".")]
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let to: fn(&$type) -> Value = $to;
                to(self).serialize(serializer)
            }
        }

        #[doc = concat!("From a [`Value`] that is ", $what, ".")]
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match Value::deserialize(deserializer)? {
                    $from => Ok($back),
                    other => Err(de::Error::custom(format_args!(
                        concat!("expected ", $what, ", found {}"),
                        other.type_name()
                    ))),
                }
            }
        }
    )*};
}

through_value! {
    JsString, "a string", |text| Value::String(text.clone()), Value::String(text) => text;
    JsError, "an Error", |error| Value::from(error.clone()), Value::Error(error) => *error;
    Object, "a plain object", |object| Value::from(object.clone()), Value::Object(object) => object;
}

/// As the [`Value`] that is a Date.
impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Date(self.0).serialize(serializer)
    }
}

/// From a [`Value`] that is a Date, its milliseconds, or its ISO 8601 text: serde shows a Date as
/// text to flattened fields and untagged enums.
impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let ms = match &value {
            Value::Date(ms) | Value::Number(ms) => Some(*ms),
            _ => value.as_str().and_then(crate::date::from_iso),
        };
        ms.map(Date).ok_or_else(|| {
            de::Error::custom(format_args!("expected a Date, found {}", value.type_name()))
        })
    }
}

/// As [`Value::from`] for `BigInt`: for fields, `#[serde(with = "js_value::bigint")]`.
pub mod bigint {
    use super::*;
    use num_bigint::BigInt;

    /// Serializes a BigInt.
    ///
    /// # Errors
    /// What the serializer reports.
    pub fn serialize<S: Serializer>(number: &BigInt, serializer: S) -> Result<S::Ok, S::Error> {
        Value::BigInt(number.clone()).serialize(serializer)
    }

    /// Deserializes a BigInt, or an integral number.
    ///
    /// # Errors
    /// For anything else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BigInt, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (&value, value.as_i64()) {
            (_, Some(number)) => Ok(number.into()),
            (Value::BigInt(number), None) => Ok(number.clone()),
            _ => Err(de::Error::custom(format_args!(
                "expected a bigint, found {}",
                value.type_name()
            ))),
        }
    }
}
