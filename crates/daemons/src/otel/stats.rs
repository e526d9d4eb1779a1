//! What became of spans, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use host::metrics::Metric;
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::metrics::catalog;

/// What became of spans so far. Cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct OtelStats(Arc<Counters>);

/// Counted since the program began; `open` and `queued` are what is there now.
///
/// When nothing is under way, `sampled = open + queued + exported + failed + dropped + cut`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtelCounts {
    /// Spans that began and were sampled.
    pub sampled: u64,
    /// Of these, those that have not ended.
    pub open: u64,
    /// Those that ended and are not delivered yet.
    pub queued: u64,
    /// Those that a receiver acknowledged.
    pub exported: u64,
    /// Those that no receiver acknowledged in time, or that it rejected.
    pub failed: u64,
    /// Those for which there was no room: the queue was full, or too much was open.
    pub dropped: u64,
    /// Those that the end of the program left behind.
    pub cut: u64,
    /// Attributes that a limit on their number, or on memory, took from spans.
    pub attributes_cut: u64,
}

impl OtelCounts {
    /// Spans that nobody will ever see.
    pub const fn lost(&self) -> u64 {
        self.failed + self.dropped + self.cut
    }

    /// Spans that ended.
    pub const fn ended(&self) -> u64 {
        self.sampled - self.open
    }
}

#[derive(Debug, Default)]
struct Counters {
    sampled: AtomicU64,
    open: AtomicU64,
    queued: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    cut: AtomicU64,
    attributes_cut: AtomicU64,
    /// Why spans could not be delivered, the last time.
    problem: Mutex<Option<String>>,
    /// Somebody has to say that spans were lost.
    lost: Notify,
}

impl OtelStats {
    /// The counts as they are now.
    pub fn read(&self) -> OtelCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &*self.0;
        OtelCounts {
            sampled: read(&counters.sampled),
            open: read(&counters.open),
            queued: read(&counters.queued),
            exported: read(&counters.exported),
            failed: read(&counters.failed),
            dropped: read(&counters.dropped),
            cut: read(&counters.cut),
            attributes_cut: read(&counters.attributes_cut),
        }
    }

    /// Lets metrics read them.
    pub(crate) fn count_into(&self, metrics: &Metrics) {
        type Read = fn(OtelCounts) -> u64;
        let plain: [(&'static Metric, Read); 5] = [
            (&catalog::OTLP_SAMPLED, |counts| counts.sampled),
            (&catalog::OTLP_OPEN, |counts| counts.open),
            (&catalog::OTLP_EXPORTED, |counts| counts.exported),
            (&catalog::OTLP_QUEUED, |counts| counts.queued),
            (&catalog::OTLP_CUT, |counts| counts.attributes_cut),
        ];
        for (metric, read) in plain {
            let stats = self.clone();
            metrics.add(metric, &[], move || read(stats.read()));
        }
        let lost: [(&'static str, Read); 3] = [
            ("not_taken", |counts| counts.failed),
            ("no_room", |counts| counts.dropped),
            ("program_ended", |counts| counts.cut),
        ];
        for (reason, read) in lost {
            let stats = self.clone();
            let labels = [("reason", reason)];
            metrics.add(&catalog::OTLP_LOST, &labels, move || read(stats.read()));
        }
    }

    pub(super) fn began(&self) {
        add(&self.0.sampled, 1);
        add(&self.0.open, 1);
    }

    /// One began for which there is no room.
    pub(super) fn refused(&self) {
        add(&self.0.sampled, 1);
        self.dropped();
    }

    /// One began when the program had ended already.
    pub(super) fn too_late(&self) {
        add(&self.0.sampled, 1);
        add(&self.0.cut, 1);
    }

    pub(super) fn ended(&self, spans: u64) {
        self.0.open.fetch_sub(spans, Ordering::Relaxed);
    }

    pub(super) fn queued(&self, spans: u64) {
        add(&self.0.queued, spans);
    }

    pub(super) fn dropped(&self) {
        add(&self.0.dropped, 1);
        self.0.lost.notify_one();
    }

    pub(super) fn cut_at_end(&self, spans: u64) {
        add(&self.0.cut, spans);
    }

    pub(super) fn attributes_cut(&self, attributes: u64) {
        add(&self.0.attributes_cut, attributes);
    }

    /// A batch is done with: so many were acknowledged, the others not, and why.
    pub(super) fn delivered(&self, exported: u64, failed: u64, problem: Option<String>) {
        self.0
            .queued
            .fetch_sub(exported + failed, Ordering::Relaxed);
        add(&self.0.exported, exported);
        add(&self.0.failed, failed);
        if let Some(problem) = problem {
            *self.problem() = Some(problem);
        }
        if failed > 0 {
            self.0.lost.notify_one();
        }
    }

    /// Gives up everything that is not delivered.
    pub(super) fn give_up(&self) {
        add(&self.0.cut, self.0.queued.swap(0, Ordering::Relaxed));
    }

    /// Completes once spans were lost since it was last asked.
    pub(super) async fn loss(&self) {
        self.0.lost.notified().await;
    }

    /// Why spans could not be delivered; told once.
    pub(super) fn take_problem(&self) -> Option<String> {
        self.problem().take()
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
