//! `query`'s result, to JavaScript.

use js_value::{JsError, Object, Value};

use super::cell::Cell;
use super::error::QueryError;
use super::meta::{Meta, milliseconds};
use super::options::{Integers, ReplyForm, is_exact};
use super::outcome::{QueryOutcome, QueryResult};

/// What `query` returns, or throws: see [`ReplyForm`].
///
/// `data` is `{kind: "raw", columns, rows}`. A failure's `error` is an `Error` with the message: workerd throws it on, and
/// a plain object would arrive as `D1_ERROR: [object Object]`.
///
/// ```
/// use bindings::d1::{Integers, QueryError, ReplyForm, reply};
/// let failed = || Err(QueryError::NoStatement);
/// let value = reply(failed(), ReplyForm::Legacy, Integers::Number)?;
/// let error = value.get("error").and_then(|error| error.as_error()).unwrap();
/// assert_eq!(error.message, "SQL code did not contain a statement.");
/// assert_eq!(&reply(failed(), ReplyForm::New, Integers::Number).unwrap_err(), error);
/// # Ok::<(), js_value::JsError>(())
/// ```
///
/// # Errors
/// In the new form the failure itself.
pub fn reply(
    result: Result<QueryOutcome, QueryError>,
    form: ReplyForm,
    integers: Integers,
) -> Result<Value, JsError> {
    let result = result.map_err(|error| JsError::error(error.to_string()));
    match (form, result) {
        (ReplyForm::New, result) => Ok(results(result?, "results", integers)),
        (ReplyForm::Legacy, Ok(outcome)) => {
            let results = results(outcome, "queryResults", integers);
            Ok(Object::from([("success", Value::Bool(true)), ("results", results)]).into())
        }
        (ReplyForm::Legacy, Err(error)) => {
            let error = Value::from(error);
            Ok(Object::from([("success", Value::Bool(false)), ("error", error)]).into())
        }
    }
}

fn results(outcome: QueryOutcome, name: &str, integers: Integers) -> Value {
    let results = outcome.results.into_iter();
    let results: Vec<Value> = results.map(|one| result(one, integers)).collect();
    let bookmark = outcome.bookmark.to_string();
    Object::from([(name, Value::Array(results)), ("bookmark", bookmark.into())]).into()
}

fn result(result: QueryResult, integers: Integers) -> Value {
    let cell = |cell| value(cell, integers);
    let row = |row: Vec<Cell>| Value::Array(row.into_iter().map(cell).collect());
    let data = Object::from([
        ("kind", Value::from("raw")),
        ("columns", Value::from(result.columns)),
        (
            "rows",
            Value::Array(result.rows.into_iter().map(row).collect()),
        ),
    ]);
    let meta = meta(&result.meta, integers);
    Object::from([("meta", meta), ("data", data.into())]).into()
}

fn meta(meta: &Meta, integers: Integers) -> Value {
    let timings = Object::from([("sql_duration_ms", milliseconds(meta.sql_duration))]);
    let last_row_id = value(Cell::Integer(meta.last_row_id), integers);
    let mut object = Object::from([
        ("served_by_primary", Value::Bool(true)),
        ("timings", timings.into()),
        ("duration", Value::Number(milliseconds(meta.duration))),
        ("rows_read", Value::Number(meta.rows_read as f64)),
        ("rows_written", Value::Number(meta.rows_written as f64)),
        ("changes", Value::Number(meta.changes as f64)),
        ("last_row_id", last_row_id),
        ("changed_db", Value::Bool(meta.changed_db)),
        ("size_after", Value::Number(meta.size_after as f64)),
    ]);
    if meta.rounded_integers > 0 {
        let rounded = Value::Number(meta.rounded_integers as f64);
        object.insert("rounded_integers", rounded);
    }
    object.into()
}

fn value(cell: Cell, integers: Integers) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(value) if !is_exact(value) => match integers {
            Integers::Number => Value::Number(value as f64),
            Integers::Text => value.to_string().into(),
            Integers::BigInt => Value::BigInt(value.into()),
        },
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
            assert_eq!(value(cell, Integers::Number), expected);
        }
    }

    #[test]
    fn an_integer_that_is_no_number_is_what_the_operator_says() {
        let exact = [0, -7, 1 << 53, -(1 << 53), 1 << 60, i64::MIN];
        for (integer, integers) in exact.into_iter().flat_map(|integer| {
            [Integers::Number, Integers::Text, Integers::BigInt].map(|form| (integer, form))
        }) {
            let number = Value::Number(integer as f64);
            assert_eq!(value(Cell::Integer(integer), integers), number);
            assert!(!integers.rounds(integer));
        }
        for integer in [(1 << 53) + 1, -(1 << 53) - 1, i64::MAX, (1 << 60) + 1] {
            let forms = [
                (Integers::Number, Value::Number(integer as f64), true),
                (Integers::Text, Value::from(integer.to_string()), false),
                (Integers::BigInt, Value::BigInt(integer.into()), false),
            ];
            for (integers, expected, rounded) in forms {
                assert_eq!(value(Cell::Integer(integer), integers), expected);
                assert_eq!(integers.rounds(integer), rounded);
            }
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
        let new = reply(Ok(outcome.clone()), ReplyForm::New, Integers::Number).unwrap();
        let value = reply(Ok(outcome), ReplyForm::Legacy, Integers::Number).unwrap();
        let at = |path: &str| {
            value
                .get_path(&path.split('.').collect::<Vec<_>>())
                .cloned()
        };
        assert_eq!(at("success"), Some(Value::Bool(true)));
        assert_eq!(new.get("results").cloned(), at("results.queryResults"));
        assert_eq!(new.get("bookmark").cloned(), at("results.bookmark"));
        assert_eq!(new.get("success"), None);
        assert_eq!(at("results.queryResults.0.meta.rounded_integers"), None);
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
