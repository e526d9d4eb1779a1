//! Every method by RPC, and what it replies.

use bindings::vectorize::{IndexOptions, Metric};
use js_value::{Value as JsValue, View, ViewBuffer, ViewKind};
use serde_json::{Value, json};

use crate::world::{World, object, options};

#[tokio::test(flavor = "local")]
async fn every_method_replies_in_the_shapes_of_the_second_version() {
    let world = World::of_default().await;
    let empty = json!({
        "vectorCount": 0, "dimensions": 3, "processedUpToDatetime": null, "processedUpToMutation": null,
    });
    assert_eq!(world.rpc("describe", []).await.unwrap(), empty);
    let vectors = json!([
        {"id": "x", "values": [1, 0, 0], "namespace": "n", "metadata": {"kind": "a", "author": {"age": 7, "name": "N"}}},
        {"id": "y", "values": [0, 1, 0]},
    ]);
    let reply = world.rpc("insert", [vectors]).await.unwrap();
    let mutation = reply["mutationId"].as_str().unwrap().to_owned();
    assert_eq!(
        uuid::Uuid::parse_str(&mutation).unwrap().get_version_num(),
        4
    );
    assert_eq!(reply.as_object().unwrap().len(), 1);
    let info = world.rpc("describe", []).await.unwrap();
    assert_eq!(info["vectorCount"], 2);
    assert_eq!(info["processedUpToMutation"], json!(mutation));
    let time = info["processedUpToDatetime"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");

    // An id that there is stays with insert, and is replaced as a whole by upsert.
    let other = json!([{"id": "x", "values": [0, 0, 1]}, {"id": "z", "values": [0, 0, 0.1]}]);
    world.rpc("insert", [other]).await.unwrap();
    let all = world
        .rpc("getByIds", [json!(["z", "none", "x"])])
        .await
        .unwrap();
    let expected = json!([
        {"id": "z", "values": [0.0, 0.0, 0.10000000149011612]},
        {"id": "x", "values": [1.0, 0.0, 0.0], "namespace": "n", "metadata": {"kind": "a", "author": {"age": 7, "name": "N"}}},
    ]);
    same(&all, &expected);
    world
        .rpc("upsert", [json!([{"id": "y", "values": [0.6, 0.8, 0]}])])
        .await
        .unwrap();

    let options =
        json!({"topK": 2, "returnMetadata": "indexed", "returnValues": true, "unknown": [1]});
    let found = world
        .rpc("query", [json!([1, 0, 0]), options])
        .await
        .unwrap();
    assert_eq!(found["count"], 2);
    let first = json!({
        "id": "x", "score": 1.0, "namespace": "n", "values": [1.0, 0.0, 0.0], "metadata": {"kind": "a", "author": {"age": 7}},
    });
    same(&found["matches"][0], &first);
    assert_eq!(found["matches"][1]["id"], "y");
    let score = found["matches"][1]["score"].as_f64().unwrap();
    assert!((score - 0.6).abs() < 1e-6, "{score}");
    let options = json!({"filter": {"author.age": {"$gte": 7, "$lt": 8}}});
    let found = world.rpc("queryById", [json!("y"), options]).await.unwrap();
    assert_eq!(found["count"], 1);
    assert_eq!(found["matches"][0]["id"], "x");
    assert_eq!(found["matches"][0].get("metadata"), None);

    let gone = world
        .rpc("deleteByIds", [json!(["x", "none"])])
        .await
        .unwrap();
    assert!(gone["mutationId"].is_string());
    assert_eq!(world.rpc("describe", []).await.unwrap()["vectorCount"], 2);
    let error = world.rpc("explain", []).await.unwrap_err();
    assert!(error.contains("explain"), "{error}");
}

/// Numbers of JavaScript have one type.
fn same(one: &Value, other: &Value) {
    fn floats(value: &Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(list) => list.iter().map(floats).collect(),
            Value::Object(object) => {
                let members = object
                    .iter()
                    .map(|(key, value)| (key.clone(), floats(value)));
                Value::Object(members.collect())
            }
            value => value.clone(),
        }
    }
    assert_eq!(floats(one), floats(other));
}

#[tokio::test(flavor = "local")]
async fn errors_are_thrown_with_the_texts_of_the_wrapped_binding() {
    let world = World::of_default().await;
    let vector = |id: &str, n: usize| json!({"id": id, "values": vec![0.5; n]});
    let ids = |n: usize| json!((0..n).map(|n| n.to_string()).collect::<Vec<_>>());
    for (method, args, expected) in [
        (
            "insert",
            vec![json!([vector("x", 2)])],
            "VECTOR_INSERT_ERROR (code = 40012): invalid vector for id=\"x\", expected 3 dimensions, and got 2 dimensions",
        ),
        (
            "upsert",
            vec![json!([vector("a\"\u{1}", 4)])],
            "VECTOR_UPSERT_ERROR (code = 40012): invalid vector for id=\"a\\\"\\u0001\", expected 3 dimensions, and got 4 dimensions",
        ),
        (
            "insert",
            vec![json!([vector(&"i".repeat(74), 2)])],
            "VECTOR_INSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 74 bytes; at vectors[0].id",
        ),
        (
            "insert",
            vec![json!([vector("x", 3), vector("x", 3)])],
            "VECTOR_INSERT_ERROR (code = 41004): vectors[1] has the id of an earlier one of the same batch; send each id once",
        ),
        (
            "insert",
            vec![json!([])],
            "VECTOR_INSERT_ERROR (code = 40023): there are no vectors in the payload",
        ),
        (
            "upsert",
            vec![json!({"vectors": []})],
            "VECTOR_UPSERT_ERROR (code = 40023): failed to parse upsert vectors request: the argument is not a list of vectors",
        ),
        (
            "insert",
            vec![json!([{"id": "x", "values": [1, "2", 3]}])],
            "VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request: vectors[0].values[1] is not a number",
        ),
        (
            "insert",
            vec![json!([{"id": "x", "values": [1, 1e39, 3]}])],
            "VECTOR_INSERT_ERROR (code = 40012): invalid vector: vectors[0].values[1] is not a finite number, as float32 has it",
        ),
        (
            "query",
            vec![json!([])],
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 0 dimensions",
        ),
        (
            "query",
            vec![json!([1, 2, 3]), json!({"topK": 100, "returnValues": true})],
            "VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but got 100; for a top K up to 100, retry with returnValues=false and returnMetadata=indexed",
        ),
        (
            "query",
            vec![json!([1, 2, 3]), json!({"topK": "5"})],
            "VECTOR_QUERY_ERROR (code = 40026): Failed to parse the request body as JSON: topK: expected a whole number, 1 or more",
        ),
        (
            "query",
            vec![json!([1, 2, 3]), json!({"returnMetadata": "some"})],
            "VECTOR_QUERY_ERROR (code = 40026): Failed to parse the request body as JSON: returnMetadata: expected value \"none\", \"indexed\" or \"all\"",
        ),
        (
            "queryById",
            vec![json!("none")],
            "VECTOR_QUERY_ERROR (code = 41002): ",
        ),
        (
            "getByIds",
            vec![ids(21)],
            "VECTOR_GET_ERROR (code = 40007): too many ids in payload; max id count is 20, got 21",
        ),
        (
            "deleteByIds",
            vec![ids(110)],
            "VECTOR_DELETE_ERROR (code = 40007): too many ids in payload; max id count is 100, got 110",
        ),
        (
            "getByIds",
            vec![json!(["a", 1])],
            "VECTOR_GET_ERROR (code = 40026): Failed to parse the request body as JSON: ids[1]: expected a text",
        ),
    ] {
        let error = world.rpc(method, args).await.unwrap_err();
        assert!(error.contains(expected), "{expected}\n{error}");
    }
    assert_eq!(world.rpc("describe", []).await.unwrap()["vectorCount"], 0);
    // What is too long is not repeated.
    let long = "i".repeat(100_000);
    let error = world
        .rpc("insert", [json!([vector(&long, 1)])])
        .await
        .unwrap_err();
    assert!(error.len() < 300, "{}", error.len());
}

fn floats(values: &[f32]) -> JsValue {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    View::new(ViewKind::Float32Array, bytes).into()
}

#[tokio::test(flavor = "local")]
async fn typed_arrays_and_what_vectors_share_are_read() {
    let world = World::of_default().await;
    // Views of one buffer, the second one of its middle; one metadata object.
    let values: Vec<u8> = [1f32, 0.0, 0.0, 2.0, 0.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    // Objects: 0 the list, 1 the first vector, 2 the buffer, 3 its view, 4 the metadata, 5 the second vector.
    let view = |buffer, offset| {
        JsValue::from(View {
            kind: ViewKind::Float32Array,
            buffer,
            offset,
            length: 12,
        })
    };
    let metadata = object([("kind", JsValue::from("shared"))]);
    let first = object([
        ("id", JsValue::from("a")),
        ("values", view(ViewBuffer::Own(values), 0)),
        ("metadata", metadata),
    ]);
    let second = object([
        ("id", JsValue::from("b")),
        ("values", view(ViewBuffer::Shared(2), 8)),
        ("metadata", JsValue::BackRef(4)),
    ]);
    world
        .js("insert", vec![JsValue::Array(vec![first, second])])
        .await
        .unwrap();
    let all = world.rpc("getByIds", [json!(["a", "b"])]).await.unwrap();
    same(&all[1]["values"], &json!([0, 2, 0]));
    assert_eq!(all[0]["metadata"], json!({"kind": "shared"}));
    assert_eq!(all[1]["metadata"], json!({"kind": "shared"}));
    let found = world
        .js("query", vec![floats(&[0.0, 1.0, 0.0])])
        .await
        .unwrap();
    assert_eq!(found["matches"][0]["id"], "b");
}

#[tokio::test(flavor = "local")]
async fn a_large_batch_may_share_its_metadata() {
    let options = IndexOptions {
        dimensions: Some(1536),
        ..options()
    };
    let world = World::new(options).await;
    let row = JsValue::Array(vec![JsValue::Number(0.5); 1536]);
    let vectors = (0..600).map(|n| {
        let metadata = match n {
            // 0 is the list, 1 the vector, 2 its values.
            0 => object([("kind", JsValue::from("shared"))]),
            _ => JsValue::BackRef(3),
        };
        object([
            ("id", JsValue::from(n.to_string())),
            ("values", row.clone()),
            ("metadata", metadata),
        ])
    });
    world
        .js("insert", vec![JsValue::Array(vectors.collect())])
        .await
        .unwrap();
    let last = world.rpc("getByIds", [json!(["599"])]).await.unwrap();
    assert_eq!(last[0]["metadata"], json!({"kind": "shared"}));
}

#[tokio::test(flavor = "local")]
async fn options_that_are_not_known_may_be_anything() {
    let world = World::of_default().await;
    let odd = || JsValue::Map(Vec::new());
    let with = |key: &str, value| vec![floats(&[1.0, 0.0, 0.0]), object([(key, value)])];
    for value in [odd(), JsValue::Number(f64::NAN)] {
        let found = world
            .js("query", with("unknown", value.clone()))
            .await
            .unwrap();
        assert_eq!(found["count"], 0);
        for key in [
            "topK",
            "namespace",
            "returnValues",
            "returnMetadata",
            "filter",
        ] {
            let error = world
                .js("query", with(key, value.clone()))
                .await
                .unwrap_err();
            assert!(
                error.contains(&format!(
                    "(code = 40026): Failed to parse the request body as JSON: {key}: "
                )),
                "{error}"
            );
        }
    }
    let found = world
        .js("query", with("topK", JsValue::Undefined))
        .await
        .unwrap();
    assert_eq!(found["count"], 0);
}

#[tokio::test(flavor = "local")]
async fn the_first_version_has_its_own_replies_and_no_queries_by_ids() {
    let options = IndexOptions {
        first_version: true,
        metric: Some(Metric::DotProduct),
        ..options()
    };
    let world = World::new(options).await;
    let vectors = json!([{"id": "x", "values": [1, 0, 0], "metadata": {"a": 1}}, {"id": "y", "values": [0, 1, 0]}]);
    let reply = world.rpc("insert", [vectors]).await.unwrap();
    assert_eq!(reply, json!({"ids": ["x", "y"], "count": 2}));
    let info = json!({"id": "docs", "name": "docs", "config": {"dimensions": 3, "metric": "dot-product"}, "vectorsCount": 2});
    assert_eq!(world.rpc("describe", []).await.unwrap(), info);
    let found = world
        .js(
            "query",
            vec![
                floats(&[2.0, 0.0, 0.0]),
                object([("returnMetadata", JsValue::Bool(true))]),
            ],
        )
        .await
        .unwrap();
    same(
        &found["matches"][0],
        &json!({"id": "x", "score": -2, "metadata": {"a": 1}}),
    );
    assert!(
        found["matches"][1]["score"]
            .as_f64()
            .unwrap()
            .is_sign_positive(),
        "{found}"
    );
    let error = world
        .rpc("query", [json!([1, 0, 0]), json!({"topK": 21})])
        .await
        .unwrap_err();
    assert!(
        error.contains("(code = 40025): max top K is 20, but got 21"),
        "{error}"
    );
    let error = world.rpc("queryById", [json!("x")]).await.unwrap_err();
    assert!(
        error.contains("QueryById operation is not supported for v1 indexes."),
        "{error}"
    );
}
