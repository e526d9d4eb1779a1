//! A call of the binding's one method, from its argument to its reply and what it says about the span.

use binding_span::{ChildSpan, Enrichment};
use js_rpc::{Args, Context, Payload, Service, ServiceResult, async_trait, unknown_method};
use js_value::Value;

use super::database::Database;
use super::error::QueryError;
use super::outcome::QueryOutcome;
use super::reply::reply;
use super::request::QueryRequest;
use super::request_value::RequestError;
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
    /// For those who serve the call by other means than [`Service`]: nothing is said by itself, so pass
    /// [`Answer::enrichment`] on to the call.
    ///
    /// # Errors
    /// When the argument is not what `query` takes: a `TypeError` for the caller.
    pub async fn answer(&self, argument: &Value) -> Result<Answer, RequestError> {
        let request = QueryRequest::from_value(argument)?;
        let described = Description::of(self.name(), &request);
        let result = self.query(request).await;
        let enrichment = described.enrichment(&result);
        let value = reply(result);
        Ok(Answer { value, enrichment })
    }

    async fn serve_query(&self, args: Args, cx: &Context) -> ServiceResult {
        let argument = args.values.first().unwrap_or(&Value::Undefined);
        let request = QueryRequest::from_value(argument)?;
        drop(args);
        let described = Description::of(self.name(), &request);
        let span = cx.child_span("sqlite.transaction");
        span.attribute("db.system.name", "sqlite");
        let result = self.query(request).await;
        close(span, &result);
        cx.enrich(described.enrichment(&result));
        Ok(Payload::from(reply(result)))
    }
}

/// Ends the callee's own span: the time in the queue and on the database's thread.
fn close(mut span: ChildSpan, result: &Result<QueryOutcome, QueryError>) {
    if let Err(error) = result {
        span.fail(error.error_type(), &error.to_string());
    }
}

/// The binding as a Worker calls it: `query` is its only method.
#[async_trait(?Send)]
impl Service for Database {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "query" => self.serve_query(args, cx).await,
            other => unknown_method(other),
        }
    }
}
