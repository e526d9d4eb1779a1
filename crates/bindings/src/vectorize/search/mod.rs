//! The vectors in memory, and which of them are nearest.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use roaring::RoaringBitmap;

use super::{Metric, Search, Shape};

type Rows = BTreeMap<u32, (u64, Vec<f32>)>;

/// All vectors.
pub(super) struct Vectors {
    shape: Shape,
    rows: RwLock<Rows>,
}

/// What was found.
pub(super) struct Nearby {
    pub rows: Vec<(u32, f32)>,
    pub scanned: u64,
    pub search: Search,
}

impl Vectors {
    pub fn new(shape: Shape, _exact_below: u64, _index_file: Option<PathBuf>) -> Self {
        Self {
            shape,
            rows: RwLock::default(),
        }
    }

    pub fn load<E>(
        &self,
        rows: impl Iterator<Item = Result<(u32, u64, Vec<f32>), E>>,
    ) -> Result<(), E> {
        for row in rows {
            let (row, changed, values) = row?;
            self.put(&[(row, changed, &values)]);
        }
        Ok(())
    }

    pub fn put(&self, rows: &[(u32, u64, &[f32])]) {
        let mut all = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (row, changed, values) in rows {
            all.insert(*row, (*changed, values.to_vec()));
        }
    }

    pub fn remove(&self, rows: &[u32]) {
        let mut all = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            all.remove(row);
        }
    }

    pub fn nearest(
        &self,
        to: &[f32],
        k: usize,
        among: Option<&RoaringBitmap>,
        cancelled: &dyn Fn() -> bool,
    ) -> Nearby {
        let all = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<(u32, f32)> = Vec::new();
        for (row, (_, values)) in all.iter() {
            if cancelled() {
                break;
            }
            if among.is_none_or(|among| among.contains(*row)) {
                found.push((*row, score(self.shape.metric, to, values)));
            }
        }
        let scanned = found.len() as u64;
        let sign = if self.shape.metric == Metric::Cosine {
            -1.0
        } else {
            1.0
        };
        found.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        found.truncate(k);
        Nearby {
            rows: found,
            scanned,
            search: Search::Exact,
        }
    }

    pub fn len(&self) -> u64 {
        self.rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
    }

    pub fn indexed(&self) -> u64 {
        0
    }

    pub fn memory_bytes(&self) -> u64 {
        self.len() * self.shape.dimensions as u64 * 4
    }

    pub fn save(&self) -> io::Result<()> {
        Ok(())
    }
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    match metric {
        Metric::Cosine => {
            let length = (dot(a, a) * dot(b, b)).sqrt();
            if length == 0.0 {
                0.0
            } else {
                dot(a, b) / length
            }
        }
        Metric::Euclidean => {
            let apart = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
            apart.sum::<f32>().sqrt()
        }
        Metric::DotProduct => -dot(a, b),
    }
}
