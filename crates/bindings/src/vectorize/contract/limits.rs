//! What an index refuses, and that nothing of it is stored.

use serde_json::json;

use super::{
    Code, IndexOptions, Limits, Metric, Place, Write, assert_same, code, contract, near, options,
    vector,
};

contract!(
    a_batch_that_is_refused_leaves_nothing,
    a_full_index_takes_replacements_and_no_more,
    namespaces_are_counted_as_they_are,
);

async fn a_batch_that_is_refused_leaves_nothing(place: Place) {
    let limits = Limits {
        max_vectors: 3,
        max_namespaces: 2,
        ..Limits::default()
    };
    let options = IndexOptions {
        limits,
        ..options(2, Metric::Euclidean)
    };
    let index = place.open(&options).await;
    index
        .upsert([vector("old", &[1.0, 1.0]).within("one")])
        .await;
    let before = index.info().await.unwrap();
    let good = || vector("new", &[2.0, 2.0]);
    let replaced = || vector("old", &[9.0, 9.0]).within("two");
    let refused = [
        (
            vec![replaced(), good(), vector("short", &[1.0])],
            Code::Vector,
        ),
        (
            vec![replaced(), vector("nan", &[1.0, f32::NAN])],
            Code::Vector,
        ),
        (vec![good(), replaced(), good()], Code::DuplicateId),
        (
            vec![replaced(), good().having(json!({"$a": 1}))],
            Code::Metadata,
        ),
        (
            vec![
                replaced(),
                good(),
                vector("b", &[0.0; 2]),
                vector("c", &[0.0; 2]),
            ],
            Code::Full,
        ),
        (
            vec![
                replaced(),
                good().within("three"),
                vector("b", &[0.0; 2]).within("four"),
            ],
            Code::Full,
        ),
        (Vec::new(), Code::Body),
    ];
    for (batch, expected) in refused {
        let batch_of = format!("{batch:?}");
        assert_eq!(
            code(index.write(Write::Upsert, batch).await),
            expected,
            "{batch_of}"
        );
    }
    assert_eq!(index.info().await.unwrap(), before);
    let old = vector("old", &[1.0, 1.0]).within("one");
    assert_same(&index.at(&["old", "new", "b", "c"]).await, &[old]);
    assert_eq!(index.found(near(&[9.0, 9.0], 5)).await, ["old"]);
}

async fn a_full_index_takes_replacements_and_no_more(place: Place) {
    let limits = Limits {
        max_vectors: 2,
        ..Limits::default()
    };
    let options = IndexOptions {
        limits,
        ..options(1, Metric::Euclidean)
    };
    let index = place.open(&options).await;
    index
        .insert([vector("a", &[1.0]), vector("b", &[2.0])])
        .await;
    let full = index.write(Write::Insert, vec![vector("c", &[1.0])]).await;
    assert_eq!(code(full), Code::Full);
    assert_eq!(
        index
            .upsert([vector("a", &[3.0]), vector("b", &[4.0])])
            .await,
        ["a", "b"]
    );
    // What there is already is not counted again.
    let none = index
        .insert([vector("a", &[5.0]), vector("b", &[5.0])])
        .await;
    assert!(none.is_empty());
    index.remove(&["a"]).await;
    assert_eq!(index.insert([vector("c", &[1.0])]).await, ["c"]);
    assert_eq!(index.found(near(&[0.0], 5)).await, ["c", "b"]);
    // A smaller limit than what there is: it can be read, replaced and become less.
    index.close().await;
    let mut smaller = options.clone();
    smaller.limits.max_vectors = 1;
    let index = place.open(&smaller).await;
    assert_eq!(index.upsert([vector("b", &[0.5])]).await, ["b"]);
    let full = index.write(Write::Upsert, vec![vector("d", &[1.0])]).await;
    assert_eq!(code(full), Code::Full);
    assert_eq!(index.remove(&["b"]).await, ["b"]);
    assert_eq!(index.count().await, 1);
}

async fn namespaces_are_counted_as_they_are(place: Place) {
    let limits = Limits {
        max_namespaces: 2,
        ..Limits::default()
    };
    let options = IndexOptions {
        limits,
        ..options(1, Metric::Euclidean)
    };
    let index = place.open(&options).await;
    let of = |id: &str, namespace: &str| vector(id, &[1.0]).within(namespace);
    index
        .upsert([of("a", "one"), of("b", "two"), vector("c", &[1.0])])
        .await;
    index
        .upsert([of("d", "one"), of("e", "two"), of("c", "two")])
        .await;
    let third = || index.write(Write::Upsert, vec![of("f", "three")]);
    assert_eq!(code(third().await), Code::Full);
    // An insert that is left out makes no namespace.
    assert!(index.insert([of("a", "three")]).await.is_empty());
    // The last vector of a namespace takes it along, by being deleted or by being moved.
    index.remove(&["a", "d"]).await;
    third().await.unwrap();
    assert_eq!(index.upsert([of("f", "two")]).await, ["f"]);
    assert_eq!(index.upsert([of("g", "four")]).await, ["g"]);
    // A namespace is replaced by another one in one batch.
    assert_eq!(index.upsert([of("g", "five")]).await, ["g"]);
    assert_eq!(code(third().await), Code::Full);
}
