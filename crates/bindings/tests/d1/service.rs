//! The binding over a real socket, from one half of the RPC library to the other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binding_span::{Attribute, AttributeValue, SpanRef, SpanSink};
use bindings::d1::Database;
use js_rpc::{Address, Args, ConnectOptions, Connection, Listener, Server, Value};
use serde_json::{Value as Json, json};

use crate::support::{ENDLESS, options};

/// A callee with the binding `DB` and a connection to it.
struct Pair {
    connection: Connection,
    heard: Arc<Heard>,
    folder: tempfile::TempDir,
}

/// What the caller heard about its spans.
#[derive(Default)]
struct Heard {
    names: Mutex<Vec<String>>,
    attributes: Mutex<Vec<Attribute>>,
}

impl SpanSink for Heard {
    fn rename(&self, _: SpanRef, name: &str) {
        self.names.lock().unwrap().push(name.to_owned());
    }

    fn attributes(&self, _: SpanRef, attributes: &[Attribute]) {
        self.attributes
            .lock()
            .unwrap()
            .extend_from_slice(attributes);
    }
}

impl Heard {
    /// The names and the latest values since the last time.
    fn take(&self, keys: &[&str]) -> (Vec<String>, Vec<Option<AttributeValue>>) {
        let attributes = std::mem::take(&mut *self.attributes.lock().unwrap());
        let value = |key: &&str| {
            attributes
                .iter()
                .rev()
                .find(|a| a.key == *key)
                .map(|a| a.value.clone())
        };
        (
            std::mem::take(&mut *self.names.lock().unwrap()),
            keys.iter().map(value).collect(),
        )
    }
}

async fn pair() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("shop.sqlite"), options()).unwrap();
    let address: Address = format!("unix:{}/callee.sock", folder.path().display())
        .parse()
        .unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    let server = Server::new().service("DB", database);
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    let heard = Arc::new(Heard::default());
    let options = ConnectOptions {
        sinks: Arc::from([heard.clone() as Arc<dyn SpanSink>]),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, options).await.unwrap();
    Pair {
        connection,
        heard,
        folder,
    }
}

impl Pair {
    async fn query(&self, argument: Json) -> Json {
        let args = Args::from_json(vec![argument]).unwrap();
        self.connection
            .binding("DB")
            .call("query", args)
            .await
            .unwrap()
            .into_payload()
            .to_json()
            .unwrap()
    }
}

/// The message of a failure: an `Error`, which JSON shows under `$error`.
fn message(reply: &Json) -> &str {
    reply["error"]["$error"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_query_is_answered_in_d1s_shape() {
    let pair = pair().await;
    let reply = pair
        .query(
            json!({"queries": [{"sql": "select ?1 + 1 as n, ?2 as b", "params": [41, [1, 255]]}]}),
        )
        .await;
    assert_eq!(reply["success"], json!(true));
    let result = &reply["results"]["queryResults"][0];
    assert_eq!(
        result["data"],
        json!({"kind": "raw", "columns": ["n", "b"], "rows": [[42, [1, 255]]]})
    );
    for figure in [
        "duration",
        "rows_read",
        "rows_written",
        "changes",
        "last_row_id",
        "size_after",
    ] {
        assert!(result["meta"][figure].is_number(), "{figure}");
    }
    assert_eq!(result["meta"]["changed_db"], json!(false));
    assert!(result["meta"]["timings"]["sql_duration_ms"].is_number());
    assert!(reply["results"]["bookmark"].is_string());
}

#[tokio::test(flavor = "local")]
async fn a_failing_statement_is_a_result_and_a_wrong_argument_an_exception() {
    let pair = pair().await;
    let reply = pair
        .query(json!({"queries": [{"sql": "select * from missing"}]}))
        .await;
    assert_eq!(reply["success"], json!(false));
    assert_eq!(message(&reply), "no such table: missing: SQLITE_ERROR");
    let binding = pair.connection.binding("DB");
    let cases = [
        (
            "query",
            vec![],
            "TypeError: query: the argument must be an object, not undefined",
        ),
        (
            "query",
            vec![json!({"queries": [{"sql": 1}]})],
            "TypeError: query: queries[0].sql must be a string, not number",
        ),
        (
            "dump",
            vec![],
            "TypeError: The RPC receiver does not implement the method",
        ),
    ];
    for (method, arguments, expected) in cases {
        let args = Args::from_json(arguments).unwrap();
        let error = binding.call(method, args).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let undefined = Value::Undefined;
    let query = js_value::Object::from([
        ("sql", Value::from("select ?")),
        ("params", Value::Array(vec![undefined])),
    ]);
    let argument = Value::from(js_value::Object::from([(
        "queries",
        Value::from(vec![query]),
    )]));
    let error = binding
        .call("query", Args::from(vec![argument]))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "TypeError: D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined' (queries[0].params[0])"
    );
}

#[tokio::test(flavor = "local")]
async fn a_batch_is_one_transaction_over_the_wire_too() {
    let pair = pair().await;
    let batch = json!({"queries": [
        {"sql": "create table t (a unique)"},
        {"sql": "insert into t values (?1)", "params": [1]},
        {"sql": "insert into t values (?1)", "params": [1]},
    ]});
    let reply = pair.query(batch).await;
    assert_eq!(
        message(&reply),
        "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    );
    let reply = pair
        .query(json!({"queries": [{"sql": "select count(*) from sqlite_master"}]}))
        .await;
    assert_eq!(
        reply["results"]["queryResults"][0]["data"]["rows"],
        json!([[0]])
    );
    assert!(pair.folder.path().join("shop.sqlite").exists());
}

#[tokio::test(flavor = "local")]
async fn a_call_past_its_deadline_stops_the_statement() {
    let pair = pair().await;
    let binding = pair.connection.binding("DB");
    for _ in 0..8 {
        // Twice as many as there are threads that read.
        let args = Args::from_json(vec![json!({"queries": [{"sql": ENDLESS}]})]).unwrap();
        assert!(
            binding
                .call("query", args)
                .deadline(Duration::from_millis(20))
                .await
                .is_err()
        );
    }
    let answered = tokio::time::timeout(
        Duration::from_secs(20),
        pair.query(json!({"queries": [{"sql": "select 1"}]})),
    );
    assert_eq!(answered.await.unwrap()["success"], json!(true));
}

#[tokio::test(flavor = "local")]
async fn the_callers_span_is_named_and_tagged() {
    let pair = pair().await;
    let keys = [
        "db.query.text",
        "db.response.returned_rows",
        "cloudflare.d1.response.changes",
        "error.type",
    ];
    let text = |text: &str| Some(AttributeValue::from(text.to_owned()));
    let int = |int: i64| Some(AttributeValue::Int64(int));

    pair.query(json!({"queries": [{"sql": "select ?1 + 1 as n", "params": [41]}]}))
        .await;
    let (names, values) = pair.heard.take(&keys);
    assert_eq!(
        (names, values),
        (
            vec!["d1.query".to_owned()],
            vec![text("select ?1 + 1 as n"), int(1), int(0), None]
        )
    );

    pair.query(json!({"queries": [{"sql": "create table t (a)"}, {"sql": "insert into t values ('secret')"}]})).await;
    let (names, values) = pair.heard.take(&keys);
    let masked = text("create table t (a); insert into t values (?)");
    assert_eq!(
        (names, values),
        (
            vec!["d1.batch".to_owned()],
            vec![masked, int(0), int(1), None]
        )
    );

    pair.query(json!({"queries": [{"sql": "selec 'secret'"}]}))
        .await;
    let (names, values) = pair.heard.take(&keys);
    let failed = vec![text("selec ?"), None, None, text("SQLITE_ERROR")];
    assert_eq!((names, values), (vec!["d1.query".to_owned()], failed));
}
