//! D1's plain HTTP, without a network.

use binding_span::{CallScope, Sinks, SpanContext, SpanRef};
use bindings::d1::{DatabaseOptions, Integers};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value as Json, json};

use crate::support::{Fixture, database, database_with, options};

const BOOKMARK: &str = "x-cf-d1-session-commit-token";

fn scope() -> CallScope {
    let span = SpanRef {
        context: SpanContext::root(),
        ..SpanRef::default()
    };
    CallScope::new(span, Sinks::default())
}

async fn send(db: &Fixture, path: &str, body: &str) -> Response<Bytes> {
    let request = Request::post(format!("http://d1{path}"));
    let request = request.body(Bytes::copy_from_slice(body.as_bytes()));
    db.database.answer_http(request.unwrap(), &scope()).await
}

async fn post(db: &Fixture, path: &str, body: Json) -> Json {
    let answer = send(db, path, &body.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    serde_json::from_slice(answer.body()).unwrap()
}

const ARRAYS: &str = "/query?resultsFormat=ROWS_AND_COLUMNS";

#[tokio::test]
async fn a_statement_is_answered_in_each_format() {
    let db = database();
    let sql = "select 1 as a, ?1 as b, 'x' as a, null as c, x'00ff' as d, 1e999 as e, ?2 as f";
    let statement = json!({"sql": sql, "params": [1.5, [1, 2]]});
    let object = json!({"b": 1.5, "a": "x", "c": null, "d": [0, 255], "e": null, "f": [1, 2]});
    for path in [
        "/query",
        "/execute?resultsFormat=NONE",
        "/query?resultsFormat=ARRAY_OF_OBJECTS",
    ] {
        let answer = post(&db, path, statement.clone()).await;
        assert_eq!(answer["success"], json!(true));
        assert_eq!(answer["results"], json!([object]), "{path}");
        assert_eq!(answer["meta"]["changed_db"], json!(false));
        assert!(answer["meta"]["timings"]["sql_duration_ms"].is_number());
        assert!(answer["meta"].get("rounded_integers").is_none());
    }
    let answer = post(&db, ARRAYS, statement).await;
    let columns = json!(["a", "b", "a", "c", "d", "e", "f"]);
    let rows = json!([[1, 1.5, "x", null, [0, 255], null, [1, 2]]]);
    assert_eq!(answer["results"], json!({"columns": columns, "rows": rows}));
}

#[tokio::test]
async fn a_batch_is_an_array_and_one_transaction() {
    let db = database();
    let answer = post(
        &db,
        ARRAYS,
        json!([
            {"sql": "create table t (a unique)"},
            {"sql": "insert into t values (?)", "params": [1]},
            {"sql": "select a from t", "params": []},
        ]),
    )
    .await;
    assert_eq!(answer.as_array().unwrap().len(), 3);
    assert_eq!(answer[1]["meta"]["changes"], json!(1));
    assert_eq!(
        answer[2]["results"],
        json!({"columns": ["a"], "rows": [[1]]})
    );
    let failed = post(
        &db,
        ARRAYS,
        json!([{"sql": "insert into t values (2)"}, {"sql": "insert into t values (1)"}]),
    )
    .await;
    let unique =
        "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)";
    assert_eq!(failed, json!({"success": false, "error": unique}));
    let count = post(&db, "/query", json!({"sql": "select count(*) as n from t"})).await;
    assert_eq!(count["results"], json!([{"n": 1}]));
    assert_eq!(post(&db, "/query", json!([])).await, json!([]));
}

#[tokio::test]
async fn a_bookmark_goes_there_and_back_in_a_header() {
    let db = database();
    let ask = async |bookmark: Option<&str>| {
        let mut request = Request::post("http://d1/query");
        if let Some(bookmark) = bookmark {
            request = request.header(BOOKMARK, bookmark);
        }
        let request = request.body(Bytes::from_static(b"{\"sql\": \"select 1\"}"));
        let answer = db.database.answer_http(request.unwrap(), &scope()).await;
        answer.headers()[BOOKMARK].to_str().unwrap().to_owned()
    };
    let first = ask(Some("first-primary")).await;
    let second = ask(Some(&first)).await;
    assert!(second > first);
    assert_eq!(ask(Some("ffffffff-00000000")).await, "ffffffff-00000000");
    assert!(ask(None).await > second);
}

#[tokio::test]
async fn what_is_no_statement_is_refused_with_what_and_where() {
    let db = database_with(DatabaseOptions {
        max_request_bytes: 1000,
        ..options()
    });
    let long = json!({"sql": "select 1", "params": ["x".repeat(1000)]}).to_string();
    let deep = format!("{{\"sql\": \"\", \"params\": {}", "[".repeat(900));
    let cases = [
        (
            "/query",
            "",
            400,
            "The body cannot be read: EOF while parsing",
        ),
        (
            "/query",
            "select 1",
            400,
            "The body cannot be read: expected value",
        ),
        ("/query", "1", 400, "an object or an array of objects"),
        ("/query", "[1]", 400, "invalid type: integer `1`"),
        ("/query", "{\"params\": []}", 400, "missing field `sql`"),
        ("/query", "{\"sql\": 1}", 400, "expected a string"),
        (
            "/query",
            "{\"sql\": \"\", \"params\": {}}",
            400,
            "expected a sequence",
        ),
        (
            "/query",
            "{\"sql\": \"\", \"params\": [1, {\"a\": [1]}]}",
            400,
            "Type 'object' not supported for value '[object Object]' (params[1])",
        ),
        (
            "/query",
            "[{\"sql\": \"\", \"params\": [[1, 256, 2, \"x\"]]}]",
            400,
            "'an array that is not of bytes' ([0].params[0])",
        ),
        ("/query", &deep, 400, "recursion limit exceeded"),
        ("/query?resultsFormat=XML", "{}", 400, "not XML"),
        (
            "/query",
            &long,
            413,
            "more than 1000 bytes (max_request_bytes)",
        ),
        ("/dump", "", 501, "dump() is deprecated"),
        ("/elsewhere", "{}", 404, "A D1 database has no /elsewhere"),
    ];
    for (path, body, status, expected) in cases {
        let answer = send(&db, path, body).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        let answer: Json = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answer["success"], json!(false));
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(expected), "{path} {body}: {error}");
    }
    let request = Request::builder()
        .method(Method::GET)
        .uri("http://d1/query");
    let request = request.body(Bytes::new()).unwrap();
    let answer = db.database.answer_http(request, &scope()).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test]
async fn integers_keep_their_digits_both_ways() {
    let body = r#"{"sql": "select ?1 as a, ?2 as b, typeof(?3) as c, 7 as d", "params": [9007199254740993, -9223372036854775808, 1e300]}"#;
    let digits = r#""results":[{"a":9007199254740993,"b":-9223372036854775808,"c":"real","d":7}]"#;
    let strings =
        r#""results":[{"a":"9007199254740993","b":-9223372036854775808,"c":"real","d":7}]"#;
    for (integers, expected, rounded) in [
        (Integers::Number, digits, json!(1)),
        (Integers::Text, strings, Json::Null),
        (Integers::BigInt, strings, Json::Null),
    ] {
        let db = database_with(DatabaseOptions {
            integers,
            ..options()
        });
        let answer = send(&db, "/query", body).await;
        let text = std::str::from_utf8(answer.body()).unwrap();
        assert!(text.contains(expected), "{text}");
        let answer: Json = serde_json::from_str(text).unwrap();
        assert_eq!(answer["meta"]["rounded_integers"], rounded);
    }
}

#[tokio::test]
async fn names_count_as_often_as_they_are_written() {
    let db = database_with(DatabaseOptions {
        max_result_bytes: 20_000,
        ..options()
    });
    let name = "n".repeat(1000);
    let sql = format!(
        "select value as {name} from json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]')"
    );
    let arrays = post(&db, ARRAYS, json!({"sql": sql})).await;
    assert_eq!(arrays["results"]["rows"].as_array().unwrap().len(), 20);
    let objects = post(&db, "/query", json!({"sql": sql})).await;
    let error = objects["error"].as_str().unwrap();
    assert!(
        error.contains("more than 20000 bytes (max_result_bytes)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_says_what_a_call_says() {
    let db = database();
    let call = scope();
    let body = json!({"sql": "select ?1 as n", "params": [1]}).to_string();
    let request = Request::post("http://d1/query").body(Bytes::from(body));
    db.database.answer_http(request.unwrap(), &call).await;
    let said = call.drain();
    assert_eq!(said.span_name(), Some("d1.query"));
    for (key, value) in [
        ("db.system.name", "cloudflare-d1".into()),
        ("db.query.text", "select ?1 as n".into()),
        ("db.response.returned_rows", 1.into()),
        ("cloudflare.d1.response.rows_read", 0.into()),
    ] {
        assert_eq!(said.get(key), Some(&value), "{key}");
    }
}
