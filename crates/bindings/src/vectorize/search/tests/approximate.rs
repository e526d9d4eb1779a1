//! Search by the graph.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::super::super::{Metric, Search};
use super::super::Vectors;
use super::{Clusters, GO_ON, put_all, shape};

const ROWS: usize = 2400;
const DIMENSIONS: usize = 24;

/// The same rows with and without a graph.
fn both(metric: Metric, rows: usize) -> (Vectors, Vectors, Clusters) {
    let mut clusters = Clusters::new(80, DIMENSIONS);
    let all: Vec<_> = (0..rows).map(|_| clusters.next()).collect();
    let exact = Vectors::new(shape(DIMENSIONS, metric), u64::MAX, None);
    let approximate = Vectors::new(shape(DIMENSIONS, metric), 1000, None);
    put_all(&exact, &all);
    put_all(&approximate, &all);
    approximate.wait_until_indexed();
    assert_eq!(approximate.indexed(), rows as u64);
    assert_eq!(exact.indexed(), 0);
    (exact, approximate, clusters)
}

/// How many of the ten nearest are found, of one; and whether by the graph.
fn recall(
    exact: &Vectors,
    approximate: &Vectors,
    clusters: &mut Clusters,
    among: Option<&RoaringBitmap>,
    search: Search,
) -> f64 {
    let queries = 40;
    let mut hits = 0;
    for _ in 0..queries {
        let to = clusters.next();
        let right = exact.nearest(&to, 10, among, GO_ON);
        let found = approximate.nearest(&to, 10, among, GO_ON);
        assert_eq!(found.search, search);
        let right: BTreeSet<u32> = right.rows.iter().map(|(row, _)| *row).collect();
        hits += found
            .rows
            .iter()
            .filter(|(row, _)| right.contains(row))
            .count();
        assert!(
            found
                .rows
                .iter()
                .all(|(row, _)| among.is_none_or(|among| among.contains(*row)))
        );
        // the scores are those of the exact search
        for (row, score) in found.rows.iter().step_by(4) {
            let only = exact.nearest(&to, 1, Some(&RoaringBitmap::from([*row])), GO_ON);
            assert_eq!(only.rows[0].1, *score);
        }
    }
    hits as f64 / (10 * queries) as f64
}

#[test]
fn the_graph_finds_nearly_all_of_the_nearest_by_each_metric() {
    for metric in Metric::ALL {
        let (exact, approximate, mut clusters) = both(metric, ROWS);
        let found = recall(&exact, &approximate, &mut clusters, None, Search::Index);
        assert!(found >= 0.95, "{metric}: {found}");
    }
}

#[test]
fn large_filters_go_by_the_graph_and_small_ones_are_exact() {
    let (exact, approximate, mut clusters) = both(Metric::Cosine, ROWS);
    let large = (0..ROWS as u32).filter(|row| row % 20 != 0).collect();
    let found = recall(
        &exact,
        &approximate,
        &mut clusters,
        Some(&large),
        Search::Index,
    );
    assert!(found >= 0.95, "{found}");
    let small = (0..ROWS as u32).filter(|row| row % 20 == 0).collect();
    let found = recall(
        &exact,
        &approximate,
        &mut clusters,
        Some(&small),
        Search::Exact,
    );
    assert_eq!(found, 1.0);
}

#[test]
fn a_graph_with_many_dead_entries_is_replaced() {
    let (exact, approximate, mut clusters) = both(Metric::Euclidean, 2200);
    let before = approximate.memory_bytes();
    for round in 2..4 {
        for row in 0..1400 {
            let values = clusters.next();
            for vectors in [&exact, &approximate] {
                vectors.put(&[(row, round, &values)]);
            }
        }
        approximate.wait_until_indexed();
        let found = recall(&exact, &approximate, &mut clusters, None, Search::Index);
        assert!(found >= 0.95, "{round}: {found}");
    }
    let after = approximate.memory_bytes();
    assert!(after < before * 2, "{before} bytes, then {after}");
}

#[test]
fn there_is_a_graph_while_there_are_enough_rows() {
    let (_, vectors, mut clusters) = both(Metric::Cosine, 1000);
    let search = |clusters: &mut Clusters| vectors.nearest(&clusters.next(), 5, None, GO_ON).search;
    assert_eq!(search(&mut clusters), Search::Index);
    vectors.remove(&(0..500).collect::<Vec<_>>());
    vectors.wait_until_indexed();
    assert_eq!(
        search(&mut clusters),
        Search::Index,
        "half of them are enough to keep it"
    );
    let full = vectors.memory_bytes();
    vectors.remove(&[500, 501]);
    vectors.wait_until_indexed();
    assert_eq!(search(&mut clusters), Search::Exact);
    assert_eq!(vectors.indexed(), 0);
    assert!(vectors.memory_bytes() < full * 3 / 4, "{full}");
    for row in 0..502 {
        vectors.put(&[(row, 9, &clusters.next())]);
    }
    vectors.wait_until_indexed();
    assert_eq!(search(&mut clusters), Search::Index);
    assert_eq!(vectors.indexed(), 1000);
}

#[test]
fn many_of_the_same_vector_are_all_found() {
    let vectors = Vectors::new(shape(4, Metric::Cosine), 100, None);
    for row in 0..400 {
        vectors.put(&[(row, 1, &[1.0, 2.0, 3.0, 4.0])]);
    }
    vectors.wait_until_indexed();
    let found = vectors.nearest(&[1.0, 2.0, 3.0, 4.0], 50, None, GO_ON);
    assert!(found.rows.len() >= 50, "{}", found.rows.len());
    assert!(found.rows.iter().all(|(_, score)| *score > 0.999));
}
