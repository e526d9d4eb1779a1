//! `query`'s argument, from JavaScript.
//!
//! `{queries: [{sql, params?}], bookmark?}`, as workerd's `d1-api.ts` sends it. That wrapper has already
//! turned booleans into 1 and 0 and bytes into arrays of numbers; who calls `query` without it may send
//! booleans, `ArrayBuffer`s and typed arrays as they are.

use std::borrow::Cow;

use js_value::{ExpandError, JsError, JsString, Object, Value};

use super::params::Param;
use super::request::{Query, QueryRequest};

/// The argument is not what `query` takes. A `TypeError` for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Something has the wrong type.
    #[error(
        "query: {place} must be {expected}, not {found}; call query({{queries: [{{sql, params?}}], bookmark?}})"
    )]
    Shape {
        /// Where, for instance `queries[0].sql`.
        place: String,
        /// What belongs there.
        expected: &'static str,
        /// What is there: JavaScript's word for it.
        found: &'static str,
    },
    /// A parameter of a type that SQLite has no place for. D1's words, and where.
    #[error(
        "D1_TYPE_ERROR: Type '{kind}' not supported for value '{value}' (queries[{query}].params[{param}])"
    )]
    Param {
        /// JavaScript's `typeof`.
        kind: &'static str,
        /// The value as JavaScript prints it, shortened to its class where that says enough.
        value: String,
        /// Which statement, from 0.
        query: usize,
        /// Which of its parameters, from 0.
        param: usize,
    },
    /// The body of a plain HTTP request is not the JSON that D1 takes.
    #[error("The body cannot be read: {0}; send {{sql, params?}} or an array of them, as JSON")]
    Json(String),
    /// The same, with D1's words: a parameter of a type that SQLite has no place for.
    #[error("D1_TYPE_ERROR: Type 'object' not supported for value '{value}' ({place})")]
    JsonParam {
        /// What it is.
        value: &'static str,
        /// Where, for instance `[0].params[1]`.
        place: String,
    },
    /// The argument shares or contains itself beyond measure.
    #[error("query: the argument cannot be read: {0}")]
    Expand(#[from] ExpandError),
}

impl From<RequestError> for JsError {
    fn from(error: RequestError) -> Self {
        Self::type_error(error.to_string())
    }
}

impl QueryRequest {
    /// Reads the argument of `query`. Properties that are not known are ignored.
    ///
    /// ```
    /// use bindings::d1::{Param, QueryRequest};
    /// use js_value::{Object, Value};
    ///
    /// let query = Object::from([("sql", Value::from("select ?1")), ("params", Value::from(vec![41]))]);
    /// let argument = Value::from(Object::from([("queries", Value::from(vec![query]))]));
    /// let request = QueryRequest::from_value(&argument)?;
    /// assert_eq!(request.queries[0].params, [Param::Number(41.0)]);
    ///
    /// let error = QueryRequest::from_value(&Value::from("select 1")).unwrap_err();
    /// assert!(error.to_string().starts_with("query: the argument must be an object, not string"));
    /// # Ok::<(), bindings::d1::RequestError>(())
    /// ```
    ///
    /// # Errors
    /// [`RequestError`] says what, where, and what is expected.
    pub fn from_value(argument: &Value) -> Result<Self, RequestError> {
        // The same prepared statement twice in a batch shares its array of parameters.
        let argument = if argument.has_references() {
            Cow::Owned(argument.expanded()?)
        } else {
            Cow::Borrowed(argument)
        };
        let object = object(&argument, || "the argument".to_owned())?;
        let queries = array(object.get("queries"), || "queries".to_owned())?
            .iter()
            .enumerate()
            .map(|(index, value)| query(index, value))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            queries,
            bookmark: bookmark(object)?,
        })
    }
}

fn bookmark(object: &Object) -> Result<Option<String>, RequestError> {
    match object.get("bookmark") {
        None | Some(Value::Undefined | Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.to_string_lossy().into_owned())),
        Some(other) => Err(shape("bookmark".to_owned(), "a string", Some(other))),
    }
}

fn query(index: usize, value: &Value) -> Result<Query, RequestError> {
    let object = object(value, || format!("queries[{index}]"))?;
    let sql = match object.get("sql") {
        Some(Value::String(text)) => text.to_string_lossy().into_owned(),
        other => return Err(shape(format!("queries[{index}].sql"), "a string", other)),
    };
    let params = match object.get("params") {
        None | Some(Value::Undefined | Value::Null) => Vec::new(),
        given => array(given, || format!("queries[{index}].params"))?
            .iter()
            .enumerate()
            .map(|(at, value)| param(value).ok_or_else(|| unsupported(value, index, at)))
            .collect::<Result<_, _>>()?,
    };
    Ok(Query { sql, params })
}

/// The parameter, if it is of a type that D1 takes.
fn param(value: &Value) -> Option<Param> {
    Some(match value {
        Value::Null => Param::Null,
        Value::Bool(value) => Param::Bool(*value),
        Value::Number(value) => Param::Number(*value),
        // Ours: D1 refuses each. In JSON it is an integer that no double holds exactly.
        Value::BigInt(value) => Param::Integer(i64::try_from(value).ok()?),
        // A lone surrogate has no UTF-8 form: it becomes U+FFFD, as in workerd.
        Value::String(text) => Param::Text(JsString::to_string_lossy(text).into_owned()),
        Value::Array(elements) => Param::Blob(elements.iter().map(byte).collect::<Option<_>>()?),
        Value::ArrayBuffer(_) | Value::View(_) => Param::Blob(value.as_bytes()?.to_vec()),
        _ => return None,
    })
}

fn byte(value: &Value) -> Option<u8> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && (0.0..256.0).contains(&number)).then_some(number as u8)
}

fn unsupported(value: &Value, query: usize, param: usize) -> RequestError {
    let (kind, shown) = match value {
        Value::Undefined => ("undefined", "undefined".to_owned()),
        Value::BigInt(number) => {
            let number = short(&number.to_string());
            ("bigint", format!("{number}: an INTEGER has 64 bits"))
        }
        Value::Array(_) | Value::SparseArray(_) => {
            ("object", "an array that is not of bytes".to_owned())
        }
        Value::Stub(_) => ("function", "a stub".to_owned()),
        other => ("object", format!("[object {}]", class(other))),
    };
    RequestError::Param {
        kind,
        value: shown,
        query,
        param,
    }
}

fn class(value: &Value) -> &'static str {
    match value.type_name() {
        "object" => "Object",
        name => name,
    }
}

/// The beginning of a peer's text, at a length that fits a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn object(value: &Value, place: impl FnOnce() -> String) -> Result<&Object, RequestError> {
    value
        .as_object()
        .ok_or_else(|| shape(place(), "an object", Some(value)))
}

fn array(value: Option<&Value>, place: impl FnOnce() -> String) -> Result<&[Value], RequestError> {
    value
        .and_then(Value::as_array)
        .ok_or_else(|| shape(place(), "an array without holes", value))
}

fn shape(place: String, expected: &'static str, found: Option<&Value>) -> RequestError {
    RequestError::Shape {
        place,
        expected,
        found: found.unwrap_or(&Value::Undefined).type_name(),
    }
}

#[cfg(test)]
mod tests {
    use js_value::View;

    use super::*;

    fn request(queries: impl Into<Value>) -> Value {
        Value::from(Object::from([("queries", queries.into())]))
    }

    fn with_params(params: Vec<Value>) -> Value {
        let query = Object::from([
            ("sql", Value::from("select ?")),
            ("params", Value::Array(params)),
        ]);
        request(vec![query])
    }

    #[test]
    fn each_type_that_d1_binds_has_its_parameter() {
        let cases = [
            (Value::Null, Param::Null),
            (Value::Bool(true), Param::Bool(true)),
            (Value::Number(1.5), Param::Number(1.5)),
            (
                Value::BigInt(9_007_199_254_740_993_i64.into()),
                Param::Integer(9_007_199_254_740_993),
            ),
            (Value::BigInt(i64::MIN.into()), Param::Integer(i64::MIN)),
            (Value::BigInt(i64::MAX.into()), Param::Integer(i64::MAX)),
            (Value::from("x"), Param::from("x")),
            (
                Value::String(JsString::from_utf16(&[0xd800])),
                Param::from("\u{fffd}"),
            ),
            (Value::from(vec![0, 255]), Param::Blob(vec![0, 255])),
            (Value::Array(vec![]), Param::Blob(vec![])),
            (Value::ArrayBuffer(vec![1]), Param::Blob(vec![1])),
            (
                Value::View(Box::new(View::uint8([2]))),
                Param::Blob(vec![2]),
            ),
        ];
        for (value, expected) in cases {
            let request = QueryRequest::from_value(&with_params(vec![value.clone()])).unwrap();
            assert_eq!(request.queries[0].params, [expected], "{value:?}");
        }
    }

    #[test]
    fn other_types_are_refused_in_d1s_words_with_their_place() {
        let cases = [
            (
                Value::Undefined,
                "Type 'undefined' not supported for value 'undefined'",
            ),
            (
                Value::BigInt((i128::from(i64::MAX) + 1).into()),
                "Type 'bigint' not supported for value '9223372036854775808: an INTEGER has 64 bits'",
            ),
            (
                Value::from(Object::new()),
                "Type 'object' not supported for value '[object Object]'",
            ),
            (
                Value::Date(0.0),
                "Type 'object' not supported for value '[object Date]'",
            ),
            (
                Value::from(vec![256]),
                "Type 'object' not supported for value 'an array that is not of bytes'",
            ),
            (
                Value::from(vec![1.5]),
                "Type 'object' not supported for value 'an array that is not of bytes'",
            ),
        ];
        for (value, expected) in cases {
            let error =
                QueryRequest::from_value(&with_params(vec![Value::Null, value])).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("D1_TYPE_ERROR: {expected} (queries[0].params[1])")
            );
        }
    }

    #[test]
    fn a_wrong_shape_is_named_by_its_place() {
        let query = |sql: Value| Value::from(Object::from([("sql", sql)]));
        let cases = [
            (
                Value::Undefined,
                "the argument must be an object, not undefined",
            ),
            (
                Value::from(Object::new()),
                "queries must be an array without holes, not undefined",
            ),
            (
                request("select 1"),
                "queries must be an array without holes, not string",
            ),
            (
                request(vec!["select 1"]),
                "queries[0] must be an object, not string",
            ),
            (
                request(vec![query("x".into()), query(Value::Number(1.0))]),
                "queries[1].sql must be a string, not number",
            ),
            (
                request(vec![Object::from([
                    ("sql", Value::from("")),
                    ("params", Value::Number(1.0)),
                ])]),
                "queries[0].params must be an array without holes, not number",
            ),
            (
                Value::from(Object::from([
                    ("queries", Value::Array(vec![])),
                    ("bookmark", Value::Number(1.0)),
                ])),
                "bookmark must be a string, not number",
            ),
        ];
        for (argument, expected) in cases {
            let error = QueryRequest::from_value(&argument).unwrap_err().to_string();
            assert!(error.starts_with(&format!("query: {expected};")), "{error}");
        }
    }

    #[test]
    fn statements_may_share_their_parameters() {
        // The argument is object 0, `queries` 1, the first query 2, its `params` 3.
        let query =
            |params: Value| Object::from([("sql", Value::from("select ?")), ("params", params)]);
        let argument = request(vec![query(Value::from(vec![7])), query(Value::BackRef(3))]);
        let request = QueryRequest::from_value(&argument).unwrap();
        assert_eq!(request.queries[1].params, [Param::Number(7.0)]);
    }

    #[test]
    fn an_argument_that_contains_itself_is_refused() {
        let argument = request(vec![Value::BackRef(0)]);
        assert!(QueryRequest::from_value(&argument).is_err());
    }
}
