//! The spans that have not ended, bounded in number.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use binding_span::SpanContext;

use super::span::{Held, Record};

/// Spans come from the thread of the calls, and from those of databases.
const SHARDS: usize = 8;
/// Spans that may be open in a shard; sessions that last, and their spans, are held by peers.
const SHARD_SPANS: usize = 8 * 1024;

/// The open spans by their ids. An id is random, so it is its own hash.
#[derive(Default)]
pub(super) struct OpenSpans([Mutex<Shard>; SHARDS]);

#[derive(Default)]
pub(super) struct Shard {
    spans: HashMap<u64, Held, BuildHasherDefault<IdHasher>>,
    closed: bool,
}

/// What became of a span that began.
pub(super) enum Kept {
    Open,
    /// There are too many.
    Full,
    /// The program has ended.
    Closed,
}

impl OpenSpans {
    pub(super) fn insert(&self, span: Held) -> Kept {
        let mut shard = self.shard(span.context);
        if shard.closed {
            return Kept::Closed;
        }
        if shard.spans.len() >= SHARD_SPANS {
            return Kept::Full;
        }
        shard.spans.insert(span.context.span_id.0, span);
        Kept::Open
    }

    /// Changes a span, if it is here.
    pub(super) fn change(&self, span: SpanContext, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.shard(span).spans.get_mut(&span.span_id.0) {
            change(record);
        }
    }

    /// Takes a span out, if it is here.
    pub(super) fn remove(&self, span: SpanContext) -> Option<Held> {
        self.shard(span).spans.remove(&span.span_id.0)
    }

    /// Takes all out; none comes in any more.
    pub(super) fn close(&self) -> Vec<Held> {
        let mut all = Vec::new();
        for shard in &self.0 {
            let mut shard = lock(shard);
            shard.closed = true;
            all.extend(shard.spans.drain().map(|(_, span)| span));
        }
        all
    }

    fn shard(&self, span: SpanContext) -> MutexGuard<'_, Shard> {
        lock(&self.0[span.span_id.0 as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a random number for its own hash. The lowest bits choose the shard, so they are put elsewhere.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, id: u64) {
        self.0 = id.rotate_right(8);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
