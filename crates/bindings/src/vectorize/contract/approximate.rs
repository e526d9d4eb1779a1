//! Queries by the approximate index of a file, while its vectors change.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    IndexOptions, Kind, MetadataLevel, Metric, Opened, Place, Query, Vector, filter, near, options,
    vector,
};
use crate::vectorize::Search;

const DIMENSIONS: usize = 32;
const ENOUGH: f64 = 0.95;

fn values(random: &mut fastrand::Rng) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| random.f32() * 2.0 - 1.0).collect()
}

fn made(n: usize, version: u32, random: &mut fastrand::Rng) -> Vector {
    let of = vector(format!("{n:04}"), &values(random));
    of.within(if n.is_multiple_of(20) { "two" } else { "one" })
        .having(json!({"n": n, "third": n.is_multiple_of(3), "version": version}))
}

fn query(n: usize, random: &mut fastrand::Rng) -> Query {
    let mut query = near(&values(random), 10);
    if n % 2 == 1 {
        query.namespace = Some("one".into());
    }
    query.filter = match n % 5 {
        0 => Some(filter(&json!({"third": true}))),
        1 => Some(filter(&json!({"n": {"$gte": 100}}))),
        2 => Some(filter(&json!({"n": {"$gte": 300, "$lt": 330}}))),
        _ => None,
    };
    query.metadata = MetadataLevel::All;
    query
}

async fn until_indexed(opened: &Opened, within: Duration) {
    let until = Instant::now() + within;
    loop {
        let status = opened.status();
        if status.indexed == status.vectors {
            return;
        }
        assert!(Instant::now() < until, "{status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many of the nearest are found. All that is found is as the model has it.
async fn recall(model: &Opened, file: &Opened, random: &mut fastrand::Rng) -> f64 {
    let many = model.count().await > 2000;
    let (mut hits, mut all, mut by_index) = (0, 0, 0);
    for n in 0..60 {
        let query = query(n, random);
        let expected = model.matches(query.clone()).await;
        let found = file.query(query).await.unwrap();
        by_index += usize::from(found.search == Search::Index);
        assert_eq!(found.matches.len(), expected.len(), "query {n}");
        let nearest: HashSet<_> = expected.iter().map(|of| of.id.as_str()).collect();
        all += nearest.len();
        hits += found
            .matches
            .iter()
            .filter(|of| nearest.contains(of.id.as_str()))
            .count();
        for of in &found.matches {
            let there = model.at(&[&of.id]).await;
            let there = there
                .first()
                .unwrap_or_else(|| panic!("{} was deleted", of.id));
            assert_eq!(of.metadata, there.metadata, "stale");
            assert_eq!(of.namespace, there.namespace, "stale");
        }
        let sorted = match model.shape().metric {
            Metric::Cosine => found.matches.is_sorted_by(|a, b| a.score >= b.score),
            _ => found.matches.is_sorted_by(|a, b| a.score <= b.score),
        };
        assert!(sorted, "query {n}");
    }
    // Of few vectors it is faster to compare all that a filter leaves.
    let least = if many { 24 } else { 12 };
    assert!(
        by_index >= least,
        "{by_index} of 60 queries went by the index"
    );
    hits as f64 / all as f64
}

async fn assert_agrees(metric: Metric, count: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let options = IndexOptions {
        exact_below: 50,
        ..options(DIMENSIONS, metric)
    };
    let places = [Kind::Model, Kind::File].map(Place::new);
    let model = places[0].open(&options).await;
    let mut file = places[1].open(&options).await;
    let upsert = async |file: &Opened, batch: Vec<Vector>| {
        model.upsert(batch.clone()).await;
        file.upsert(batch).await;
    };
    let vectors: Vec<_> = (0..count).map(|n| made(n, 0, &mut random)).collect();
    for batch in vectors.chunks(1000) {
        upsert(&file, batch.to_vec()).await;
    }
    until_indexed(&file, Duration::from_secs(120)).await;
    let found = recall(&model, &file, &mut random).await;
    assert!(found >= ENOUGH, "{metric}: {found} of new vectors");

    // Some are replaced by others far away, some are deleted; queries do not wait for the index.
    for round in 1..4 {
        let batch = (0..count / 9)
            .map(|_| random.usize(..count))
            .collect::<HashSet<_>>();
        let mut batch: Vec<_> = batch.into_iter().collect();
        batch.sort_unstable();
        upsert(
            &file,
            batch
                .into_iter()
                .map(|n| made(n, round, &mut random))
                .collect(),
        )
        .await;
        let ids: Vec<_> = (0..70)
            .map(|_| format!("{:04}", random.usize(..count)))
            .collect();
        assert_eq!(
            file.delete(ids.clone()).await.unwrap().ids,
            model.delete(ids).await.unwrap().ids
        );
        let found = recall(&model, &file, &mut random).await;
        assert!(found >= ENOUGH, "{metric}: {found} right after changes");
    }
    until_indexed(&file, Duration::from_secs(120)).await;
    let found = recall(&model, &file, &mut random).await;
    assert!(found >= ENOUGH, "{metric}: {found} after changes");

    // The saved index is used: building it takes longer than this.
    file.close().await;
    let cache = places[1].folder.path().join("docs.sqlite-index");
    assert!(cache.metadata().unwrap().len() > 0);
    file = places[1].open(&options).await;
    let status = file.status();
    assert_eq!(status.indexed, status.vectors, "it was saved");
    assert_eq!(status.vectors, model.count().await);
    let found = recall(&model, &file, &mut random).await;
    assert!(
        found >= ENOUGH,
        "{metric}: {found} after it was opened again"
    );

    // Without it there is nothing missing either.
    file.close().await;
    std::fs::remove_file(cache).unwrap();
    file = places[1].open(&options).await;
    until_indexed(&file, Duration::from_secs(120)).await;
    let found = recall(&model, &file, &mut random).await;
    assert!(found >= ENOUGH, "{metric}: {found} of a new index");
}

#[tokio::test]
async fn an_approximate_index_follows_changes_by_cosine() {
    assert_agrees(Metric::Cosine, 2500, 21).await;
}

#[tokio::test]
async fn an_approximate_index_follows_changes_by_euclidean_distance() {
    assert_agrees(Metric::Euclidean, 1000, 22).await;
}

#[tokio::test]
async fn an_approximate_index_follows_changes_by_dot_product() {
    assert_agrees(Metric::DotProduct, 1000, 23).await;
}
