//! What a call answers when all of it succeeded.

use super::bookmark::Bookmark;
use super::cell::Cell;
use super::meta::Meta;

/// The results of a call's statements, in order. Its writes are committed and on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryOutcome {
    /// One for each [`Query`](super::Query).
    pub results: Vec<QueryResult>,
    /// The database is at least as new as this, and the session's next call will find it so.
    pub bookmark: Bookmark,
}

/// The result of one statement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryResult {
    /// The names of the columns, duplicates included. Empty when the statement returns no rows.
    pub columns: Vec<String>,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<Cell>>,
    /// What it cost and changed. For a text of several statements: all of them together.
    pub meta: Meta,
}
