//! A process that is killed while it writes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

const CHILD: &str = "BINDING_SPAN_TEST_VECTORS";
const BATCH: usize = 20;

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let round = std::env::var("ROUND").unwrap();
    let mut options = options();
    options.metadata_indexes = vec![index("batch", MetadataType::Number)];
    let store = FileStore::open(Path::new(&path), &options).unwrap();
    let writers = (0..4).map(|writer| {
        let (store, round) = (Arc::clone(&store), round.clone());
        tokio::spawn(async move {
            for batch in 0.. {
                let name = format!("{round}-{writer}-{batch}");
                let vectors = (0..BATCH).map(|n| {
                    let new = vector(&format!("{name}-{n}"), [batch as f32, n as f32, 0.0]);
                    with(new, &format!("ns{}", n % 3), json!({"batch": batch}))
                });
                upsert(&store, vectors.collect()).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "stored {name}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_batches_are_whole() {
    let (_folder, path) = place();
    let mut acknowledged = Vec::new();
    for round in 0..10_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "vectorize::file::tests::crash::writes_until_it_is_killed",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .env("ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stored = |line: &String| line.split_once("stored ").map(|(_, name)| name.to_owned());
        for line in lines.by_ref().map_while(Result::ok) {
            acknowledged.extend(stored(&line));
            if acknowledged.len() >= (round + 1) * 7 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| stored(&line)));

        let store = FileStore::open(&path, &options()).unwrap();
        let mut batches: HashMap<String, usize> = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.page(after.as_deref(), 1000).await.unwrap();
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.id.clone());
            for vector in page {
                let (batch, _) = vector.id.rsplit_once('-').unwrap();
                *batches.entry(batch.to_owned()).or_default() += 1;
            }
        }
        assert!(batches.values().all(|n| *n == BATCH), "{batches:?}");
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|name| !batches.contains_key(*name))
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
        let all = batches.len() * BATCH;
        assert_eq!(store.status().vectors, all as u64);
        assert_eq!(ids(&store, near([0.0; 3], all)).await.len(), all);
        store.close().await;
        let report = crate::vectorize::check(&path, &options().limits).unwrap();
        assert_eq!(report.problems, [""; 0]);
    }
    assert!(acknowledged.len() >= 70);
}
