//! Figures, printed: `cargo test --release -p binding-span-bindings --lib vectorize::file::tests::figures -- --ignored --nocapture`.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::vectorize::{Clause, Scalar, Test};

#[tokio::test]
#[ignore = "prints figures, and takes its time"]
async fn how_fast_a_file_is() {
    const BATCH: usize = 1000;
    let batches: usize = std::env::var("BATCHES").map_or(100, |n| n.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(13);
    let (_folder, path) = place();
    let mut options = options();
    options.dimensions = Some(768);
    options.metadata_indexes = vec![index("indexed", MetadataType::Number)];
    let store = FileStore::open(&path, &options).unwrap();
    let mut took = std::time::Duration::ZERO;
    for batch in 0..batches {
        let vectors: Vec<_> = (0..BATCH)
            .map(|n| {
                let number = random.u32(..1000);
                Vector {
                    id: format!("document-{batch}-{n}"),
                    values: (0..768).map(|_| random.f32() - 0.5).collect(),
                    namespace: Some(format!("ns{}", random.u8(..10))),
                    metadata: Some(object(
                        json!({"indexed": number, "plain": number, "title": "A title of some length", "url": "https://example.com/a/page"}),
                    )),
                }
            })
            .collect();
        let began = Instant::now();
        upsert(&store, vectors).await.unwrap();
        took += began.elapsed();
    }
    let all = (batches * BATCH) as f64;
    println!(
        "inserted {all} x 768 in {took:?}: {:.0}/s",
        all / took.as_secs_f64()
    );
    let core = store.core().unwrap();
    for (what, property, test) in [
        (
            "equal, indexed",
            "indexed",
            Test::Equal(Scalar::Number(7.0)),
        ),
        (
            "equal, not indexed",
            "plain",
            Test::Equal(Scalar::Number(7.0)),
        ),
        (
            "half, indexed",
            "indexed",
            Test::Less(Scalar::Number(500.0)),
        ),
        (
            "half, not indexed",
            "plain",
            Test::Less(Scalar::Number(500.0)),
        ),
    ] {
        let filter = Filter {
            clauses: vec![Clause {
                path: vec![property.to_owned()],
                test,
            }],
        };
        let connection =
            super::super::open::connect(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let began = Instant::now();
                super::super::select::rows(&connection, None, Some(&filter), &|| core.all_rows())
                    .unwrap();
                began.elapsed()
            })
            .collect();
        times.sort();
        println!("filter, {what}: {:?}", times[4]);
    }
    drop(core);
    store.close().await;
    println!(
        "file: {} MiB",
        std::fs::metadata(&path).unwrap().len() >> 20
    );
    let began = Instant::now();
    let store = FileStore::open(&path, &options).unwrap();
    println!("opened in {:?}", began.elapsed());
    drop(store);
}
