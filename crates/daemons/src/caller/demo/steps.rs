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

    async fn hold(&self, page: &mut Page) -> Result<Vec<FinishedSpan>, Failure> {
        page.step("a held stub", "chat = AI.open(\"words-1\")")?;
        let ai = self.connection.binding("AI");
        let reply = ai.call("open", ("words-1",)).await?;
        let chat: Stub = reply.parse().map_err(unexpected)?;
        page.go_on("chat.say(\"...\")  twice, on the object that we hold")?;
        for prompt in ["how many words are in here", "and now"] {
            chat.call("say", (prompt,)).await?;
        }
        // The session's span is open as long as somebody holds what came through it.
        expect(
            self.recorder.open_spans(),
            1,
            "open spans while the chat is held",
        )?;
        drop(chat);
        self.closed().await;
        let spans = self.spans(&["chat words-1", "chat words-1", "ai_gateway.chat"])?;
        tagged(&spans[0], "gen_ai.usage.input_tokens", 6)?;
        tagged(&spans[1], "gen_ai.usage.input_tokens", 2)?;
        // Said after the call that opened it had returned.
        tagged(&spans[2], "gen_ai.usage.output_tokens", 10)?;
        page.outcome("the session, with what came later", &spans[2])?;
        page.outcome("each turn, with its token counts", &spans[0])?;
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

    /// Waits for spans that are held: the callee may have a last word, for which it is waited.
    async fn closed(&self) {
        let closed = async {
            while self.recorder.open_spans() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Whatever is still open then is found missing.
        let _ = tokio::time::timeout(PATIENCE, closed).await;
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
