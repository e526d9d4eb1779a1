//! A call of the binding's one method, from its argument to its reply and what it says about the span.

use binding_span::{CallScope, ChildSpan, Enrichment};
use http::{Request, Response};
use js_rpc::{
    Args, ByteStream, Context, Payload, Service, ServiceResult, async_trait, unknown_method,
};
use js_value::{JsError, Value};

use super::database::Database;
use super::error::QueryError;
use super::http::HttpCall;
use super::options::DatabaseOptions;
use super::outcome::QueryOutcome;
use super::reply::reply;
use super::request::QueryRequest;
use super::request_value::RequestError;
use super::spans::Description;

/// The answer to a call of `query`.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What `query` returns or throws, see [`reply`].
    pub result: Result<Value, JsError>,
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
        let DatabaseOptions {
            reply: form,
            integers,
            ..
        } = *self.options();
        let result = reply(result, form, integers);
        Ok(Answer { result, enrichment })
    }

    async fn serve_query(&self, args: Args, cx: &Context) -> ServiceResult {
        let argument = args.values.first().unwrap_or(&Value::Undefined);
        let request = QueryRequest::from_value(argument)?;
        drop(args);
        let result = self.run(request, false, cx.scope()).await;
        let DatabaseOptions {
            reply: form,
            integers,
            ..
        } = *self.options();
        Ok(Payload::from(reply(result, form, integers)?))
    }

    /// Runs a call and says so: what it is about before, what came of it after.
    pub(super) async fn run(
        &self,
        request: QueryRequest,
        names_in_rows: bool,
        call: &CallScope,
    ) -> Result<QueryOutcome, QueryError> {
        let described = Description::of(self.name(), &request);
        call.enrich(described.before());
        let span = call.child_span("sqlite.transaction");
        span.attribute("db.system.name", "sqlite");
        let result = self.perform(request, names_in_rows).await;
        close(span, &result);
        call.enrich(described.after(&result));
        result
    }
}

/// Ends the callee's own span: the time in the queue and on the database's thread.
fn close(mut span: ChildSpan, result: &Result<QueryOutcome, QueryError>) {
    if let Err(error) = result {
        span.fail(error.error_type(), &error.to_string());
    }
}

/// The binding as a Worker calls it: `query` is its only method; or as a Worker sends it plain HTTP.
#[async_trait(?Send)]
impl Service for Database {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "query" => self.serve_query(args, cx).await,
            other => unknown_method(other),
        }
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        let answer = match HttpCall::receive(request, self.options()).await {
            Ok((http, body)) => self.answer_http_call(&http, body, cx.scope()).await,
            Err(refusal) => refusal.into(),
        };
        Ok(answer.map(ByteStream::from))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{self, Waker};

    use binding_span::{
        Attribute, Outcome, Sinks, SpanClose, SpanContext, SpanOpen, SpanRef, SpanSink, current,
    };

    use super::*;
    use crate::d1::Query;

    /// The names of spans that opened, and how spans ended.
    #[derive(Default)]
    struct Seen(Mutex<(Vec<String>, Vec<Outcome>)>);

    impl SpanSink for Seen {
        fn open(&self, open: &SpanOpen<'_>) {
            self.0.lock().unwrap().0.push(open.name.to_owned());
        }

        fn close(&self, close: &SpanClose<'_>) {
            self.0.lock().unwrap().1.push(close.outcome);
        }

        fn rename(&self, _: SpanRef, _: &str) {}
        fn attributes(&self, _: SpanRef, _: &[Attribute]) {}
    }

    #[test]
    fn a_call_that_is_canceled_while_its_statement_runs_has_said_what_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let options = DatabaseOptions {
            create: true,
            ..DatabaseOptions::default()
        };
        let database = Database::open(folder.path().join("shop.sqlite"), options).unwrap();
        let seen = Arc::new(Seen::default());
        let sinks: Sinks = Arc::new([seen.clone() as Arc<dyn SpanSink>]);
        let span = SpanRef {
            context: SpanContext::root(),
            ..SpanRef::default()
        };
        let scope = CallScope::new(span, sinks);
        let endless =
            "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n";
        {
            let method = async {
                database
                    .run(Query::new(endless).into(), false, &current())
                    .await
            };
            let mut method = pin!(scope.scope(method));
            let mut cx = task::Context::from_waker(Waker::noop());
            assert!(method.as_mut().poll(&mut cx).is_pending(), "it runs");
        }
        let said = scope.drain();
        assert_eq!(said.span_name(), Some("d1.query"));
        let masked = endless.replace('1', "?");
        assert_eq!(said.get("db.query.text"), Some(&masked.into()));
        assert_eq!(said.get("db.namespace"), Some(&"shop".into()));
        for outcome in ["error.type", "db.response.returned_rows"] {
            assert_eq!(said.get(outcome), None);
        }
        let (opened, ended) = &*seen.0.lock().unwrap();
        assert_eq!(*opened, ["sqlite.transaction"]);
        assert_eq!(*ended, [Outcome::Canceled]);
    }
}
