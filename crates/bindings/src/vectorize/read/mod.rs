//! Requests as they come: JSON, lines of JSON, JavaScript values.
//!
//! What is wrong is said by its place, and never with the value that stands there.

mod js;
mod json;
mod values;

pub(super) use js::{arguments, batch_of, ids_of, query_of};
pub(super) use json::{batch, batch_of_lines, ids, query};

/// Matches that a query has if it does not say how many.
const TOP_K: usize = 5;

/// Most matches of a query of the service's first version.
const FIRST_TOP_K: usize = 20;
