//! JavaScript's errors as values, and as Rust errors.

use crate::{JsString, Object, Value};
use std::fmt;

/// A JavaScript `Error`, or one of its subclasses.
///
/// ```
/// use js_value::JsError;
/// let error = JsError::type_error("no such method");
/// assert_eq!(error.to_string(), "TypeError: no such method");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct JsError {
    /// JavaScript's `name`: `Error`, `TypeError`, ..., or one of the program's own. That of a `DOMException`
    /// is in brackets: `DOMException(AbortError)`.
    pub name: String,
    /// JavaScript's `message`.
    pub message: String,
    /// JavaScript's `stack`, if there is one.
    pub stack: Option<String>,
    /// JavaScript's `cause`, if there is one.
    pub cause: Option<Box<Value>>,
    /// Other own properties, such as `code`. The plain V8 form has no place for them: they travel
    /// only in workerd's native form ([`ErrorForm::Native`](crate::ErrorForm::Native)).
    pub properties: Object,
    /// What was thrown, if that was no error: `throw 42`. The fields above describe it then, for those who
    /// know of errors alone, and are no part of it: [`into_thrown`](Self::into_thrown) gives this value, and
    /// so does every conversion into a [`Value`].
    pub thrown: Option<Box<Value>>,
}

impl JsError {
    /// An error of the class `name`.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: message.into(),
            stack: None,
            cause: None,
            properties: Object::new(),
            thrown: None,
        }
    }

    /// What JavaScript threw, which may be any value: an error as it is, and anything else as an `Error` whose
    /// message shows it.
    ///
    /// ```
    /// use js_value::{JsError, Value};
    /// let error = JsError::from_thrown(42.into());
    /// assert_eq!((error.name.as_str(), error.to_string().as_str()), ("Error", "42"));
    /// assert_eq!(error.into_thrown(), Value::from(42));
    /// ```
    pub fn from_thrown(value: Value) -> Self {
        match value {
            Value::Error(error) => *error,
            other => {
                let shown = Self::error(other.to_string());
                Self {
                    thrown: Some(Box::new(other)),
                    ..shown
                }
            }
        }
    }

    /// The value that JavaScript would catch: the error, unless something else was [thrown](Self::thrown).
    pub fn into_thrown(self) -> Value {
        match self.thrown {
            Some(value) => *value,
            None => Value::Error(Box::new(self)),
        }
    }

    /// An `Error`.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new("Error", message)
    }

    /// A `TypeError`.
    pub fn type_error(message: impl Into<String>) -> Self {
        Self::new("TypeError", message)
    }

    /// A `RangeError`.
    pub fn range_error(message: impl Into<String>) -> Self {
        Self::new("RangeError", message)
    }

    /// The same error with a `cause`.
    pub fn with_cause(mut self, cause: impl Into<Value>) -> Self {
        self.cause = Some(Box::new(cause.into()));
        self
    }

    /// The same error with one more own property.
    pub fn with_property(mut self, name: impl Into<JsString>, value: impl Into<Value>) -> Self {
        self.properties.insert(name, value);
        self
    }
}

/// As JavaScript's `Error.prototype.toString` prints it: `name: message`, or the one that is not
/// empty; what is no error as a console shows it. The alternate form, `{:#}`, shows own properties and the
/// cause as well, as a [`Value`] does: bounded, on one line.
impl fmt::Display for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = &self.thrown {
            return write!(f, "{value}");
        }
        if f.alternate() {
            return crate::inspect::error(f, self, 0);
        }
        match (self.name.as_str(), self.message.as_str()) {
            (name, "") => f.write_str(name),
            ("", message) => f.write_str(message),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

impl std::error::Error for JsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_thrown_comes_back() {
        let cases: Vec<(Value, &str)> = vec![
            (42.into(), "42"),
            ("text".into(), "text"),
            (Value::Null, "null"),
            (Value::Undefined, "undefined"),
            (Object::from([("a", 1)]).into(), "{ a: 1 }"),
            (JsError::type_error("x").into(), "TypeError: x"),
        ];
        for (value, shown) in cases {
            let error = JsError::from_thrown(value.clone());
            assert_eq!(error.to_string(), shown);
            assert_eq!(Value::from(error.clone()), value);
            let bytes = crate::encode(&error.clone().into_thrown()).unwrap();
            let back = crate::decode(&bytes, &crate::DecodeLimits::default()).unwrap();
            assert_eq!(JsError::from_thrown(back), error);
        }
    }

    #[test]
    fn the_alternate_form_shows_everything() {
        let mut error = JsError::new("AggregateError", "many").with_cause(1);
        error = error.with_property("errors", vec![Value::from(JsError::error("a")), 2.into()]);
        assert_eq!(error.to_string(), "AggregateError: many");
        let all = "AggregateError: many { errors: [ Error: a, 2 ] } [cause: 1]";
        assert_eq!(format!("{error:#}"), all);
        assert_eq!(Value::from(error).to_string(), all);
    }

    #[test]
    fn a_dom_exception_stays_one() {
        // As workerd 1.20261117.1 wrote it, with a shorter stack.
        let bytes = b"\xff\x0f\\\x08\x0aAbortError\x04stop\x03s:1";
        let value = crate::decode(bytes, &crate::DecodeLimits::default()).unwrap();
        assert_eq!(value.to_string(), "DOMException(AbortError): stop");
        let native = crate::EncodeOptions {
            errors: crate::ErrorForm::Native,
        };
        assert_eq!(crate::encode_with(&value, native).unwrap().bytes, bytes);
        for cut in 2..bytes.len() {
            assert!(crate::decode(&bytes[..cut], &crate::DecodeLimits::default()).is_err());
        }
    }
}
