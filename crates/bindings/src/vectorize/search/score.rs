//! How near two vectors are, and the nearest of many.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use simsimd::SpatialSimilarity;

use super::super::Metric;

/// Of rows that are as near as the last one of a result, how many more are kept. Of more it is not known which ones have the
/// first ids.
const MAX_TIES: usize = 8192;

/// A vector as the matrix has it: for cosine with length 1, or all zeros.
pub(super) fn prepare(metric: Metric, values: &[f32], into: &mut Vec<f32>) {
    into.clear();
    let scale = match metric {
        Metric::Cosine => {
            let norm = values
                .iter()
                .map(|&v| f64::from(v).powi(2))
                .sum::<f64>()
                .sqrt();
            if norm > 0.0 { 1.0 / norm } else { 0.0 }
        }
        Metric::Euclidean | Metric::DotProduct => {
            into.extend_from_slice(values);
            return;
        }
    };
    into.extend(values.iter().map(|&v| (f64::from(v) * scale) as f32));
}

/// Low is near. Both vectors are prepared, and as long as one another.
#[inline]
pub(super) fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let fast = match metric {
        Metric::Cosine | Metric::DotProduct => f32::dot(a, b).map(|dot| -dot),
        Metric::Euclidean => f32::l2sq(a, b).map(f64::sqrt),
    };
    let distance = match fast {
        Some(distance) if distance.is_finite() => distance,
        _ => wide_distance(metric, a, b),
    };
    // adding zero turns -0 into 0, so that they tie
    distance.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32 + 0.0
}

/// The same where the sums leave the range of f32.
#[cold]
fn wide_distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    match metric {
        Metric::Cosine | Metric::DotProduct => -pairs.map(|(a, b)| a * b).sum::<f64>(),
        Metric::Euclidean => pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
    }
}

/// What a distance is in the metric's terms.
pub(super) fn score(metric: Metric, distance: f32) -> f32 {
    match metric {
        Metric::Cosine => (-distance).clamp(-1.0, 1.0) + 0.0,
        Metric::Euclidean | Metric::DotProduct => distance,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    distance: f32,
    row: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The `k` nearest of those that were pushed, and those that are as near as the last of them.
pub(super) struct Top {
    k: usize,
    heap: BinaryHeap<Candidate>,
    /// Not in the heap, but as near as its farthest.
    ties: Vec<u32>,
    /// The farthest that is of interest.
    bound: f32,
}

impl Top {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::with_capacity(k.min(1024) + 1),
            ties: Vec::new(),
            bound: if k == 0 {
                f32::NEG_INFINITY
            } else {
                f32::INFINITY
            },
        }
    }

    #[inline]
    pub(super) fn push(&mut self, row: u32, distance: f32) {
        if distance <= self.bound {
            self.insert(Candidate { distance, row });
        }
    }

    fn insert(&mut self, new: Candidate) {
        self.heap.push(new);
        if self.heap.len() > self.k
            && let Some(out) = self.heap.pop()
        {
            let farthest = self.heap.peek().map_or(f32::INFINITY, |c| c.distance);
            if farthest < out.distance {
                self.ties.clear();
            } else if self.ties.len() < MAX_TIES {
                self.ties.push(out.row);
            }
        }
        if self.heap.len() == self.k {
            self.bound = self.heap.peek().map_or(f32::INFINITY, |c| c.distance);
        }
    }

    /// The nearest first, those as near as one another by their rows.
    pub(super) fn finish(self, metric: Metric) -> Vec<(u32, f32)> {
        let mut found = self.heap.into_sorted_vec();
        let mut ties = self.ties;
        ties.sort_unstable();
        let bound = self.bound;
        found.extend(ties.into_iter().map(|row| Candidate {
            distance: bound,
            row,
        }));
        let scored = found.into_iter();
        scored.map(|c| (c.row, score(metric, c.distance))).collect()
    }
}
