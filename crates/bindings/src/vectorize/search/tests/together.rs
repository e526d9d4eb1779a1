//! Changes, queries and indexing at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::super::super::{Metric, Search};
use super::super::Vectors;
use super::{Clusters, GO_ON, put_all, shape};

const DIMENSIONS: usize = 16;

/// A vector by which its row and its version can be told.
fn marked(row: u32, version: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(u64::from(row) << 32 | version);
    (0..DIMENSIONS).map(|_| random.f32() * 100.0).collect()
}

#[test]
fn a_query_sees_what_was_put_before_it_and_nothing_of_the_past_while_rows_are_indexed() {
    let vectors = Vectors::new(shape(DIMENSIONS, Metric::Euclidean), 1000, None);
    // most of what is put is far from all others: the graph alone does not always reach it
    let mut clusters = Clusters::new(20, DIMENSIONS);
    put_all(
        &vectors,
        &(0..4000).map(|_| clusters.next()).collect::<Vec<_>>(),
    );
    let mut by_index = 0;
    for turn in 0..1500 {
        if turn == 750 {
            vectors.wait_until_indexed(); // until here the first graph was built beside, from here on it is used
        }
        let row = 1000 + turn % 700;
        let (old, new) = (
            marked(row, u64::from(turn)),
            marked(row, u64::from(turn) + 10_000),
        );
        let find = |values: &[f32]| {
            let found = vectors.nearest(values, 1, None, GO_ON);
            (found.rows[0], found.search)
        };
        vectors.put(&[(row, 2, &old)]);
        let (found, search) = find(&old);
        assert_eq!(found, (row, 0.0));
        if turn % 3 == 0 {
            thread::sleep(Duration::from_micros(200)); // sometimes it is in the graph by then
        }
        vectors.put(&[(row, 3, &new)]);
        assert_eq!(find(&new).0, (row, 0.0));
        assert!(find(&old).0.1 > 0.0, "values of the past");
        vectors.remove(&[row]);
        assert_ne!(find(&new).0.0, row, "a row that was removed");
        by_index += u32::from(search == Search::Index);
    }
    vectors.wait_until_indexed();
    assert!(by_index > 0);
    assert_eq!(vectors.indexed(), vectors.len());
}

#[test]
fn queries_are_right_while_other_threads_change_rows() {
    const ROWS: u32 = 3000;
    let vectors = Vectors::new(shape(DIMENSIONS, Metric::Euclidean), 500, None);
    // Each row has an even number here while it is changed, and an odd one while it stays as it is.
    let versions: Vec<AtomicU64> = (0..ROWS).map(|_| AtomicU64::new(1)).collect();
    for row in 0..ROWS {
        vectors.put(&[(row, 1, &marked(row, 1))]);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for half in 0..2 {
            let (vectors, versions, stop) = (&vectors, &versions, &stop);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(u64::from(half));
                while !stop.load(Ordering::Relaxed) {
                    let row = random.u32(..ROWS / 2) * 2 + half;
                    let version = versions[row as usize].fetch_add(1, Ordering::SeqCst) + 2;
                    if random.u8(..3) == 0 {
                        vectors.remove(&[row]);
                    }
                    vectors.put(&[(row, version, &marked(row, version))]);
                    versions[row as usize].fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_micros(30));
                }
            });
        }
        let queries: Vec<_> = (0..2)
            .map(|seed| {
                let (vectors, versions) = (&vectors, &versions);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(100 + seed);
                    let mut checked = 0;
                    for _ in 0..4000 {
                        let row = random.u32(..ROWS);
                        let version = versions[row as usize].load(Ordering::SeqCst);
                        if version % 2 == 0 {
                            continue;
                        }
                        let found = vectors.nearest(&marked(row, version), 3, None, GO_ON);
                        if versions[row as usize].load(Ordering::SeqCst) == version {
                            assert_eq!(found.rows[0], (row, 0.0), "{found:?}");
                            checked += 1;
                        }
                    }
                    checked
                })
            })
            .collect();
        let checked: Vec<u32> = queries
            .into_iter()
            .map(|query| query.join().unwrap_or_default())
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(checked.iter().all(|&checked| checked > 1000), "{checked:?}");
    });
    vectors.wait_until_indexed();
    assert_eq!(
        (vectors.len(), vectors.indexed()),
        (ROWS.into(), ROWS.into())
    );
}

#[test]
fn more_queries_at_once_than_the_graph_takes_are_answered() {
    let vectors = Vectors::new(shape(DIMENSIONS, Metric::Cosine), 100, None);
    let mut clusters = Clusters::new(20, DIMENSIONS);
    let rows: Vec<_> = (0..1000).map(|_| clusters.next()).collect();
    put_all(&vectors, &rows);
    vectors.wait_until_indexed();
    thread::scope(|scope| {
        for _ in 0..150 {
            scope.spawn(|| {
                for (row, values) in rows.iter().enumerate().step_by(50) {
                    let found = vectors.nearest(values, 1, None, GO_ON);
                    assert_eq!(found.rows[0].0, row as u32);
                }
            });
        }
    });
}

#[test]
fn dropping_ends_the_thread_in_the_middle_of_its_work() {
    let vectors = Vectors::new(shape(DIMENSIONS, Metric::Cosine), 10, None);
    let mut clusters = Clusters::new(20, DIMENSIONS);
    put_all(
        &vectors,
        &(0..3000).map(|_| clusters.next()).collect::<Vec<_>>(),
    );
    let shared = std::sync::Arc::downgrade(&vectors.shared);
    drop(vectors);
    assert!(shared.upgrade().is_none());
}
