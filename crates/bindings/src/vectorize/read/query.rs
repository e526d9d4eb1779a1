//! Queries: bodies of plain HTTP requests, and what queries of all forms have in common.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::{given, is_object, string, syntax, unreadable, without_mark};
use super::values::Values;
use super::{FIRST_TOP_K, TOP_K, WRITTEN, bad, filter_too_long};
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::filter::Filter;
use crate::vectorize::options::Limits;
use crate::vectorize::vector::{MetadataLevel, Nearest, Query};

/// What a query has besides what is to be near. All of them are texts, numbers and booleans.
pub(super) const OPTIONS: [&str; 5] = [
    "topK",
    "namespace",
    "returnValues",
    "returnVectors",
    "returnMetadata",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow, default)]
    vector: Option<&'a RawValue>,
    #[serde(borrow, default)]
    vector_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    top_k: Option<&'a RawValue>,
    #[serde(borrow, default)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    return_values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    return_vectors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    return_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    filter: Option<&'a RawValue>,
    #[serde(borrow, default)]
    compat: Option<&'a RawValue>,
}

/// Reads the body of a query. `compat` is what the request says of compatibility besides.
pub(in crate::vectorize) fn query(
    text: &[u8],
    compat: Option<&[u8]>,
    dimensions: usize,
    limits: &Limits,
    first_version: bool,
) -> Result<Query, VectorizeError> {
    let text = without_mark(text);
    let members: Members<'_> = match serde_json::from_slice(text) {
        Ok(members) if is_object(text) => members,
        // Serde takes a list of the members as well.
        Ok(_) => return bad("expected an object"),
        Err(error) if error.is_data() => return bad(&not_members(&error)),
        Err(error) => return bad(&syntax(&error)),
    };
    let nearest = match (given(members.vector), given(members.vector_id)) {
        (Some(_), Some(_)) => {
            return bad("there is a vector and a vectorId; leave one of them out");
        }
        (None, None) => return bad("there is no vector, and no vectorId"),
        (None, Some(_)) if first_version => return first_by_id(),
        (None, Some(id)) => match string(id) {
            Some(id) => Nearest::ToId(id.into_owned()),
            None => return bad("vectorId: expected a text"),
        },
        (Some(text), None) => nearest_to(Values::read(text, dimensions), dimensions)?,
    };
    let mut options = Map::new();
    for (key, member) in OPTIONS.into_iter().zip([
        members.top_k,
        members.namespace,
        members.return_values,
        members.return_vectors,
        members.return_metadata,
    ]) {
        if let Some(text) = given(member) {
            options.insert(key.to_owned(), scalar(text));
        }
    }
    let filter = match given(members.filter) {
        None => None,
        Some(text) if text.len() > WRITTEN * limits.max_filter_bytes => {
            return Err(filter_too_long(limits.max_filter_bytes));
        }
        Some(text) => match serde_json::from_str(text) {
            Ok(filter) => Some(filter),
            Err(error) => {
                let text = format!("the filter {}", unreadable(&error));
                return Err(VectorizeError::new(Code::Filter, text));
            }
        },
    };
    let optional = match given(members.compat) {
        Some(text) => metadata_optional(text.as_bytes()),
        None => compat.and_then(metadata_optional),
    };
    with_options(nearest, &options, filter, optional, limits, first_version)
}

/// What is wrong with JSON that is not an object with members of a query. The error names a member of ours, at most.
fn not_members(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("duplicate field `") {
        Some(rest) => {
            let name = rest.split('`').next().unwrap_or_default();
            format!("{name}: it is there twice")
        }
        None => "expected an object".to_owned(),
    }
}

/// A text, a number or a boolean; a list in place of all that is none of them.
fn scalar(text: &str) -> Value {
    let none = || Value::Array(Vec::new());
    match text.starts_with(['{', '[']) {
        true => none(),
        false => serde_json::from_str(text).unwrap_or_else(|_| none()),
    }
}

fn metadata_optional(compat: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Compat {
        query_metadata_optional: bool,
    }
    let compat = serde_json::from_slice::<Compat>(compat).ok()?;
    Some(compat.query_metadata_optional)
}

/// The first version has no queries by ids. The text is the one of the wrapped binding.
pub(super) fn first_by_id<T>() -> Result<T, VectorizeError> {
    let text = "QueryById operation is not supported for v1 indexes.";
    Err(VectorizeError::new(Code::Request, text))
}

/// A query's vector, of which no more was kept than there may be.
pub(super) fn nearest_to(
    values: Result<Values, Option<usize>>,
    dimensions: usize,
) -> Result<Nearest, VectorizeError> {
    let values = match values {
        Ok(values) => values,
        Err(Some(at)) => return bad(&format!("vector[{at}]: expected a number")),
        Err(None) => return bad("vector: expected a list of numbers"),
    };
    if values.count != dimensions {
        let text = format!(
            "invalid query vector, expected {dimensions} dimensions, and got {} dimensions",
            values.count
        );
        return Err(VectorizeError::new(Code::QueryVector, text));
    }
    Ok(Nearest::To(values.kept))
}

/// A query with its options, which are the same in all forms. Those that it does not know count for nothing.
/// `metadata_optional` is whether a query of the first version has to ask for metadata.
pub(super) fn with_options(
    nearest: Nearest,
    options: &Map<String, Value>,
    filter: Option<Value>,
    metadata_optional: Option<bool>,
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
        // Unless the Worker's compatibility date makes that optional.
        None if first_version && metadata_optional == Some(false) => MetadataLevel::All,
        None | Some(Value::Bool(false)) => MetadataLevel::None,
        Some(Value::Bool(true)) => MetadataLevel::All,
        Some(Value::String(text)) => match text.as_str() {
            "none" => MetadataLevel::None,
            "indexed" => MetadataLevel::Indexed,
            "all" => MetadataLevel::All,
            _ => return bad(RETURN_METADATA),
        },
        Some(_) => return bad(RETURN_METADATA),
    };
    let filter = filter.map(|filter| Filter::parse(&filter, limits));
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

fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64()?;
    let in_range = (0.0..=1e9).contains(&number) && number.fract() == 0.0;
    in_range.then_some(number as usize)
}
