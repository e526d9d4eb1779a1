//! The same random steps on all three stores at once.

use serde_json::{Value, json};

use super::super::model::score;
use super::{
    Filter, IndexOptions, Kind, Match, MetadataLevel, MetadataType, Metric, Nearest, Opened, Place,
    Query, Vector, Write, assert_same, filter, index, near, options, vector,
};

const DIMENSIONS: usize = 6;
const STEPS: usize = 250;

struct Random(fastrand::Rng);

impl Random {
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.0.usize(..of.len())]
    }

    fn id(&mut self) -> String {
        let letter = *self.pick(&["a", "é", "𝄞", "\u{e000}"]);
        format!("{letter}{}", self.0.u32(..40))
    }

    /// Often values that others have, so that there are ties.
    fn values(&mut self) -> Vec<f32> {
        let coarse = self.0.bool();
        let mut value = || match coarse {
            true => self.0.i32(-1..=1) as f32,
            false => self.0.f32() * 2.0 - 1.0,
        };
        (0..DIMENSIONS).map(|_| value()).collect()
    }

    fn namespace(&mut self) -> Option<String> {
        self.pick(&[None, Some("one"), Some("two"), Some("drei\u{df}")])
            .map(str::to_owned)
    }

    fn scalar(&mut self) -> Value {
        match self.0.u32(..8) {
            0 => Value::Null,
            1 => self.0.bool().into(),
            2 => (*self.pick(&[9007199254740992_u64, 9007199254740993, u64::MAX])).into(),
            3 => (self.0.i32(-3..3)).into(),
            4 => (*self.pick(&[0.5, -0.0, 1e300, -2.5])).into(),
            5 => "x".repeat(self.0.usize(62..67)).into(),
            _ => (*self.pick(&["", "a", "B", "é", "\u{e000}", "𝄞"])).into(),
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.0.u32(..10) {
            0 if depth > 0 => self.object(depth - 1),
            1 if depth > 0 => (0..self.0.usize(..3))
                .map(|_| self.value(depth - 1))
                .collect(),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: u32) -> Value {
        let mut object = serde_json::Map::new();
        for _ in 0..self.0.u32(..4) {
            let key = *self.pick(&["k", "t", "o"]);
            object.insert(key.to_owned(), self.value(depth));
        }
        Value::Object(object)
    }

    fn vector(&mut self) -> Vector {
        let mut vector = vector(self.id(), &self.values());
        vector.namespace = self.namespace();
        if self.0.u32(..4) > 0 {
            vector = vector.having(self.object(2));
        }
        vector
    }

    /// Ids are unique.
    fn batch(&mut self) -> Vec<Vector> {
        let mut batch: Vec<Vector> = Vec::new();
        for _ in 0..self.0.usize(1..12) {
            let vector = self.vector();
            if batch.iter().all(|of| of.id != vector.id) {
                batch.push(vector);
            }
        }
        batch
    }

    fn filter(&mut self) -> Filter {
        let mut json = serde_json::Map::new();
        for _ in 0..self.0.u32(1..3) {
            let key = *self.pick(&["k", "t", "o", "o.k", "o.t", "o.o.k"]);
            let operator = *self.pick(&["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin"]);
            let value = match operator {
                "$in" | "$nin" => (0..self.0.usize(..4)).map(|_| self.scalar()).collect(),
                "$eq" | "$ne" => self.scalar(),
                _ => loop {
                    let value = self.scalar();
                    if !value.is_null() {
                        break value;
                    }
                },
            };
            json.insert(key.to_owned(), json!({operator: value}));
        }
        filter(&Value::Object(json))
    }

    fn query(&mut self) -> Query {
        let mut query = near(&self.values(), self.0.usize(1..40));
        if self.0.u32(..5) == 0 {
            query.nearest = Nearest::ToId(self.id());
        }
        if self.0.u32(..3) == 0 {
            query.namespace = self.namespace();
        }
        if self.0.u32(..2) == 0 {
            query.filter = Some(self.filter());
        }
        query.values = self.0.bool();
        query.metadata = *self.pick(&[
            MetadataLevel::None,
            MetadataLevel::Indexed,
            MetadataLevel::All,
        ]);
        query
    }
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-5 * a.abs().max(b.abs()).max(0.1)
}

/// The same scores; and the same vectors, but for those that are nearly as near as one another.
async fn assert_matches(query: &Query, model: &Opened, other: &Opened, context: &str) {
    let expected = model.query(query.clone()).await;
    let found = other.query(query.clone()).await;
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected.matches, found.matches),
        (expected, found) => {
            let code = |of: &Result<_, super::VectorizeError>| of.as_ref().err().map(|of| of.code);
            assert_eq!(code(&expected), code(&found), "{context}: {query:?}");
            return;
        }
    };
    let context = format!("{context}: {query:?}\n{expected:#?}\n{found:#?}");
    assert_eq!(found.len(), expected.len(), "{context}");
    let to = match &query.nearest {
        Nearest::To(values) => values.clone(),
        Nearest::ToId(id) => model.at(&[id]).await.remove(0).values,
    };
    let metric = model.shape().metric;
    for (found, expected) in found.iter().zip(&expected) {
        assert!(close(found.score, expected.score), "{context}");
        if found.id == expected.id {
            let plain = |of: &Match| Match {
                score: 0.0,
                ..of.clone()
            };
            assert_eq!(plain(found), plain(expected), "{context}");
            continue;
        }
        let ours = model.at(&[&found.id]).await.remove(0);
        assert!(
            close(score(metric, &to, &ours.values), expected.score),
            "{context}"
        );
        let namespace = query.namespace.is_none() || ours.namespace == query.namespace;
        let filter = query.filter.as_ref();
        assert!(
            namespace && filter.is_none_or(|of| of.takes(ours.metadata.as_ref())),
            "{context}"
        );
    }
    let mut ids: Vec<_> = found.iter().map(|of| &of.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), found.len(), "{context}");
    // Of those that have the very same score the first ids are first.
    for pair in found.windows(2) {
        let ordered = match metric {
            Metric::Cosine => pair[0].score >= pair[1].score,
            _ => pair[0].score <= pair[1].score,
        };
        let tie = pair[0].score == pair[1].score;
        assert!(ordered && (!tie || pair[0].id < pair[1].id), "{context}");
    }
}

async fn assert_steps(metric: Metric, seed: u64) {
    let mut random = Random(fastrand::Rng::with_seed(seed));
    let mut options = IndexOptions {
        metadata_indexes: vec![
            index("k", MetadataType::Number),
            index("o.t", MetadataType::String),
        ],
        ..options(DIMENSIONS, metric)
    };
    options.limits.max_vectors = 130;
    options.limits.max_namespaces = 2;
    let places = [Kind::Model, Kind::File, Kind::Postgres].map(Place::new);
    let mut stores = Vec::new();
    for place in &places {
        stores.push(place.open(&options).await);
    }
    for step in 0..STEPS {
        let context = format!("{metric}, seed {seed}, step {step}");
        match random.0.u32(..20) {
            0..7 => {
                let write = *random.pick(&[Write::Insert, Write::Upsert]);
                let batch = random.batch();
                let mut results = Vec::new();
                for store in &stores {
                    let result = store.write(write, batch.clone()).await;
                    results.push(result.map(|of| of.ids).map_err(|error| error.code));
                }
                assert_eq!(results[1], results[0], "{context}: {write:?} {batch:?}");
                assert_eq!(results[2], results[0], "{context}: {write:?} {batch:?}");
            }
            7..10 => {
                let ids: Vec<_> = (0..random.0.u32(1..12)).map(|_| random.id()).collect();
                let mut results = Vec::new();
                for store in &stores {
                    results.push(store.delete(ids.clone()).await.unwrap().ids);
                }
                assert_eq!(results[1], results[0], "{context}: {ids:?}");
                assert_eq!(results[2], results[0], "{context}: {ids:?}");
            }
            10 if step % 7 == 0 => {
                for (place, store) in places.iter().zip(&mut stores) {
                    store.close().await;
                    *store = place.open(&options).await;
                }
            }
            10 | 11 => {
                let ids: Vec<_> = (0..random.0.u32(1..20)).map(|_| random.id()).collect();
                let expected = stores[0].get(ids.clone()).await.unwrap();
                for store in &stores[1..] {
                    assert_same(&store.get(ids.clone()).await.unwrap(), &expected);
                }
            }
            _ => {
                let query = random.query();
                for (place, store) in places.iter().zip(&stores).skip(1) {
                    let context = format!("{context}, {:?}", place.kind);
                    assert_matches(&query, &stores[0], store, &context).await;
                }
            }
        }
    }
    let all = stores[0].store.page(None, 1000).await.unwrap();
    for store in &stores[1..] {
        assert_same(&store.store.page(None, 1000).await.unwrap(), &all);
        assert_eq!(store.count().await, all.len() as u64);
    }
}

#[tokio::test]
async fn random_steps_have_the_same_results_by_cosine() {
    assert_steps(Metric::Cosine, 1).await;
}

#[tokio::test]
async fn random_steps_have_the_same_results_by_euclidean_distance() {
    assert_steps(Metric::Euclidean, 2).await;
}

#[tokio::test]
async fn random_steps_have_the_same_results_by_dot_product() {
    assert_steps(Metric::DotProduct, 3).await;
}
