//! How many requests a provider answers at once, and how many wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::UpstreamError;

/// Permits of one provider. Who waits gets one in the order of coming.
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    max_in_flight: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
}

impl Admission {
    pub(super) fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        let max_in_flight = max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    /// A permit, which is given back when it is dropped.
    pub(super) async fn permit(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<OwnedSemaphorePermit, UpstreamError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting, self.max_waiting)
            .ok_or_else(|| UpstreamError::Busy(name.to_owned()))?;
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(limit, permit).await {
            Ok(permit) => permit.map_err(|_| UpstreamError::Busy(name.to_owned())),
            Err(_) => Err(UpstreamError::Waited {
                name: name.to_owned(),
                after: limit,
            }),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.max_in_flight - self.permits.available_permits()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place among those who wait, also when the wait is given up.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let more = |now| (now < max).then_some(now + 1);
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
