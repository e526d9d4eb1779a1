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
    /// JavaScript's `name`: `Error`, `TypeError`, ..., or one of the program's own.
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
/// empty.
impl fmt::Display for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.message.as_str()) {
            (name, "") => f.write_str(name),
            ("", message) => f.write_str(message),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

impl std::error::Error for JsError {}
