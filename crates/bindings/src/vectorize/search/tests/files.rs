//! The index on disk.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::{Metric, Search, Shape};
use super::super::Vectors;
use super::{Clusters, GO_ON, shape};

const DIMENSIONS: usize = 32;
const ROWS: u32 = 1500;

type Row = (u32, u64, Vec<f32>);

fn rows() -> Vec<Row> {
    let mut clusters = Clusters::new(30, DIMENSIONS);
    (0..ROWS).map(|row| (row * 3, 5, clusters.next())).collect()
}

fn open(shape: Shape, file: &Path, rows: &[Row]) -> Vectors {
    let vectors = Vectors::new(shape, 200, Some(file.to_owned()));
    let rows = rows.iter().cloned().map(Ok::<_, Infallible>);
    let Ok(()) = vectors.load(rows);
    vectors
}

/// Rows that come from the file, before any is indexed.
fn loaded(shape: Shape, file: &Path, rows: &[Row]) -> u64 {
    let vectors = Vectors::new(shape, 200, Some(file.to_owned()));
    let _paused = vectors.shared.pause();
    let rows = rows.iter().cloned().map(Ok::<_, Infallible>);
    let Ok(()) = vectors.load(rows);
    vectors.indexed()
}

/// A saved index.
fn saved(rows: &[Row]) -> (tempfile::TempDir, PathBuf, Shape) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vectors.index");
    let shape = shape(DIMENSIONS, Metric::Cosine);
    let vectors = open(shape, &file, rows);
    vectors.wait_until_indexed();
    vectors.save().unwrap();
    assert!(!folder.path().join("vectors.index.tmp").exists());
    (folder, file, shape)
}

fn finds_all(vectors: &Vectors, rows: &[Row]) {
    for (row, _, values) in rows.iter().step_by(7) {
        let found = vectors.nearest(values, 1, None, GO_ON);
        assert_eq!((found.rows[0].0, found.search), (*row, Search::Index));
    }
}

#[test]
fn a_saved_index_is_used_again() {
    let rows = rows();
    let (_folder, file, shape) = saved(&rows);
    assert_eq!(loaded(shape, &file, &rows), u64::from(ROWS));
    let vectors = open(shape, &file, &rows);
    finds_all(&vectors, &rows);
    vectors.put(&[(1, 9, &[1.0; DIMENSIONS])]);
    vectors.wait_until_indexed();
    vectors.save().unwrap();
    assert_eq!(loaded(shape, &file, &rows), u64::from(ROWS));
}

#[test]
fn rows_that_changed_since_are_indexed_again() {
    let mut rows = rows();
    let (_folder, file, shape) = saved(&rows);
    let mut clusters = Clusters::new(5, DIMENSIONS);
    rows.truncate(1000);
    for row in &mut rows[..100] {
        *row = (row.0, 6, clusters.next());
    }
    rows.push((1, 1, clusters.next()));
    assert_eq!(loaded(shape, &file, &rows), 900);
    let vectors = open(shape, &file, &rows);
    vectors.wait_until_indexed();
    assert_eq!(vectors.indexed(), 1001);
    finds_all(&vectors, &rows);
    let gone = vectors.nearest(&rows[0].2, 2000, None, GO_ON);
    assert_eq!(gone.rows.len(), 1001);
}

#[test]
fn an_index_of_another_shape_or_place_is_not_used() {
    let rows = rows();
    let (folder, file, _) = saved(&rows);
    assert_eq!(
        loaded(shape(DIMENSIONS, Metric::Euclidean), &file, &rows),
        0
    );
    let wider: Vec<Row> = rows
        .iter()
        .map(|(row, changed, values)| (*row, *changed, [&values[..], &[1.0]].concat()))
        .collect();
    let wide = shape(DIMENSIONS + 1, Metric::Cosine);
    assert_eq!(loaded(wide, &file, &wider), 0);
    let vectors = open(wide, &folder.path().join("missing/vectors.index"), &wider);
    vectors.wait_until_indexed();
    assert!(vectors.save().is_err());
    finds_all(&vectors, &wider);
}

#[test]
fn a_damaged_file_is_not_used_wherever_it_is_damaged() {
    let rows = rows();
    let (_folder, file, shape) = saved(&rows);
    let whole = fs::read(&file).unwrap();
    let attempt = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        loaded(shape, &file, &rows)
    };
    let table = whole.len() - 88 - rows.len() * 12;
    let places = [
        0,
        1,
        63,
        64,
        65,
        500,
        whole.len() / 2,
        table - 1,
        table,
        table + 5,
    ];
    let end = [200, 89, 88, 87, 60, 33, 32, 31, 1].map(|before| whole.len() - before);
    for place in places.into_iter().chain(end) {
        assert_eq!(attempt(&whole[..place]), 0, "cut at {place}");
        let mut flipped = whole.clone();
        flipped[place] ^= 0x10;
        assert_eq!(attempt(&flipped), 0, "flipped at {place}");
        let mut longer = whole.clone();
        longer.insert(place, 0);
        assert_eq!(attempt(&longer), 0, "inserted at {place}");
    }
    assert_eq!(attempt(&[0xff; 4096]), 0);
    assert_eq!(attempt(&whole), u64::from(ROWS), "the file itself is good");
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let vectors = open(shape, &file, &rows);
    vectors.wait_until_indexed();
    finds_all(&vectors, &rows);
    vectors.save().unwrap();
    assert_eq!(
        loaded(shape, &file, &rows),
        u64::from(ROWS),
        "it was written again"
    );
}

#[test]
fn the_first_error_of_the_rows_ends_loading() {
    let vectors = Vectors::new(shape(1, Metric::Euclidean), 200, None);
    let rows = [Ok((1, 1, vec![1.0])), Err("broken"), Ok((2, 1, vec![2.0]))];
    assert_eq!(vectors.load(rows.into_iter()), Err("broken"));
    assert_eq!(vectors.len(), 1);
}
