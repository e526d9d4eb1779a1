//! Bodies of plain HTTP requests.

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::values::AtMost;
use super::{FIRST_TOP_K, TOP_K};
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::filter::Filter;
use crate::vectorize::operation::Operation;
use crate::vectorize::options::Limits;
use crate::vectorize::request::{check_batch_size, not_finite};
use crate::vectorize::vector::{MetadataLevel, Nearest, Query, Vector};

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

/// What is wrong with vectors that cannot be read.
pub(super) fn unread(operation: Operation, why: &str) -> VectorizeError {
    let method = operation.method();
    VectorizeError::new(
        Code::Body,
        format!("failed to parse {method} vectors request: {why}"),
    )
}

/// Where JSON stops to be JSON, without what stands there.
fn syntax(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        serde_json::error::Category::Data => {
            format!("a value has another type at line {line} column {column}")
        }
        _ => format!("this is not JSON at line {line} column {column}"),
    }
}

/// Reads `{"vectors": [..]}`.
pub(in crate::vectorize) fn batch(
    text: &[u8],
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        vectors: Vec<&'a RawValue>,
    }
    let body: Body<'_> = serde_json::from_slice(text).map_err(|error| {
        let why = match error.is_data() {
            true => {
                "write {\"vectors\": [..]}, or lines of JSON as application/x-ndjson".to_owned()
            }
            false => syntax(&error),
        };
        unread(operation, &why)
    })?;
    check_batch_size(body.vectors.len(), limits)?;
    let each = body.vectors.iter().enumerate();
    each.map(|(at, one)| vector(one.get(), at, operation, dimensions))
        .collect()
}

/// Reads a vector a line. Blank lines count for nothing.
pub(in crate::vectorize) fn batch_of_lines(
    text: &[u8],
    operation: Operation,
    dimensions: usize,
    limits: &Limits,
) -> Result<Vec<Vector>, VectorizeError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        unread(operation, &format!("line {line} is not UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    let lines: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.trim().is_empty()).collect();
    check_batch_size(lines.len(), limits)?;
    let each = lines.iter().enumerate();
    each.map(|(at, (line, text))| {
        // Of a line's own JSON its number in the body is told.
        serde_json::from_str::<&RawValue>(text).map_err(|error| {
            let why = match error.is_eof() {
                true => "the JSON ends too early".to_owned(),
                false => format!("this is not JSON at column {}", error.column()),
            };
            unread(operation, &format!("line {}: {why}", line + 1))
        })?;
        vector(text, at, operation, dimensions)
    })
    .collect()
}

fn vector(
    text: &str,
    at: usize,
    operation: Operation,
    dimensions: usize,
) -> Result<Vector, VectorizeError> {
    let place =
        |member: &str, what: &str| unread(operation, &format!("vectors[{at}]{member} {what}"));
    let members: Members<'_> = serde_json::from_str(text).map_err(|_| {
        place(
            "",
            "is not an object with the members id and values, each once",
        )
    })?;
    let missing = |member: &str| place("", &format!("has no {member}"));
    let id = members.id.ok_or_else(|| missing("id"))?;
    let id = string(id).ok_or_else(|| place(".id", "is not a text"))?;
    let values = members.values.ok_or_else(|| missing("values"))?;
    let mut from = serde_json::Deserializer::from_str(values.get());
    let values = AtMost(dimensions).deserialize(&mut from);
    let values = values.map_err(|_| place(".values", "is not a list of numbers"))?;
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
    let namespace = match given(members.namespace) {
        Some(text) => Some(
            serde_json::from_str::<String>(text)
                .map_err(|_| place(".namespace", "is not a text"))?,
        ),
        None => None,
    };
    let metadata = match given(members.metadata) {
        Some(text) => Some(
            serde_json::from_str::<Map<String, Value>>(text)
                .map_err(|_| place(".metadata", "is not an object that can be read"))?,
        ),
        None => None,
    };
    Ok(Vector {
        id,
        values: values.kept,
        namespace,
        metadata,
    })
}

/// A member that is there, and not null.
fn given<'a>(member: Option<&'a RawValue>) -> Option<&'a str> {
    member.map(RawValue::get).filter(|text| *text != "null")
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// What is wrong with a request that is no batch of vectors.
pub(super) fn bad<T>(why: &str) -> Result<T, VectorizeError> {
    let text = format!("Failed to parse the request body as JSON: {why}");
    Err(VectorizeError::new(Code::Request, text))
}

/// Reads `{"ids": [..]}`. Of more ids than there may be, one more is kept.
pub(in crate::vectorize) fn ids(text: &[u8]) -> Result<Vec<String>, VectorizeError> {
    #[derive(Deserialize)]
    struct Body {
        ids: Vec<String>,
    }
    match serde_json::from_slice::<Body>(text) {
        Ok(body) => Ok(body.ids),
        Err(error) if error.is_data() => bad("ids: expected a list of texts"),
        Err(error) => bad(&syntax(&error)),
    }
}

/// Reads the body of a query.
pub(in crate::vectorize) fn query(
    text: &[u8],
    dimensions: usize,
    limits: &Limits,
    first_version: bool,
) -> Result<Query, VectorizeError> {
    // The vector is read by itself, since it may be long.
    #[derive(Deserialize)]
    struct Nearby<'a> {
        #[serde(borrow, default)]
        vector: Option<&'a RawValue>,
    }
    let nearby: Nearby<'_> = match serde_json::from_slice(text) {
        Ok(body) => body,
        Err(error) if error.is_data() => return bad("expected an object"),
        Err(error) => return bad(&syntax(&error)),
    };
    let mut options = Map::new();
    read_options(text, &mut options)?;
    let vector_id = options.remove("vectorId").filter(|id| !id.is_null());
    let nearest = match (nearby.vector.filter(|raw| raw.get() != "null"), vector_id) {
        (Some(_), Some(_)) => {
            return bad("there is a vector and a vectorId; leave one of them out");
        }
        (None, None) => return bad("there is no vector, and no vectorId"),
        (None, Some(Value::String(id))) => Nearest::ToId(id),
        (None, Some(_)) => return bad("vectorId: expected a text"),
        (Some(raw), None) => {
            let mut from = serde_json::Deserializer::from_str(raw.get());
            let Ok(values) = AtMost(dimensions).deserialize(&mut from) else {
                return bad("vector: expected a list of numbers");
            };
            nearest_to(values, dimensions)?
        }
    };
    with_options(nearest, &options, limits, first_version)
}

fn read_options(text: &[u8], options: &mut Map<String, Value>) -> Result<(), VectorizeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Others {
        #[serde(default)]
        vector_id: Value,
        #[serde(default)]
        top_k: Value,
        #[serde(default)]
        namespace: Value,
        #[serde(default)]
        filter: Value,
        #[serde(default)]
        return_values: Value,
        #[serde(default)]
        return_vectors: Value,
        #[serde(default)]
        return_metadata: Value,
        #[serde(default)]
        compat: Value,
    }
    let others: Others = match serde_json::from_slice(text) {
        Ok(others) => others,
        Err(_) => return bad("a member is there twice, or cannot be read"),
    };
    for (key, value) in [
        ("vectorId", others.vector_id),
        ("topK", others.top_k),
        ("namespace", others.namespace),
        ("filter", others.filter),
        ("returnValues", others.return_values),
        ("returnVectors", others.return_vectors),
        ("returnMetadata", others.return_metadata),
        ("compat", others.compat),
    ] {
        options.insert(key.to_owned(), value);
    }
    Ok(())
}

/// A query's vector, of which no more was kept than there may be.
pub(super) fn nearest_to(
    values: super::values::Values,
    dimensions: usize,
) -> Result<Nearest, VectorizeError> {
    if values.count != dimensions {
        let text = format!(
            "invalid query vector, expected {dimensions} dimensions, and got {} dimensions",
            values.count
        );
        return Err(VectorizeError::new(Code::QueryVector, text));
    }
    Ok(Nearest::To(values.kept))
}

/// A query with its options, which are the same in all forms. What it does not know counts for nothing.
pub(super) fn with_options(
    nearest: Nearest,
    options: &Map<String, Value>,
    limits: &Limits,
    first_version: bool,
) -> Result<Query, VectorizeError> {
    let given = |key: &str| options.get(key).filter(|value| !value.is_null());
    let top_k = match given("topK") {
        None => TOP_K,
        Some(value) => match whole(value) {
            Some(top_k) => top_k,
            None => return bad("topK: expected a whole number, 1 or more"),
        },
    };
    if first_version && top_k > FIRST_TOP_K {
        let text = format!("max top K is {FIRST_TOP_K}, but got {top_k}");
        return Err(VectorizeError::new(Code::TopK, text));
    }
    let namespace = match given("namespace") {
        None => None,
        Some(Value::String(namespace)) => Some(namespace.clone()),
        Some(_) => return bad("namespace: expected a text"),
    };
    let flag = |key: &str| match given(key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => bad(&format!("{key}: expected true or false")),
    };
    let values = flag("returnValues")? || (first_version && flag("returnVectors")?);
    let metadata = match given("returnMetadata") {
        None => first_metadata(first_version, given("compat")),
        Some(Value::Bool(false)) => MetadataLevel::None,
        Some(Value::Bool(true)) => MetadataLevel::All,
        Some(Value::String(text)) => match text.as_str() {
            "none" => MetadataLevel::None,
            "indexed" => MetadataLevel::Indexed,
            "all" => MetadataLevel::All,
            _ => return bad(RETURN_METADATA),
        },
        Some(_) => return bad(RETURN_METADATA),
    };
    let filter = given("filter").map(|filter| Filter::parse(filter, limits));
    Ok(Query {
        nearest,
        top_k,
        namespace,
        filter: filter.transpose()?,
        values,
        metadata,
    })
}

const RETURN_METADATA: &str = "returnMetadata: expected value \"none\", \"indexed\" or \"all\"";

/// The first version returns all metadata unless the Worker's compatibility date makes that optional.
fn first_metadata(first_version: bool, compat: Option<&Value>) -> MetadataLevel {
    let optional = compat.and_then(|compat| compat.get("queryMetadataOptional"));
    match (first_version, optional) {
        (true, Some(Value::Bool(false))) => MetadataLevel::All,
        _ => MetadataLevel::None,
    }
}

fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64()?;
    let in_range = (0.0..=1e9).contains(&number) && number.fract() == 0.0;
    in_range.then_some(number as usize)
}
