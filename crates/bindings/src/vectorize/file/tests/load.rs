//! Many callers, and those who give up.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::vectorize::{Clause, Code, Scalar, Test};

/// Lets nothing be committed until it is dropped.
fn hold(store: &FileStore) -> (Arc<super::super::core::Core>, std::sync::mpsc::Sender<()>) {
    let core = store.core().unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (held, is_held) = std::sync::mpsc::channel();
    let own = Arc::clone(&core);
    std::thread::spawn(move || {
        let _quiet = own.commit.read().unwrap_or_else(PoisonError::into_inner);
        held.send(()).unwrap();
        let _ = wait.recv();
    });
    is_held.recv().unwrap();
    (core, release)
}

/// Whether the writer waits for the lock: then it takes no more batches into its group, and nobody else gets the lock.
fn is_committing(core: &super::super::core::Core) -> bool {
    core.commit.try_read().is_err()
}

async fn until(mut is: impl FnMut() -> bool) {
    while !is() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_that_wait_are_committed_together_and_one_that_fails_alone_is_left_out() {
    let (_folder, path) = place();
    let mut options = options();
    options.limits.max_namespaces = 1;
    let store = FileStore::open(&path, &options).unwrap();
    let (core, release) = hold(&store);
    let first = tokio::spawn({
        let store = Arc::clone(&store);
        async move { upsert(&store, vec![vector("first", [0.0; 3])]).await }
    });
    until(|| is_committing(&core)).await;
    let batches = (0..30).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let namespace = if n == 7 { "other" } else { "one" };
            let vectors = ["a", "b"]
                .map(|id| with(vector(&format!("{id}{n}"), [0.0; 3]), namespace, json!({})));
            upsert(&store, vectors.to_vec()).await
        })
    });
    let batches: Vec<_> = batches.collect();
    until(|| core.queue.len() == 30).await;
    let log = |end: &str| {
        std::fs::metadata(format!("{}{end}", path.display()))
            .unwrap()
            .len()
    };
    let before = log("-wal");
    drop(release);
    first.await.unwrap().unwrap();
    let results: Vec<_> = join_all(batches)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    // Those with one namespace, whichever was first.
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert!(stored == 29 || stored == 1, "{stored}");
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert!(refused.clone().all(|error| error.code == Code::Full));
    assert_eq!(store.info().await.unwrap().vectors, 1 + 2 * stored as u64);
    // Thirty commits of their own would have written the same pages thirty times.
    assert!(
        log("-wal") - before < 20 * (16 << 10),
        "{}",
        log("-wal") - before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_greedy_client_has_half_and_others_still_get_in() {
    let (_folder, path) = place();
    let mut options = options();
    options.max_queued = 16;
    let store = FileStore::open(&path, &options).unwrap();
    let (core, release) = hold(&store);
    let write = |client, n: usize| {
        let store = Arc::clone(&store);
        let vectors = vec![vector(&n.to_string(), [0.0; 3])];
        tokio::spawn(async move { store.write(client, Write::Upsert, vectors).await })
    };
    let running = write(ME, 1000);
    until(|| is_committing(&core)).await;
    let greedy = ClientId::next();
    let calls: Vec<_> = (0..100).map(|n| write(greedy, n)).collect();
    until(|| calls.iter().filter(|call| call.is_finished()).count() == 92).await;
    assert_eq!(core.queue.len(), 8);
    assert_eq!(store.status().waiting, 8);
    let other = write(ClientId::next(), 2000);
    until(|| core.queue.len() == 9).await;
    drop(release);
    other.await.unwrap().unwrap();
    running.await.unwrap().unwrap();
    let results = join_all(calls).await;
    let refused = results
        .into_iter()
        .filter_map(|result| result.unwrap().err());
    assert_eq!(
        refused
            .filter(|error| error.code == Code::Overloaded)
            .count(),
        92
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_waits_too_long_or_that_nobody_waits_for_is_not_done() {
    let (_folder, path) = place();
    let mut options = options();
    let store = FileStore::open(&path, &options).unwrap();
    options.timeout = Duration::from_millis(200);
    let hasty = FileStore::open(&path, &options).unwrap();
    let (core, release) = hold(&store);
    let running = tokio::spawn({
        let store = Arc::clone(&store);
        async move { upsert(&store, vec![vector("running", [0.0; 3])]).await }
    });
    until(|| is_committing(&core)).await;
    let error = upsert(&hasty, vec![vector("late", [0.0; 3])])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    let given_up = tokio::spawn({
        let store = Arc::clone(&store);
        async move { upsert(&store, vec![vector("given up", [0.0; 3])]).await }
    });
    until(|| core.queue.len() == 1).await;
    given_up.abort();
    until(|| core.queue.len() == 0).await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!(ids(&store, near([0.0; 3], 5)).await, ["running"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_search_is_stopped() {
    let (_folder, path) = place();
    let mut options = options();
    options.searchers = 1;
    let store = FileStore::open(&path, &options).unwrap();
    for batch in 0..20 {
        let vectors = (0..1000).map(|n| {
            with(
                vector(&format!("{batch}-{n}"), [0.0; 3]),
                "",
                json!({"n": n}),
            )
        });
        upsert(&store, vectors.collect()).await.unwrap();
    }
    let clause = Clause {
        path: vec!["n".into()],
        test: Test::Less(Scalar::Number(500.0)),
    };
    let query = filtered(
        Filter {
            clauses: vec![clause; 500],
        },
        5,
    );
    let began = Instant::now();
    store.query(ME, query.clone()).await.unwrap();
    let whole = began.elapsed();
    options.timeout = whole / 10;
    let hasty = FileStore::open(&path, &options).unwrap();
    let error = hasty.query(ME, query.clone()).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    // The one searcher is free again, long before it would have been done.
    let given_up = tokio::spawn({
        let (store, query) = (Arc::clone(&store), query.clone());
        async move { store.query(ME, query).await }
    });
    tokio::time::sleep(whole / 10).await;
    given_up.abort();
    let began = Instant::now();
    store.get(ME, vec!["0-0".into()]).await.unwrap();
    assert!(
        began.elapsed() < whole / 2,
        "{:?} of {whole:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn matches_are_never_mixed_of_two_versions() {
    let (_folder, path) = place();
    let store = open(&path);
    // Of each vector the first value, the namespace and the metadata change together.
    let version = |n: u32, version: u32| {
        let at = [version as f32, 0.0, 0.0];
        with(
            vector(&n.to_string(), at),
            &format!("v{version}"),
            json!({"v": version}),
        )
    };
    upsert(&store, (0..20).map(|n| version(n, 1)).collect())
        .await
        .unwrap();
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 2..300 {
                let n = round % 20;
                if round % 7 == 0 {
                    store.delete(ME, vec![n.to_string()]).await.unwrap();
                }
                upsert(&store, vec![version(n, round)]).await.unwrap();
            }
        }
    });
    let mut queries = 0;
    while !writer.is_finished() {
        let query = Query {
            values: true,
            metadata: MetadataLevel::All,
            ..near([0.0; 3], 50)
        };
        for found in store.query(ME, query).await.unwrap().matches {
            let v = found.score;
            assert_eq!(found.values, Some(vec![v, 0.0, 0.0]));
            assert_eq!(found.namespace, Some(format!("v{v}")));
            assert_eq!(found.metadata, Some(object(json!({"v": v as u32}))));
        }
        queries += 1;
    }
    writer.await.unwrap();
    assert!(queries > 10, "{queries}");
}
