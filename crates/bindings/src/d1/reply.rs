//! `query`'s result, to JavaScript.

use js_value::{JsError, Object, Value};

use super::cell::Cell;
use super::error::QueryError;
use super::meta::{Meta, milliseconds};
use super::outcome::{QueryOutcome, QueryResult};

/// What `query` returns: D1 reports a failure as a result, it does not throw.
///
/// `{success: true, results: {queryResults: [{meta, data: {kind: "raw", columns, rows}}], bookmark}}`, or
/// `{success: false, error}`, where `error` is an `Error` with the message: workerd throws it on, and a
/// plain object would arrive as `D1_ERROR: [object Object]`.
///
/// ```
/// use bindings::d1::{QueryError, reply};
/// let value = reply(Err(QueryError::NoStatement));
/// let error = value.get("error").and_then(|error| error.as_error()).unwrap();
/// assert_eq!(error.message, "SQL code did not contain a statement.");
/// ```
pub fn reply(result: Result<QueryOutcome, QueryError>) -> Value {
    let object = match result {
        Ok(outcome) => Object::from([
            ("success", Value::Bool(true)),
            ("results", results(outcome)),
        ]),
        Err(error) => {
            let error = Value::from(JsError::error(error.to_string()));
            Object::from([("success", Value::Bool(false)), ("error", error)])
        }
    };
    object.into()
}

fn results(outcome: QueryOutcome) -> Value {
    let results: Vec<Value> = outcome.results.into_iter().map(result).collect();
    let bookmark = outcome.bookmark.to_string();
    Object::from([
        ("queryResults", Value::Array(results)),
        ("bookmark", bookmark.into()),
    ])
    .into()
}

fn result(result: QueryResult) -> Value {
    let row = |row: Vec<Cell>| Value::Array(row.into_iter().map(value).collect());
    let data = Object::from([
        ("kind", Value::from("raw")),
        ("columns", Value::from(result.columns)),
        (
            "rows",
            Value::Array(result.rows.into_iter().map(row).collect()),
        ),
    ]);
    Object::from([("meta", meta(&result.meta)), ("data", data.into())]).into()
}

fn meta(meta: &Meta) -> Value {
    let timings = Object::from([("sql_duration_ms", milliseconds(meta.sql_duration))]);
    Object::from([
        ("served_by_primary", Value::Bool(true)),
        ("timings", timings.into()),
        ("duration", Value::Number(milliseconds(meta.duration))),
        ("rows_read", Value::Number(meta.rows_read as f64)),
        ("rows_written", Value::Number(meta.rows_written as f64)),
        ("changes", Value::Number(meta.changes as f64)),
        ("last_row_id", Value::Number(meta.last_row_id as f64)),
        ("changed_db", Value::Bool(meta.changed_db)),
        ("size_after", Value::Number(meta.size_after as f64)),
    ])
    .into()
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(value) => Value::Number(value as f64),
        Cell::Real(value) => Value::Number(value),
        Cell::Text(text) => text.into(),
        Cell::Blob(bytes) => Value::Array(
            bytes
                .into_iter()
                .map(|byte| Value::Number(byte.into()))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_storage_class_has_its_javascript_value() {
        let cases = [
            (Cell::Null, Value::Null),
            (Cell::Integer(7), Value::Number(7.0)),
            (
                Cell::Integer(i64::MAX),
                Value::Number(9_223_372_036_854_775_807.0),
            ),
            (Cell::Real(1.5), Value::Number(1.5)),
            (Cell::Text("x".into()), Value::from("x")),
            (Cell::Blob(vec![0, 255]), Value::from(vec![0, 255])),
        ];
        for (cell, expected) in cases {
            assert_eq!(value(cell), expected);
        }
    }

    #[test]
    fn a_success_has_the_shape_that_workerds_wrapper_reads() {
        let outcome = QueryOutcome {
            results: vec![QueryResult {
                columns: vec!["n".into()],
                rows: vec![vec![Cell::Integer(1)]],
                meta: Meta {
                    rows_read: 2,
                    changed_db: true,
                    ..Meta::default()
                },
            }],
            bookmark: "00000001-00000002".parse().unwrap(),
        };
        let value = reply(Ok(outcome));
        let at = |path: &str| {
            value
                .get_path(&path.split('.').collect::<Vec<_>>())
                .cloned()
        };
        assert_eq!(at("success"), Some(Value::Bool(true)));
        assert_eq!(
            at("results.bookmark"),
            Some(Value::from("00000001-00000002"))
        );
        let first = "results.queryResults.0";
        assert_eq!(at(&format!("{first}.data.kind")), Some(Value::from("raw")));
        assert_eq!(
            at(&format!("{first}.data.columns.0")),
            Some(Value::from("n"))
        );
        assert_eq!(
            at(&format!("{first}.data.rows.0.0")),
            Some(Value::Number(1.0))
        );
        assert_eq!(
            at(&format!("{first}.meta.rows_read")),
            Some(Value::Number(2.0))
        );
        assert_eq!(
            at(&format!("{first}.meta.changed_db")),
            Some(Value::Bool(true))
        );
        assert_eq!(
            at(&format!("{first}.meta.timings.sql_duration_ms")),
            Some(Value::Number(0.0))
        );
    }
}
