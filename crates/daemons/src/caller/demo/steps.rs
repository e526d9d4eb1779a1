//! What the demo does, step by step, and what it expects of each.

use std::sync::Arc;
use std::time::Duration;

use binding_span::AttributeValue;
use js_rpc::{Args, Connection, Reply, Stub};
use serde_json::{Value as Json, json};
use tail::{FinishedSpan, Recorder};

use super::page::Page;
use super::trace::Trace;
use super::{PATIENCE, unexpected};
use crate::exit::Failure;

/// Rows of the table `product`, and calls of the burst.
pub(super) const PRODUCTS: i32 = 32;

/// Bytes that an answer of the model may have.
const ANSWER: usize = 64 << 10;

/// One statement of SQL and its parameters.
type Statement = (&'static str, Json);

/// The program that the demo is about: it calls bindings.
pub(super) struct Steps {
    connection: Connection,
    recorder: Arc<Recorder>,
}

impl Steps {
    pub(super) fn new(connection: Connection, recorder: Arc<Recorder>) -> Self {
        Self {
            connection,
            recorder,
        }
    }

    /// All steps, in order.
    pub(super) async fn play(&self, page: &mut Page, trace: &mut Trace) -> Result<(), Failure> {
        trace.add(&self.select(page).await?);
        trace.add(&self.write(page).await?);
        trace.add(&self.batch(page).await?);
        trace.add(&self.fail(page).await?);
        trace.add(&self.stream(page).await?);
        trace.add(&self.hold(page).await?);
        self.burst(page).await
    }

    async fn select(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        let sql = "select name, price from product where price < ?1";
        page.step("a select", &format!("DB.query  {sql}"))?;
        let results = self.succeed(&[(sql, json!([5]))]).await?;
        let rows = results.pointer("/0/data/rows").and_then(Json::as_array);
        expect(rows.map(Vec::len), Some(3), "rows cheaper than 5")?;
        let spans = self.spans(&["d1.query"])?;
        tagged(&spans[0], "db.response.returned_rows", 3)?;
        page.outcome("3 rows", &spans[0])?;
        Ok(spans)
    }

    async fn write(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        let sql = "insert into orders (product, pieces) values (?1, ?2)";
        page.step("a write", &format!("DB.query  {sql}"))?;
        self.succeed(&[(sql, json!([1, 2]))]).await?;
        let spans = self.spans(&["d1.query"])?;
        tagged(&spans[0], "cloudflare.d1.response.changes", 1)?;
        page.outcome("1 row written", &spans[0])?;
        Ok(spans)
    }

    async fn batch(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        let order = "insert into orders (product, pieces) values (?1, ?2)";
        let stock = "update product set stock = stock - ?2 where id = ?1";
        page.step(
            "a batch",
            "DB.query  insert into orders ...; update product set stock = ...",
        )?;
        self.succeed(&[(order, json!([2, 3])), (stock, json!([2, 3]))])
            .await?;
        let spans = self.spans(&["d1.batch"])?;
        tagged(&spans[0], "db.operation.batch.size", 2)?;
        page.outcome("both in one transaction", &spans[0])?;
        Ok(spans)
    }

    async fn fail(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        let sql = "update product set stock = stock - ?2 where id = ?1";
        page.step(
            "a failure",
            "DB.query  sell 99 pieces of a product that has 7",
        )?;
        let reply = self.query(&[(sql, json!([2, 99]))]).await?;
        let success = reply.pointer("/success").and_then(Json::as_bool);
        expect(success, Some(false), "a CHECK constraint that holds")?;
        let spans = self.spans(&["d1.query"])?;
        let kind = AttributeValue::from("SQLITE_CONSTRAINT_CHECK");
        tagged(&spans[0], "error.type", kind)?;
        page.outcome("refused: the database is unchanged", &spans[0])?;
        Ok(spans)
    }

    async fn stream(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        page.step(
            "a stream",
            "AI.run(\"word-counter\", {prompt, stream: true})",
        )?;
        let inputs = json!({"prompt": "how many words are in here", "stream": true});
        let ai = self.connection.binding("AI");
        let reply = ai.call("run", ("word-counter", inputs)).await?;
        let answer = reply
            .readable(0)
            .cloned()
            .ok_or_else(|| unexpected("no stream"))?;
        drop(reply);
        // The span of a call is open as long as its stream is: tokens are counted at its end.
        expect(
            self.recorder.open_spans(),
            1,
            "open spans before the stream's end",
        )?;
        let events = answer.read_to_end(ANSWER).await.map_err(unexpected)?;
        let events = String::from_utf8_lossy(&events);
        expect(
            events.ends_with("data: [DONE]\n\n"),
            true,
            "the stream's end",
        )?;
        self.open(0).await?;
        let spans = self.spans(&["chat word-counter"])?;
        tagged(&spans[0], "gen_ai.usage.input_tokens", 6)?;
        page.outcome("the answer, and at its end its tokens", &spans[0])?;
        Ok(spans)
    }

    async fn hold(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        page.step("a gateway", "gateway = AI.gateway(\"shop\")")?;
        let ai = self.connection.binding("AI");
        let reply = ai.call("gateway", ("shop",)).await?;
        let gateway: Stub = reply.parse().map_err(unexpected)?;
        page.go_on("gateway.run({provider, endpoint, query})  twice, on the object that we hold")?;
        let request = json!({
            "provider": "builtin",
            "endpoint": "chat/completions",
            "query": {"model": "word-counter", "messages": [{"role": "user", "content": "and now"}]},
        });
        let options = json!({"gateway": {"cacheTtl": 60}});
        for cached in ["MISS", "HIT"] {
            let answer = gateway.call("run", (&request, &options)).await?;
            let answer = answer.into_payload().into_response().map_err(unexpected)?;
            let status = answer.headers().get("cf-aig-cache-status");
            expect(
                status.map(|it| it.as_bytes()),
                Some(cached.as_bytes()),
                "the cache",
            )?;
            let body = answer.into_body().read_to_end(ANSWER).await;
            body.map_err(unexpected)?;
        }
        // The session's span is open as long as somebody holds what came through it.
        self.open(1).await?;
        drop(gateway);
        self.open(0).await?;
        let spans = self.spans(&["ai_gateway.run", "ai_gateway.run", "ai_gateway.open"])?;
        tagged(&spans[0], "ai_gateway.cache", "miss")?;
        tagged(&spans[1], "ai_gateway.cache", "hit")?;
        page.outcome("the first time, from the model", &spans[0])?;
        page.outcome("the second time, from the gateway's cache", &spans[1])?;
        page.outcome("the session", &spans[2])?;
        Ok(spans)
    }

    async fn burst(&self, page: &mut Page) -> Result<(), Failure> {
        let sql = "select id from product limit ?1";
        page.step(
            "a burst",
            &format!("DB.query  {sql}  {PRODUCTS} times at once, one connection"),
        )?;
        let mut calls = tokio::task::JoinSet::new();
        for n in 1..=PRODUCTS {
            let call = self.send(&[(sql, json!([n]))])?;
            calls.spawn_local(async move { (n, call.await) });
        }
        while let Some(call) = calls.join_next().await {
            let (n, reply) = call.map_err(unexpected)?;
            let reply = json_of(&reply?)?;
            let rows = reply.pointer("/results/queryResults/0/data/rows");
            let rows = rows.and_then(Json::as_array).map(Vec::len);
            expect(rows, usize::try_from(n).ok(), "rows of a call in the burst")?;
        }
        let count = usize::try_from(PRODUCTS).unwrap_or_default();
        let spans = self.spans(&vec!["d1.query"; count])?;
        let mut told: Vec<_> = spans
            .iter()
            .filter_map(|span| match span.get("db.response.returned_rows") {
                Some(&AttributeValue::Int64(n)) => Some(n),
                _ => None,
            })
            .collect();
        told.sort_unstable();
        expect(
            told,
            (1..=PRODUCTS.into()).collect(),
            "tags of the burst's spans",
        )?;
        page.outcome("each span has its own call's tags", &spans[0])
    }

    /// A call of the database that must succeed; its results.
    async fn succeed(&self, statements: &[Statement]) -> Result<Json, Failure> {
        let mut reply = self.query(statements).await?;
        match reply.pointer_mut("/results/queryResults") {
            Some(results) => Ok(results.take()),
            None => Err(unexpected(format_args!("the database answers {reply}"))),
        }
    }

    async fn query(&self, statements: &[Statement]) -> Result<Json, Failure> {
        json_of(&self.send(statements)?.await?)
    }

    fn send(&self, statements: &[Statement]) -> Result<js_rpc::PendingCall, Failure> {
        let queries = statements.iter();
        let queries: Vec<Json> = queries
            .map(|(sql, params)| json!({"sql": sql, "params": params}))
            .collect();
        let args = Args::from_json(vec![json!({"queries": queries})]).map_err(unexpected)?;
        let binding = self.connection.binding("DB");
        Ok(binding.call("query", args).deadline(PATIENCE).send())
    }

    /// Waits until only so many spans are open: the callee may have a last word, for which a span waits.
    async fn open(&self, spans: usize) -> Result<(), Failure> {
        let closed = async {
            while self.recorder.open_spans() > spans {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, closed).await;
        expect(self.recorder.open_spans(), spans, "open spans")
    }

    /// The spans since the last time, which must have been renamed to these.
    fn spans(&self, names: &[&str]) -> Result<Vec<FinishedSpan>, Failure> {
        let spans = self.recorder.take();
        let found: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        expect(found.as_slice(), names, "the names of spans")?;
        match spans.iter().all(FinishedSpan::renamed) {
            true => Ok(spans),
            false => Err(unexpected("a span that nobody renamed")),
        }
    }
}

fn json_of(reply: &Reply) -> Result<Json, Failure> {
    reply.to_json().map_err(unexpected)
}

fn tagged(span: &FinishedSpan, key: &str, value: impl Into<AttributeValue>) -> Result<(), Failure> {
    expect(span.get(key), Some(&value.into()), key)
}

fn expect<T: PartialEq + std::fmt::Debug>(found: T, wanted: T, what: &str) -> Result<(), Failure> {
    match found == wanted {
        true => Ok(()),
        false => Err(unexpected(format_args!(
            "{what}: {found:?} instead of {wanted:?}"
        ))),
    }
}
