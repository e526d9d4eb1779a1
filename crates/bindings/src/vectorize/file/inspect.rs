//! What is in a file, without opening the index.

use std::path::Path;

use super::backup::source;
use super::refusal::{damaged, explain};
use super::schema::{self, State};
use crate::vectorize::options::OpenError;
use crate::vectorize::vector::Info;

/// What the index of a file is, which may be in use.
///
/// # Errors
/// There is no index at the path, or it cannot be read.
pub fn inspect(path: &Path) -> Result<Info, OpenError> {
    let connection = source(path)?;
    let failed = |error: rusqlite::Error| explain(path, &error);
    // All of it as it is at one time.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let shape = schema::shape(&connection).map_err(failed)?;
    let shape = shape.map_err(|why| damaged(path, &why))?;
    let state = State::read(&connection).map_err(failed)?;
    let indexes = schema::indexes(&connection).map_err(failed)?;
    Ok(Info {
        dimensions: shape.dimensions,
        metric: shape.metric,
        vectors: state.vectors,
        newest: state.mutation,
        metadata_indexes: indexes.into_iter().map(|of| of.index).collect(),
    })
}
