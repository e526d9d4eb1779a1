//! Metadata as it comes back.

use serde_json::{Value, json};

use super::{
    IndexOptions, Limits, MetadataLevel, MetadataType, Metric, Place, contract, index, near,
    object, options, vector,
};

contract!(
    metadata_comes_back_exactly,
    the_largest_metadata_comes_back,
    indexed_metadata_has_what_is_in_the_indexes,
    empty_metadata_is_not_none,
);

async fn metadata_comes_back_exactly(place: Place) {
    let index = place.open(&options(1, Metric::Cosine)).await;
    let texts = [
        r#"{"z":1,"a":2,"M":3,"é":4," ":5}"#.to_owned(),
        r#"{"max":18446744073709551615,"min":-9223372036854775808,"past":9007199254740993}"#.into(),
        r#"{"f":0.1,"g":1e300,"h":-1.5e-7,"i":5e-324,"j":1.7976931348623157e308,"k":1.0}"#.into(),
        r#"{"zero":0,"negative":-0.0,"null":null,"t":true,"f":false}"#.into(),
        r#"{"l":[1,[2,[3,[]]],{"k":[null,"x",{}]}],"o":{"b":{"a":{"c":[]}}},"e":{}}"#.into(),
        "{\"t\":\"\\u0001\\n\\t\\\\ \\\" / é 𝄞 \u{10ffff} \u{2028}\",\"k'ey %_\\\\\":\"'; --\"}"
            .to_owned(),
        r#"{"deep":{"b":1,"a":{"d":1,"c":2}},"again":{"b":1,"a":2}}"#.into(),
    ];
    for text in &texts {
        let value: Value = serde_json::from_str(text).unwrap();
        index
            .upsert([vector("a", &[1.0]).having(value.clone())])
            .await;
        let expected = value.to_string();
        let got = index.at(&["a"]).await.remove(0).metadata.unwrap();
        assert_eq!(Value::Object(got).to_string(), expected);
        let mut query = near(&[1.0], 1);
        query.metadata = MetadataLevel::All;
        let found = index.matches(query).await.remove(0).metadata.unwrap();
        assert_eq!(Value::Object(found).to_string(), expected);
        let page = index
            .store
            .page(None, 1)
            .await
            .unwrap()
            .remove(0)
            .metadata
            .unwrap();
        assert_eq!(Value::Object(page).to_string(), expected);
    }
}

async fn the_largest_metadata_comes_back(place: Place) {
    let options = IndexOptions {
        metadata_indexes: vec![index("t", MetadataType::String)],
        ..options(1, Metric::Cosine)
    };
    let index = place.open(&options).await;
    let most = Limits::default().max_metadata_bytes;
    // Texts that do not compress, of two bytes a character: longer than what an index of PostgreSQL can have.
    let mut random = fastrand::Rng::with_seed(3);
    let text: String = std::iter::repeat_with(|| random.char('\u{100}'..'\u{7ff}'))
        .take(4000)
        .collect();
    let mut metadata = object(json!({"t": text, "u": ""}));
    let rest = most - serde_json::to_vec(&metadata).unwrap().len();
    metadata.insert("u".into(), "x".repeat(rest).into());
    assert_eq!(serde_json::to_vec(&metadata).unwrap().len(), most);
    index
        .upsert([vector("a", &[1.0]).having(metadata.clone().into())])
        .await;
    assert_eq!(index.at(&["a"]).await[0].metadata.as_ref(), Some(&metadata));
    let mut query = near(&[1.0], 1);
    let first: String = text.chars().take(100).collect();
    query.filter = Some(super::filter(&json!({"t": {"$gt": first}})));
    assert_eq!(index.found(query).await, ["a"]);
}

async fn indexed_metadata_has_what_is_in_the_indexes(place: Place) {
    let options = IndexOptions {
        metadata_indexes: vec![
            index("author.name", MetadataType::String),
            index("author.age", MetadataType::Number),
            index("title", MetadataType::String),
            index("open", MetadataType::Boolean),
        ],
        ..options(1, Metric::Euclidean)
    };
    let index = place.open(&options).await;
    // The 64th byte is within a character of two.
    let long = format!("{}éé", "x".repeat(63));
    let exact = "y".repeat(64);
    let cases = [
        (
            json!({"author": {"name": long, "age": 7, "note": "no"}, "title": exact, "open": false, "other": 1}),
            Some(
                json!({"author": {"name": "x".repeat(63), "age": 7}, "title": exact, "open": false}),
            ),
        ),
        // Of other types than the indexes'.
        (
            json!({"author": {"name": 1, "age": "7"}, "title": ["a"], "open": 0}),
            None,
        ),
        (
            json!({"author": "me", "open": true}),
            Some(json!({"open": true})),
        ),
        (
            json!({"title": null, "author": {"name": {"first": "a"}}}),
            None,
        ),
        (
            json!({"title": "", "author": {"age": 18446744073709551615_u64}}),
            Some(json!({"title": "", "author": {"age": 18446744073709551615_u64}})),
        ),
        (json!({}), None),
    ];
    for (n, (metadata, expected)) in cases.into_iter().enumerate() {
        index
            .upsert([vector("a", &[n as f32]).having(metadata.clone())])
            .await;
        let mut query = near(&[0.0], 5);
        query.metadata = MetadataLevel::Indexed;
        let found = index.matches(query.clone()).await.remove(0);
        assert_eq!(found.metadata.map(Value::Object), expected, "{metadata}");
        query.metadata = MetadataLevel::All;
        let found = index.matches(query.clone()).await.remove(0);
        assert_eq!(found.metadata, Some(object(metadata)));
        query.metadata = MetadataLevel::None;
        assert_eq!(index.matches(query).await.remove(0).metadata, None);
    }
}

async fn empty_metadata_is_not_none(place: Place) {
    let index = place.open(&options(1, Metric::Euclidean)).await;
    index
        .upsert([vector("a", &[1.0]).having(json!({})), vector("b", &[2.0])])
        .await;
    let got = index.at(&["a", "b"]).await;
    assert_eq!(got[0].metadata, Some(object(json!({}))));
    assert_eq!(got[1].metadata, None);
}
