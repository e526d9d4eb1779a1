//! How fast it is: `cargo test -p binding-span-bindings --lib postgres::tests::figures -- --ignored --nocapture`

use std::collections::HashSet;
use std::time::{Duration, Instant};

use js_rpc::ClientId;
use serde_json::json;

use super::super::super::backend::Backend;
use super::super::super::options::Metric;
use super::super::super::vector::{Search, Write};
use super::approximate::{exactly, until_indexed};
use super::{near, options, store, vector, with};

const DIMENSIONS: usize = 768;
const BATCHES: u64 = 10;
const QUERIES: u64 = 40;

fn values(random: &mut fastrand::Rng) -> Vec<f32> {
    let mut middle = fastrand::Rng::with_seed(random.u64(..100));
    (0..DIMENSIONS)
        .map(|_| middle.f32() - 0.5 + (random.f32() - 0.5))
        .collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
#[ignore = "figures"]
async fn figures() {
    let mut opened = options(DIMENSIONS, Metric::Cosine);
    opened.exact_below = BATCHES * 1000;
    let store = store("figures", &opened).await;
    let mut random = fastrand::Rng::with_seed(1);
    let mut batch = async |n: u64| {
        let vectors: Vec<_> = (0..1000)
            .map(|k| {
                with(
                    vector(format!("{n}-{k}"), &values(&mut random)),
                    Some("n"),
                    json!({"k": k}),
                )
            })
            .collect();
        let started = Instant::now();
        store
            .write(ClientId::LOCAL, Write::Upsert, vectors)
            .await
            .unwrap();
        started.elapsed()
    };
    let mut times = Vec::new();
    for n in 0..BATCHES - 1 {
        times.push(batch(n).await);
    }
    println!(
        "1000 vectors of {DIMENSIONS} without an index: {:?}",
        median(times)
    );
    let mut random = fastrand::Rng::with_seed(2);
    let mut times = Vec::new();
    for _ in 0..QUERIES {
        let to = near(&values(&mut random), 10);
        let started = Instant::now();
        let found = store.query(ClientId::LOCAL, to).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(found.search, Search::Exact);
    }
    println!(
        "exact query of {} vectors: {:?}",
        (BATCHES - 1) * 1000,
        median(times)
    );
    let built = Instant::now();
    println!("1000 vectors more: {:?}", batch(BATCHES).await);
    until_indexed(&store).await;
    println!("index of {} vectors: {:?}", BATCHES * 1000, built.elapsed());
    let (mut times, mut same) = (Vec::new(), 0);
    for _ in 0..QUERIES {
        let to = values(&mut random);
        let query = near(&to, 10);
        let started = Instant::now();
        let found = store.query(ClientId::LOCAL, query.clone()).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(found.search, Search::Index);
        let ids: HashSet<_> = found.matches.into_iter().map(|one| one.id).collect();
        same += exactly(&store, &query, &to)
            .await
            .iter()
            .filter(|id| ids.contains(*id))
            .count();
    }
    println!(
        "query by index: {:?}, recall@10 {}",
        median(times),
        same as f64 / QUERIES as f64 / 10.0
    );
    println!(
        "1000 vectors into the index: {:?}",
        batch(BATCHES + 1).await
    );
}
