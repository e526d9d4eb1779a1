//! Arguments of calls, as JavaScript has them.

use js_value::{Value as JsValue, View, ViewKind};
use serde_json::{Map, Value};

use super::json::{bad, nearest_to, unread, with_options};
use super::values::Values;
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::operation::Operation;
use crate::vectorize::options::Limits;
use crate::vectorize::request::{check_batch_size, not_finite};
use crate::vectorize::vector::{Nearest, Query, Vector};

/// The first two arguments, with what they share written out.
pub(in crate::vectorize) fn arguments(
    values: Vec<JsValue>,
) -> Result<[JsValue; 2], VectorizeError> {
    let mut values = values
        .into_iter()
        .map(|value| match value.has_references() {
            false => Ok(value),
            true => value.expanded(),
        });
    let mut next = || match values.next().transpose() {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) => bad(&format!("an argument cannot be written out: {error}")),
    };
    Ok([next()?, next()?])
}

/// Reads the argument of `insert` and `upsert`: a list of vectors.
pub(in crate::vectorize) fn batch_of(
    vectors: JsValue,
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    let JsValue::Array(vectors) = vectors else {
        return Err(unread(operation, "the argument is not a list of vectors"));
    };
    check_batch_size(vectors.len(), limits)?;
    let each = vectors.into_iter().enumerate();
    each.map(|(at, one)| vector(one, at, operation, dimensions))
        .collect()
}

fn vector(
    vector: JsValue,
    at: usize,
    operation: Operation,
    dimensions: usize,
) -> Result<Vector, VectorizeError> {
    let place =
        |member: &str, what: &str| unread(operation, &format!("vectors[{at}]{member} {what}"));
    let JsValue::Object(vector) = vector else {
        return Err(place("", "is not an object with the members id and values"));
    };
    let Some(id) = vector.get("id").and_then(text) else {
        return Err(place(".id", "is not a text"));
    };
    let values = vector
        .get("values")
        .and_then(|values| numbers(values, dimensions));
    let values = values.ok_or_else(|| {
        place(
            ".values",
            "is not a list of numbers, Float32Array or Float64Array",
        )
    })?;
    if values.count != dimensions {
        let text = format!(
            "invalid vector for id={id:?}, expected {dimensions} dimensions, and got {} dimensions",
            values.count
        );
        return Err(VectorizeError::new(Code::Vector, text));
    }
    if let Some(value) = values.not_finite {
        return Err(not_finite(at, value));
    }
    let namespace = match given(vector.get("namespace")) {
        None => None,
        Some(value) => Some(text(value).ok_or_else(|| place(".namespace", "is not a text"))?),
    };
    let metadata = match given(vector.get("metadata")) {
        None => None,
        Some(value) => match json(value) {
            Some(Value::Object(metadata)) => Some(metadata),
            _ => {
                return Err(place(
                    ".metadata",
                    "is not an object of texts, numbers, booleans, lists and objects",
                ));
            }
        },
    };
    Ok(Vector {
        id,
        values: values.kept,
        namespace,
        metadata,
    })
}

fn given(value: Option<&JsValue>) -> Option<&JsValue> {
    value.filter(|value| !matches!(value, JsValue::Undefined | JsValue::Null))
}

fn text(value: &JsValue) -> Option<String> {
    match value {
        JsValue::String(text) => text.as_str().map(str::to_owned),
        _ => None,
    }
}

/// The numbers of a list or a typed array.
fn numbers(value: &JsValue, most: usize) -> Option<Values> {
    let mut values = Values::default();
    match value {
        JsValue::Array(list) => {
            for value in list {
                let number = match value {
                    JsValue::Number(number) => Some(*number),
                    JsValue::Null => None,
                    _ => return None,
                };
                values.push(number, most);
            }
        }
        JsValue::View(view) => typed(view, &mut values, most)?,
        _ => return None,
    }
    Some(values)
}

fn typed(view: &View, values: &mut Values, most: usize) -> Option<()> {
    let bytes = view.bytes()?;
    macro_rules! each {
        ($type:ty) => {{
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
            for chunk in chunks {
                values.push(Some(f64::from(<$type>::from_le_bytes(*chunk))), most);
            }
        }};
    }
    match view.kind {
        ViewKind::Float32Array => each!(f32),
        ViewKind::Float64Array => each!(f64),
        ViewKind::Int8Array => each!(i8),
        ViewKind::Uint8Array | ViewKind::Uint8ClampedArray => each!(u8),
        ViewKind::Int16Array => each!(i16),
        ViewKind::Uint16Array => each!(u16),
        ViewKind::Int32Array => each!(i32),
        ViewKind::Uint32Array => each!(u32),
        ViewKind::Float16Array
        | ViewKind::BigInt64Array
        | ViewKind::BigUint64Array
        | ViewKind::DataView => return None,
    }
    Some(())
}

/// A value as `JSON.stringify` writes it: members that are undefined left out, dates as texts. `None` for what JSON does not
/// have: numbers that are not finite, BigInts, bytes, stubs.
fn json(value: &JsValue) -> Option<Value> {
    Some(match value {
        JsValue::Null => Value::Null,
        JsValue::Bool(value) => Value::Bool(*value),
        JsValue::String(text) => Value::String(text.as_str()?.to_owned()),
        JsValue::Number(value) => number(*value)?,
        JsValue::Date(_) => js_value::to_json(value).ok()?.get("$date")?.clone(),
        JsValue::Array(list) => {
            let list: Option<Vec<Value>> = list.iter().map(json).collect();
            Value::Array(list?)
        }
        JsValue::Object(object) => {
            let mut members = Map::new();
            for (key, value) in object {
                if !matches!(value, JsValue::Undefined) {
                    members.insert(key.as_str()?.to_owned(), json(value)?);
                }
            }
            Value::Object(members)
        }
        _ => return None,
    })
}

fn number(value: f64) -> Option<Value> {
    const SAFE: f64 = 9_007_199_254_740_992.0;
    match value.fract() == 0.0 && value.abs() <= SAFE {
        true => Some(Value::from(value as i64)),
        false => serde_json::Number::from_f64(value).map(Value::Number),
    }
}

/// Reads the argument of `getByIds` and `deleteByIds`: a list of texts.
pub(in crate::vectorize) fn ids_of(ids: &JsValue) -> Result<Vec<String>, VectorizeError> {
    let ids: Option<Vec<String>> = match ids {
        JsValue::Array(ids) => ids.iter().map(text).collect(),
        _ => None,
    };
    match ids {
        Some(ids) => Ok(ids),
        None => bad("ids: expected a list of texts"),
    }
}

/// Reads the arguments of `query`, or of `queryById`.
pub(in crate::vectorize) fn query_of(
    nearest: &JsValue,
    options: &JsValue,
    by_id: bool,
    dimensions: usize,
    limits: &Limits,
    first_version: bool,
) -> Result<Query, VectorizeError> {
    let nearest = match by_id {
        true => match text(nearest) {
            Some(id) => Nearest::ToId(id),
            None => return bad("vectorId: expected a text"),
        },
        false => match numbers(nearest, dimensions) {
            Some(values) => nearest_to(values, dimensions)?,
            None => return bad("vector: expected a list of numbers, Float32Array or Float64Array"),
        },
    };
    let options = match given(Some(options)) {
        None => Map::new(),
        Some(options) => match json(options) {
            Some(Value::Object(options)) => options,
            _ => return bad("the options: expected an object"),
        },
    };
    with_options(nearest, &options, limits, first_version)
}
