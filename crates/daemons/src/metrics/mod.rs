//! Metrics: what is counted, under which names, and how it is written as text.
//!
//! Calls are counted by a [`SpanSink`], which is not there unless the admin port
//! is; what the network, the listeners and the tail count themselves is read when somebody asks. The
//! names are in `catalog`, and for people in `docs/metrics.md`.

mod calls;
pub(crate) mod catalog;
mod format;
mod links;
mod open;
mod process;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use binding_span::{
    Attribute, Dropped, ErrorInfo, Outcome, SpanClose, SpanOpen, SpanRef, SpanSink,
};
use host::metrics::Metric;
use js_rpc::{AcceptStats, NetworkStats, Reason, RefusedBy};

use self::calls::Calls;
pub(crate) use self::format::Format;
pub(crate) use self::links::Links;
use crate::kinds::Meters;

/// Everything that is counted in this process.
#[derive(Debug)]
pub struct Metrics {
    program: &'static str,
    calls: Calls,
    sources: Mutex<Vec<Source>>,
    pub(crate) doors: Doors,
    pub(crate) links: Links,
    pub(crate) meters: Meters,
}

/// Who came to which kind of listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doors {
    pub(crate) rpc: AcceptStats,
    pub(crate) http: AcceptStats,
    pub(crate) admin: AcceptStats,
}

type Labels = Vec<(&'static str, &'static str)>;

/// A number that is kept elsewhere.
struct Source {
    metric: &'static Metric,
    labels: Labels,
    read: Box<dyn Fn() -> Option<u64> + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.metric.name, self.labels)
    }
}

impl Metrics {
    /// Nothing counted, for a program of this name, whose server counts into `network`.
    pub fn new(program: &'static str, network: &NetworkStats) -> Arc<Self> {
        let doors = Doors::default();
        let metrics = Self {
            program,
            calls: Calls::new(),
            sources: Mutex::default(),
            doors: doors.clone(),
            links: Links::default(),
            meters: Meters::new(true),
        };
        metrics.network("server", network);
        for (listener, stats) in [
            ("rpc", doors.rpc),
            ("http", doors.http),
            ("admin", doors.admin),
        ] {
            metrics.listener(listener, &stats);
        }
        let started = process::now();
        metrics.add(&catalog::START_TIME, &[], move || started);
        metrics.try_add(&catalog::MEMORY, &[], process::resident);
        metrics.try_add(&catalog::OPEN_FDS, &[], process::descriptors);
        metrics.try_add(&catalog::MAX_FDS, &[], process::most_descriptors);
        Arc::new(metrics)
    }

    /// Reads a number from `read` whenever somebody asks.
    pub(crate) fn add(
        &self,
        metric: &'static Metric,
        labels: &[(&'static str, &'static str)],
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.try_add(metric, labels, move || Some(read()));
    }

    /// The same for a number that is not always there.
    fn try_add(
        &self,
        metric: &'static Metric,
        labels: &[(&'static str, &'static str)],
        read: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) {
        let source = Source {
            metric,
            labels: labels.to_vec(),
            read: Box::new(read),
        };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// Connections on which we are this side.
    pub(crate) fn network(&self, side: &'static str, stats: &NetworkStats) {
        type Read = fn(&NetworkStats) -> u64;
        let by_direction: [(&'static Metric, &'static str, Read); 4] = [
            (&catalog::FRAMES, "in", NetworkStats::frames_in),
            (&catalog::FRAMES, "out", NetworkStats::frames_out),
            (&catalog::BYTES, "in", NetworkStats::bytes_in),
            (&catalog::BYTES, "out", NetworkStats::bytes_out),
        ];
        for (metric, direction, read) in by_direction {
            let stats = stats.clone();
            let labels = [("side", side), ("direction", direction)];
            self.add(metric, &labels, move || read(&stats));
        }
        let by_side: [(&'static Metric, Read); 6] = [
            (&catalog::SESSIONS, NetworkStats::sessions),
            (&catalog::SESSIONS_OPEN, NetworkStats::sessions_open),
            (&catalog::QUEUED, NetworkStats::bytes_queued),
            (&catalog::CANCELLED, NetworkStats::cancelled),
            (&catalog::ABANDONED, NetworkStats::abandoned),
            (&catalog::RENEWED, NetworkStats::renewed),
        ];
        for (metric, read) in by_side {
            let stats = stats.clone();
            self.add(metric, &[("side", side)], move || read(&stats));
        }
        for &reason in Reason::ALL {
            let stats = stats.clone();
            let labels = [("side", side), ("reason", reason.label())];
            self.add(&catalog::INTERVENTIONS, &labels, move || {
                stats.count(reason)
            });
        }
    }

    fn listener(&self, listener: &'static str, stats: &AcceptStats) {
        type Read = fn(&AcceptStats) -> u64;
        let plain: [(&'static Metric, Read); 2] = [
            (&catalog::ACCEPTED, AcceptStats::accepted),
            (&catalog::CONNECTIONS, AcceptStats::open),
        ];
        for (metric, read) in plain {
            let stats = stats.clone();
            self.add(metric, &[("listener", listener)], move || read(&stats));
        }
        for &by in RefusedBy::ALL {
            let stats = stats.clone();
            let labels = [("listener", listener), ("reason", by.label())];
            self.add(&catalog::REFUSED, &labels, move || stats.refused(by));
        }
    }
}

impl SpanSink for Metrics {
    fn open(&self, open: &SpanOpen<'_>) {
        self.calls.open(open);
    }

    fn rename(&self, span: SpanRef, name: &str) {
        self.calls.rename(span, name);
    }

    fn attributes(&self, span: SpanRef, attributes: &[Attribute]) {
        self.calls.attributes(span, attributes);
    }

    fn dropped(&self, span: SpanRef, dropped: &Dropped) {
        self.calls.dropped(span, dropped);
    }

    fn returned(&self, span: SpanRef, outcome: Outcome, error: Option<ErrorInfo<'_>>) {
        self.calls.returned(span, outcome, error);
    }

    fn close(&self, close: &SpanClose<'_>) {
        self.calls.close(close);
    }
}
