//! What a call asks for.

use super::bookmark::MAX_BOOKMARK_BYTES;
use super::error::QueryError;
use super::options::DatabaseOptions;
use super::params::Param;
use super::text;

/// The argument of `query`: statements to run, in order, as one transaction.
///
/// ```
/// use bindings::d1::{Query, QueryRequest};
/// let request = QueryRequest::from(Query::new("select ?1 + 1 as n").bind(41));
/// assert_eq!(request.queries.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryRequest {
    /// The statements. With none, the call does nothing and succeeds.
    pub queries: Vec<Query>,
    /// A session's bookmark, or `first-primary` or `first-unconstrained`.
    pub bookmark: Option<String>,
}

impl QueryRequest {
    /// Whether all statements look as if they could run on a connection that cannot write.
    pub(super) fn looks_readonly(&self) -> bool {
        let mut queries = self.queries.iter();
        queries.all(|query| text::looks_readonly(&query.sql))
    }

    /// Whether it is within the bounds of a call.
    pub(super) fn check(&self, options: &DatabaseOptions) -> Result<(), QueryError> {
        let (given, cap) = (self.queries.len(), options.max_statements);
        if given > cap {
            return Err(QueryError::TooManyStatements { given, cap });
        }
        match &self.bookmark {
            Some(bookmark) if bookmark.len() > MAX_BOOKMARK_BYTES => {
                Err(QueryError::BookmarkTooLong(bookmark.len()))
            }
            _ => Ok(()),
        }
    }
}

/// A statement and its parameters.
///
/// The text may hold several statements, separated by `;`. All run, within the call's transaction; the last
/// one alone may have parameters, and its rows are the result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// The SQL text.
    pub sql: String,
    /// The values for `?1`, `?2` and so on.
    pub params: Vec<Param>,
}

impl Query {
    /// A statement without parameters yet.
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            params: Vec::new(),
        }
    }

    /// Adds the value of the next parameter.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Param>) -> Self {
        self.params.push(value.into());
        self
    }
}

impl From<Query> for QueryRequest {
    fn from(query: Query) -> Self {
        Self {
            queries: vec![query],
            bookmark: None,
        }
    }
}

impl From<Vec<Query>> for QueryRequest {
    fn from(queries: Vec<Query>) -> Self {
        Self {
            queries,
            bookmark: None,
        }
    }
}
