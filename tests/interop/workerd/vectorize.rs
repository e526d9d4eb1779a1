//! A Worker's `env.VECTORIZE` is an index of ours: by the plain HTTP of workerd's own wrapper in a stock workerd (the second
//! version, the first, and lines of JSON), and by calls where a service is bound under that name; directly, and through
//! `caller serve`.

use std::sync::Arc;
use std::time::Duration;

use binding_span::{AttributeList, AttributeValue, Outcome, Sinks, SpanSink};
use bindings::vectorize::{IndexOptions, MetadataIndex, MetadataType, Metric, Store, Vectorize};
use js_rpc::{Address, ConnectOptions, Proxy, Server};
use serde_json::{Map, Value, json};
use tail::{FinishedSpan, Recorder};

use crate::harness::{Builder, Daemon, Ours, Workerd, within};

/// The index VECTORIZE in a file of its own, and what else a server has.
pub struct World {
    pub ours: Ours,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new(dimensions: usize, server: Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let indexed = |property: &str, kind| MetadataIndex {
            property: property.into(),
            kind,
        };
        let options = IndexOptions {
            create: true,
            dimensions: Some(dimensions),
            metric: Some(Metric::Cosine),
            metadata_indexes: vec![
                indexed("kind", MetadataType::String),
                indexed("size", MetadataType::Number),
            ],
            ..IndexOptions::default()
        };
        let store = Store::File(dir.path().join("docs.sqlite"));
        let index = Vectorize::open("VECTORIZE", store, options, None).await;
        let ours = Ours::serve(server.service("VECTORIZE", index.unwrap())).await;
        Self { ours, _dir: dir }
    }
}

pub async fn worker(address: &Address) -> Workerd {
    ["plain", "calls", "plain-ai", "calls-ai"]
        .into_iter()
        .fold(Builder::new("vectorize"), |builder, name| {
            builder.external(name, address)
        })
        .start()
        .await
}

/// The index, and workerds that reach it directly and through `caller`.
async fn both_ways() -> (World, Daemon, [(&'static str, Workerd); 2]) {
    let world = World::new(3, Server::new()).await;
    let bind = format!("VECTORIZE={}", world.ours.address());
    let caller = Daemon::caller(&["--bind", &bind]).await;
    let direct = worker(world.ours.address()).await;
    let passed = worker(&caller.address()).await;
    (world, caller, [("direct", direct), ("passed", passed)])
}

/// By HTTP, by HTTP with vectors as lines of JSON, and by calls.
const BINDINGS: [&str; 3] = ["HTTP", "LINES", "VECTORIZE"];

#[tokio::test(flavor = "local")]
async fn an_index_does_what_a_worker_asks_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        for (_way, workerd) in &ways {
            for binding in BINDINGS {
                for case in ["describe", "write", "query", "filters", "by_id", "many"] {
                    workerd.run(&format!("{case}/{binding}")).await;
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn metadata_is_returned_by_level_or_by_a_boolean_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let refused = workerd.run(&format!("metadata/{binding}")).await;
                let wanted = match binding {
                    "VECTORIZE" => {
                        "VECTOR_QUERY_ERROR (code = 40026): Failed to parse the request body as JSON: returnMetadata: \
                         expected value "
                    }
                    // workerd's own.
                    _ => "Invalid returnMetadata option. Expected: true, false, \"none\", \"indexed\" or \"all\"; got: some",
                };
                let text = refused.as_str().unwrap();
                assert!(text.starts_with(wanted), "{way} {binding}: {text}");
            }
        }
    })
    .await;
}

/// What the messages of `errors` begin with, by the case.
const ERRORS: &str = r#"
    query_dimensions: VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 2 dimensions
    query_empty: VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 0 dimensions
    query_nan: VECTOR_QUERY_ERROR (code = 40006): invalid query vector
    query_large: VECTOR_QUERY_ERROR (code = 40006): invalid query vector
    top_k: VECTOR_QUERY_ERROR (code = 40025): max top K is 100, but got 101
    top_k_with_values: VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but got 100; for a top K up to 100, retry with returnValues=false and returnMetadata=indexed
    top_k_with_metadata: VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but got 51;
    top_k_zero: VECTOR_QUERY_ERROR (code = 40025):
    top_k_half: VECTOR_QUERY_ERROR (code = 40026): Failed to parse the request body as JSON: topK:
    flag: VECTOR_QUERY_ERROR (code = 40026): Failed to parse the request body as JSON: returnValues:
    namespace: VECTOR_QUERY_ERROR (code = 40008): namespace too long; max is 64 bytes, got 65 bytes
    filter_empty: VECTOR_QUERY_ERROR (code = 41001):
    filter_operator: VECTOR_QUERY_ERROR (code = 41001):
    filter_mixed: VECTOR_QUERY_ERROR (code = 41001):
    filter_key: VECTOR_QUERY_ERROR (code = 41001):
    filter_long: VECTOR_QUERY_ERROR (code = 41001):
    by_id_unknown: VECTOR_QUERY_ERROR (code = 41002):
    by_id_long: VECTOR_QUERY_ERROR (code = 40008): id too long; max is 64 bytes, got 74 bytes
    insert_dimensions: VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="new", expected 3 dimensions, and got 2 dimensions
    upsert_empty_values: VECTOR_UPSERT_ERROR (code = 40012): invalid vector for id="new", expected 3 dimensions, and got 0 dimensions
    insert_nan: VECTOR_INSERT_ERROR (code = 40012): invalid vector
    upsert_infinite: VECTOR_UPSERT_ERROR (code = 40012): invalid vector
    insert_twice: VECTOR_INSERT_ERROR (code = 41004):
    insert_none: VECTOR_INSERT_ERROR (code = 40023):
    insert_too_many: VECTOR_INSERT_ERROR (code = 40007): too many vectors in payload; max vector count is 1000, got 1001
    insert_id_long: VECTOR_INSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 74 bytes
    insert_id_empty: VECTOR_INSERT_ERROR (code = 40008):
    insert_id_number: VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request
    upsert_id_number: VECTOR_UPSERT_ERROR (code = 40023): failed to parse upsert vectors request
    upsert_metadata: VECTOR_UPSERT_ERROR (code = 40023): failed to parse upsert vectors request
    metadata_key: VECTOR_UPSERT_ERROR (code = 41000):
    metadata_long: VECTOR_UPSERT_ERROR (code = 41000):
    insert_namespace: VECTOR_INSERT_ERROR (code = 40008): namespace too long; max is 64 bytes, got 65 bytes
    get_too_many: VECTOR_GET_ERROR (code = 40007): too many ids in payload; max id count is 20, got 21
    get_none: VECTOR_GET_ERROR (code = 40026):
    get_number: VECTOR_GET_ERROR (code = 40026): Failed to parse the request body as JSON: ids
    delete_too_many: VECTOR_DELETE_ERROR (code = 40007): too many ids in payload; max id count is 100, got 110
    delete_long: VECTOR_DELETE_ERROR (code = 40008): id too long; max is 64 bytes, got 65 bytes
    insert_one_of_two: VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="new"
"#;

#[tokio::test(flavor = "local")]
async fn errors_are_the_same_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        let mut first = None;
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let errors = workerd.run(&format!("errors/{binding}")).await;
                let wanted = ERRORS
                    .lines()
                    .filter_map(|line| line.trim().split_once(": "));
                for (case, begins) in wanted.clone() {
                    let text = errors[case].as_str().unwrap_or_default();
                    assert!(text.starts_with(begins), "{way} {binding} {case}: {text}");
                }
                let cases = errors.as_object().unwrap().len();
                assert_eq!(cases, wanted.count(), "{errors:#}");
                let errors = without_lines(errors);
                let first = first.get_or_insert_with(|| errors.clone());
                assert_eq!(errors, *first, "{way} {binding}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_first_versions_shapes_are_its_own() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        let wanted = json!([
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 2 dimensions",
            "VECTOR_QUERY_ERROR (code = 40025): max top K is 20, but got 21",
            "VECTOR_UPSERT_ERROR (code = 40012): invalid vector for id=\"new\", expected 3 dimensions, and got 1 dimensions",
            "QueryById operation is not supported for v1 indexes.",
        ]);
        for (way, workerd) in &ways {
            assert_eq!(workerd.run("first/FIRST").await, wanted, "{way}");
        }
    })
    .await;
}

/// Messages without the line that a vector stands in, which only lines of JSON have, and without the one that names the types
/// that a value may have: those of calls are more.
fn without_lines(mut errors: Value) -> Value {
    let all = errors.as_object_mut().unwrap();
    all.remove("upsert_metadata");
    for text in all.values_mut() {
        let plain = text.as_str().unwrap();
        let plain = plain.replace("line 1, ", "").replace("line 2, ", "");
        *text = plain.into();
    }
    errors
}

#[tokio::test(flavor = "local")]
async fn a_cause_and_values_of_other_types_come_by_http_alone() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            let cause = "invalid query vector, expected 3 dimensions, and got 1 dimensions";
            for binding in ["HTTP", "LINES", "FIRST"] {
                let found = workerd.run(&format!("differences/{binding}")).await;
                assert_eq!(found, json!([cause, null]), "{way} {binding}");
            }
            let found = workerd.run("differences/VECTORIZE").await;
            assert_eq!(found[0], Value::Null, "{way}");
            let text = found[1].as_str().unwrap();
            let wanted =
                "VECTOR_UPSERT_ERROR (code = 40023): failed to parse upsert vectors request";
            assert!(text.starts_with(wanted), "{way}: {text}");
        }
    })
    .await;
}

/// What a span says, without what differs each time.
fn told(span: &FinishedSpan) -> Value {
    let mut told = Map::new();
    told.insert("name".into(), span.name.clone().into());
    told.insert("ok".into(), (span.outcome == Outcome::Ok).into());
    for attribute in &span.attributes {
        let key = &*attribute.key;
        let value = match &attribute.value {
            AttributeValue::String(text) => json!(text),
            AttributeValue::Bool(flag) => json!(flag),
            AttributeValue::Int64(number) => json!(number),
            AttributeValue::Float64(number) => json!(number),
            AttributeValue::List(list) => match &**list {
                AttributeList::Strings(texts) => json!(texts),
                other => panic!("{key}: {other:?}"),
            },
        };
        assert!(!value.to_string().contains("secret"), "{key}: {value}");
        match key.strip_prefix("cloudflare.vectorize.").unwrap_or(key) {
            "response.mutation_id" => assert_eq!(value.as_str().unwrap().len(), 36),
            "cloudflare.binding.type" => assert_eq!(value, "Vectorize"),
            "db.system.name" => assert_eq!(value, "cloudflare-vectorize"),
            "db.namespace" => assert_eq!(value, "VECTORIZE"),
            "index.dimensions" => assert_eq!(value, 3),
            "index.metric" => assert_eq!(value, "cosine"),
            // The class of an exception replaces the callee's type where it comes by a call.
            "error.type" => assert!(value.is_string(), "{value}"),
            _ if key.starts_with("db.") || key.starts_with("cloudflare.") => {
                told.insert(key.into(), value);
            }
            _ => {}
        }
    }
    Value::Object(told)
}

#[tokio::test(flavor = "local")]
async fn the_callers_spans_say_what_each_operation_was() {
    within(async {
        for binding in BINDINGS {
            let world = World::new(3, Server::new()).await;
            let recorder = Arc::new(Recorder::new());
            let sinks: Sinks = Arc::new([Arc::clone(&recorder) as Arc<dyn SpanSink>]);
            let to = world.ours.address().clone();
            let proxy = Proxy::new(to, "VECTORIZE", ConnectOptions::default());
            let caller = Server::new().sinks(sinks).proxy("VECTORIZE", proxy);
            let caller = Ours::serve(caller).await;
            let workerd = worker(caller.address()).await;
            workerd.run(&format!("one_of_each/{binding}")).await;
            let waiting = move || recorder.wait_idle(Duration::from_secs(60));
            let mut spans = tokio::task::spawn_blocking(waiting).await.unwrap();
            spans.sort_by_key(|span| span.start);
            let spans: Vec<Value> = spans.iter().map(told).collect();
            assert_eq!(spans, of_one_of_each(), "{binding}: {spans:#?}");
        }
    })
    .await;
}

/// What the spans of `one_of_each` say.
fn of_one_of_each() -> Vec<Value> {
    let span = |operation: &str, more: Value| {
        let mut span = json!({
            "name": format!("vectorize.{operation}"),
            "ok": true,
            "db.operation.name": operation,
        });
        let whole = span.as_object_mut().unwrap();
        for (key, value) in more.as_object().unwrap() {
            let key = match key.starts_with("db.") || key == "ok" {
                true => key.clone(),
                false => format!("cloudflare.vectorize.{key}"),
            };
            whole.insert(key, value.clone());
        }
        span
    };
    vec![
        span("describe", json!({"index.vectors": 0})),
        span(
            "insert",
            json!({"db.operation.batch.size": 3, "response.vectors_changed": 3}),
        ),
        span(
            "upsert",
            json!({"db.operation.batch.size": 3, "response.vectors_changed": 3}),
        ),
        span(
            "query",
            json!({
                "query.top_k": 7,
                "query.namespace": "hills",
                "query.filter_keys": ["kind", "size", "steep"],
                "query.return_values": true,
                "query.return_metadata": "indexed",
                "db.response.returned_rows": 1,
                "response.search": "exact",
                "response.vectors_scanned": 1,
            }),
        ),
        span(
            "query_by_id",
            json!({
                "query.top_k": 5,
                // A list of one arrives as that one.
                "query.filter_keys": "steep",
                "query.return_values": false,
                "query.return_metadata": "none",
                "db.response.returned_rows": 1,
                "response.search": "exact",
                "response.vectors_scanned": 1,
            }),
        ),
        span(
            "get_by_ids",
            json!({"db.operation.batch.size": 2, "db.response.returned_rows": 1}),
        ),
        span(
            "delete_by_ids",
            json!({"db.operation.batch.size": 2, "response.vectors_changed": 1}),
        ),
        span(
            "query",
            json!({"ok": false, "db.response.status_code": "40006"}),
        ),
        span(
            "upsert",
            json!({"ok": false, "db.response.status_code": "40012"}),
        ),
    ]
}
