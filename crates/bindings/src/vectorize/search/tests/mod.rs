//! Tests of the search, by subject.

mod approximate;
mod exact;
mod files;
mod together;

use std::sync::Arc;

use super::super::{Metric, Shape};
use super::Vectors;

/// Never cancelled.
const GO_ON: &dyn Fn() -> bool = &|| false;

fn shape(dimensions: usize, metric: Metric) -> Shape {
    Shape { dimensions, metric }
}

/// Values about normally distributed.
fn noise(random: &mut fastrand::Rng) -> f32 {
    (0..6).map(|_| random.f32()).sum::<f32>() * 1.414 - 4.242
}

fn vector(random: &mut fastrand::Rng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| noise(random)).collect()
}

/// Vectors around centres, some closely and some loosely.
struct Clusters {
    centres: Arc<Vec<(Vec<f32>, f32)>>,
    random: fastrand::Rng,
}

impl Clusters {
    fn new(count: usize, dimensions: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let centres = (0..count).map(|_| {
            let spread = 0.2 + random.f32() * 0.8;
            (vector(&mut random, dimensions), spread)
        });
        let centres = Arc::new(centres.collect());
        Self { centres, random }
    }

    fn next(&mut self) -> Vec<f32> {
        let (centre, spread) = &self.centres[self.random.usize(..self.centres.len())];
        let random = &mut self.random;
        centre.iter().map(|v| v + noise(random) * spread).collect()
    }
}

/// The score that the docs define, slowly.
fn reference(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (a, b) = (wide(a), wide(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    match metric {
        Metric::Cosine => {
            let norms = (dot(&a, &a) * dot(&b, &b)).sqrt();
            if norms == 0.0 {
                0.0
            } else {
                dot(&a, &b) / norms
            }
        }
        Metric::Euclidean => {
            let between = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2));
            between.sum::<f64>().sqrt()
        }
        Metric::DotProduct => -dot(&a, &b),
    }
}

/// Negated if high is near.
fn ascending(metric: Metric, score: f64) -> f64 {
    if metric == Metric::Cosine {
        -score
    } else {
        score
    }
}

fn put_all(vectors: &Vectors, rows: &[Vec<f32>]) {
    for (row, values) in rows.iter().enumerate() {
        vectors.put(&[(row as u32, 1, values)]);
    }
}
