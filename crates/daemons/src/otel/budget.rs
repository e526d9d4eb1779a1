//! How much memory spans may take, open and queued ones together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all spans may take. Spans have sizes from half a kilobyte to a quarter of a megabyte, so a
/// number of spans alone bounds nothing.
pub(super) const HELD_BYTES: usize = 64 * 1024 * 1024;

/// Bytes that are taken of [`HELD_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// Takes bytes, if there are so many left.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= HELD_BYTES;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
