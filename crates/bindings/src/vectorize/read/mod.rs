//! Requests as they come: JSON, lines of JSON, JavaScript values.
//!
//! Errors name the place of what is wrong, never the value that stands there. Of a request that is too large no more is
//! kept than shows that it is.

mod js;
mod json;
mod list;
mod query;
mod values;

use super::error::{Code, VectorizeError};
use super::operation::Operation;

pub(super) use js::{Arguments, batch_of, ids_of, query_of};
pub(super) use json::{batch, batch_of_lines, ids};
pub(super) use query::query;

/// Matches that a query has if it does not say how many.
const TOP_K: usize = 5;

/// Most matches of a query of the service's first version.
const FIRST_TOP_K: usize = 20;

/// How many times longer than compact JSON may be written what has a limit as compact JSON: an escape takes up to six bytes.
const WRITTEN: usize = 8;

/// What is wrong with vectors that cannot be read.
fn unread(operation: Operation, why: &str) -> VectorizeError {
    let method = operation.method();
    VectorizeError::new(
        Code::Body,
        format!("failed to parse {method} vectors request: {why}"),
    )
}

/// What is wrong with a request that is no batch of vectors.
fn bad<T>(why: &str) -> Result<T, VectorizeError> {
    let text = format!("Failed to parse the request body as JSON: {why}");
    Err(VectorizeError::new(Code::Request, text))
}

/// Metadata that is longer than it needs to be measured exactly.
fn metadata_too_long(place: &str, most: usize) -> VectorizeError {
    let text = format!(
        "metadata too long; max is {most} bytes of JSON, got far more; at {place}.metadata"
    );
    VectorizeError::new(Code::Metadata, text)
}

/// The same for a filter.
fn filter_too_long(most: usize) -> VectorizeError {
    let text =
        format!("the filter is too long; it must be less than {most} bytes of JSON, got far more");
    VectorizeError::new(Code::Filter, text)
}
