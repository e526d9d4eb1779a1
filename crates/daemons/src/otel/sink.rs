//! What makers of spans report to. It decides which are sampled; of the others it knows nothing.

use std::sync::Arc;
use std::time::SystemTime;

use binding_span::wire::DROPPED_KEY;
use binding_span::{
    Attribute, Dropped, NewSpan, SpanClose, SpanContext, SpanOpen, SpanRef, SpanSink,
};

use super::SpanLimits;
use super::open::{Kept, OpenSpans};
use super::queue::Queue;
use super::sampler::Sampler;
use super::span::{Held, Record};

/// Keeps sampled spans until they end, and then queues them.
pub(super) struct OtelSink {
    sampler: Sampler,
    limits: SpanLimits,
    open: OpenSpans,
    queue: Arc<Queue>,
}

impl OtelSink {
    pub(super) fn new(sampler: Sampler, limits: SpanLimits, queue: Arc<Queue>) -> Self {
        Self {
            sampler,
            limits,
            open: OpenSpans::default(),
            queue,
        }
    }

    /// Ends all that are open.
    pub(super) fn close_open_spans(&self) -> Vec<Held> {
        let mut spans = self.open.close();
        let now = SystemTime::now();
        for span in &mut spans {
            span.end_unfinished(now, &self.limits);
        }
        self.queue.stats.ended(spans.len() as u64);
        spans
    }

    /// Changes an open span, within the memory that there is, and counts what is cut.
    fn change(
        &self,
        span: SpanRef,
        change: impl FnOnce(&mut Record, &mut dyn FnMut(usize) -> bool),
    ) {
        if self.sampler.samples(span.context) {
            self.open.change(span.context, |record| {
                self.counted(record, change);
            });
        }
    }

    fn counted(
        &self,
        record: &mut Record,
        change: impl FnOnce(&mut Record, &mut dyn FnMut(usize) -> bool),
    ) {
        let cut = record.cut;
        change(record, &mut |bytes| self.queue.budget.take(bytes));
        if record.cut > cut {
            let more = u64::from(record.cut - cut);
            self.queue.stats.attributes_cut(more);
        }
    }
}

impl SpanSink for OtelSink {
    fn identify(&self, new: &NewSpan) -> Option<SpanContext> {
        Some(self.sampler.identify(new))
    }

    fn wants(&self, span: SpanContext) -> bool {
        self.sampler.samples(span)
    }

    fn open(&self, open: &SpanOpen<'_>) {
        if !self.sampler.samples(open.span.context) {
            return;
        }
        let span = Box::new(Record::new(open, &self.limits));
        let (bytes, cut) = (span.bytes, span.cut);
        let stats = &self.queue.stats;
        if !self.queue.budget.take(bytes) {
            return stats.refused();
        }
        match self.open.insert(span) {
            Kept::Open => {
                stats.began();
                if cut > 0 {
                    stats.attributes_cut(cut.into());
                }
                return;
            }
            Kept::Full => stats.refused(),
            Kept::Closed => stats.too_late(),
        }
        self.queue.budget.give_back(bytes);
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.change(span, |record, room| record.rename(name, &self.limits, room));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.change(span, |record, room| {
            record.upsert(attributes, &self.limits, room);
        });
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        let total = i64::try_from(dropped.total()).unwrap_or(i64::MAX);
        self.attributes(span, &[Attribute::new(DROPPED_KEY, total)]);
    }

    fn close(&self, close: &SpanClose<'_>) {
        if !self.sampler.samples(close.span.context) {
            return;
        }
        let Some(mut span) = self.open.remove(close.span.context) else {
            return;
        };
        self.counted(&mut span, |span, room| {
            span.close(close, &self.limits, room)
        });
        self.queue.stats.ended(1);
        self.queue.push(span);
    }
}
