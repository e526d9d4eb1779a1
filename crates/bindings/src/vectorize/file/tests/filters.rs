//! Filters, beside what the words of `filter.rs` say.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::vectorize::{Clause, Scalar, Test};

/// Paths and keys that SQL or JSON paths would take for something else.
const KEYS: [&str; 8] = [
    "a",
    "b'c",
    "d]",
    "$e",
    "f\0g",
    "h\\i",
    "ü😀",
    "j;DROP TABLE vectors--",
];

fn pick<'a, T>(random: &mut fastrand::Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

fn text(random: &mut fastrand::Rng) -> String {
    let texts = [
        "",
        "a",
        "A",
        "b",
        "é",
        "😀",
        "a\0",
        "a\0b",
        "'",
        "\"",
        "1",
        "true",
        "null",
        "' OR 1=1 --",
        "%",
        "\\",
    ];
    (*pick(random, &texts)).to_owned()
}

fn number(random: &mut fastrand::Rng) -> Value {
    let numbers = [
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.5),
        json!(-7),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992_i64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(5e-324),
        json!(0.1),
        json!(2.225_073_858_507_201e-308),
    ];
    pick(random, &numbers).clone()
}

fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(..9) {
        0 => Value::Null,
        1 | 2 => text(random).into(),
        3 | 4 => number(random),
        5 => random.bool().into(),
        6 => json!([1, "a"]),
        _ if depth > 0 => Value::Object(metadata(random, depth - 1)),
        _ => json!({}),
    }
}

fn metadata(random: &mut fastrand::Rng, depth: usize) -> Metadata {
    let count = random.usize(..5);
    let keys = (0..count)
        .map(|_| (*pick(random, &KEYS)).to_owned())
        .collect::<Vec<_>>();
    keys.into_iter()
        .map(|key| (key, value(random, depth)))
        .collect()
}

fn scalar(random: &mut fastrand::Rng) -> Scalar {
    match random.u8(..7) {
        0 => Scalar::Null,
        1..=3 => Scalar::String(text(random)),
        4 | 5 => Scalar::Number(number(random).as_f64().unwrap()),
        _ => Scalar::Boolean(random.bool()),
    }
}

fn path(random: &mut fastrand::Rng) -> Vec<String> {
    let parts = 1 + usize::from(random.u8(..3) == 0);
    (0..parts)
        .map(|_| (*pick(random, &KEYS)).to_owned())
        .collect()
}

fn filter(random: &mut fastrand::Rng) -> Filter {
    let clauses = (0..1 + random.usize(..3)).map(|_| {
        let to = scalar(random);
        let list = (0..random.usize(..4)).map(|_| scalar(random)).collect();
        let test = match random.u8(..8) {
            0 => Test::Equal(to),
            1 => Test::NotEqual(to),
            2 => Test::Less(to),
            3 => Test::LessOrEqual(to),
            4 => Test::Greater(to),
            5 => Test::GreaterOrEqual(to),
            6 => Test::In(list),
            _ => Test::NotIn(list),
        };
        Clause {
            path: path(random),
            test,
        }
    });
    Filter {
        clauses: clauses.collect(),
    }
}

/// Values as (type, order in the type), written without any of the store's code.
fn is_equal(value: Option<&Value>, to: &Scalar) -> bool {
    order(value, to) == Some(Ordering::Equal)
}

fn order(value: Option<&Value>, to: &Scalar) -> Option<Ordering> {
    match to {
        Scalar::Null => value.is_none_or(Value::is_null).then_some(Ordering::Equal),
        Scalar::String(to) => Some(value?.as_str()?.as_bytes().cmp(to.as_bytes())),
        Scalar::Number(to) => value?.as_number()?.as_f64()?.partial_cmp(to),
        Scalar::Boolean(to) => Some(value?.as_bool()?.cmp(to)),
    }
}

fn takes(clause: &Clause, metadata: Option<&Metadata>) -> bool {
    let mut value = metadata.map(|all| Value::Object(all.clone()));
    for key in &clause.path {
        value = value.and_then(|value| value.as_object()?.get(key).cloned());
    }
    let value = value.as_ref();
    match &clause.test {
        Test::Equal(to) => is_equal(value, to),
        Test::NotEqual(to) => !is_equal(value, to),
        Test::Less(to) => order(value, to) == Some(Ordering::Less),
        Test::Greater(to) => order(value, to) == Some(Ordering::Greater),
        Test::LessOrEqual(to) => matches!(order(value, to), Some(Ordering::Less | Ordering::Equal)),
        Test::GreaterOrEqual(to) => {
            matches!(order(value, to), Some(Ordering::Greater | Ordering::Equal))
        }
        Test::In(list) => list.iter().any(|to| is_equal(value, to)),
        Test::NotIn(list) => !list.iter().any(|to| is_equal(value, to)),
    }
}

#[tokio::test]
async fn filters_take_what_the_words_say_with_and_without_indexes() {
    let mut random = fastrand::Rng::with_seed(13);
    let (_folder, at) = place();
    let mut options = options();
    let indexed = [
        "a",
        "b'c",
        "h\\i",
        "ü😀",
        "a.a",
        "a.d]",
        "j;DROP TABLE vectors--",
    ];
    options.metadata_indexes = indexed
        .iter()
        .map(|name| index(name, MetadataType::String))
        .collect();
    let store = FileStore::open(&at, &options).unwrap();
    let mut vectors: Vec<Vector> = (0..400)
        .map(|n| Vector {
            metadata: (random.u8(..10) > 0).then(|| metadata(&mut random, 2)),
            ..vector(&format!("{n:04}"), [0.0; 3])
        })
        .collect();
    upsert(&store, vectors.clone()).await.unwrap();
    // Replaced and deleted ones leave nothing behind.
    for vector in vectors.iter_mut().step_by(3) {
        vector.metadata = Some(metadata(&mut random, 2));
    }
    upsert(&store, vectors.iter().step_by(3).cloned().collect())
        .await
        .unwrap();
    let deleted: Vec<_> = vectors.drain(350..).map(|vector| vector.id).collect();
    store.delete(ME, deleted).await.unwrap();

    let mut found_some = 0;
    for _ in 0..1200 {
        let filter = filter(&mut random);
        let expected: Vec<_> = vectors
            .iter()
            .filter(|vector| {
                filter
                    .clauses
                    .iter()
                    .all(|of| takes(of, vector.metadata.as_ref()))
            })
            .map(|vector| vector.id.clone())
            .collect();
        let found = ids(&store, filtered(filter.clone(), 1000)).await;
        assert_eq!(found, expected, "{filter:?}");
        found_some += usize::from(!expected.is_empty() && expected.len() < vectors.len());
    }
    assert!(found_some > 300, "{found_some}");
    store.close().await;
    let report = crate::vectorize::check(&at, &options.limits).unwrap();
    assert_eq!(report.problems, [""; 0]);
}

#[tokio::test]
async fn a_range_and_a_namespace_leave_what_is_in_both() {
    let (_folder, at) = place();
    let mut options = options();
    options.metadata_indexes = vec![index("n", MetadataType::Number)];
    let store = FileStore::open(&at, &options).unwrap();
    let vectors = (0..20).map(|n| {
        let namespace = if n % 2 == 0 { "even" } else { "odd" };
        with(
            vector(&format!("{n:02}"), [n as f32, 0.0, 0.0]),
            namespace,
            json!({"n": n, "m": n}),
        )
    });
    upsert(&store, vectors.collect()).await.unwrap();
    for property in ["n", "m"] {
        let clause = |test| Clause {
            path: vec![property.to_owned()],
            test,
        };
        let clauses = vec![
            clause(Test::Greater(Scalar::Number(4.0))),
            clause(Test::LessOrEqual(Scalar::Number(10.0))),
        ];
        let query = Query {
            namespace: Some("even".to_owned()),
            ..filtered(Filter { clauses }, 10)
        };
        assert_eq!(ids(&store, query).await, ["06", "08", "10"]);
    }
}
