//! Opening what there is, with the same options and with others; metadata indexes.

use serde_json::json;

use super::{
    IndexOptions, MetadataIndex, MetadataLevel, MetadataType, Metric, OpenError, Place, Vector,
    assert_same, contract, filter, index, near, object, options, vector,
};

contract!(
    what_was_written_is_there_when_it_is_opened_again,
    an_index_is_not_opened_as_another_one,
    metadata_indexes_are_those_of_the_options_or_stay,
    metadata_indexes_are_limited_and_each_property_has_one,
    an_index_is_made_for_what_there_is,
);

fn refusal<T>(result: Result<T, OpenError>) -> OpenError {
    result.err().expect("it was opened")
}

async fn what_was_written_is_there_when_it_is_opened_again(place: Place) {
    let made = options(2, Metric::Euclidean);
    let index = place.open(&made).await;
    let vectors: Vec<Vector> = (0..50)
        .map(|n| {
            let of = vector(format!("{n:02}"), &[n as f32, -0.0]);
            of.within(["one", "two"][n % 2])
                .having(json!({"n": n, "l": [n]}))
        })
        .collect();
    index.upsert(vectors.clone()).await;
    index.remove(&["10", "20"]).await;
    let before = index.info().await.unwrap();
    index.close().await;
    let ways = [
        made.clone(),
        IndexOptions {
            create: false,
            ..made.clone()
        },
        IndexOptions {
            create: false,
            dimensions: None,
            metric: None,
            ..made.clone()
        },
        IndexOptions {
            dimensions: None,
            ..made
        },
    ];
    for way in ways {
        let index = place.open(&way).await;
        assert_eq!(index.info().await.unwrap(), before);
        let left: Vec<_> = vectors
            .iter()
            .filter(|of| !["10", "20"].contains(&of.id.as_str()))
            .cloned()
            .collect();
        assert_same(&index.store.page(None, 100).await.unwrap(), &left);
        let mut query = near(&[11.0, 0.0], 3);
        query.namespace = Some("one".into());
        query.filter = Some(filter(&json!({"n": {"$gte": 8}})));
        assert_eq!(index.found(query).await, ["12", "08", "14"]);
        index.close().await;
    }
}

async fn an_index_is_not_opened_as_another_one(place: Place) {
    let made = options(2, Metric::Euclidean);
    let missing = IndexOptions {
        create: false,
        ..made.clone()
    };
    assert!(matches!(
        refusal(place.try_open(&missing).await),
        OpenError::Missing(_)
    ));
    let wrong = [
        IndexOptions {
            dimensions: None,
            ..made.clone()
        },
        IndexOptions {
            metric: None,
            ..made.clone()
        },
        IndexOptions {
            dimensions: Some(0),
            ..made.clone()
        },
        IndexOptions {
            dimensions: Some(1537),
            ..made.clone()
        },
    ];
    for wrong in wrong {
        assert!(matches!(
            refusal(place.try_open(&wrong).await),
            OpenError::Options(_)
        ));
    }
    let index = place.open(&made).await;
    index.upsert([vector("a", &[1.0, 2.0])]).await;
    index.close().await;
    for (dimensions, metric) in [(3, Metric::Euclidean), (2, Metric::Cosine)] {
        let other = options(dimensions, metric);
        assert!(matches!(
            refusal(place.try_open(&other).await),
            OpenError::Options(_)
        ));
    }
    // A limit for indexes that are created does not shut out one that there is.
    let mut smaller = made.clone();
    smaller.limits.max_dimensions = 1;
    assert_eq!(place.open(&smaller).await.count().await, 1);
}

async fn metadata_indexes_are_those_of_the_options_or_stay(place: Place) {
    let with = |indexes: &[(&str, MetadataType)]| IndexOptions {
        metadata_indexes: indexes
            .iter()
            .map(|(property, kind)| index(property, *kind))
            .collect(),
        ..options(1, Metric::Euclidean)
    };
    let a = ("a", MetadataType::String);
    let b = ("b.c", MetadataType::Number);
    let steps: [(&[_], &[_]); 6] = [
        (&[a], &[a]),
        (&[], &[a]),
        (&[a, b], &[a, b]),
        (&[b], &[b]),
        // The same property with another type.
        (
            &[("b.c", MetadataType::String)],
            &[("b.c", MetadataType::String)],
        ),
        (&[], &[("b.c", MetadataType::String)]),
    ];
    let metadata = json!({"a": "x", "b": {"c": 5}});
    for (n, (wanted, expected)) in steps.into_iter().enumerate() {
        let index = place.open(&with(wanted)).await;
        if n == 0 {
            index
                .upsert([vector("a", &[1.0]).having(metadata.clone())])
                .await;
        }
        let key = |of: &MetadataIndex| of.property.clone();
        let mut there = index.info().await.unwrap().metadata_indexes;
        there.sort_by_key(key);
        assert_eq!(there, with(expected).metadata_indexes, "step {n}");
        let mut query = near(&[0.0], 1);
        query.metadata = MetadataLevel::Indexed;
        let mut kept = serde_json::Map::new();
        if expected.contains(&a) {
            kept.insert("a".into(), json!("x"));
        }
        if expected.contains(&b) {
            kept.insert("b".into(), json!({"c": 5}));
        }
        let found = index.matches(query).await.remove(0).metadata;
        assert_eq!(found.unwrap_or_default(), kept, "step {n}");
        // Filters do not depend on it.
        for json in [
            json!({"a": "x"}),
            json!({"b.c": 5}),
            json!({"b.c": {"$lt": 6}, "a": "x"}),
        ] {
            let mut query = near(&[0.0], 1);
            query.filter = Some(filter(&json));
            assert_eq!(index.found(query).await, ["a"], "step {n}: {json}");
        }
        index.close().await;
    }
}

async fn metadata_indexes_are_limited_and_each_property_has_one(place: Place) {
    let with = |indexes: Vec<MetadataIndex>| IndexOptions {
        metadata_indexes: indexes,
        ..options(1, Metric::Euclidean)
    };
    let some = |of: std::ops::Range<usize>| {
        of.map(|n| index(&format!("k{n}"), MetadataType::Number))
            .collect::<Vec<_>>()
    };
    assert!(matches!(
        refusal(place.try_open(&with(some(0..11))).await),
        OpenError::Options(_)
    ));
    place.open(&with(some(0..10))).await.close().await;
    // Ten others, instead.
    let index_of = place.open(&with(some(5..15))).await;
    let there = index_of.info().await.unwrap().metadata_indexes;
    assert_eq!(there.len(), 10);
    assert!(some(5..15).iter().all(|of| there.contains(of)));
    index_of.close().await;
    let twice = vec![
        index("a", MetadataType::String),
        index("a", MetadataType::Number),
    ];
    assert!(matches!(
        refusal(place.try_open(&with(twice)).await),
        OpenError::Options(_)
    ));
    if place.kind != super::Kind::Model {
        for wrong in ["", ".", "a.", "$a", "a.$b", "a\"b"] {
            let wrong = with(vec![index(wrong, MetadataType::String)]);
            assert!(matches!(
                refusal(place.try_open(&wrong).await),
                OpenError::Options(_)
            ));
        }
    }
    // What was refused has changed nothing.
    let index_of = place.open(&options(1, Metric::Euclidean)).await;
    assert_eq!(index_of.info().await.unwrap().metadata_indexes.len(), 10);
}

async fn an_index_is_made_for_what_there_is(place: Place) {
    let made = options(1, Metric::Euclidean);
    let opened = place.open(&made).await;
    let metadata = |n: usize| match n % 3 {
        0 => json!({"k": n}),
        1 => json!({"k": format!("{n}")}),
        _ => json!({}),
    };
    opened
        .upsert((0..300).map(|n| vector(format!("{n:03}"), &[n as f32]).having(metadata(n))))
        .await;
    opened.close().await;
    let indexed = IndexOptions {
        metadata_indexes: vec![index("k", MetadataType::Number)],
        ..made
    };
    let opened = place.open(&indexed).await;
    let found = |json: serde_json::Value| {
        let mut query = near(&[0.0], 3);
        query.filter = Some(filter(&json));
        opened.found(query)
    };
    assert_eq!(
        found(json!({"k": {"$gt": 6, "$lt": 14}})).await,
        ["009", "012"]
    );
    assert_eq!(found(json!({"k": "10"})).await, ["010"]);
    assert_eq!(found(json!({"k": null})).await, ["002", "005", "008"]);
    // It follows changes.
    opened
        .upsert([
            vector("009", &[9.0]).having(json!({"k": "x"})),
            vector("000", &[0.0]).having(json!({"k": 10})),
        ])
        .await;
    opened.remove(&["012"]).await;
    assert_eq!(
        found(json!({"k": {"$gt": 6, "$lt": 16}})).await,
        ["000", "015"]
    );
    let mut query = near(&[0.0], 1);
    query.metadata = MetadataLevel::Indexed;
    assert_eq!(
        opened.matches(query).await[0].metadata,
        Some(object(json!({"k": 10})))
    );
}
