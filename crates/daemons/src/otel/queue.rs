//! The spans that ended and wait for the exporter: bounded in number, and within the budget in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::Batching;
use super::budget::Budget;
use super::span::Held;
use super::stats::OtelStats;

/// Bytes of a batch, about; receivers take 4 MiB by default.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Between the threads that make spans and the one that delivers them.
pub(super) struct Queue {
    pub(super) stats: OtelStats,
    pub(super) budget: Budget,
    batching: Batching,
    waiting: Mutex<Waiting>,
    /// Spans came for which the exporter should wake.
    arrived: Notify,
    /// The end has begun.
    closing: Notify,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Held>,
    /// The end: until when what is here may be delivered.
    until: Option<Instant>,
}

impl Queue {
    pub(super) fn new(batching: Batching, stats: OtelStats) -> Self {
        Self {
            stats,
            budget: Budget::default(),
            batching,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closing: Notify::new(),
        }
    }

    /// Takes a span that ended; one for which there is no room is counted.
    pub(super) fn push(&self, span: Held) {
        let mut waiting = self.waiting();
        let length = waiting.spans.len();
        if waiting.until.is_some() || length >= self.batching.queue {
            let ended = waiting.until.is_some();
            drop(waiting);
            self.budget.give_back(span.bytes);
            return match ended {
                true => self.stats.cut_at_end(1),
                false => self.stats.dropped(),
            };
        }
        waiting.spans.push_back(span);
        self.stats.queued(1);
        drop(waiting);
        // The first one starts the clock, a full batch ends it; in between nobody has to wake.
        if length == 0 || length + 1 == self.batching.batch {
            self.arrived.notify_one();
        }
    }

    /// The end: takes these as well, and nothing more. What is delivered by `until` counts.
    pub(super) fn close(&self, last: Vec<Held>, until: Instant) {
        let mut waiting = self.waiting();
        self.stats.queued(last.len() as u64);
        waiting.spans.extend(last);
        waiting.until = Some(until);
        drop(waiting);
        self.arrived.notify_one();
        self.closing.notify_waiters();
    }

    /// Until when what is here may be delivered, once the end has begun.
    pub(super) fn closing(&self) -> Option<Instant> {
        self.waiting().until
    }

    /// Completes when the end begins.
    pub(super) async fn closed(&self) -> Instant {
        loop {
            let closing = self.closing.notified();
            tokio::pin!(closing);
            // From here on no notice is missed.
            closing.as_mut().enable();
            if let Some(until) = self.closing() {
                return until;
            }
            closing.await;
        }
    }

    /// The next batch: full, or all that came within the delay after the first one, or at the end what is
    /// left. `None`: nothing is left, and nothing comes any more.
    pub(super) async fn next(&self) -> Option<Vec<Held>> {
        let mut due: Option<tokio::time::Instant> = None;
        loop {
            {
                let mut waiting = self.waiting();
                let overdue = due.is_some_and(|due| due <= tokio::time::Instant::now());
                let full = waiting.spans.len() >= self.batching.batch;
                if full || waiting.until.is_some() || overdue {
                    let batch = self.take(&mut waiting.spans);
                    if !batch.is_empty() || waiting.until.is_some() {
                        return Some(batch).filter(|batch| !batch.is_empty());
                    }
                    due = None;
                }
                if due.is_none() && !waiting.spans.is_empty() {
                    due = Some(tokio::time::Instant::now() + self.batching.delay);
                }
            }
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, self.arrived.notified()).await;
                }
                None => self.arrived.notified().await,
            }
        }
    }

    fn take(&self, spans: &mut VecDeque<Held>) -> Vec<Held> {
        let mut bytes = 0;
        let fitting = spans.iter().take(self.batching.batch).take_while(|span| {
            let first = bytes == 0;
            bytes += span.bytes;
            first || bytes <= BATCH_BYTES
        });
        let fitting = fitting.count();
        spans.drain(..fitting).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
