//! JSON -> value.

use super::http::{read_blob, read_headers, read_request, read_response};
use super::{JsonError, MAX_DEPTH, WORDS, is_reserved};
use crate::{Boxed, JsError, JsString, Object, RegExp, SparseArray, Value, View, ViewKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use serde_json::{Map, Number, Value as Json};

type Read<T = Value> = Result<T, JsonError>;

impl Value {
    /// The value that JSON stands for, by the [table](crate#json).
    ///
    /// ```
    /// use js_value::Value;
    /// let value = Value::from_json(serde_json::json!({"at": {"$date": "1970-01-01"}}))?;
    /// assert_eq!(value.get("at"), Some(&Value::Date(0.0)));
    /// # Ok::<(), js_value::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// When one of the table's words has a content that it cannot have.
    pub fn from_json(json: Json) -> Result<Value, JsonError> {
        read(json, 0)
    }
}

pub(super) fn read(json: Json, depth: usize) -> Read {
    if depth > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    let depth = depth + 1;
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(flag),
        Json::Number(number) => self::number(&number),
        Json::String(text) => Value::from(text),
        Json::Array(elements) => Value::Array(list(elements, depth)?),
        Json::Object(object) if object.len() == 1 => single(object, depth)?,
        Json::Object(object) => Value::Object(properties(object, depth)?),
    })
}

fn list(elements: Vec<Json>, depth: usize) -> Read<Vec<Value>> {
    elements
        .into_iter()
        .map(|element| read(element, depth))
        .collect()
}

fn properties(object: Map<String, Json>, depth: usize) -> Read<Object> {
    let mut pairs = Vec::with_capacity(object.len());
    for (name, value) in object {
        pairs.push((name.into(), read(value, depth)?));
    }
    Ok(Object::from_pairs(pairs).0)
}

/// An object with one property: ours if its name is one of our words, else plain.
fn single(object: Map<String, Json>, depth: usize) -> Read {
    let Some((mut name, content)) = object.into_iter().next() else {
        return Ok(Value::Object(Object::new()));
    };
    if WORDS.contains(&name.as_str()) {
        return word(&name, content, depth);
    }
    if is_reserved(&name) {
        name.remove(0);
    }
    let mut object = Object::with_capacity(1);
    object.insert(name, read(content, depth)?);
    Ok(Value::Object(object))
}

fn word(word: &str, content: Json, depth: usize) -> Read {
    let (value, wanted) = match word {
        "$undefined" => (
            (content == Json::Bool(true)).then_some(Value::Undefined),
            "true",
        ),
        "$number" => (
            content.as_str().and_then(special_number).map(Value::Number),
            "\"NaN\", \"Infinity\", \"-Infinity\" or \"-0\"",
        ),
        "$bigint" => (
            content.as_str().and_then(bigint).map(Value::BigInt),
            "decimal digits in a string",
        ),
        "$date" => (date(&content), "an ISO 8601 date in a string, or null"),
        "$bytes" => (
            base64(&content).map(|bytes| View::uint8(bytes).into()),
            "base64 in a string",
        ),
        "$buffer" => (
            base64(&content).map(Value::ArrayBuffer),
            "base64 in a string",
        ),
        "$view" => (
            view(&content),
            "{\"kind\":\"Float64Array\",\"bytes\":base64}",
        ),
        "$map" => (map(content, depth)?, "a list of [key, value]"),
        "$set" => (set(content, depth)?, "a list"),
        "$array" => (
            sparse_array(content, depth)?,
            "{\"length\":n,\"elements\":{index: value}}",
        ),
        "$regexp" => (regexp(&content), "{\"source\":\"..\",\"flags\":\"..\"}"),
        "$error" => (
            error(content, depth)?,
            "{\"name\":\"..\",\"message\":\"..\"}",
        ),
        "$stub" => (external(&content, Value::Stub), NUMBER),
        "$readable" => (external(&content, Value::ReadableStream), NUMBER),
        "$writable" => (external(&content, Value::WritableStream), NUMBER),
        "$headers" => (
            read_headers(&content).map(Value::from),
            "a list of [name, value] that are headers",
        ),
        "$request" => (
            read_request(content, depth)?,
            "{\"method\":\"..\",\"url\":\"..\",\"headers\":[[name, value]],\"body\":{\"$readable\":n}}",
        ),
        "$response" => (
            read_response(content, depth)?,
            "{\"status\":n,\"headers\":[[name, value]],\"body\":{\"$readable\":n}}",
        ),
        "$blob" => (read_blob(&content), "{\"type\":\"..\",\"bytes\":base64}"),
        "$boxed" => (
            boxed(read(content, depth)?),
            "a boolean, number, BigInt or string",
        ),
        _ => (
            text(&content).map(Value::String),
            "a list of UTF-16 code units",
        ),
    };
    value.ok_or(JsonError::Malformed {
        word: word.to_owned(),
        wanted,
    })
}

const NUMBER: &str = "the number of an external";

fn external(content: &Json, make: fn(u32) -> Value) -> Option<Value> {
    u32::try_from(content.as_u64()?).ok().map(make)
}

/// An integer that no double holds exactly is a BigInt, so that nothing is lost.
fn number(number: &Number) -> Value {
    if let Some(n) = number.as_i64() {
        if n as f64 as i128 != i128::from(n) {
            return Value::BigInt(n.into());
        }
    } else if let Some(n) = number.as_u64()
        && n as f64 as u128 != u128::from(n)
    {
        return Value::BigInt(n.into());
    }
    Value::Number(number.as_f64().unwrap_or(f64::NAN))
}

fn special_number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "-0" => Some(-0.0),
        _ => None,
    }
}

/// Decimal digits, as many as can be read quickly: reading takes quadratic time.
fn bigint(text: &str) -> Option<BigInt> {
    const MAX_DIGITS: usize = 20_000;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.len() <= MAX_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn date(content: &Json) -> Option<Value> {
    match content {
        Json::Null => Some(Value::Date(f64::NAN)),
        Json::String(text) => crate::date::from_iso(text).map(Value::Date),
        _ => None,
    }
}

fn base64(content: &Json) -> Option<Vec<u8>> {
    STANDARD.decode(content.as_str()?).ok()
}

fn view(content: &Json) -> Option<Value> {
    let kind = ViewKind::from_name(content.get("kind")?.as_str()?)?;
    let bytes = base64(content.get("bytes")?)?;
    let fits = bytes.len().is_multiple_of(kind.element_size());
    fits.then(|| View::new(kind, bytes).into())
}

fn map(content: Json, depth: usize) -> Read<Option<Value>> {
    let Json::Array(pairs) = content else {
        return Ok(None);
    };
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let Json::Array(pair) = pair else {
            return Ok(None);
        };
        let Ok([key, value]) = <[Json; 2]>::try_from(pair) else {
            return Ok(None);
        };
        entries.push((read(key, depth)?, read(value, depth)?));
    }
    Ok(Some(Value::Map(entries)))
}

fn set(content: Json, depth: usize) -> Read<Option<Value>> {
    match content {
        Json::Array(elements) => Ok(Some(Value::Set(list(elements, depth)?))),
        _ => Ok(None),
    }
}

fn sparse_array(mut content: Json, depth: usize) -> Read<Option<Value>> {
    let length = content.get("length").and_then(Json::as_u64);
    let Some(length) = length.and_then(|length| u32::try_from(length).ok()) else {
        return Ok(None);
    };
    let Some(Json::Object(listed)) = content.get_mut("elements").map(Json::take) else {
        return Ok(None);
    };
    let mut elements = Vec::with_capacity(listed.len());
    for (index, value) in listed {
        match index.parse() {
            Ok(index) if index < length => elements.push((index, read(value, depth)?)),
            _ => return Ok(None),
        }
    }
    let properties = optional_properties(&mut content, "properties", depth)?;
    Ok(Some(
        SparseArray::from_parts(length, elements, properties)
            .0
            .into_value(),
    ))
}

pub(super) fn optional_properties(content: &mut Json, name: &str, depth: usize) -> Read<Object> {
    match content.get_mut(name).map(Json::take) {
        Some(Json::Object(object)) => properties(object, depth),
        _ => Ok(Object::new()),
    }
}

fn regexp(content: &Json) -> Option<Value> {
    let source = match content.get("source")? {
        Json::String(source) => source.as_str().into(),
        other => text(other.get("$text")?)?,
    };
    let flags = content.get("flags")?.as_str()?.parse().ok()?;
    Some(RegExp { source, flags }.into())
}

fn error(mut content: Json, depth: usize) -> Read<Option<Value>> {
    // An error's texts are well formed here.
    let field = |name| match content.get(name)? {
        Json::String(plain) => Some(plain.clone()),
        other => Some(text(other.get("$text")?)?.into_string_lossy()),
    };
    let (Some(name), Some(message)) = (field("name"), field("message")) else {
        return Ok(None);
    };
    let mut error = JsError::new(name, message);
    error.stack = field("stack");
    if let Some(cause) = content.get_mut("cause") {
        error.cause = Some(Box::new(read(cause.take(), depth)?));
    }
    error.properties = optional_properties(&mut content, "properties", depth)?;
    Ok(Some(error.into()))
}

fn boxed(value: Value) -> Option<Value> {
    let boxed = match value {
        Value::Bool(flag) => Boxed::Bool(flag),
        Value::Number(number) => Boxed::Number(number),
        Value::BigInt(number) => Boxed::BigInt(number),
        Value::String(text) => Boxed::String(text),
        _ => return None,
    };
    Some(Value::Boxed(Box::new(boxed)))
}

fn text(content: &Json) -> Option<JsString> {
    let units: Option<Vec<u16>> = content
        .as_array()?
        .iter()
        .map(|unit| u16::try_from(unit.as_u64()?).ok())
        .collect();
    Some(JsString::from_utf16(&units?))
}
