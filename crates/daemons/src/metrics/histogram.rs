//! A histogram of durations, counted with relaxed atomics.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of a histogram's buckets.
pub(super) trait Bounds {
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
const BUCKETS: usize = 16;

/// A call on a unix socket takes a tenth of a millisecond, one that waits for its deadline half a minute.
#[derive(Debug, Default)]
pub(super) struct OfCalls;

impl Bounds for OfCalls {
    const SECONDS: [f64; BUCKETS] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        10.0, 30.0,
    ];
}

/// A model takes milliseconds, where somebody caches for it, to minutes.
#[derive(Debug, Default)]
pub(super) struct OfModels;

impl Bounds for OfModels {
    const SECONDS: [f64; BUCKETS] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
        300.0,
    ];
}

#[derive(Debug, Default)]
pub(super) struct Histogram<B = OfCalls> {
    /// The last one has no upper bound.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
    bounds: PhantomData<B>,
}

/// A histogram at one moment: its sum in seconds, its count, and the count of each bucket by its bound.
pub(super) struct Snapshot {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

impl<B: Bounds> Histogram<B> {
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = B::NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
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
