//! Filters on metadata, with metadata indexes and without: what they take is written down here.

use serde_json::{Value, json};

use super::{
    IndexOptions, MetadataType, Metric, Place, contract, filter, index, near, options, vector,
};

contract!(
    values_of_each_type_are_compared_with_their_own,
    nested_properties_are_reached_through_objects_only,
    texts_are_in_the_order_of_their_bytes,
    numbers_are_float64,
    all_properties_of_a_filter_must_hold,
);

/// Vectors with these values of the property, or without it, and filters on it with the vectors that they take.
async fn check(place: &Place, property: &str, metadata: &[(&str, Value)], cases: &[(Value, &str)]) {
    let mut indexed = vec![Vec::new()];
    for kind in [
        MetadataType::String,
        MetadataType::Number,
        MetadataType::Boolean,
    ] {
        indexed.push(vec![index(property, kind)]);
    }
    for metadata_indexes in indexed {
        let place = Place::new(place.kind);
        let options = IndexOptions {
            metadata_indexes: metadata_indexes.clone(),
            ..options(1, Metric::Euclidean)
        };
        let index = place.open(&options).await;
        let mut vectors: Vec<_> = metadata
            .iter()
            .map(|(id, of)| vector(*id, &[1.0]).having(of.clone()))
            .collect();
        // One without metadata is one without the property.
        vectors.push(vector("-", &[1.0]));
        index.upsert(vectors).await;
        for (json, expected) in cases {
            let mut query = near(&[1.0], 100);
            query.filter = Some(filter(json));
            let mut found = index.found(query).await;
            found.sort();
            let mut expected: Vec<_> = expected.split_whitespace().collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{json} with {metadata_indexes:?}");
        }
        index.close().await;
    }
}

async fn values_of_each_type_are_compared_with_their_own(place: Place) {
    let metadata = [
        ("s", json!({"k": "1"})),
        ("s0", json!({"k": ""})),
        ("st", json!({"k": "true"})),
        ("n", json!({"k": 1})),
        ("n0", json!({"k": 0})),
        ("n-", json!({"k": -1.5})),
        ("t", json!({"k": true})),
        ("f", json!({"k": false})),
        ("null", json!({"k": null})),
        ("none", json!({"other": 1})),
        ("l", json!({"k": [1, "1", true]})),
        ("l0", json!({"k": []})),
        ("o", json!({"k": {"k": 1}})),
    ];
    let cases = [
        (json!({"k": "1"}), "s"),
        (json!({"k": 1}), "n"),
        (json!({"k": 1.0}), "n"),
        (json!({"k": {"$eq": true}}), "t"),
        (json!({"k": false}), "f"),
        (json!({"k": ""}), "s0"),
        (json!({"k": -0.0}), "n0"),
        (json!({"k": null}), "null none -"),
        (
            json!({"k": {"$ne": 1}}),
            "s s0 st n0 n- t f null none l l0 o -",
        ),
        (json!({"k": {"$ne": null}}), "s s0 st n n0 n- t f l l0 o"),
        (
            json!({"k": {"$ne": "none of them"}}),
            "s s0 st n n0 n- t f null none l l0 o -",
        ),
        (json!({"k": {"$lt": 1}}), "n0 n-"),
        (json!({"k": {"$lte": 1}}), "n0 n- n"),
        (json!({"k": {"$gt": 0}}), "n"),
        (json!({"k": {"$gte": 0}}), "n n0"),
        (json!({"k": {"$gt": "1"}}), "st"),
        (json!({"k": {"$gte": "1"}}), "st s"),
        (json!({"k": {"$lt": "1"}}), "s0"),
        (json!({"k": {"$lte": "1"}}), "s0 s"),
        (json!({"k": {"$lt": true}}), "f"),
        (json!({"k": {"$lte": true}}), "f t"),
        (json!({"k": {"$gt": false}}), "t"),
        (json!({"k": {"$gt": true}}), ""),
        (json!({"k": {"$gte": false}}), "f t"),
        (json!({"k": {"$lt": false}}), ""),
        (json!({"k": {"$gt": -2, "$lt": 1}}), "n0 n-"),
        (json!({"k": {"$gte": -1.5, "$lte": 0}}), "n0 n-"),
        (json!({"k": {"$gt": 1, "$lt": 0}}), ""),
        (json!({"k": {"$gt": 0, "$lt": "z"}}), ""),
        (json!({"k": {"$in": [1, "1", null]}}), "n s null none -"),
        (json!({"k": {"$in": [true, false, "true"]}}), "t f st"),
        (json!({"k": {"$in": []}}), ""),
        (
            json!({"k": {"$nin": []}}),
            "s s0 st n n0 n- t f null none l l0 o -",
        ),
        (
            json!({"k": {"$nin": [1, 0, "1", null]}}),
            "s0 st n- t f l l0 o",
        ),
        (
            json!({"k": {"$nin": [1, true]}}),
            "s s0 st n0 n- f null none l l0 o -",
        ),
    ];
    check(&place, "k", &metadata, &cases).await;
}

async fn nested_properties_are_reached_through_objects_only(place: Place) {
    let metadata = [
        ("deep", json!({"a": {"b": {"c": "x"}}})),
        ("other", json!({"a": {"b": {"c": 2, "d": "x"}}})),
        ("half", json!({"a": {"b": {}}})),
        ("null", json!({"a": {"b": null}})),
        ("text", json!({"a": "b"})),
        ("list", json!({"a": {"b": [{"c": "x"}]}})),
        ("zero", json!({"a": {"b": {"0": "x"}}})),
        ("flat", json!({"b": {"c": "x"}, "c": "x"})),
    ];
    let cases = [
        (json!({"a.b.c": "x"}), "deep"),
        (json!({"a.b.c": {"$gte": 2}}), "other"),
        (json!({"a.b.c": null}), "half null text list zero flat -"),
        (
            json!({"a.b.c": {"$ne": "x"}}),
            "other half null text list zero flat -",
        ),
        (json!({"a.b.c": {"$in": ["x", 2]}}), "deep other"),
        (json!({"a.b": null}), "null text flat -"),
        (json!({"a.b.0": "x"}), "zero"),
        (json!({"a.b.0.c": "x"}), ""),
        (json!({"a": "b"}), "text"),
        (
            json!({"a": {"$ne": null}}),
            "deep other half null text list zero",
        ),
        (
            json!({"a.b.c.d": null}),
            "deep other half null text list zero flat -",
        ),
    ];
    check(&place, "a.b.c", &metadata, &cases).await;
}

async fn texts_are_in_the_order_of_their_bytes(place: Place) {
    let long = |last: &str| format!("{}{last}", "é".repeat(70));
    let metadata = [
        ("Z", json!({"k": "Z"})),
        ("a", json!({"k": "a"})),
        ("a_", json!({"k": "a "})),
        ("e1", json!({"k": "e\u{301}"})),
        ("e2", json!({"k": "é"})),
        ("bmp", json!({"k": "\u{e000}"})),
        ("astral", json!({"k": "𝄞"})),
        ("quote", json!({"k": "'\"\\%_"})),
        ("la", json!({"k": long("a")})),
        ("lb", json!({"k": long("b")})),
    ];
    let cases = [
        (json!({"k": {"$lt": "a"}}), "Z quote"),
        (json!({"k": {"$gt": "a", "$lt": "b"}}), "a_"),
        (json!({"k": {"$gt": "\u{e000}"}}), "astral"),
        (json!({"k": {"$lt": "é"}}), "Z a a_ e1 quote"),
        (json!({"k": "é"}), "e2"),
        (json!({"k": "'\"\\%_"}), "quote"),
        // Longer than what is in an index.
        (json!({"k": long("a")}), "la"),
        (json!({"k": {"$gt": long("a")}}), "lb bmp astral"),
        (json!({"k": {"$gte": long("a"), "$lt": long("b")}}), "la"),
        (json!({"k": {"$lt": long("b"), "$gt": "é"}}), "la"),
        (json!({"k": {"$lte": long("")}}), "Z a a_ e1 e2 quote"),
        (
            json!({"k": {"$ne": long("a"), }}),
            "Z a a_ e1 e2 bmp astral quote lb -",
        ),
        (json!({"k": {"$in": [long("b"), "a", "A"]}}), "lb a"),
    ];
    check(&place, "k", &metadata, &cases).await;
}

async fn numbers_are_float64(place: Place) {
    let metadata = [
        ("2^53", json!({"k": 9007199254740992_u64})),
        ("2^53+1", json!({"k": 9007199254740993_u64})),
        ("2^53+2", json!({"k": 9007199254740994_u64})),
        ("u64", json!({"k": u64::MAX})),
        ("i64", json!({"k": i64::MIN})),
        ("0.1", json!({"k": 0.1})),
        ("0.3", json!({"k": 0.30000000000000004})),
        ("big", json!({"k": 1e300})),
        ("max", json!({"k": f64::MAX})),
        ("least", json!({"k": 5e-324})),
        ("text", json!({"k": "9007199254740992"})),
    ];
    let cases = [
        (json!({"k": 9007199254740993_u64}), "2^53 2^53+1"),
        (
            json!({"k": {"$gt": 9007199254740992_u64}}),
            "2^53+2 u64 big max",
        ),
        (json!({"k": 18446744073709551615_u64}), "u64"),
        (json!({"k": 18446744073709551616.0}), "u64"),
        (json!({"k": {"$lte": -9223372036854775808.0}}), "i64"),
        (json!({"k": {"$gt": 0, "$lt": 1}}), "0.1 0.3 least"),
        (json!({"k": 0.3}), ""),
        (json!({"k": {"$gt": 0.3, "$lt": 1}}), "0.3"),
        (json!({"k": {"$gte": 1e300}}), "big max"),
        (json!({"k": {"$gte": f64::MAX}}), "max"),
        (json!({"k": {"$gt": 0, "$lte": 5e-324}}), "least"),
    ];
    check(&place, "k", &metadata, &cases).await;
}

async fn all_properties_of_a_filter_must_hold(place: Place) {
    let metadata = [
        ("a", json!({"k": 1, "t": "x", "o": {"b": true}})),
        ("b", json!({"k": 2, "t": "x", "o": {"b": false}})),
        ("c", json!({"k": 3, "t": "y"})),
        ("d", json!({"k": 3})),
    ];
    let cases = [
        (json!({"k": {"$gte": 2}, "t": "x"}), "b"),
        (json!({"t": "x", "o.b": true}), "a"),
        (json!({"t": {"$ne": "x"}, "k": 3, "o.b": null}), "c d"),
        (
            json!({"t": {"$in": ["x", "y"]}, "k": {"$gt": 1, "$lte": 3}}),
            "b c",
        ),
        (json!({"k": {"$nin": [3]}, "o": {"$ne": null}}), "a b"),
        (json!({"k": 1, "t": "y"}), ""),
        (json!({"absent": null, "k": 3, "t": null}), "d"),
    ];
    check(&place, "k", &metadata, &cases).await;
    check(&place, "t", &metadata, &cases).await;
    check(&place, "o.b", &metadata, &cases).await;
}
