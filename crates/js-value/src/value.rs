//! The value itself, and how to look into it.

use crate::{
    Blob, Headers, JsError, JsString, Object, RegExp, Request, Response, SparseArray, View,
};
use num_bigint::BigInt;

/// A JavaScript value, as structured cloning sees it: data, no functions.
///
/// A value is a tree. Where JavaScript has one object in two places, or inside itself, the later
/// place holds a [`BackRef`](Value::BackRef). Most values have none; code that wants plain trees
/// calls [`expanded`](Value::expanded) first (JSON and serde do).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `undefined`.
    #[default]
    Undefined,
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number: integers and fractions alike.
    Number(f64),
    /// A BigInt.
    BigInt(BigInt),
    /// A string.
    String(JsString),
    /// A `Date`: milliseconds since 1970 UTC, NaN for an invalid date.
    Date(f64),
    /// A regular expression.
    RegExp(Box<RegExp>),
    /// An array without holes and without extra properties.
    Array(Vec<Value>),
    /// An array with holes or extra properties.
    SparseArray(Box<SparseArray>),
    /// A plain object.
    Object(Object),
    /// A `Map`, in order of insertion.
    Map(Vec<(Value, Value)>),
    /// A `Set`, in order of insertion.
    Set(Vec<Value>),
    /// An `ArrayBuffer`. A resizable one is read as a fixed one.
    ArrayBuffer(Vec<u8>),
    /// A typed array or `DataView`.
    View(Box<View>),
    /// An error.
    Error(Box<JsError>),
    /// A stub, to be called over RPC: an index into the table of externals that travels beside the
    /// value. A decoded value numbers its externals 0, 1, 2 ... in order of appearance, whatever their kind.
    Stub(u32),
    /// A `ReadableStream`: an index into the same table.
    ReadableStream(u32),
    /// A `WritableStream`: an index into the same table.
    WritableStream(u32),
    /// A `Headers`.
    Headers(Box<Headers>),
    /// A `Request`, whose body is an external.
    Request(Box<Request>),
    /// A `Response`, whose body is an external.
    Response(Box<Response>),
    /// A `Blob`.
    Blob(Box<Blob>),
    /// A primitive in its object wrapper, such as `new Number(1)`.
    Boxed(Box<Boxed>),
    /// The `n`-th object of this value, counted from 0 in order of appearance, the outer before the
    /// inner. Everything but the primitives is an object; a [`View`] that owns its buffer counts
    /// twice, the buffer first; of an error, the cause is before the properties. A [`Request`] is followed by its
    /// headers, its body if it has one, `cf` and the others; a [`Response`] by its body if it has one, its headers,
    /// `cf` and the others.
    BackRef(u32),
}

/// A primitive in its object wrapper.
#[derive(Clone, Debug, PartialEq)]
pub enum Boxed {
    /// `new Boolean(..)`
    Bool(bool),
    /// `new Number(..)`
    Number(f64),
    /// `Object(1n)`
    BigInt(BigInt),
    /// `new String(..)`
    String(JsString),
}

impl Value {
    /// Whether the value is `null` or `undefined`.
    pub fn is_nullish(&self) -> bool {
        matches!(self, Value::Undefined | Value::Null)
    }

    /// Whether the value is `undefined`.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The number, if it is one. A BigInt is none.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as an integer: for a number that is integral and at most 2^53 - 1 in size, and for
    /// a BigInt that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(number) => safe_integer(*number),
            Value::BigInt(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }

    /// The text, if it is a string without lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => text.as_str(),
            _ => None,
        }
    }

    /// The elements, if it is an array without holes and extra properties.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The properties, if it is a plain object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The bytes of an `ArrayBuffer`, a `Blob`, or a typed array or `DataView` with a buffer of its own.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::ArrayBuffer(bytes) => Some(bytes),
            Value::View(view) => view.bytes(),
            Value::Blob(blob) => Some(&blob.bytes),
            _ => None,
        }
    }

    /// The error, if it is one.
    pub fn as_error(&self) -> Option<&JsError> {
        match self {
            Value::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The property `name` of a plain object or an error, or the element of an array with this
    /// index. A [`BackRef`](Value::BackRef) is given as it is.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(name),
            Value::Array(elements) => elements.get(usize::try_from(index(name)?).ok()?),
            Value::SparseArray(array) => match index(name) {
                Some(index) => array.get(index),
                None => array.properties.get(name),
            },
            Value::Error(error) if name == "cause" => error.cause.as_deref(),
            Value::Error(error) => error.properties.get(name),
            _ => None,
        }
    }

    /// The value at the end of a path of property names.
    ///
    /// ```
    /// use js_value::{Object, Value};
    /// let value = Value::from(vec![Value::from(Object::from([("model", "x")]))]);
    /// assert_eq!(value.get_path(&["0", "model"]).and_then(Value::as_str), Some("x"));
    /// ```
    pub fn get_path(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// JavaScript's word for the kind of value, for messages to people: `undefined`, `number`,
    /// `Array`, `Uint8Array`, ...
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined => "undefined",
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::BigInt(_) => "bigint",
            Value::String(_) => "string",
            Value::Date(_) => "Date",
            Value::RegExp(_) => "RegExp",
            Value::Array(_) | Value::SparseArray(_) => "Array",
            Value::Object(_) => "object",
            Value::Map(_) => "Map",
            Value::Set(_) => "Set",
            Value::ArrayBuffer(_) => "ArrayBuffer",
            Value::View(view) => view.kind.name(),
            Value::Error(_) => "Error",
            Value::Stub(_) => "stub",
            Value::ReadableStream(_) => "ReadableStream",
            Value::WritableStream(_) => "WritableStream",
            Value::Headers(_) => "Headers",
            Value::Request(_) => "Request",
            Value::Response(_) => "Response",
            Value::Blob(_) => "Blob",
            Value::Boxed(boxed) => match **boxed {
                Boxed::Bool(_) => "Boolean",
                Boxed::Number(_) => "Number",
                Boxed::BigInt(_) => "BigInt",
                Boxed::String(_) => "String",
            },
            Value::BackRef(_) => "back-reference",
        }
    }
}

/// The integer, if the number is one that a double holds exactly and unmistakably.
pub(crate) fn safe_integer(number: f64) -> Option<i64> {
    const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
    (number.fract() == 0.0 && number.abs() <= MAX_SAFE).then_some(number as i64)
}

fn index(name: &str) -> Option<u32> {
    // Digits only: `parse` alone would take "+1".
    name.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_four_words() {
        assert_eq!(size_of::<Value>(), 32);
    }

    #[test]
    fn paths_lead_through_objects_arrays_and_errors() {
        let value = Value::from(Object::from([(
            "list",
            Value::from(vec![Value::from(
                JsError::error("x").with_property("code", 5),
            )]),
        )]));
        assert_eq!(
            value.get_path(&["list", "0", "code"]),
            Some(&Value::from(5))
        );
        assert_eq!(value.get_path(&["list", "1"]), None);
        assert_eq!(value.get_path(&["list", "+0"]), None);
    }

    #[test]
    fn integers_are_safe_ones_and_fitting_bigints() {
        assert_eq!(Value::from(3).as_i64(), Some(3));
        assert_eq!(Value::Number(1.5).as_i64(), None);
        assert_eq!(Value::Number(1e300).as_i64(), None);
        assert_eq!(Value::BigInt(BigInt::from(u64::MAX)).as_i64(), None);
        assert_eq!(
            Value::BigInt(BigInt::from(i64::MIN)).as_i64(),
            Some(i64::MIN)
        );
    }
}
