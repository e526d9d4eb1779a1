//! A call of the binding's one method, from its argument to its reply and what it says about the span.

use binding_span::Enrichment;
use js_value::{JsError, Value};

use super::database::Database;
use super::reply::reply;
use super::request::QueryRequest;
use super::spans::Description;

/// The answer to a call of `query`.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What `query` returns, see [`reply`].
    pub value: Value,
    /// What it says about the caller's span, see [`Description::enrichment`].
    pub enrichment: Enrichment,
}

impl Database {
    /// Answers `query(argument)`. A failed statement is an answer, too: see [`reply`].
    ///
    /// Nothing is said by itself: who serves the call passes [`Answer::enrichment`] on to it.
    ///
    /// # Errors
    /// A `TypeError` when the argument is not what `query` takes.
    pub async fn answer(&self, argument: &Value) -> Result<Answer, JsError> {
        let request = QueryRequest::from_value(argument)?;
        let described = Description::of(self.name(), &request);
        let result = self.query(request).await;
        let enrichment = described.enrichment(&result);
        Ok(Answer {
            value: reply(result),
            enrichment,
        })
    }
}
