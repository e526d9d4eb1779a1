//! A histogram of durations, counted with relaxed atomics.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of a histogram's buckets.
pub trait Bounds {
    /// In seconds, from the smallest on.
    const SECONDS: [f64; BUCKETS];

    /// The same in nanoseconds.
    const NANOS: [u64; BUCKETS] = {
        let (mut nanos, mut i) = ([0; BUCKETS], 0);
        while i < BUCKETS {
            nanos[i] = (Self::SECONDS[i] * 1e9) as u64;
            i += 1;
        }
        nanos
    };
}

/// Buckets that have an upper bound.
pub const BUCKETS: usize = 16;

/// Durations, counted by how long they were.
#[derive(Debug, Default)]
pub struct Histogram<B> {
    /// The last one has no upper bound.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
    bounds: PhantomData<B>,
}

/// A histogram at one moment: its sum in seconds, its count, and the count of each bucket by its bound.
#[derive(Debug)]
pub struct Snapshot {
    /// Seconds, all together.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// How many were in each bucket, by its upper bound in seconds.
    pub buckets: Vec<(f64, u64)>,
}

impl<B: Bounds> Histogram<B> {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = B::NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What was counted until now.
    pub fn snapshot(&self) -> Snapshot {
        let bounds = B::SECONDS.into_iter().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Snapshot {
            sum: Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a tenth of a millisecond to half a minute.
    #[derive(Debug, Default)]
    struct OfCalls;

    impl Bounds for OfCalls {
        const SECONDS: [f64; BUCKETS] = [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
            2.5, 10.0, 30.0,
        ];
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::<OfCalls>::default();
        for micros in [0, 100, 101, 1_000, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Snapshot {
            sum,
            count,
            buckets,
        } = histogram.snapshot();
        let of = |bound: f64| buckets.iter().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!((of(0.0001), of(0.00025), of(0.001)), (2, 1, 1));
        assert_eq!((of(30.0), of(f64::INFINITY), count), (1, 1, 6));
        assert!((sum - 60.001_202).abs() < 1e-9, "{sum}");
    }
}
