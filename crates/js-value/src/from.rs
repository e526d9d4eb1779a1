//! Values from Rust's own types.

use crate::{
    Blob, Headers, JsError, JsString, Object, RegExp, Request, Response, SparseArray, Value, View,
};
use num_bigint::BigInt;
use std::borrow::Cow;

macro_rules! value_from {
    ($($from:ty => $make:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                let make: fn($from) -> Value = $make;
                make(value)
            }
        }
    )*};
}

value_from! {
    () => |()| Value::Undefined;
    bool => Value::Bool;
    f64 => Value::Number;
    f32 => |number| Value::Number(number.into());
    i8 => |number| Value::Number(number.into());
    u8 => |number| Value::Number(number.into());
    i16 => |number| Value::Number(number.into());
    u16 => |number| Value::Number(number.into());
    i32 => |number| Value::Number(number.into());
    u32 => |number| Value::Number(number.into());
    BigInt => Value::BigInt;
    JsString => Value::String;
    &str => |text| Value::String(text.into());
    String => |text| Value::String(text.into());
    &String => |text| Value::String(text.into());
    Cow<'_, str> => |text| Value::String(text.into());
    Object => Value::Object;
    SparseArray => |array| Value::SparseArray(Box::new(array));
    View => |view| Value::View(Box::new(view));
    Headers => |headers| Value::Headers(Box::new(headers));
    Request => |request| Value::Request(Box::new(request));
    Response => |response| Value::Response(Box::new(response));
    Blob => |blob| Value::Blob(Box::new(blob));
    RegExp => |regexp| Value::RegExp(Box::new(regexp));
    JsError => |error| error.into_thrown();
}

/// A number up to 2^53 - 1 in size, a BigInt beyond, so that nothing is lost.
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        if number.unsigned_abs() < 1 << 53 {
            Value::Number(number as f64)
        } else {
            Value::BigInt(number.into())
        }
    }
}

/// A number up to 2^53 - 1, a BigInt beyond, so that nothing is lost.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        if number < 1 << 53 {
            Value::Number(number as f64)
        } else {
            Value::BigInt(number.into())
        }
    }
}

/// An array.
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(elements: Vec<T>) -> Self {
        Value::Array(elements.into_iter().map(Into::into).collect())
    }
}

/// An array.
impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(elements: [T; N]) -> Self {
        Value::Array(elements.into_iter().map(Into::into).collect())
    }
}

/// `null` for `None`.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// An array.
impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Value::Array(elements.into_iter().map(Into::into).collect())
    }
}
