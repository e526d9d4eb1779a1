//! What calls say about their callers' spans, and what they never say.

use std::collections::BTreeMap;
use std::time::Duration;

use binding_span::Outcome;
use bindings::vectorize::{IndexOptions, Operation, Vector, Write};
use futures::FutureExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::world::{World, attributes, options};

fn expected(operation: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let always = [
        ("db.system.name", "cloudflare-vectorize"),
        ("db.namespace", "docs"),
        ("db.operation.name", operation),
        ("cloudflare.binding.type", "Vectorize"),
        ("cloudflare.vectorize.index.dimensions", "3"),
        ("cloudflare.vectorize.index.metric", "cosine"),
    ];
    let all = always.iter().chain(more);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test(flavor = "local")]
async fn a_span_says_what_was_asked_and_what_came_of_it_and_no_secrets() {
    let world = World::of_default().await;
    const SECRETS: [&str; 4] = ["secret-id", "secret-text", "0.8125", "secret-missing"];
    let vectors = json!([
        {"id": "secret-id", "values": [0.8125, 0, 0], "namespace": "tenant", "metadata": {"kind": "secret-text"}},
        {"id": "other", "values": [0, 1, 0]},
    ]);
    let insert = world.span(world.rpc("insert", [vectors.clone()])).await;
    assert_eq!(
        (insert.name.as_str(), insert.outcome),
        ("vectorize.insert", Outcome::Ok)
    );
    let mut told = attributes(&insert);
    let mutation = told
        .remove("cloudflare.vectorize.response.mutation_id")
        .unwrap();
    assert_eq!(mutation.len(), 36);
    let changed = ("cloudflare.vectorize.response.vectors_changed", "2");
    assert_eq!(
        told,
        expected("insert", &[("db.operation.batch.size", "2"), changed])
    );

    let options = json!({"topK": 3, "namespace": "tenant", "filter": {"kind": "secret-text", "author.age": {"$ne": 5}}, "returnMetadata": "indexed"});
    let query = world
        .span(world.rpc("query", [json!([0.8125, 0, 0]), options]))
        .await;
    assert_eq!(query.name, "vectorize.query");
    let mut told = attributes(&query);
    let keys = told
        .remove("cloudflare.vectorize.query.filter_keys")
        .unwrap();
    assert!(
        keys.contains("kind") && keys.contains("author.age"),
        "{keys}"
    );
    let scanned = told.remove("cloudflare.vectorize.response.vectors_scanned");
    assert!(scanned.is_some());
    let of_query = [
        ("cloudflare.vectorize.query.top_k", "3"),
        ("cloudflare.vectorize.query.return_values", "false"),
        ("cloudflare.vectorize.query.return_metadata", "indexed"),
        ("cloudflare.vectorize.query.namespace", "tenant"),
        ("db.response.returned_rows", "1"),
        ("cloudflare.vectorize.response.search", "exact"),
    ];
    assert_eq!(told, expected("query", &of_query));

    let get = world
        .span(world.rpc("getByIds", [json!(["secret-id"])]))
        .await;
    let one = [
        ("db.operation.batch.size", "1"),
        ("db.response.returned_rows", "1"),
    ];
    assert_eq!(attributes(&get), expected("get_by_ids", &one));
    let describe = world.span(world.rpc("describe", [])).await;
    let vectors_there = [("cloudflare.vectorize.index.vectors", "2")];
    assert_eq!(attributes(&describe), expected("describe", &vectors_there));
    let by_id = world
        .span(world.rpc("queryById", [json!("secret-id")]))
        .await;
    assert_eq!(by_id.name, "vectorize.query_by_id");

    // Failures, whose texts name ids.
    let wrong = json!([{"id": "secret-id", "values": [0.8125]}]);
    let failed = world.span(world.rpc("upsert", [wrong])).await;
    let error = failed.error.as_ref().unwrap();
    assert_eq!(
        error.message,
        "VECTOR_UPSERT_ERROR (code = 40012): invalid vector"
    );
    assert_eq!(attributes(&failed)["db.response.status_code"], "40012");
    world
        .span(world.rpc("queryById", [json!("secret-missing")]))
        .await;
    world.span(world.rpc("query", [json!([0.8125])])).await;
    let long = "secret-text".repeat(100);
    let failed = world
        .span(world.rpc("query", [json!([1, 2, 3]), json!({"namespace": long})]))
        .await;
    assert_eq!(
        attributes(&failed).get("cloudflare.vectorize.query.namespace"),
        None
    );
    world
        .span(world.rpc("deleteByIds", [json!(["secret-id"])]))
        .await;
    for body in [
        json!({"vectors": vectors}),
        json!({"vectors": [{"id": "secret-id", "values": [0.8125]}]}),
    ] {
        world.post("/upsert", body.to_string()).await;
    }
    world
        .post("/query", r#"{"vectorId": "secret-missing"}"#)
        .await;
    world.callee.closed().await;

    let spans = [world.caller.now(), world.callee.now()].concat();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["vectorize.search", "vectorize.write", "vectorize.read"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let all = format!(
        "{spans:?}{:?}{:?}",
        world.caller.told(),
        world.callee.told()
    );
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_takes_too_long_says_so_and_what_was_said_before_stays() {
    let options = IndexOptions {
        timeout: Duration::ZERO,
        ..options()
    };
    let world = World::new(options).await;
    let insert = world.rpc("insert", [json!([{"id": "x", "values": [1, 0, 0]}])]);
    let span = world.span(async {
        let error = insert.await.unwrap_err();
        assert!(
            error.contains("VECTOR_INSERT_ERROR (code = 41005): "),
            "{error}"
        );
        Err(error)
    });
    let span = span.await;
    let told = attributes(&span);
    assert_eq!(told["db.operation.batch.size"], "1");
    assert_eq!(
        span.error.unwrap().message,
        "VECTOR_INSERT_ERROR (code = 41005): timeout"
    );
    let operated = world.operations.all()[0];
    assert_eq!(operated.error.map(|code| code.number()), Some(41005));
    assert!(!operated.canceled);
}

#[tokio::test(flavor = "local")]
async fn a_future_that_is_dropped_is_reported_as_canceled() {
    let world = World::of_default().await;
    let vector = Vector {
        id: "x".to_owned(),
        values: vec![1.0, 0.0, 0.0],
        namespace: None,
        metadata: None,
    };
    let write = world.index.write(Write::Upsert, vec![vector]);
    assert!(write.now_or_never().is_none());
    let operations = world.operations.all();
    assert_eq!(operations.len(), 1, "{operations:?}");
    assert!(operations[0].canceled, "{operations:?}");
    assert_eq!(operations[0].operation, Operation::Upsert);
    assert_eq!((operations[0].error, operations[0].vectors), (None, 0));
}

#[tokio::test(flavor = "local")]
async fn the_span_of_a_client_that_leaves_while_it_sends_ends() {
    let world = World::of_default().await;
    let mut stream = world.stream().await;
    let head = "POST /insert HTTP/1.1\r\nhost: v\r\ncontent-length: 1000\r\n\r\n{\"vectors\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    while world.callee.open() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    let left = tokio::time::timeout(Duration::from_secs(10), world.callee.reached(1));
    let span = left.await.expect("it ends with the connection");
    assert_eq!(span.name, "vectorize.insert");
    let error = span.error.map(|error| error.kind);
    assert_eq!(error.as_deref(), Some("invalid_vectors"));
    let operated = world.operations.all();
    assert_eq!(operated.len(), 1, "{operated:?}");
}
