//! A server that is killed under load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use js_rpc::ClientId;
use serde_json::json;

use super::super::super::backend::Backend;
use super::super::super::error::Code;
use super::super::super::options::{Metric, PostgresOptions};
use super::super::super::vector::Write;
use super::super::PostgresStore;
use super::server::Server;
use super::{options, vector, with};

const WRITERS: usize = 6;
const BATCH: usize = 20;
const ROUNDS: u64 = 4;

/// What a writer knows of each of its batches.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Stored,
    NotStored,
    Unknown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_and_every_batch_is_whole_or_absent() {
    let server = Arc::new(Server::start(""));
    server.database("crashes");
    let mut opened = options(8, Metric::Cosine);
    // An index is made and kept up to date meanwhile.
    opened.exact_below = 200;
    opened.timeout = Duration::from_secs(20);
    let place = PostgresOptions::new(server.url("crashes"), "docs");
    let store = PostgresStore::open(&place, &opened).await.unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let stored = Arc::new(AtomicU64::new(0));
    let outcomes = Arc::new(Mutex::new(HashMap::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, stopped) = (store.clone(), stopped.clone());
            let (outcomes, stored) = (outcomes.clone(), stored.clone());
            tokio::spawn(async move {
                let client = ClientId::next();
                for n in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut vectors: Vec<_> = (0..BATCH)
                        .map(|k| {
                            let values = [0; 8].map(|_| fastrand::f32() - 0.5);
                            with(
                                vector(format!("{writer}-{n}-{k}"), &values),
                                None,
                                json!({"n": n}),
                            )
                        })
                        .collect();
                    // One that all writers write, so that they meet.
                    vectors.push(vector(format!("shared-{}", fastrand::u32(..5)), &[1.0; 8]));
                    fastrand::shuffle(&mut vectors);
                    let outcome = match store.write(client, Write::Upsert, vectors).await {
                        Ok(mutation) => {
                            assert_eq!(mutation.ids.len(), BATCH + 1);
                            stored.fetch_add(1, Ordering::Relaxed);
                            Outcome::Stored
                        }
                        Err(error) => {
                            assert!(
                                matches!(error.code, Code::Store | Code::Timeout),
                                "{error:?}"
                            );
                            match error.text.contains("may or may not") {
                                true => Outcome::Unknown,
                                false => Outcome::NotStored,
                            }
                        }
                    };
                    outcomes.lock().unwrap().insert((writer, n), outcome);
                }
            })
        })
        .collect();
    let mut refused = 0;
    for round in 0..ROUNDS {
        let goal = stored.load(Ordering::Relaxed) + 40;
        let end = Instant::now() + Duration::from_secs(30);
        while stored.load(Ordering::Relaxed) < goal {
            assert!(
                Instant::now() < end,
                "round {round}: nothing is stored: {:?}",
                store.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let server = server.clone();
        let of = store.clone();
        tokio::task::spawn_blocking({
            let server = server.clone();
            move || server.kill()
        })
        .await
        .unwrap();
        let error = of
            .get(ClientId::next(), vec!["x".into()])
            .await
            .unwrap_err();
        assert_eq!(error.code, Code::Store);
        assert!(error.text.contains("cannot be reached"), "{error}");
        assert!(of.status().failing.is_some());
        refused += 1;
        tokio::task::spawn_blocking(move || server.restart())
            .await
            .unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while of.get(ClientId::next(), vec!["x".into()]).await.is_err() {
            assert!(Instant::now() < end, "it does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(of.status().failing, None);
    }
    assert_eq!(refused, ROUNDS);
    stopped.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
    let (mut after, mut total): (Option<String>, u64) = (None, 0);
    loop {
        let page = store.page(after.as_deref(), 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        total += page.len() as u64;
        for vector in page {
            let mut parts = vector.id.splitn(3, '-');
            if let (Some(Ok(writer)), Some(Ok(n))) =
                (parts.next().map(str::parse), parts.next().map(str::parse))
            {
                *counts.entry((writer, n)).or_default() += 1;
            }
        }
    }
    assert_eq!(store.info().await.unwrap().vectors, total);
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    let (mut acknowledged, mut unknown) = (0, 0);
    for (batch, outcome) in &outcomes {
        let found = counts.get(batch).copied().unwrap_or(0);
        match outcome {
            Outcome::Stored => assert_eq!(found, BATCH, "{batch:?} was acknowledged"),
            Outcome::NotStored => assert_eq!(found, 0, "{batch:?} was refused"),
            Outcome::Unknown => assert!(found == 0 || found == BATCH, "{batch:?}: {found}"),
        }
        acknowledged += u64::from(*outcome == Outcome::Stored);
        unknown += u64::from(*outcome == Outcome::Unknown);
    }
    // Within its time a call finds out what became of its commit.
    assert_eq!(unknown, 0);
    assert!(acknowledged >= 40 * ROUNDS);
    store.close().await;
}
