//! Arguments of calls, as JavaScript has them. What is shared within an argument is read where it stands: a reference is
//! followed, and nothing is copied but what is kept.

use js_value::{Objects, Value as JsValue, View, ViewKind};
use serde_json::{Map, Value};

use super::query::{OPTIONS, first_by_id, nearest_to, with_options};
use super::values::Values;
use super::{bad, filter_too_long, metadata_too_long, unread};
use crate::vectorize::error::VectorizeError;
use crate::vectorize::operation::Operation;
use crate::vectorize::options::Limits;
use crate::vectorize::request::{
    check_batch, check_batch_size, check_dimensions, check_id, check_id_count, check_vector,
    not_finite,
};
use crate::vectorize::vector::{Nearest, Query, Vector};

/// How deep objects and lists may be nested to be read; a limit on metadata is lower.
const MAX_DEPTH: usize = 64;

/// How many times more than compact JSON has bytes values may take, which count eight bytes each and their texts.
const COUNTED: usize = 16;

const MISSING: JsValue = JsValue::Undefined;

/// The first two arguments of a call.
pub(in crate::vectorize) struct Arguments<'a>([Argument<'a>; 2]);

struct Argument<'a> {
    value: &'a JsValue,
    objects: Objects<'a>,
}

impl<'a> Arguments<'a> {
    pub(in crate::vectorize) fn new(values: &'a [JsValue]) -> Self {
        Self([0, 1].map(|at| {
            let value = values.get(at).unwrap_or(&MISSING);
            let objects = Objects::of(value);
            Argument { value, objects }
        }))
    }
}

/// Why a value is not read as JSON.
enum NoJson {
    /// There is something in it that JSON does not have, or it contains itself.
    Type,
    /// It is larger than anything that is taken.
    TooLarge,
}

impl<'a> Argument<'a> {
    /// What a reference leads to; nothing for one that leads nowhere.
    fn resolve(&self, value: &'a JsValue) -> &'a JsValue {
        self.objects.resolve(value).unwrap_or(&MISSING)
    }

    /// A member that is there, neither undefined nor null.
    fn member(&self, object: &'a js_value::Object, key: &str) -> Option<&'a JsValue> {
        let value = self.resolve(object.get(key)?);
        (!matches!(value, JsValue::Undefined | JsValue::Null)).then_some(value)
    }

    /// The numbers of a list or a typed array.
    ///
    /// # Errors
    /// Which element is no number; none if it has another type.
    fn numbers(&self, value: &'a JsValue, most: usize) -> Result<Values, Option<usize>> {
        let mut values = Values::default();
        match value {
            JsValue::Array(list) => {
                for (at, value) in list.iter().enumerate() {
                    let number = match value {
                        JsValue::Number(number) => Some(*number),
                        JsValue::Null => None,
                        _ => return Err(Some(at)),
                    };
                    values.push(number, most);
                }
            }
            JsValue::View(view) => self.typed(view, &mut values, most).ok_or(None)?,
            _ => return Err(None),
        }
        Ok(values)
    }

    fn typed(&self, view: &'a View, values: &mut Values, most: usize) -> Option<()> {
        let bytes = self.objects.bytes(view)?;
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

    /// A value as `JSON.stringify` writes it: members that are undefined left out, dates as texts. An error for what JSON does
    /// not have: numbers that are not finite, BigInts, bytes, stubs. `left` are the bytes that it may take.
    fn json(&self, value: &'a JsValue, left: &mut usize, depth: usize) -> Result<Value, NoJson> {
        let text = match value {
            JsValue::String(text) => Some(text.as_str().ok_or(NoJson::Type)?),
            _ => None,
        };
        take(left, 8 + text.map_or(0, str::len))?;
        if depth > MAX_DEPTH {
            return Err(NoJson::Type);
        }
        Ok(match value {
            JsValue::Null => Value::Null,
            JsValue::Bool(value) => Value::Bool(*value),
            JsValue::String(_) => Value::from(text),
            JsValue::Number(value) => number(*value).ok_or(NoJson::Type)?,
            JsValue::Date(_) => {
                let date = js_value::to_json(value).map_err(|_| NoJson::Type)?;
                date.get("$date").ok_or(NoJson::Type)?.clone()
            }
            JsValue::Array(list) => {
                let mut read = Vec::new();
                for value in list {
                    read.push(self.json(self.resolve(value), left, depth + 1)?);
                }
                Value::Array(read)
            }
            JsValue::Object(object) => {
                let mut members = Map::new();
                for (key, value) in object {
                    if !matches!(value, JsValue::Undefined) {
                        let key = key.as_str().ok_or(NoJson::Type)?;
                        take(left, key.len())?;
                        let value = self.json(self.resolve(value), left, depth + 1)?;
                        members.insert(key.to_owned(), value);
                    }
                }
                Value::Object(members)
            }
            _ => return Err(NoJson::Type),
        })
    }
}

fn take(left: &mut usize, bytes: usize) -> Result<(), NoJson> {
    *left = left.checked_sub(bytes).ok_or(NoJson::TooLarge)?;
    Ok(())
}

fn number(value: f64) -> Option<Value> {
    const SAFE: f64 = 9_007_199_254_740_992.0;
    match value.fract() == 0.0 && value.abs() <= SAFE {
        true => Some(Value::from(value as i64)),
        false => serde_json::Number::from_f64(value).map(Value::Number),
    }
}

fn text(value: &JsValue) -> Option<&str> {
    match value {
        JsValue::String(text) => text.as_str(),
        _ => None,
    }
}

/// Reads the argument of `insert` and `upsert`: a list of vectors.
pub(in crate::vectorize) fn batch_of(
    Arguments([argument, _]): &Arguments<'_>,
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    let JsValue::Array(vectors) = argument.value else {
        return Err(unread(operation, "the argument is not a list of vectors"));
    };
    check_batch_size(vectors.len(), limits)?;
    let place = |at: usize| format!("vectors[{at}]");
    let each = vectors.iter().enumerate();
    let vectors = each
        .map(|(at, one)| vector(argument, one, &place(at), operation, dimensions, limits))
        .collect::<Result<Vec<_>, _>>()?;
    check_batch(&vectors, dimensions, limits, &place)?;
    Ok(vectors)
}

fn vector<'a>(
    argument: &Argument<'a>,
    vector: &'a JsValue,
    at: &str,
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vector, VectorizeError> {
    let place = |member: &str, what: &str| unread(operation, &format!("{at}{member} {what}"));
    let JsValue::Object(vector) = argument.resolve(vector) else {
        return Err(place("", "is not an object with the members id and values"));
    };
    let Some(id) = argument.member(vector, "id").and_then(text) else {
        return Err(place(".id", "is not a text"));
    };
    // First of all, since other errors repeat it.
    check_id(id, &format!("{at}.id"), limits)?;
    let values = argument.member(vector, "values").unwrap_or(&MISSING);
    let values = argument
        .numbers(values, dimensions)
        .map_err(|wrong| match wrong {
            Some(value) => place(&format!(".values[{value}]"), "is not a number"),
            None => place(
                ".values",
                "is not a list of numbers, Float32Array or Float64Array",
            ),
        })?;
    check_dimensions(id, values.count, dimensions)?;
    if let Some(value) = values.not_finite {
        return Err(not_finite(at, value));
    }
    let namespace = match argument.member(vector, "namespace") {
        None => None,
        Some(value) => Some(text(value).ok_or_else(|| place(".namespace", "is not a text"))?),
    };
    let metadata = match argument.member(vector, "metadata") {
        None => None,
        Some(value) => {
            let mut left = COUNTED * limits.max_metadata_bytes;
            match argument.json(value, &mut left, 0) {
                Ok(Value::Object(metadata)) => Some(metadata),
                Err(NoJson::TooLarge) => {
                    return Err(metadata_too_long(at, limits.max_metadata_bytes));
                }
                Ok(_) | Err(NoJson::Type) => {
                    return Err(place(
                        ".metadata",
                        "is not an object of texts, numbers, booleans, lists and objects",
                    ));
                }
            }
        }
    };
    let vector = Vector {
        id: id.to_owned(),
        values: values.kept,
        namespace: namespace.map(str::to_owned),
        metadata,
    };
    // At once, before metadata of many vectors is in memory.
    check_vector(&vector, dimensions, limits, at)?;
    Ok(vector)
}

/// Reads the argument of `getByIds` and `deleteByIds`: a list of texts, of which there may be so many.
pub(in crate::vectorize) fn ids_of(
    Arguments([argument, _]): &Arguments<'_>,
    most: usize,
) -> Result<Vec<String>, VectorizeError> {
    let JsValue::Array(ids) = argument.value else {
        return bad("ids: expected a list of texts");
    };
    check_id_count(ids.len(), most)?;
    let mut read = Vec::with_capacity(ids.len());
    for (at, id) in ids.iter().enumerate() {
        match text(id) {
            Some(id) => read.push(id.to_owned()),
            None => return bad(&format!("ids[{at}]: expected a text")),
        }
    }
    Ok(read)
}

/// Reads the arguments of `query`, or of `queryById`.
pub(in crate::vectorize) fn query_of(
    Arguments([first, second]): &Arguments<'_>,
    by_id: bool,
    dimensions: usize,
    limits: &Limits,
    first_version: bool,
) -> Result<Query, VectorizeError> {
    let nearest = match by_id {
        true if first_version => return first_by_id(),
        true => match text(first.value) {
            Some(id) => Nearest::ToId(id.to_owned()),
            None => return bad("vectorId: expected a text"),
        },
        false => match first.numbers(first.value, dimensions) {
            Err(None) => {
                return bad("vector: expected a list of numbers, Float32Array or Float64Array");
            }
            values => nearest_to(values, dimensions)?,
        },
    };
    let mut options = Map::new();
    let (mut filter, mut optional) = (None, None);
    match second.value {
        JsValue::Undefined | JsValue::Null => {}
        JsValue::Object(given) => {
            for key in OPTIONS {
                if let Some(value) = second.member(given, key) {
                    options.insert(key.to_owned(), scalar(value));
                }
            }
            if let Some(value) = second.member(given, "filter") {
                let mut left = COUNTED * limits.max_filter_bytes;
                filter = match second.json(value, &mut left, 0) {
                    Ok(filter) => Some(filter),
                    Err(NoJson::TooLarge) => return Err(filter_too_long(limits.max_filter_bytes)),
                    Err(NoJson::Type) => {
                        return bad(
                            "filter: expected an object of texts, finite numbers, booleans, lists and objects",
                        );
                    }
                };
            }
            if let Some(JsValue::Object(compat)) = second.member(given, "compat")
                && let Some(JsValue::Bool(value)) = second.member(compat, "queryMetadataOptional")
            {
                optional = Some(*value);
            }
        }
        _ => return bad("the options: expected an object"),
    }
    with_options(nearest, &options, filter, optional, limits, first_version)
}

/// A text, a number or a boolean; a list in place of all that is none of them.
fn scalar(value: &JsValue) -> Value {
    let read = match value {
        JsValue::Bool(value) => Some(Value::Bool(*value)),
        JsValue::Number(value) => number(*value),
        JsValue::String(text) => text.as_str().map(Value::from),
        _ => None,
    };
    read.unwrap_or_else(|| Value::Array(Vec::new()))
}
