//! What a query looks at, and how much it gives.

use serde_json::json;

use super::{Code, Metric, Nearest, Place, Query, code, contract, filter, near, options, vector};

contract!(
    an_empty_index_has_no_matches,
    a_namespace_is_searched_alone_and_without_one_all_are,
    a_query_by_id_has_the_vector_itself,
    matches_have_what_was_asked_for_and_nothing_else,
    a_query_gives_as_many_as_there_are_up_to_top_k,
    a_query_that_cannot_be_is_refused,
);

fn by_id(id: &str, top_k: usize) -> Query {
    Query {
        nearest: Nearest::ToId(id.to_owned()),
        ..near(&[], top_k)
    }
}

async fn an_empty_index_has_no_matches(place: Place) {
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        let mut query = near(&[0.0, 1.0], 5);
        assert!(index.found(query.clone()).await.is_empty());
        query.namespace = Some("n".into());
        query.filter = Some(filter(&json!({"a": null})));
        assert!(index.found(query).await.is_empty());
        assert_eq!(code(index.query(by_id("a", 5)).await), Code::NoSuchVector);
    }
}

async fn a_namespace_is_searched_alone_and_without_one_all_are(place: Place) {
    let index = place.open(&options(1, Metric::Euclidean)).await;
    index
        .upsert([
            vector("a", &[1.0]).within("one"),
            vector("b", &[2.0]).within("two"),
            vector("c", &[3.0]),
            vector("d", &[4.0]).within("one").having(json!({"k": true})),
            vector("e", &[5.0]).within("ONE").having(json!({"k": true})),
        ])
        .await;
    let within = |name: &str| Query {
        namespace: Some(name.to_owned()),
        ..near(&[0.0], 10)
    };
    assert_eq!(
        index.found(near(&[0.0], 10)).await,
        ["a", "b", "c", "d", "e"]
    );
    assert_eq!(index.found(within("one")).await, ["a", "d"]);
    assert_eq!(index.found(within("ONE")).await, ["e"]);
    assert!(index.found(within("on")).await.is_empty());
    let mut both = within("one");
    both.filter = Some(filter(&json!({"k": true})));
    assert_eq!(index.found(both).await, ["d"]);
    // An upsert moves a vector from one namespace to another.
    index
        .upsert([vector("a", &[1.0]).within("two"), vector("b", &[2.0])])
        .await;
    assert_eq!(index.found(within("one")).await, ["d"]);
    assert_eq!(index.found(within("two")).await, ["a"]);
    index.remove(&["a"]).await;
    assert!(index.found(within("two")).await.is_empty());
    let names: Vec<_> = index
        .matches(near(&[0.0], 10))
        .await
        .into_iter()
        .map(|of| of.namespace)
        .collect();
    assert_eq!(names, [None, None, Some("one".into()), Some("ONE".into())]);
}

async fn a_query_by_id_has_the_vector_itself(place: Place) {
    for metric in Metric::ALL {
        let place = Place::new(place.kind);
        let index = place.open(&options(2, metric)).await;
        index
            .upsert([
                vector("a", &[1.0, 0.5])
                    .within("one")
                    .having(json!({"k": 1})),
                vector("b", &[0.9, 0.5])
                    .within("two")
                    .having(json!({"k": 2})),
                vector("c", &[-1.0, 0.0])
                    .within("one")
                    .having(json!({"k": 1})),
            ])
            .await;
        let first = &index.matches(by_id("a", 3)).await[0];
        let by_values = &index.matches(near(&[1.0, 0.5], 3)).await[0];
        assert_eq!(first, by_values, "{metric}");
        assert_eq!(index.found(by_id("a", 1)).await, ["a"], "{metric}");
        // One that the namespace or the filter leaves out can be asked about, but is no match.
        let mut other = by_id("a", 3);
        other.namespace = Some("two".into());
        assert_eq!(index.found(other).await, ["b"]);
        let mut other = by_id("a", 3);
        other.filter = Some(filter(&json!({"k": 2})));
        assert_eq!(index.found(other).await, ["b"]);
        assert_eq!(code(index.query(by_id("d", 3)).await), Code::NoSuchVector);
        // It is about what the vector is now.
        index.upsert([vector("a", &[-1.0, 0.1])]).await;
        let two = index.found(by_id("a", 2)).await;
        assert!(
            two.contains(&"a".to_owned()) && two.contains(&"c".to_owned()),
            "{metric}"
        );
        index.remove(&["a"]).await;
        assert_eq!(code(index.query(by_id("a", 3)).await), Code::NoSuchVector);
    }
}

async fn matches_have_what_was_asked_for_and_nothing_else(place: Place) {
    let index = place.open(&options(2, Metric::Euclidean)).await;
    let metadata = json!({"k": 1});
    index
        .upsert([
            vector("a", &[1.0, 0.1])
                .within("n")
                .having(metadata.clone()),
            vector("b", &[2.0, 0.2]),
        ])
        .await;
    let found = index.matches(near(&[0.0, 0.0], 5)).await;
    assert!(
        found
            .iter()
            .all(|of| of.values.is_none() && of.metadata.is_none())
    );
    assert_eq!(found[0].namespace.as_deref(), Some("n"));
    let mut query = near(&[0.0, 0.0], 5);
    query.values = true;
    let found = index.matches(query.clone()).await;
    assert_eq!(found[0].values.as_deref(), Some(&[1.0, 0.1][..]));
    assert_eq!(found[1].values.as_deref(), Some(&[2.0, 0.2][..]));
    assert_eq!(found[0].metadata, None);
    query.metadata = super::MetadataLevel::All;
    let found = index.matches(query).await;
    assert_eq!(found[0].metadata.as_ref(), metadata.as_object());
    assert_eq!(found[1].metadata, None);
}

async fn a_query_gives_as_many_as_there_are_up_to_top_k(place: Place) {
    let index = place.open(&options(1, Metric::Euclidean)).await;
    let id = |n: usize| format!("{n:03}");
    index
        .upsert((0..120).map(|n| vector(id(n), &[n as f32]).having(json!({"odd": n % 2 == 1}))))
        .await;
    for top_k in [1, 2, 99, 100] {
        let expected: Vec<_> = (0..top_k).map(id).collect();
        assert_eq!(index.found(near(&[0.0], top_k)).await, expected);
        let mut query = near(&[-1.0], top_k);
        query.filter = Some(filter(&json!({"odd": true})));
        let expected: Vec<_> = (0..60).map(|n| id(2 * n + 1)).take(top_k).collect();
        assert_eq!(index.found(query).await, expected);
    }
    // The farthest come last, however far.
    let far = index.found(near(&[1e6], 3)).await;
    assert_eq!(far, ["119", "118", "117"]);
}

async fn a_query_that_cannot_be_is_refused(place: Place) {
    let index = place.open(&options(2, Metric::Cosine)).await;
    index.upsert([vector("a", &[1.0, 0.0])]).await;
    let refused = |query| async { code(index.query(query).await) };
    assert_eq!(refused(near(&[1.0], 1)).await, Code::QueryVector);
    assert_eq!(refused(near(&[], 1)).await, Code::QueryVector);
    assert_eq!(
        refused(near(&[1.0, f32::INFINITY], 1)).await,
        Code::QueryVector
    );
    assert_eq!(refused(near(&[1.0, 0.0], 0)).await, Code::TopK);
    assert_eq!(refused(near(&[1.0, 0.0], 101)).await, Code::TopK);
    let mut many = near(&[1.0, 0.0], 51);
    assert_eq!(index.found(many.clone()).await, ["a"]);
    many.values = true;
    assert_eq!(refused(many.clone()).await, Code::TopK);
    many.top_k = 50;
    assert_eq!(index.found(many.clone()).await, ["a"]);
    many.namespace = Some(String::new());
    assert_eq!(refused(many).await, Code::Id);
    assert_eq!(refused(by_id("", 1)).await, Code::Id);
}
