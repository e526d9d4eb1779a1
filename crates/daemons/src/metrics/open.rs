//! The calls whose spans are open, and the counters that each adds to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use binding_span::{Outcome, SpanKind, SpanRef};

use super::calls::{Binding, Method};
use host::metrics::Labelled;

/// A call whose span is open.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) kind: SpanKind,
    pub(super) binding: Arc<Labelled<Binding>>,
    pub(super) method: Arc<Labelled<Method>>,
    /// Its method's name, when that has no label yet.
    pub(super) unlabelled: Option<Box<str>>,
    pub(super) since: Instant,
    pub(super) enriched: bool,
    pub(super) returned: bool,
    /// How, once it has.
    pub(super) outcome: Outcome,
}

type Shard = HashMap<u64, OpenCall, BuildHasherDefault<AsIs>>;

/// Open calls by span, in shards: a span is used by one thread at a time, threads of blocking work have
/// spans of their own.
#[derive(Debug, Default)]
pub(super) struct OpenCalls([Mutex<Shard>; 8]);

impl OpenCalls {
    fn shard(&self, span: SpanRef) -> (u64, MutexGuard<'_, Shard>) {
        let id = span.context.span_id.0;
        let shard = &self.0[(id % 8) as usize];
        (id, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn insert(&self, span: SpanRef, call: OpenCall) {
        let (id, mut shard) = self.shard(span);
        shard.insert(id, call);
    }

    pub(super) fn with(&self, span: SpanRef, change: impl FnOnce(&mut OpenCall)) {
        let (id, mut shard) = self.shard(span);
        if let Some(call) = shard.get_mut(&id) {
            change(call);
        }
    }

    pub(super) fn remove(&self, span: SpanRef) -> Option<OpenCall> {
        let (id, mut shard) = self.shard(span);
        shard.remove(&id)
    }
}

/// Ids of spans are random, and ours: nothing is gained by hashing them. The low bits chose the shard.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0.rotate_right(3)
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only span ids are hashed");
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}
