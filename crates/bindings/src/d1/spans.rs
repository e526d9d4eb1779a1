//! What a call says about its caller's span.
//!
//! The names are those that workerd gives to its own D1 spans and OpenTelemetry to database spans, so that
//! a trace reads the same whether D1 or this answered: `db.system.name` is `cloudflare-d1`, for this is what
//! the caller talks to. SQL text leaves only when its data cannot: see [`QUERY_TEXT_BYTES`].

use binding_span::{ERROR_MESSAGE, ERROR_TYPE, Enrichment};

use super::error::QueryError;
use super::meta::{Meta, milliseconds};
use super::outcome::QueryOutcome;
use super::request::{Query, QueryRequest};
use super::text;

/// The longest `db.query.text`, in bytes. A longer one is left out, never cut.
///
/// A statement with parameters is shown as it is; one without has each literal (and each name in double
/// quotes, which SQLite may read as a string) replaced by `?` and its comments removed.
pub const QUERY_TEXT_BYTES: usize = 4096;

/// What is known about a call before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    namespace: String,
    operation: Option<String>,
    text: Option<String>,
    statements: usize,
}

impl Description {
    /// Describes the call of a database with this name.
    pub fn of(namespace: &str, request: &QueryRequest) -> Self {
        Self {
            namespace: namespace.to_owned(),
            operation: operation(&request.queries),
            text: query_text(&request.queries),
            statements: request.queries.len(),
        }
    }

    /// All of it at once: [`before`](Self::before) and [`after`](Self::after).
    pub fn enrichment(&self, result: &Result<QueryOutcome, QueryError>) -> Enrichment {
        let mut said = self.before();
        said.merge(self.after(result));
        said
    }

    /// The span's new name and what is known before the call runs, so that one that never returns has
    /// said what it was about.
    ///
    /// Name: `d1.query` for one statement, `d1.batch` for any other number. Attributes: `db.system.name`,
    /// `db.namespace`, `db.operation.name`, `db.operation.batch.size` (of a batch), `db.query.text`,
    /// `cloudflare.binding.type`.
    pub fn before(&self) -> Enrichment {
        let mut said = Enrichment::new()
            .name(if self.statements == 1 {
                "d1.query"
            } else {
                "d1.batch"
            })
            .attribute("db.system.name", "cloudflare-d1")
            .attribute("db.namespace", self.namespace.clone());
        if let Some(operation) = &self.operation {
            said.set_attribute("db.operation.name", operation.clone());
        }
        if self.statements != 1 {
            said.set_attribute("db.operation.batch.size", self.statements);
        }
        if let Some(text) = &self.text {
            said.set_attribute("db.query.text", text.clone());
        }
        said.set_attribute("cloudflare.binding.type", "D1");
        said
    }

    /// What came of it: of a success `db.response.returned_rows` and the totals as
    /// `cloudflare.d1.response.{rows_read,rows_written,changes,last_row_id,changed_db,size_after,sql_duration_ms}`;
    /// of a failure `error.type`, if SQLite had one its extended code as `db.response.status_code`, and what the
    /// program is answered as `error.message`, with literals of the SQL masked.
    pub fn after(&self, result: &Result<QueryOutcome, QueryError>) -> Enrichment {
        outcome(result)
    }
}

/// What came of a call, whatever it was about.
pub(super) fn outcome(result: &Result<QueryOutcome, QueryError>) -> Enrichment {
    match result {
        Ok(outcome) => figures(outcome),
        Err(error) => failure(error),
    }
}

fn figures(outcome: &QueryOutcome) -> Enrichment {
    let rows: usize = outcome.results.iter().map(|result| result.rows.len()).sum();
    let mut said = Enrichment::new().attribute("db.response.returned_rows", rows);
    if outcome.results.is_empty() {
        return said;
    }
    let total = Meta::total(outcome.results.iter().map(|result| &result.meta));
    if total.rounded_integers > 0 {
        said.set_attribute("d1.response.rounded_integers", total.rounded_integers);
    }
    said.attribute("cloudflare.d1.response.rows_read", total.rows_read)
        .attribute("cloudflare.d1.response.rows_written", total.rows_written)
        .attribute("cloudflare.d1.response.changes", total.changes)
        .attribute("cloudflare.d1.response.last_row_id", total.last_row_id)
        .attribute("cloudflare.d1.response.changed_db", total.changed_db)
        .attribute("cloudflare.d1.response.size_after", total.size_after)
        .attribute(
            "cloudflare.d1.response.sql_duration_ms",
            milliseconds(total.sql_duration),
        )
}

pub(super) fn failure(error: &QueryError) -> Enrichment {
    let mut said = Enrichment::new().attribute(ERROR_TYPE, error.error_type());
    if let Some(code) = error.status_code() {
        said.set_attribute("db.response.status_code", code.to_string());
    }
    said.attribute(ERROR_MESSAGE, shown(&error.to_string()))
}

/// The longest `error.message`, in bytes; SQLite repeats tokens of any length.
const MESSAGE_BYTES: usize = 1024;

/// An error's message without the data that the SQL held: SQLite quotes the token at which it stopped reading.
fn shown(message: &str) -> String {
    const MEANT_AS_STRING: &str = " - should this be a string literal";
    let quoting = ["near \"", "unrecognized token: \"", "no such column: \""]
        .into_iter()
        .find_map(|quoting| Some(message.find(quoting)? + quoting.len()));
    let token = quoting.and_then(|from| Some(from..from + message[from..].rfind('"')?));
    let mut shown = message.to_owned();
    if let Some(range) = token {
        let token = &message[range.clone()];
        let data = token.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            || token.contains(['\'', '"'])
            || token.len() > 64
            || message.contains(MEANT_AS_STRING);
        if data {
            shown.replace_range(range, "?");
        }
    }
    shown.truncate(shown.floor_char_boundary(MESSAGE_BYTES));
    shown
}

/// `SELECT`; of a batch `BATCH INSERT` when all its statements do the same, else `BATCH`.
fn operation(queries: &[Query]) -> Option<String> {
    let mut operations = queries.iter().map(|query| text::operation(&query.sql));
    let first = operations.next().flatten();
    match (queries.len(), first) {
        (1, only) => only.map(str::to_owned),
        (_, Some(first)) if operations.all(|other| other == Some(first)) => {
            Some(format!("BATCH {first}"))
        }
        _ => Some("BATCH".to_owned()),
    }
}

/// The texts, joined by `; `; one text alone when all are the same.
fn query_text(queries: &[Query]) -> Option<String> {
    let (first, rest) = queries.split_first()?;
    let same = rest
        .iter()
        .all(|query| query.sql == first.sql && query.params.is_empty() == first.params.is_empty());
    let mut joined = one_text(first)?;
    for query in rest.iter().take_while(|_| !same) {
        joined.push_str("; ");
        joined.push_str(&one_text(query)?);
        if joined.len() > QUERY_TEXT_BYTES {
            return None;
        }
    }
    (joined.len() <= QUERY_TEXT_BYTES).then_some(joined)
}

fn one_text(query: &Query) -> Option<String> {
    if !query.params.is_empty() && text::is_parameterized(&query.sql) {
        let own = query.sql.trim();
        return (own.len() <= QUERY_TEXT_BYTES).then(|| own.to_owned());
    }
    // Masking shortens; a text this much too long is not worth the work.
    (query.sql.len() <= 4 * QUERY_TEXT_BYTES).then(|| text::masked(&query.sql))
}

#[cfg(test)]
mod tests {
    use binding_span::AttributeValue;

    use super::*;
    use crate::d1::error::SqliteFailure;
    use crate::d1::{Cell, QueryResult};

    fn described(queries: &[(&str, bool)]) -> Enrichment {
        let queries = queries
            .iter()
            .map(|(sql, bound)| Query {
                sql: (*sql).to_owned(),
                params: bound.then(|| 1.into()).into_iter().collect(),
            })
            .collect::<Vec<_>>();
        Description::of("shop", &queries.into()).enrichment(&Err(QueryError::Closed))
    }

    fn text_of(said: &Enrichment, key: &str) -> Option<String> {
        said.get(key)
            .and_then(AttributeValue::as_str)
            .map(str::to_owned)
    }

    #[test]
    fn a_statement_is_a_query_and_anything_else_a_batch() {
        let cases = [
            (&[("select 1", false)][..], "d1.query", Some("SELECT"), None),
            (
                &[
                    ("insert into t values (?)", true),
                    ("insert into t values (?)", true),
                ],
                "d1.batch",
                Some("BATCH INSERT"),
                Some(2),
            ),
            (
                &[("select 1", false), ("delete from t", false)],
                "d1.batch",
                Some("BATCH"),
                Some(2),
            ),
            (&[], "d1.batch", Some("BATCH"), Some(0)),
            (&[("nonsense", false)], "d1.query", None, None),
        ];
        for (queries, name, operation, size) in cases {
            let said = described(queries);
            assert_eq!(said.span_name(), Some(name));
            assert_eq!(text_of(&said, "db.operation.name").as_deref(), operation);
            assert_eq!(
                said.get("db.operation.batch.size"),
                size.map(AttributeValue::Int64).as_ref()
            );
            assert_eq!(
                text_of(&said, "db.system.name").as_deref(),
                Some("cloudflare-d1")
            );
            assert_eq!(text_of(&said, "db.namespace").as_deref(), Some("shop"));
            assert_eq!(
                text_of(&said, "cloudflare.binding.type").as_deref(),
                Some("D1")
            );
        }
    }

    #[test]
    fn text_leaves_only_when_its_data_is_bound_or_masked() {
        let cases = [
            (
                &[(" select a + 1 from t where b = ?1 ", true)][..],
                "select a + 1 from t where b = ?1",
            ),
            (
                &[("select * from t where b = 'secret'", false)],
                "select * from t where b = ?",
            ),
            (&[("select '?'", true)], "select ?"),
            (
                &[("insert into t values ('secret'); select ?1", true)],
                "insert into t values (?); select ?1",
            ),
            (
                &[("select ?", true), ("select 'x'", false)],
                "select ?; select ?",
            ),
            (
                &[("insert into t values (?)", true); 3],
                "insert into t values (?)",
            ),
        ];
        for (queries, expected) in cases {
            assert_eq!(
                text_of(&described(queries), "db.query.text").as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_left_out_whole() {
        let fits = format!("select {}", "a".repeat(QUERY_TEXT_BYTES - 7));
        assert_eq!(
            text_of(&described(&[(&fits, false)]), "db.query.text"),
            Some(fits.clone())
        );
        for queries in [
            vec![(format!("{fits}a"), false)],
            vec![(fits, false), ("select 2".into(), false)],
        ] {
            let queries: Vec<(&str, bool)> = queries
                .iter()
                .map(|(sql, bound)| (sql.as_str(), *bound))
                .collect();
            assert_eq!(text_of(&described(&queries), "db.query.text"), None);
        }
    }

    #[test]
    fn a_failure_is_typed_by_few_words_and_sqlites_code() {
        let failure = SqliteFailure {
            message: "UNIQUE constraint failed: t.a".into(),
            code: 2067,
            offset: None,
        };
        let request = QueryRequest::from(Query::new("select 1"));
        let said = Description::of("shop", &request).enrichment(&Err(failure.into()));
        assert_eq!(
            text_of(&said, "error.type").as_deref(),
            Some("SQLITE_CONSTRAINT_UNIQUE")
        );
        assert_eq!(
            text_of(&said, "db.response.status_code").as_deref(),
            Some("2067")
        );
        assert_eq!(
            text_of(&said, "error.message").as_deref(),
            Some(
                "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
            )
        );
        assert_eq!(said.get("db.response.returned_rows"), None);
    }

    #[test]
    fn a_message_keeps_names_and_masks_data() {
        let long = "x".repeat(2000);
        let cases = [
            (
                "near \"form\": syntax error at offset 9: SQLITE_ERROR",
                "near \"form\": syntax error at offset 9: SQLITE_ERROR",
            ),
            (
                "near \"'s3cret'\": syntax error: SQLITE_ERROR",
                "near \"?\": syntax error: SQLITE_ERROR",
            ),
            ("near \"4711\": syntax error", "near \"?\": syntax error"),
            (
                "unrecognized token: \"'it said \"s3cret\" = 1\" at offset 7",
                "unrecognized token: \"?\" at offset 7",
            ),
            (
                "no such column: \"s3cret\" - should this be a string literal in single-quotes? at offset 7",
                "no such column: \"?\" - should this be a string literal in single-quotes? at offset 7",
            ),
            ("no such table: users", "no such table: users"),
            (&long, &long[..MESSAGE_BYTES]),
        ];
        for (message, expected) in cases {
            assert_eq!(shown(message), expected);
        }
    }

    #[test]
    fn what_a_call_is_about_is_known_before_it_runs_and_only_its_outcome_after() {
        let closed = Err(QueryError::Closed);
        let request = QueryRequest::from(vec![Query::new("select 1"), Query::new("select 2")]);
        let described = Description::of("shop", &request);
        let (before, after) = (described.before(), described.after(&closed));
        let keys =
            |said: &Enrichment| -> Vec<String> { said.iter().map(|a| a.key.to_string()).collect() };
        assert_eq!(before.span_name(), Some("d1.batch"));
        assert_eq!(
            keys(&before),
            [
                "db.system.name",
                "db.namespace",
                "db.operation.name",
                "db.operation.batch.size",
                "db.query.text",
                "cloudflare.binding.type",
            ]
        );
        assert_eq!(after.span_name(), None);
        assert_eq!(keys(&after), ["error.type", "error.message"]);
        let all = described.enrichment(&closed);
        assert_eq!(keys(&all), [keys(&before), keys(&after)].concat());
    }

    #[test]
    fn a_success_carries_the_totals_of_its_statements() {
        let result = |rows_read, last_row_id| QueryResult {
            rows: vec![vec![Cell::Null]; 2],
            meta: Meta {
                rows_read,
                last_row_id,
                sql_duration: std::time::Duration::from_micros(1500),
                ..Meta::default()
            },
            ..QueryResult::default()
        };
        let outcome = QueryOutcome {
            results: vec![result(3, 1), result(4, 2)],
            bookmark: "00000000-00000000".parse().unwrap(),
        };
        let request = QueryRequest::from(vec![Query::new("select 1"), Query::new("select 2")]);
        let said = Description::of("shop", &request).enrichment(&Ok(outcome));
        let cases = [
            ("db.response.returned_rows", AttributeValue::Int64(4)),
            ("cloudflare.d1.response.rows_read", AttributeValue::Int64(7)),
            (
                "cloudflare.d1.response.rows_written",
                AttributeValue::Int64(0),
            ),
            ("cloudflare.d1.response.changes", AttributeValue::Int64(0)),
            (
                "cloudflare.d1.response.last_row_id",
                AttributeValue::Int64(2),
            ),
            (
                "cloudflare.d1.response.changed_db",
                AttributeValue::Bool(false),
            ),
            (
                "cloudflare.d1.response.size_after",
                AttributeValue::Int64(0),
            ),
            (
                "cloudflare.d1.response.sql_duration_ms",
                AttributeValue::Float64(3.0),
            ),
        ];
        for (key, value) in cases {
            assert_eq!(said.get(key), Some(&value), "{key}");
        }
        assert_eq!(said.get("error.type"), None);
        assert!(said.dropped().is_empty());
    }
}
