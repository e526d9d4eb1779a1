//! Exact search, and the matrix.

use std::cell::Cell;
use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::super::super::{Metric, Search};
use super::super::Vectors;
use super::{GO_ON, ascending, reference, shape, vector};

/// Compares what is found with what a slow reference finds.
fn check(
    metric: Metric,
    vectors: &Vectors,
    model: &BTreeMap<u32, Vec<f32>>,
    to: &[f32],
    k: usize,
    among: Option<&RoaringBitmap>,
) {
    let found = vectors.nearest(to, k, among, GO_ON);
    assert_eq!(found.search, Search::Exact);
    let eligible = model
        .iter()
        .filter(|(row, _)| among.is_none_or(|among| among.contains(**row)));
    let mut expected: Vec<f64> = eligible.map(|(_, v)| reference(metric, v, to)).collect();
    assert_eq!(found.scanned, expected.len() as u64);
    expected.sort_by(|a, b| ascending(metric, *a).total_cmp(&ascending(metric, *b)));
    assert!(found.rows.len() >= k.min(expected.len()), "{found:?}");
    for (at, (row, score)) in found.rows.iter().enumerate() {
        let close =
            |expected: f64| (f64::from(*score) - expected).abs() <= 1e-4 * (1.0 + expected.abs());
        let own = reference(metric, &model[row], to);
        assert!(close(own), "{metric}: row {row} scores {score}, not {own}");
        let there = expected[at.min(k - 1)];
        assert!(
            close(there),
            "{metric}: place {at} scores {score}, not {there}"
        );
        assert!(among.is_none_or(|among| among.contains(*row)));
    }
}

#[test]
fn exact_search_finds_what_a_slow_reference_finds_after_any_changes() {
    for (metric, dimensions) in Metric::ALL
        .into_iter()
        .flat_map(|m| [(m, 1), (m, 3), (m, 37), (m, 512)])
    {
        let mut random = fastrand::Rng::with_seed(dimensions as u64);
        let vectors = Vectors::new(shape(dimensions, metric), u64::MAX, None);
        let mut model = BTreeMap::new();
        for change in 0..1500u64 {
            let row = random.u32(..900) * 5;
            if random.u8(..4) == 0 {
                vectors.remove(&[row, 7]); // there is no row 7
                model.remove(&row);
            } else {
                let mut values = vector(&mut random, dimensions);
                if random.u8(..50) == 0 {
                    values.fill(0.0);
                }
                vectors.put(&[(row, change, &values)]);
                model.insert(row, values);
            }
            if change % 100 != 99 {
                continue;
            }
            assert_eq!(vectors.len(), model.len() as u64);
            let to = vector(&mut random, dimensions);
            check(metric, &vectors, &model, &to, 10, None);
            for share in [20, 2] {
                let among = (0..4500).filter(|_| random.u32(..share) == 0).collect();
                check(metric, &vectors, &model, &to, 10, Some(&among));
            }
        }
    }
}

#[test]
fn values_whose_sums_leave_the_range_of_f32_have_finite_scores_in_the_right_order() {
    for metric in Metric::ALL {
        let vectors = Vectors::new(shape(3, metric), u64::MAX, None);
        vectors.put(&[
            (1, 1, &[3e38, 3e38, 3e38]),
            (2, 2, &[-3e38, 3e38, 1e-40]),
            (3, 3, &[1e38, 0.0, 0.0]),
        ]);
        let found = vectors.nearest(&[3e38, 3e38, 3e38], 3, None, GO_ON);
        assert!(
            found.rows.iter().all(|(_, score)| score.is_finite()),
            "{found:?}"
        );
        assert_eq!(found.rows[0].0, 1, "{found:?}");
    }
}

#[test]
fn a_vector_of_zeros_scores_zero_by_cosine() {
    let vectors = Vectors::new(shape(2, Metric::Cosine), u64::MAX, None);
    vectors.put(&[
        (1, 1, &[0.0, 0.0]),
        (2, 2, &[-1.0, 0.0]),
        (3, 3, &[5.0, 0.0]),
    ]);
    let found = vectors.nearest(&[2.0, 0.0], 9, None, GO_ON);
    assert_eq!(found.rows, [(3, 1.0), (1, 0.0), (2, -1.0)]);
    let found = vectors.nearest(&[0.0, 0.0], 9, None, GO_ON);
    assert!(
        found
            .rows
            .iter()
            .all(|(_, score)| *score == 0.0 && score.is_sign_positive())
    );
}

#[test]
fn rows_as_near_as_the_last_one_come_too() {
    let vectors = Vectors::new(shape(2, Metric::Euclidean), u64::MAX, None);
    for row in (0..20).rev() {
        vectors.put(&[(row, 1, &[if row < 15 { 1.0 } else { row as f32 }, 0.0])]);
    }
    let found = vectors.nearest(&[1.0, 0.0], 3, None, GO_ON);
    let rows: Vec<u32> = found.rows.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows.len(), 15);
    assert_eq!(rows[..3], [0, 1, 2]);
    vectors.put(&[(19, 2, &[1.0, 0.0])]);
    let found = vectors.nearest(&[19.0, 0.0], 2, None, GO_ON);
    assert_eq!(
        found.rows,
        [(18, 1.0), (17, 2.0)],
        "ties of what is not in the result are not"
    );
}

#[test]
fn a_cancelled_search_ends_soon() {
    let vectors = Vectors::new(shape(2, Metric::Euclidean), u64::MAX, None);
    for row in 0..20_000 {
        vectors.put(&[(row, 1, &[row as f32, 0.0])]);
    }
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() == 3
    };
    let found = vectors.nearest(&[1.0, 0.0], 3, None, &cancelled);
    assert!(found.scanned < 5000, "{}", found.scanned);
    asked.set(0);
    let found = vectors.nearest(&[1.0, 0.0], 3, Some(&(0..2000).collect()), &cancelled);
    assert!(found.scanned < 1000, "{}", found.scanned);
}

#[test]
fn memory_is_given_back_when_rows_go() {
    let vectors = Vectors::new(shape(256, Metric::Euclidean), u64::MAX, None);
    let values = [1.0; 256];
    for row in 0..20_000 {
        vectors.put(&[(row, 1, &values)]);
    }
    let full = vectors.memory_bytes();
    assert!((20_000 * 1024..22_000 * 1024).contains(&full), "{full}");
    vectors.remove(&(10..20_000).collect::<Vec<_>>());
    assert_eq!(vectors.len(), 10);
    let left = vectors.memory_bytes();
    assert!(left < full / 50, "{left} of {full}");
}

#[test]
fn nothing_is_found_where_there_is_nothing() {
    let vectors = Vectors::new(shape(2, Metric::Cosine), 1, None);
    assert!(vectors.nearest(&[1.0, 0.0], 3, None, GO_ON).rows.is_empty());
    vectors.put(&[(1, 1, &[1.0, 0.0])]);
    assert!(vectors.nearest(&[1.0, 0.0], 0, None, GO_ON).rows.is_empty());
    let none = RoaringBitmap::new();
    assert!(
        vectors
            .nearest(&[1.0, 0.0], 3, Some(&none), GO_ON)
            .rows
            .is_empty()
    );
    vectors.remove(&[1]);
    vectors.wait_until_indexed();
    assert!(vectors.nearest(&[1.0, 0.0], 3, None, GO_ON).rows.is_empty());
}
