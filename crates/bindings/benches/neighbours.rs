//! Nearest neighbours in memory: exact, by the approximate index, with filters, and by sqlite-vec over the same vectors.
//!
//! `cargo bench -p binding-span-bindings --bench neighbours [-- VECTORS [DIMENSIONS]]`; 100,000 of 768 dimensions without
//! arguments. The vectors come from a fixed seed: 400 clusters of different sizes and spreads, whose members differ from
//! their centre mostly along 48 directions that all clusters share, as embeddings do. Queries are of the same distribution,
//! and not among the vectors.
#![allow(unsafe_code)] // sqlite-vec is an extension that is registered by a C function

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bindings::vectorize::{Metric, Nearby, Search, Shape, Vectors};
use roaring::RoaringBitmap;
use rusqlite::{Connection, ffi, params};

const CLUSTERS: usize = 400;
const DIRECTIONS: usize = 48;
const K: usize = 10;

struct Source {
    random: fastrand::Rng,
    dimensions: usize,
    directions: Vec<f32>,
    centres: Vec<f32>,
    spreads: Vec<f32>,
}

impl Source {
    fn new(dimensions: usize) -> Self {
        let mut new = Self {
            random: fastrand::Rng::with_seed(42),
            dimensions,
            directions: Vec::new(),
            centres: Vec::new(),
            spreads: Vec::new(),
        };
        new.directions = (0..DIRECTIONS * dimensions).map(|_| new.noise()).collect();
        new.centres = (0..CLUSTERS * dimensions).map(|_| new.noise()).collect();
        new.spreads = (0..CLUSTERS).map(|_| 0.2 + new.random.f32()).collect();
        new
    }

    /// About normally distributed, variance 1.
    fn noise(&mut self) -> f32 {
        (0..4).map(|_| self.random.f32()).sum::<f32>() * 1.732 - 3.464
    }

    fn next(&mut self) -> Vec<f32> {
        // squared: low clusters are larger
        let cluster = (self.random.f32().powi(2) * CLUSTERS as f32) as usize % CLUSTERS;
        let centre = cluster * self.dimensions;
        let mut values = self.centres[centre..centre + self.dimensions].to_vec();
        let spread = self.spreads[cluster];
        for direction in 0..DIRECTIONS {
            let along = self.noise() * spread / (1.0 + direction as f32).sqrt();
            let start = direction * self.dimensions;
            let direction = &self.directions[start..start + self.dimensions];
            values
                .iter_mut()
                .zip(direction)
                .for_each(|(value, d)| *value += along * d);
        }
        for value in &mut values {
            *value += self.noise() * spread * 0.3;
        }
        values
    }
}

fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / 1e6
}

struct Times(Vec<Duration>);

impl Times {
    fn of(count: usize, mut run: impl FnMut(usize)) -> Self {
        let mut times: Vec<_> = (0..count)
            .map(|at| {
                let start = Instant::now();
                run(at);
                start.elapsed()
            })
            .collect();
        times.sort();
        Self(times)
    }

    fn ms(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

fn recall(found: &[Nearby], right: &[Nearby]) -> f64 {
    let mut hits = 0;
    for (found, right) in found.iter().zip(right) {
        let right: HashSet<u32> = right.rows.iter().map(|(row, _)| *row).collect();
        hits += found
            .rows
            .iter()
            .take(K)
            .filter(|(row, _)| right.contains(row))
            .count();
    }
    hits as f64
        / right
            .iter()
            .map(|right| right.rows.len().min(K))
            .sum::<usize>() as f64
}

fn run(
    vectors: &Vectors,
    queries: &[Vec<f32>],
    among: Option<&RoaringBitmap>,
) -> (Vec<Nearby>, Times) {
    let mut found = Vec::new();
    let times = Times::of(queries.len(), |at| {
        found.push(vectors.nearest(&queries[at], K, among, &|| false));
    });
    (found, times)
}

fn sqlite_vec(
    all: &[f32],
    dimensions: usize,
    queries: &[Vec<f32>],
) -> Result<Times, Box<dyn Error>> {
    type Init = unsafe extern "C" fn(
        *mut ffi::sqlite3,
        *mut *mut i8,
        *const ffi::sqlite3_api_routines,
    ) -> i32;
    // SAFETY: the extension's entry point has this signature in C; the crate declares it without one.
    unsafe {
        let init =
            std::mem::transmute::<*const (), Init>(sqlite_vec::sqlite3_vec_init as *const ());
        ffi::sqlite3_auto_extension(Some(init));
    }
    let folder = tempfile::tempdir()?;
    let mut db = Connection::open(folder.path().join("vectors.sqlite"))?;
    let bytes = |values: &[f32]| {
        values
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect::<Vec<u8>>()
    };
    db.execute_batch(&format!(
        "CREATE VIRTUAL TABLE v USING vec0(e float[{dimensions}] distance_metric=cosine)"
    ))?;
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO v(rowid, e) VALUES (?1, ?2)")?;
        for (row, values) in all.chunks_exact(dimensions).enumerate() {
            insert.execute(params![row as i64 + 1, bytes(values)])?;
        }
    }
    transaction.commit()?;
    let mut select = db.prepare("SELECT rowid, distance FROM v WHERE e MATCH ?1 AND k = 10")?;
    let mut query = |to: &[f32]| -> rusqlite::Result<Vec<i64>> {
        select.query_map([bytes(to)], |row| row.get(0))?.collect()
    };
    query(&queries[0])?; // so that the file is in the system's cache
    Ok(Times::of(queries.len().min(10), |at| {
        black_box(query(&queries[at])).ok();
    }))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(100_000);
    let dimensions = numbers.next().unwrap_or(768);
    let gigabytes = (count * dimensions * 4) as f64 / 1e9;
    let mut source = Source::new(dimensions);
    let mut all = Vec::with_capacity(count * dimensions);
    for _ in 0..count {
        all.extend(source.next());
    }
    let queries: Vec<_> = (0..1000).map(|_| source.next()).collect();
    let some = &queries[..200];
    println!(
        "{count} vectors of {dimensions} dimensions, {:.0} MB",
        gigabytes * 1e3
    );

    let plain = Times::of(20, |_| {
        let sum = all
            .iter()
            .fold(0u32, |sum, value| sum.wrapping_add(value.to_bits()));
        black_box(sum);
    });
    let plain = gigabytes / plain.ms(0.5) * 1e3;
    println!("plain loop: {plain:.1} GB/s");

    let shape = Shape {
        dimensions,
        metric: Metric::Cosine,
    };
    let fill = |exact_below| {
        let before = resident();
        let vectors = Vectors::new(shape, exact_below, None);
        let start = Instant::now();
        for (row, values) in all.chunks_exact(dimensions).enumerate() {
            vectors.put(&[(row as u32, 1, values)]);
        }
        vectors.wait_until_indexed();
        let seconds = start.elapsed().as_secs_f64();
        let accounted = vectors.memory_bytes() as f64 / 1e6;
        println!(
            "  filled in {seconds:.1} s; {accounted:.0} MB accounted, {:.0} MB resident",
            resident() - before
        );
        vectors
    };
    println!("exact:");
    let exact = fill(u64::MAX);
    let (right, times) = run(&exact, some, None);
    let speed = gigabytes / times.ms(0.5) * 1e3;
    let exact_ms = times.ms(0.5);
    println!(
        "  p50 {:.2} ms, p99 {:.2} ms; {speed:.1} GB/s, {:.2} of the plain loop",
        exact_ms,
        times.ms(0.99),
        speed / plain
    );
    let filters: Vec<(u32, RoaringBitmap)> = [1, 10, 50]
        .map(|percent| {
            let mut random = fastrand::Rng::with_seed(percent.into());
            (
                percent,
                (0..count as u32)
                    .filter(|_| random.u32(..100) < percent)
                    .collect(),
            )
        })
        .into();
    let filtered: Vec<_> = filters
        .iter()
        .map(|(_, among)| run(&exact, some, Some(among)))
        .collect();
    for ((percent, _), (_, times)) in filters.iter().zip(&filtered) {
        println!(
            "  filter of {percent}%: p50 {:.2} ms, p99 {:.2} ms",
            times.ms(0.5),
            times.ms(0.99)
        );
    }
    drop(exact);

    println!("approximate:");
    let vectors = fill(1);
    let (found, times) = run(&vectors, &queries, None);
    println!(
        "  p50 {:.3} ms, p99 {:.3} ms; {:.1} times as fast as exact; recall@{K} {:.4}",
        times.ms(0.5),
        times.ms(0.99),
        exact_ms / times.ms(0.5),
        recall(&found, &right)
    );
    for ((percent, among), (right, exact)) in filters.iter().zip(&filtered) {
        let (found, times) = run(&vectors, some, Some(among));
        let by_index = found
            .iter()
            .filter(|found| found.search == Search::Index)
            .count();
        println!(
            "  filter of {percent}%: p50 {:.2} ms, p99 {:.2} ms; {:.1} times as fast as exact; recall@{K} {:.4}; {by_index} of {} by the index",
            times.ms(0.5),
            times.ms(0.99),
            exact.ms(0.5) / times.ms(0.5),
            recall(&found, right),
            found.len()
        );
    }
    drop(vectors);

    let times = sqlite_vec(&all, dimensions, &queries)?;
    println!(
        "sqlite-vec, exact: p50 {:.1} ms, {:.1} times as long as ours",
        times.ms(0.5),
        times.ms(0.5) / exact_ms
    );
    Ok(())
}
