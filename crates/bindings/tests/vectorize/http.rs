//! Plain HTTP as the wrapped binding of a Worker sends it.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(flavor = "local")]
async fn every_path_of_the_second_version_is_answered() {
    let world = World::of_default().await;
    let body = json!({"vectors": [{"id": "x", "values": [1, 0, 0], "metadata": {"kind": "a"}}]});
    let (status, reply) = world.post("/insert", body.to_string()).await;
    assert_eq!(status, 200);
    assert!(reply["mutationId"].is_string());
    let lines =
        "\u{feff}{\"id\":\"y\",\"values\":[0,1,0]}\r\n\r\n  \n{\"id\":\"z\",\"values\":[0,0,1]}";
    assert_eq!(world.lines("/upsert", lines).await.0, 200);
    let (status, info) = world.http("GET", "/info", &[], "").await;
    assert_eq!(
        (status, &info["vectorCount"], &info["dimensions"]),
        (200, &json!(3), &json!(3))
    );
    let query = json!({"vector": [1, 0, 0], "topK": 1, "returnMetadata": "all"});
    let expected =
        json!({"count": 1, "matches": [{"id": "x", "score": 1.0, "metadata": {"kind": "a"}}]});
    assert_eq!(
        world.post("/query", query.to_string()).await,
        (200, expected)
    );
    let query = json!({"vectorId": "y", "topK": 1, "returnValues": true, "vector": null});
    let (status, found) = world.post("/query", format!("\u{feff}{query}")).await;
    assert_eq!(status, 200);
    assert_eq!(
        found["matches"],
        json!([{"id": "y", "score": 1.0, "values": [0.0, 1.0, 0.0]}])
    );
    let (status, all) = world.post("/getByIds", r#"{"ids":["z"]}"#).await;
    assert_eq!(
        (status, all),
        (200, json!([{"id": "z", "values": [0.0, 0.0, 1.0]}]))
    );
    let (status, gone) = world.post("/deleteByIds", r#"{"ids":["z"]}"#).await;
    assert!(status == 200 && gone["mutationId"].is_string());
    assert_eq!(world.rpc("describe", []).await.unwrap()["vectorCount"], 2);
}

#[tokio::test(flavor = "local")]
async fn every_path_of_the_first_version_is_answered() {
    let world = World::of_default().await;
    let path = |name: &str| format!("/binding/indexes/docs{name}");
    let body = json!({"vectors": [{"id": "x", "values": [1, 0, 0], "metadata": {"kind": "a"}}]});
    let inserted = world.post(&path("/insert"), body.to_string()).await;
    assert_eq!(inserted, (200, json!({"ids": ["x"], "count": 1})));
    assert_eq!(
        world
            .lines(&path("/upsert"), "{\"id\":\"y\",\"values\":[0,1,0]}\n")
            .await
            .0,
        200
    );
    let info = json!({"id": "docs", "name": "docs", "config": {"dimensions": 3, "metric": "cosine"}, "vectorsCount": 2});
    assert_eq!(world.http("GET", &path(""), &[], "").await, (200, info));

    let with_metadata = |found: &Value| found["matches"][0].get("metadata").is_some();
    let query =
        |compat: Value| json!({"vector": [1, 0, 0], "topK": 1, "compat": compat}).to_string();
    let (status, found) = world
        .post(
            &path("/query"),
            query(json!({"queryMetadataOptional": false})),
        )
        .await;
    assert!(status == 200 && with_metadata(&found), "{found}");
    let header = (
        "cf-vector-search-query-compat",
        r#"{"queryMetadataOptional":false}"#,
    );
    let (_, found) = world
        .http("POST", &path("/query"), &[header], query(Value::Null))
        .await;
    assert!(with_metadata(&found), "the header: {found}");
    let (_, found) = world
        .http(
            "POST",
            &path("/query"),
            &[header],
            query(json!({"queryMetadataOptional": true})),
        )
        .await;
    assert!(!with_metadata(&found), "the body: {found}");
    // Without compatibility of the first version it means nothing.
    let (_, found) = world
        .http("POST", "/query", &[header], query(Value::Null))
        .await;
    assert!(!with_metadata(&found), "the second version: {found}");

    let by_id = world.post(&path("/query"), r#"{"vectorId":"x"}"#).await;
    assert_eq!(
        by_id,
        (
            400,
            json!({"code": 40026, "error": "QueryById operation is not supported for v1 indexes."})
        )
    );
    let (status, all) = world.post(&path("/getByIds"), r#"{"ids":["y"]}"#).await;
    assert_eq!((status, &all[0]["id"]), (200, &json!("y")));
    let gone = world
        .post(&path("/deleteByIds"), r#"{"ids":["y", "none"]}"#)
        .await;
    assert_eq!(gone, (200, json!({"ids": ["y"], "count": 1})));
}

#[tokio::test(flavor = "local")]
async fn other_paths_and_methods_are_refused() {
    let world = World::of_default().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("POST", "/queries", 404),
        ("GET", "/binding/indexes/", 404),
        ("POST", "/binding/indexes//query", 404),
        ("POST", "/binding/indexes/docs/", 404),
        ("POST", "/info", 405),
        ("GET", "/query", 405),
        ("PUT", "/binding/indexes/docs/insert", 405),
    ] {
        let (answered, body) = world.http(method, path, &[], "").await;
        assert_eq!(answered, status, "{method} {path}: {body}");
        assert!(body["error"].is_string());
    }
}
