//! The spans that a process reports, for tests to look at and wait for. The tests of other crates use it as well.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binding_span::{Attribute, Dropped, Sinks, SpanClose, SpanOpen, SpanRef, SpanSink};
use tail::{FinishedSpan, Recorder};
use tokio::sync::Notify;

/// How long a test waits for what must happen, on a machine that has other things to do as well.
pub const SOON: Duration = Duration::from_secs(30);

/// The spans of one process, in memory; whoever waits for one is woken.
#[derive(Default)]
pub struct Spans {
    recorder: Recorder,
    count: AtomicUsize,
    /// Whether somebody looks at spans as they change.
    live: AtomicBool,
    /// Each change that was reported, in order.
    told: Mutex<Vec<String>>,
    changed: Notify,
}

impl Spans {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn sinks(self: &Arc<Self>) -> Sinks {
        Arc::new([Arc::clone(self) as Arc<dyn SpanSink>])
    }

    /// From now on somebody looks at spans as they change, or nobody does any more.
    pub fn look(&self, live: bool) {
        self.live.store(live, Relaxed);
    }

    /// Each name, attribute and count of drops that was reported, of whatever span, in order.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until something was reported.
    pub async fn hears(&self, what: &str) {
        self.wait(|| self.told().iter().any(|told| told == what))
            .await;
    }

    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
        self.changed.notify_waiters();
    }

    /// Those that have ended, in that order.
    pub fn now(&self) -> Vec<FinishedSpan> {
        self.recorder.spans()
    }

    /// The one that ended last.
    pub fn last(&self) -> FinishedSpan {
        self.now().pop().expect("a span has ended")
    }

    pub fn open(&self) -> usize {
        self.recorder.open_spans()
    }

    /// Those that have ended, as soon as there are `n` and none is open.
    pub async fn ended(&self, n: usize) -> Vec<FinishedSpan> {
        let ready = || self.open() == 0 && self.count.load(Relaxed) >= n;
        self.wait(ready).await;
        assert_eq!(self.now().len(), n, "{:#?}", self.now());
        self.now()
    }

    /// The last of those that have ended, as soon as there are at least `n`.
    pub async fn reached(&self, n: usize) -> FinishedSpan {
        self.wait(|| self.count.load(Relaxed) >= n).await;
        self.last()
    }

    /// Waits until none is open: a session's span closes when its callee has said all.
    pub async fn closed(&self) {
        self.wait(|| self.open() == 0).await;
    }

    /// Waits until this is so, which is looked at whenever something was reported.
    pub async fn wait(&self, ready: impl Fn() -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if ready() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(SOON, wait).await.is_err() {
            let (open, told) = (self.open(), self.told());
            panic!("{open} are open; told: {told:#?}; ended: {:#?}", self.now());
        }
    }
}

impl SpanSink for Spans {
    fn live(&self) -> bool {
        self.live.load(Relaxed)
    }

    fn open(&self, open: &SpanOpen<'_>) {
        self.recorder.open(open);
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.recorder.rename(span, name);
        self.tell(format!("name {name}"));
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.recorder.attributes(span, attributes);
        for attribute in attributes {
            self.tell(format!("{} {}", attribute.key, attribute.value));
        }
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.recorder.dropped(span, dropped);
        self.tell(format!("dropped {dropped}"));
    }

    fn close(&self, close: &SpanClose<'_>) {
        self.recorder.close(close);
        self.count.fetch_add(1, Relaxed);
        self.changed.notify_waiters();
    }
}
