//! Delivering one batch: attempts, pauses between them, and a time by which it has to be done.

use std::sync::Mutex;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::queue::Queue;
use super::settings::Target;
use super::transport::{Refusal, Taken, Transport};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Delivers batches.
pub(super) struct Courier {
    transport: Transport,
    timeout: Duration,
}

impl Courier {
    pub(super) fn new(target: &Target, tls: rustls::ClientConfig) -> Self {
        Self {
            transport: Transport::new(target, tls),
            timeout: target.timeout,
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
                let pause = asked.max(backoff(attempt));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = queue.closed() => {}
                }
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
