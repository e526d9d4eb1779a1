//! A request of any form, read, and checked against an index's shape and limits.

use std::collections::HashSet;

use serde_json::Value;

use super::error::{Code, VectorizeError};
use super::operation::Operation;
use super::options::{IndexOptions, Limits};
use super::vector::{Metadata, MetadataLevel, Nearest, Query, Vector, Write};

/// How deep objects and lists of metadata may be nested.
const MAX_DEPTH: usize = 16;

/// What is asked of an index.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Describe,
    Query(Query),
    Write(Write, Vec<Vector>),
    Get(Vec<String>),
    Delete(Vec<String>),
}

impl Request {
    /// Whether an index of so many dimensions takes it.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn check(
        &self,
        dimensions: usize,
        options: &IndexOptions,
    ) -> Result<(), VectorizeError> {
        let limits = &options.limits;
        match self {
            Self::Describe => Ok(()),
            Self::Query(query) => check_query(query, dimensions, limits),
            Self::Write(_, vectors) => {
                check_batch(vectors, dimensions, limits, &|at| format!("vectors[{at}]"))
            }
            Self::Get(ids) => check_ids(ids, limits.max_ids_to_get, limits),
            Self::Delete(ids) => check_ids(ids, limits.max_ids_to_delete, limits),
        }
    }

    /// What it is, if its kind is not known already.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Describe => Operation::Describe,
            Self::Query(query) => match query.nearest {
                Nearest::To(_) => Operation::Query,
                Nearest::ToId(_) => Operation::QueryById,
            },
            Self::Write(Write::Insert, _) => Operation::Insert,
            Self::Write(Write::Upsert, _) => Operation::Upsert,
            Self::Get(_) => Operation::GetByIds,
            Self::Delete(_) => Operation::DeleteByIds,
        }
    }
}

fn wrong<T>(code: Code, text: String) -> Result<T, VectorizeError> {
    Err(VectorizeError::new(code, text))
}

fn check_query(query: &Query, dimensions: usize, limits: &Limits) -> Result<(), VectorizeError> {
    match &query.nearest {
        Nearest::ToId(id) => check_id(id, "vectorId", limits)?,
        Nearest::To(values) => {
            if values.len() != dimensions {
                let text = format!(
                    "invalid query vector, expected {dimensions} dimensions, and got {} dimensions",
                    values.len()
                );
                return wrong(Code::QueryVector, text);
            }
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let text = format!("invalid query vector, values[{at}] {NOT_FINITE}");
                return wrong(Code::QueryVector, text);
            }
        }
    }
    let (top_k, most) = (query.top_k, limits.max_top_k);
    if top_k == 0 {
        return wrong(Code::TopK, "top K is at least 1, but got 0".into());
    }
    if top_k > most {
        return wrong(Code::TopK, format!("max top K is {most}, but got {top_k}"));
    }
    let most = limits.max_top_k_with_values.min(most);
    let whole = query.values || query.metadata == MetadataLevel::All;
    if whole && top_k > most {
        let text = format!(
            "with returnValues=true or returnMetadata=all, max top K is {most}, but got {top_k}; for a top K up to {}, \
             retry with returnValues=false and returnMetadata=indexed",
            limits.max_top_k
        );
        return wrong(Code::TopK, text);
    }
    if let Some(namespace) = &query.namespace {
        check_namespace(namespace, "namespace", limits)?;
    }
    match &query.filter {
        Some(filter) => filter.check(limits),
        None => Ok(()),
    }
}

const NOT_FINITE: &str = "is not a finite number, as float32 has it";

/// Whether a batch may be. `place` tells where its vectors stand in the request.
pub(super) fn check_batch(
    vectors: &[Vector],
    dimensions: usize,
    limits: &Limits,
    place: &dyn Fn(usize) -> String,
) -> Result<(), VectorizeError> {
    check_batch_size(vectors.len(), limits)?;
    let mut ids = HashSet::with_capacity(vectors.len());
    for (at, vector) in vectors.iter().enumerate() {
        check_vector(vector, dimensions, limits, &place(at))?;
        if !ids.insert(vector.id.as_str()) {
            let text = format!(
                "{} has the id of an earlier one of the same batch; send each id once",
                place(at)
            );
            return wrong(Code::DuplicateId, text);
        }
    }
    Ok(())
}

/// Whether an index of so many dimensions takes a vector.
pub(super) fn check_vector(
    vector: &Vector,
    dimensions: usize,
    limits: &Limits,
    place: &str,
) -> Result<(), VectorizeError> {
    check_id(&vector.id, &format!("{place}.id"), limits)?;
    check_dimensions(&vector.id, vector.values.len(), dimensions)?;
    if let Some(value) = vector.values.iter().position(|value| !value.is_finite()) {
        return Err(not_finite(place, value));
    }
    if let Some(namespace) = &vector.namespace {
        check_namespace(namespace, &format!("{place}.namespace"), limits)?;
    }
    match &vector.metadata {
        Some(metadata) => check_metadata(metadata, &format!("{place}.metadata"), limits),
        None => Ok(()),
    }
}

/// Whether a vector has as many values as the index has dimensions. The id, which the error has, is checked already.
pub(super) fn check_dimensions(
    id: &str,
    values: usize,
    dimensions: usize,
) -> Result<(), VectorizeError> {
    if values == dimensions {
        return Ok(());
    }
    let id = Value::from(id);
    let text = format!(
        "invalid vector for id={id}, expected {dimensions} dimensions, and got {values} dimensions"
    );
    wrong(Code::Vector, text)
}

/// A value of a vector that float32 does not have.
pub(super) fn not_finite(place: &str, value: usize) -> VectorizeError {
    let text = format!("invalid vector: {place}.values[{value}] {NOT_FINITE}");
    VectorizeError::new(Code::Vector, text)
}

/// Whether a batch may have so many vectors.
pub(super) fn check_batch_size(vectors: usize, limits: &Limits) -> Result<(), VectorizeError> {
    if vectors == 0 {
        return wrong(Code::Body, "there are no vectors in the payload".into());
    }
    match vectors > limits.max_batch {
        true => wrong(
            Code::TooMany,
            format!(
                "too many vectors in payload; max vector count is {}, got {vectors}; send several batches",
                limits.max_batch
            ),
        ),
        false => Ok(()),
    }
}

fn check_ids(ids: &[String], most: usize, limits: &Limits) -> Result<(), VectorizeError> {
    check_id_count(ids.len(), most)?;
    let each = ids.iter().enumerate();
    each.into_iter()
        .try_for_each(|(at, id)| check_id(id, &format!("ids[{at}]"), limits))
}

/// Whether a request may have so many ids.
pub(super) fn check_id_count(count: usize, most: usize) -> Result<(), VectorizeError> {
    if count == 0 {
        return wrong(Code::Request, "there are no ids in the payload".into());
    }
    match count > most {
        true => wrong(
            Code::TooMany,
            format!("too many ids in payload; max id count is {most}, got {count}"),
        ),
        false => Ok(()),
    }
}

pub(super) fn check_id(id: &str, place: &str, limits: &Limits) -> Result<(), VectorizeError> {
    check_name(id, "id", place, limits.max_id_bytes)
}

fn check_namespace(name: &str, place: &str, limits: &Limits) -> Result<(), VectorizeError> {
    check_name(name, "namespace", place, limits.max_namespace_bytes)
}

fn check_name(text: &str, what: &str, place: &str, most: usize) -> Result<(), VectorizeError> {
    let bytes = text.len();
    if bytes > most {
        let text = format!("{what} too long; max is {most} bytes, got {bytes} bytes; at {place}");
        return wrong(Code::Id, text);
    }
    if text.is_empty() {
        return wrong(Code::Id, format!("{what} is empty; at {place}"));
    }
    // PostgreSQL's texts have none.
    match text.contains('\0') {
        true => wrong(Code::Id, format!("{what} has a NUL character; at {place}")),
        false => Ok(()),
    }
}

fn check_metadata(metadata: &Metadata, place: &str, limits: &Limits) -> Result<(), VectorizeError> {
    for (key, value) in metadata {
        let problem = key_problem(key).or_else(|| value_problem(value, 1));
        if let Some(problem) = problem {
            return wrong(Code::Metadata, format!("{place}: {problem}"));
        }
    }
    let bytes = serde_json::to_vec(metadata).map_or(0, |json| json.len());
    match bytes > limits.max_metadata_bytes {
        true => wrong(
            Code::Metadata,
            format!(
                "metadata too long; max is {} bytes of JSON, got {bytes} bytes; at {place}",
                limits.max_metadata_bytes
            ),
        ),
        false => Ok(()),
    }
}

/// What a key of metadata, or a part of a filter's, cannot be.
pub(super) fn key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("a key is empty");
    }
    if key.starts_with('$') {
        return Some("a key begins with $");
    }
    if key.contains('.') {
        return Some("a key has a dot in it; use nested objects");
    }
    if key.contains('"') {
        return Some("a key has a double quote in it");
    }
    key.contains('\0')
        .then_some("a key has a NUL character in it")
}

fn value_problem(value: &Value, depth: usize) -> Option<&'static str> {
    if depth > MAX_DEPTH {
        return Some("objects and lists are nested more than 16 deep");
    }
    match value {
        Value::Object(object) => object
            .iter()
            .find_map(|(key, value)| key_problem(key).or_else(|| value_problem(value, depth + 1))),
        Value::Array(list) => list
            .iter()
            .find_map(|value| value_problem(value, depth + 1)),
        Value::String(text) => text
            .contains('\0')
            .then_some("a text has a NUL character in it"),
        _ => None,
    }
}
