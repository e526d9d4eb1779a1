//! Vectors and ids in bodies of plain HTTP requests.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::list::{List, Member};
use super::values::Values;
use super::{WRITTEN, bad, metadata_too_long, unread};
use crate::vectorize::error::VectorizeError;
use crate::vectorize::operation::Operation;
use crate::vectorize::options::Limits;
use crate::vectorize::request::{
    check_batch, check_batch_size, check_dimensions, check_id, check_id_count, check_vector,
    not_finite,
};
use crate::vectorize::vector::Vector;

/// A vector's members, which are read one by one, to say which of them is wrong.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// Where JSON stops to be JSON, without what stands there.
pub(super) fn syntax(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        serde_json::error::Category::Data => {
            format!("a value has another type at line {line} column {column}")
        }
        _ => format!("this is not JSON at line {line} column {column}"),
    }
}

/// What is wrong with an object that is JSON, and cannot be read all the same.
pub(super) fn unreadable(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    if error.is_data() {
        "is not an object"
    } else if text.starts_with("number out of range") {
        "has a number that is beyond what float64 has"
    } else if text.starts_with("recursion limit") {
        "is nested too deep"
    } else {
        "has a text that is not Unicode (half a surrogate pair?)"
    }
}

/// A body without the mark that some editors begin a text with.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Reads `{"vectors": [..]}`.
pub(in crate::vectorize) fn batch(
    text: &[u8],
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    let vectors = Member::<&RawValue>::read(without_mark(text), "vectors", limits.max_batch);
    let List { kept, count } = vectors.map_err(|error| {
        let why = match error.is_data() {
            true => {
                "write {\"vectors\": [..]}, or lines of JSON as application/x-ndjson".to_owned()
            }
            false => syntax(&error),
        };
        unread(operation, &why)
    })?;
    check_batch_size(count, limits)?;
    let place = |at: usize| format!("vectors[{at}]");
    let each = kept.iter().enumerate();
    let vectors = each
        .map(|(at, one)| vector(one.get(), &place(at), operation, dimensions, limits))
        .collect::<Result<Vec<_>, _>>()?;
    check_batch(&vectors, dimensions, limits, &place)?;
    Ok(vectors)
}

/// Reads a vector a line. Blank lines count for nothing.
pub(in crate::vectorize) fn batch_of_lines(
    text: &[u8],
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    let text = without_mark(text);
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        unread(operation, &format!("line {line} is not UTF-8"))
    })?;
    let lines = || {
        let lines = text.lines().enumerate();
        lines.filter(|(_, line)| !line.trim().is_empty())
    };
    check_batch_size(lines().count(), limits)?;
    let (mut vectors, mut numbers) = (Vec::new(), Vec::new());
    for (line, text) in lines() {
        // Errors in a line's own JSON have its number in the body.
        serde_json::from_str::<&RawValue>(text).map_err(|error| {
            let why = match error.is_eof() {
                true => "the JSON ends too early".to_owned(),
                false => format!("this is not JSON at column {}", error.column()),
            };
            unread(operation, &format!("line {}: {why}", line + 1))
        })?;
        let place = format!("line {}, vectors[{}]", line + 1, vectors.len());
        vectors.push(vector(text, &place, operation, dimensions, limits)?);
        numbers.push(line + 1);
    }
    check_batch(&vectors, dimensions, limits, &|at| {
        format!("line {}, vectors[{at}]", numbers[at])
    })?;
    Ok(vectors)
}

fn vector(
    text: &str,
    at: &str,
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vector, VectorizeError> {
    let place = |member: &str, what: &str| unread(operation, &format!("{at}{member} {what}"));
    let members = serde_json::from_str::<Members<'_>>(text).ok();
    // Serde takes a list of the members as well.
    let members = members.filter(|_| is_object(text.as_bytes()));
    let members = members.ok_or_else(|| {
        place(
            "",
            "is not an object with the members id and values, each once",
        )
    })?;
    let missing = |member: &str| place("", &format!("has no {member}"));
    let id = members.id.ok_or_else(|| missing("id"))?;
    let id = string(id.get()).ok_or_else(|| place(".id", "is not a text"))?;
    // First of all, since other errors repeat it.
    check_id(&id, &format!("{at}.id"), limits)?;
    let values = members.values.ok_or_else(|| missing("values"))?;
    let values = Values::read(values.get(), dimensions).map_err(|wrong| match wrong {
        Some(value) => place(&format!(".values[{value}]"), "is not a number"),
        None => place(".values", "is not a list of numbers"),
    })?;
    check_dimensions(&id, values.count, dimensions)?;
    if let Some(value) = values.not_finite {
        return Err(not_finite(at, value));
    }
    let namespace = match given(members.namespace) {
        Some(text) => Some(string(text).ok_or_else(|| place(".namespace", "is not a text"))?),
        None => None,
    };
    let metadata = match given(members.metadata) {
        Some(text) if text.len() > WRITTEN * limits.max_metadata_bytes => {
            return Err(metadata_too_long(at, limits.max_metadata_bytes));
        }
        Some(text) => Some(
            serde_json::from_str::<Map<String, Value>>(text)
                .map_err(|error| place(".metadata", unreadable(&error)))?,
        ),
        None => None,
    };
    let vector = Vector {
        id: id.into_owned(),
        values: values.kept,
        namespace: namespace.map(Cow::into_owned),
        metadata,
    };
    // At once, before metadata of many vectors is in memory.
    check_vector(&vector, dimensions, limits, at)?;
    Ok(vector)
}

/// Whether JSON is an object.
pub(super) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

/// A member that is there, and not null.
pub(super) fn given(member: Option<&RawValue>) -> Option<&str> {
    member.map(RawValue::get).filter(|text| *text != "null")
}

/// A text, which is copied only if it has escapes.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw)
        .ok()
        .map(|text| text.0)
}

/// Reads `{"ids": [..]}`, of which there may be so many.
pub(in crate::vectorize) fn ids(text: &[u8], most: usize) -> Result<Vec<String>, VectorizeError> {
    let List { kept, count } = match Member::<&RawValue>::read(without_mark(text), "ids", most) {
        Ok(ids) => ids,
        Err(error) if error.is_data() => return bad("ids: expected a list of texts"),
        Err(error) => return bad(&syntax(&error)),
    };
    check_id_count(count, most)?;
    let mut ids = Vec::with_capacity(kept.len());
    for (at, id) in kept.iter().enumerate() {
        match string(id.get()) {
            Some(id) => ids.push(id.into_owned()),
            None => return bad(&format!("ids[{at}]: expected a text")),
        }
    }
    Ok(ids)
}
