//! Spans to OpenTelemetry: a sink that keeps those that are sampled until they end, a bounded queue, and
//! a thread that delivers them by OTLP.
//!
//! The thread that serves calls only moves a finished span into the queue. Everything else (converting,
//! compressing, connecting, waiting) happens on the exporter's own thread, and every span that was
//! sampled is accounted for: [`OtelCounts`].
//!
//! Not `tracing-opentelemetry`: log filters hide its spans, and it costs a span more than all of this.
//! Not the SDK's batch processor and `opentelemetry-otlp` either: they lose spans without counting them
//! (those that a receiver rejects of a batch it accepts, those that a shutdown leaves behind), hold spans
//! by number whatever their size, and read variables by themselves. OTLP's messages and its gRPC client
//! are those of `opentelemetry-proto`, and the one sampler that must agree with others is the SDK's.

mod args;
mod budget;
mod deliver;
mod exporter;
mod isolated;
mod message;
mod open;
mod queue;
mod report;
mod sampler;
mod settings;
mod sink;
mod span;
mod stats;
mod transport;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use binding_span::SpanSink;

pub use args::{OtlpArgs, OtlpEndpoint, OtlpProtocol};
pub(crate) use isolated::Isolated;
pub use sampler::{RootRule, Sampler};
pub use settings::{Batching, Plan, Settings, SpanLimits, Target};
pub use stats::{OtelCounts, OtelStats};

use self::queue::Queue;
use self::sink::OtelSink;

/// The export of a program's spans, from [`start`](Self::start) to [`finish`](Self::finish).
pub struct Otel {
    sink: Arc<OtelSink>,
    queue: Arc<Queue>,
    stats: OtelStats,
    done: Mutex<mpsc::Receiver<()>>,
}

impl Otel {
    /// Starts the thread that delivers spans. Nobody needs to be there yet to take them.
    ///
    /// # Errors
    /// One line for people: a certificate that cannot be used, or no thread.
    pub fn start(settings: &Settings) -> Result<Self, String> {
        let stats = OtelStats::default();
        let queue = Arc::new(Queue::new(settings.batching, stats.clone()));
        let sink = OtelSink::new(settings.sampler, settings.limits, Arc::clone(&queue));
        let done = exporter::start(settings.clone(), Arc::clone(&queue))?;
        Ok(Self {
            sink: Arc::new(sink),
            queue,
            stats,
            done: Mutex::new(done),
        })
    }

    /// What makers of spans report to.
    pub fn sink(&self) -> Arc<dyn SpanSink> {
        self.sink.clone()
    }

    /// What became of the spans so far.
    pub fn stats(&self) -> OtelStats {
        self.stats.clone()
    }

    /// Ends: spans that are still open end now, and what is queued is delivered until `until`. Returns at
    /// once; [`finish`](Self::finish) waits.
    pub fn close(&self, until: Instant) {
        self.queue.close(self.sink.close_open_spans(), until);
    }

    /// Waits until everything is delivered or given up, which is soon after what [`close`](Self::close)
    /// was told.
    pub fn finish(&self, until: Instant) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let _ = done.recv_timeout(left.saturating_add(MARGIN));
    }
}

/// How much longer than it was given the exporter may need to count what it gave up.
const MARGIN: Duration = Duration::from_millis(100);
