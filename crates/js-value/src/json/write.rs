//! Value -> JSON.

use super::http::{write_blob, write_headers, write_request, write_response};
use super::{JsonError, MAX_DEPTH, is_reserved};
use crate::value::safe_integer;
use crate::{Boxed, JsError, JsString, Object, SparseArray, Value, View, ViewKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use serde_json::{Map, Number, Value as Json, json};

type Written<T = Json> = Result<T, JsonError>;

impl Value {
    /// The value as JSON, by the [table](crate#json).
    ///
    /// ```
    /// use js_value::Value;
    /// assert_eq!(Value::Date(0.0).to_json()?.to_string(), r#"{"$date":"1970-01-01T00:00:00.000Z"}"#);
    /// # Ok::<(), js_value::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// For a value that contains itself or is too large or deep when its shared objects are written
    /// out, and for names of properties with lone surrogates.
    pub fn to_json(&self) -> Result<Json, JsonError> {
        if self.has_references() {
            write(&self.expanded()?, 0)
        } else {
            write(self, 0)
        }
    }
}

/// As [`Value::to_json`].
///
/// # Errors
/// As [`Value::to_json`].
pub fn to_json(value: &Value) -> Result<Json, JsonError> {
    value.to_json()
}

pub(super) fn write(value: &Value, depth: usize) -> Written {
    if depth > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    // A function for each kind keeps the frames of deep recursion small.
    let depth = depth + 1;
    match value {
        Value::Array(elements) => array(elements, depth),
        Value::Object(object) => plain_object(object, depth),
        Value::Map(entries) => map(entries, depth),
        Value::Set(elements) => set(elements, depth),
        Value::SparseArray(array) => sparse_array(array, depth),
        Value::Error(error) => self::error(error, depth),
        Value::Request(request) => write_request(request, depth),
        Value::Response(response) => write_response(response, depth),
        _ => leaf(value),
    }
}

/// What contains no other values.
fn leaf(value: &Value) -> Written {
    Ok(match value {
        Value::Undefined => json!({"$undefined": true}),
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number) => self::number(*number),
        Value::String(text) => string(text),
        Value::BigInt(number) => bigint(number),
        Value::Date(ms) => json!({"$date": crate::date::to_iso(*ms)}),
        Value::ArrayBuffer(bytes) => json!({"$buffer": STANDARD.encode(bytes)}),
        Value::View(view) => self::view(view),
        Value::Stub(n) => json!({"$stub": n}),
        Value::ReadableStream(n) => json!({"$readable": n}),
        Value::WritableStream(n) => json!({"$writable": n}),
        Value::Headers(headers) => worded("$headers", write_headers(headers)),
        Value::Blob(blob) => write_blob(blob),
        Value::Boxed(boxed) => json!({"$boxed": self::boxed(boxed)}),
        Value::RegExp(regexp) => json!({"$regexp": {
            "source": string(&regexp.source),
            "flags": regexp.flags.to_string(),
        }}),
        // Expanded before; what remains could only be dangling.
        Value::BackRef(n) => return Err(crate::ExpandError::Dangling(*n).into()),
        _ => Json::Null,
    })
}

/// `{word: content}`.
pub(super) fn worded(word: &str, content: Json) -> Json {
    Json::Object(Map::from_iter([(word.to_owned(), content)]))
}

fn array(elements: &[Value], depth: usize) -> Written {
    let mut list = Vec::with_capacity(elements.len());
    for element in elements {
        list.push(write(element, depth)?);
    }
    Ok(Json::Array(list))
}

fn set(elements: &[Value], depth: usize) -> Written {
    Ok(worded("$set", array(elements, depth)?))
}

fn map(entries: &[(Value, Value)], depth: usize) -> Written {
    let mut pairs = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let pair = vec![write(key, depth)?, write(value, depth)?];
        pairs.push(Json::Array(pair));
    }
    Ok(worded("$map", Json::Array(pairs)))
}

/// An object whose only name is like one of our words gets a `$` more.
fn plain_object(object: &Object, depth: usize) -> Written {
    let mut written = properties(object, depth)?;
    if written.len() == 1 && written.keys().all(|name| is_reserved(name)) {
        written = written
            .into_iter()
            .map(|(name, value)| (format!("${name}"), value))
            .collect();
    }
    Ok(Json::Object(written))
}

pub(super) fn properties(object: &Object, depth: usize) -> Written<Map<String, Json>> {
    let mut written = Map::with_capacity(object.len());
    for (name, value) in object {
        let name = name.as_str().ok_or(JsonError::IllFormedName)?;
        written.insert(name.to_owned(), write(value, depth)?);
    }
    Ok(written)
}

fn sparse_array(array: &SparseArray, depth: usize) -> Written {
    let mut elements = Map::new();
    for (index, value) in array.elements() {
        elements.insert(index.to_string(), write(value, depth)?);
    }
    let properties = properties(&array.properties, depth)?;
    let mut content = Map::new();
    content.insert("length".to_owned(), array.length().into());
    content.insert("elements".to_owned(), elements.into());
    if !properties.is_empty() {
        content.insert("properties".to_owned(), properties.into());
    }
    Ok(worded("$array", content.into()))
}

fn error(error: &JsError, depth: usize) -> Written {
    let cause = match &error.cause {
        Some(cause) => Some(write(cause, depth)?),
        None => None,
    };
    let properties = properties(&error.properties, depth)?;
    let mut content = Map::new();
    content.insert("name".to_owned(), error.name.as_str().into());
    content.insert("message".to_owned(), error.message.as_str().into());
    if let Some(stack) = &error.stack {
        content.insert("stack".to_owned(), stack.as_str().into());
    }
    if let Some(cause) = cause {
        content.insert("cause".to_owned(), cause);
    }
    if !properties.is_empty() {
        content.insert("properties".to_owned(), properties.into());
    }
    Ok(worded("$error", content.into()))
}

fn view(view: &View) -> Json {
    let bytes = STANDARD.encode(view.bytes().unwrap_or_default());
    match view.kind {
        ViewKind::Uint8Array => json!({"$bytes": bytes}),
        kind => json!({"$view": {"kind": kind.name(), "bytes": bytes}}),
    }
}

fn boxed(boxed: &Boxed) -> Json {
    match boxed {
        Boxed::Bool(flag) => json!(flag),
        Boxed::Number(n) => number(*n),
        Boxed::BigInt(n) => bigint(n),
        Boxed::String(text) => string(text),
    }
}

fn string(text: &JsString) -> Json {
    match (text.as_str(), text.as_ill_formed()) {
        (Some(text), _) => json!(text),
        (None, units) => json!({"$text": units}),
    }
}

fn number(number: f64) -> Json {
    if let Some(integer) = exact_integer(number) {
        return Json::Number(integer);
    }
    match Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None => json!({"$number": crate::inspect::number(number)}),
    }
}

/// The number as a JSON integer, if it is one of 64 bits.
fn exact_integer(number: f64) -> Option<Number> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if number == 0.0 && number.is_sign_negative() {
        return None;
    }
    if let Some(integer) = safe_integer(number) {
        return Some(integer.into());
    }
    if number.fract() != 0.0 {
        return None;
    }
    match number {
        n if (-TWO_63..TWO_63).contains(&n) => Some((n as i64).into()),
        n if (TWO_63..2.0 * TWO_63).contains(&n) => Some((n as u64).into()),
        _ => None,
    }
}

/// A BigInt of 64 bits that no number equals is a JSON integer; such integers are read as BigInts.
fn bigint(number: &BigInt) -> Json {
    if let Ok(n) = i64::try_from(number)
        && n as f64 as i128 != i128::from(n)
    {
        return n.into();
    }
    if let Ok(n) = u64::try_from(number)
        && n as f64 as u128 != u128::from(n)
    {
        return n.into();
    }
    json!({"$bigint": number.to_string()})
}
