//! Delivering one batch: attempts, pauses between them, and a time by which it has to be done.
//!
//! A receiver that asks to be left alone is left alone, by the next batches as well: their time begins
//! when it is over. At the end of the program nobody can wait for that.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::time::Instant;

use super::queue::Queue;
use super::settings::Target;
use super::transport::{Refusal, Taken, Transport};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Delivers batches.
pub(super) struct Courier {
    transport: Transport,
    timeout: Duration,
    /// Until when the receiver asked to be left alone.
    quiet: Cell<Option<Instant>>,
}

impl Courier {
    pub(super) fn new(target: &Target, tls: rustls::ClientConfig) -> Self {
        Self {
            transport: Transport::new(target, tls),
            timeout: target.timeout,
            quiet: Cell::default(),
        }
    }

    /// Delivers a batch, with as many attempts as there is time for. At the end of the program there is
    /// one attempt. The error is for people.
    pub(super) async fn deliver(
        &self,
        request: ExportTraceServiceRequest,
        spans: u64,
        queue: &Queue,
    ) -> Result<Taken, String> {
        let parcel = self.transport.pack(request)?;
        if let Some(until) = self.quiet.take() {
            pause(until, queue).await;
        }
        let last = Mutex::new(None);
        let attempts = async {
            for attempt in 0_u32.. {
                let refusal = match self.transport.send(&parcel).await {
                    Ok(taken) => return Ok(taken),
                    Err(refusal) => refusal,
                };
                let Refusal { reason, again } = refusal;
                let Some(asked) = again.filter(|_| queue.closing().is_none()) else {
                    return Err(reason);
                };
                tracing::debug!(spans, attempt, "not delivered: {reason}");
                *lock(&last) = Some(reason);
                let now = Instant::now();
                self.quiet
                    .set(Some(now + asked).filter(|_| !asked.is_zero()));
                pause(now + asked.max(backoff(attempt)), queue).await;
            }
            Err(String::new())
        };
        match tokio::time::timeout(self.timeout, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => Err(lock(&last).take().unwrap_or_else(|| {
                let timeout = humantime::format_duration(self.timeout);
                format!("no answer within {timeout}")
            })),
        }
    }
}

/// Waits until then, or until the end of the program begins.
async fn pause(until: Instant, queue: &Queue) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        _ = queue.closed() => {}
    }
}

fn lock(last: &Mutex<Option<String>>) -> std::sync::MutexGuard<'_, Option<String>> {
    last.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How long is waited before the next attempt.
fn backoff(attempt: u32) -> Duration {
    let doubled = FIRST_PAUSE
        .saturating_mul(1 << attempt.min(8))
        .min(LONGEST_PAUSE);
    // Between half of it and all: those that failed together do not come back together.
    doubled.mul_f64(fastrand::f64().midpoint(1.0))
}
