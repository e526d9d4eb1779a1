//! What a store does with vectors.

use serde_json::json;

use super::*;
use crate::vectorize::Code;

#[tokio::test]
async fn vectors_are_inserted_replaced_found_and_deleted() {
    let (_folder, path) = place();
    let store = open(&path);
    let first = vec![vector("a", [1.0, 0.0, 0.0]), vector("b", [2.0, 0.0, 0.0])];
    let mutation = store.write(ME, Write::Insert, first).await.unwrap();
    assert_eq!(mutation.ids, ["a", "b"]);
    let again = vec![vector("b", [9.0; 3]), vector("c", [3.0, 0.0, 0.0])];
    let mutation = store.write(ME, Write::Insert, again).await.unwrap();
    assert_eq!(mutation.ids, ["c"]);
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["a", "b", "c"]);

    let new = with(vector("a", [5.0, 0.5, 0.0]), "ns", json!({"k": {"n": 1}}));
    upsert(&store, vec![new.clone()]).await.unwrap();
    let found = store
        .get(ME, vec!["missing".into(), "c".into(), "a".into()])
        .await
        .unwrap();
    assert_eq!(found, [vector("c", [3.0, 0.0, 0.0]), new.clone()]);

    let query = Query {
        values: true,
        metadata: MetadataLevel::All,
        ..near([5.0, 0.5, 0.0], 1)
    };
    let found = store.query(ME, query).await.unwrap();
    let hit = &found.matches[0];
    assert_eq!((hit.id.as_str(), hit.score), ("a", 0.0));
    assert_eq!(hit.values.as_ref(), Some(&new.values));
    assert_eq!(hit.metadata, new.metadata);
    assert_eq!(hit.namespace.as_deref(), Some("ns"));

    let deleted = store
        .delete(ME, vec!["c".into(), "x".into()])
        .await
        .unwrap();
    assert_eq!(deleted.ids, ["c"]);
    let info = store.info().await.unwrap();
    assert_eq!((info.vectors, info.newest.unwrap().0), (2, deleted.id));
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["b", "a"]);

    store.close().await;
    let store = open(&path);
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["b", "a"]);
    assert_eq!(store.info().await.unwrap().vectors, 2);
}

#[tokio::test]
async fn a_query_by_id_has_the_vector_itself_and_keeps_to_the_namespace() {
    let (_folder, path) = place();
    let store = open(&path);
    let vectors = vec![
        with(vector("a", [0.0; 3]), "one", json!({})),
        with(vector("b", [1.0, 0.0, 0.0]), "two", json!({})),
        vector("c", [2.0, 0.0, 0.0]),
    ];
    upsert(&store, vectors).await.unwrap();
    let by = |id: &str, namespace: Option<&str>| Query {
        nearest: Nearest::ToId(id.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..near([0.0; 3], 2)
    };
    assert_eq!(ids(&store, by("a", None)).await, ["a", "b"]);
    assert_eq!(ids(&store, by("a", Some("two"))).await, ["b"]);
    assert_eq!(ids(&store, by("a", Some("none"))).await, [""; 0]);
    let error = store.query(ME, by("x", None)).await.unwrap_err();
    assert_eq!(error.code, Code::NoSuchVector);
}

#[tokio::test]
async fn of_those_equally_near_the_first_ids_are_found() {
    let (_folder, path) = place();
    let store = open(&path);
    let names: Vec<_> = (0..100).rev().map(|n| format!("v{n:03}")).collect();
    let vectors = names.iter().map(|id| vector(id, [1.0; 3])).collect();
    upsert(&store, vectors).await.unwrap();
    upsert(&store, vec![vector("é", [0.5; 3])]).await.unwrap();
    let found = ids(&store, near([0.0; 3], 4)).await;
    assert_eq!(found, ["é", "v000", "v001", "v002"]);
    // Of other dimensions nothing is stored or searched.
    let mut short = vector("short", [1.0; 3]);
    short.values.pop();
    let error = upsert(&store, vec![vector("ok", [1.0; 3]), short.clone()]).await;
    assert_eq!(error.unwrap_err().code, Code::Vector);
    let query = Query {
        nearest: Nearest::To(short.values),
        ..near([0.0; 3], 1)
    };
    assert_eq!(
        store.query(ME, query).await.unwrap_err().code,
        Code::QueryVector
    );
    assert_eq!(store.info().await.unwrap().vectors, 101);
}

#[tokio::test]
async fn a_full_index_refuses_a_batch_whole_and_names_the_limit() {
    let (_folder, path) = place();
    let mut options = options();
    options.limits.max_vectors = 3;
    options.limits.max_namespaces = 1;
    let store = FileStore::open(&path, &options).unwrap();
    let names = ["a", "b", "c", "d"];
    let all = names.map(|id| vector(id, [1.0; 3])).to_vec();
    let error = upsert(&store, all.clone()).await.unwrap_err();
    assert_eq!(error.code, Code::Full);
    assert!(error.text.contains("at most 3 vectors"), "{error}");
    assert_eq!(store.info().await.unwrap().vectors, 0);
    assert_eq!(store.info().await.unwrap().newest, None);
    upsert(&store, all[..3].to_vec()).await.unwrap();
    // To replace takes no room.
    upsert(&store, all[..3].to_vec()).await.unwrap();

    let one = with(vector("a", [1.0; 3]), "one", json!({}));
    let two = with(vector("b", [1.0; 3]), "two", json!({}));
    let error = upsert(&store, vec![one.clone(), two.clone()]).await;
    assert!(error.unwrap_err().text.contains("at most 1 namespaces"));
    upsert(&store, vec![one]).await.unwrap();
    // A namespace without vectors is none.
    store.delete(ME, vec!["a".into()]).await.unwrap();
    upsert(&store, vec![two]).await.unwrap();

    store.close().await;
    options.limits.max_memory_bytes = 40;
    let store = FileStore::open(&path, &options).unwrap();
    let error = upsert(&store, vec![vector("e", [1.0; 3])])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Full);
    assert!(error.text.contains("40 bytes of memory"), "{error}");
}

#[tokio::test]
async fn pages_go_through_all_ids_in_the_order_of_their_bytes() {
    let (_folder, path) = place();
    let store = open(&path);
    let names = ["b", "Z", "é", "a\0b", "a", "😀"];
    let vectors = names.iter().map(|id| vector(id, [0.0; 3])).collect();
    upsert(&store, vectors).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = store
            .page(seen.last().map(String::as_str), 2)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|vector| vector.id));
    }
    assert_eq!(seen, ["Z", "a", "a\0b", "b", "é", "😀"]);
}

#[tokio::test]
async fn metadata_indexes_are_made_for_what_there_is_and_follow_changes() {
    let (_folder, path) = place();
    let store = open(&path);
    let long = "x".repeat(100);
    let metadata = json!({"t": long, "n": 1, "deep": {"b": true}, "other": 2});
    upsert(&store, vec![with(vector("a", [0.0; 3]), "", metadata)])
        .await
        .unwrap();
    store.close().await;

    let mut options = options();
    options.metadata_indexes = vec![
        index("t", MetadataType::String),
        index("deep.b", MetadataType::Boolean),
    ];
    let store = FileStore::open(&path, &options).unwrap();
    let indexed = Query {
        metadata: MetadataLevel::Indexed,
        ..near([0.0; 3], 1)
    };
    let found = store.query(ME, indexed.clone()).await.unwrap();
    let expected = json!({"t": "x".repeat(64), "deep": {"b": true}});
    assert_eq!(found.matches[0].metadata, Some(object(expected)));

    // Another store of the same process has others: then these are the indexes.
    options.metadata_indexes = vec![index("n", MetadataType::Number)];
    let other = FileStore::open(&path, &options).unwrap();
    let found = store.query(ME, indexed.clone()).await.unwrap();
    assert_eq!(found.matches[0].metadata, Some(object(json!({"n": 1}))));
    other.close().await;
    store.close().await;
    // Nobody asks for any: they stay.
    let store = open(&path);
    assert_eq!(
        store.info().await.unwrap().metadata_indexes,
        options.metadata_indexes
    );
}
