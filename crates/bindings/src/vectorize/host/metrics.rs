//! What operations of Vectorize indexes take, and how indexes are doing: as metrics, and as lines for people.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::metrics::{BUCKETS, Bounded, Bounds, Histogram, Metric, Sample, Value, label, summed};
use host::{Meter, Offered, escape};

use super::config::Open;
use crate::vectorize::{Operated, Operation, OperationSink, Search, Status, Vectorize};

host::catalog! {
    ALL;
    OPERATIONS = Counter "binding_span_vectorize_operations",
        "Operations of Vectorize indexes that ended, by how they ended";
    DURATION = Histogram "binding_span_vectorize_operation_duration_seconds",
        "What operations of Vectorize indexes took, their wait included";
    SEARCHES = Counter "binding_span_vectorize_searches",
        "Queries of Vectorize indexes that were answered, by how: exact or by an index";
    CHANGED = Counter "binding_span_vectorize_vectors_changed",
        "Vectors that were stored, replaced or deleted";
    RETURNED = Counter "binding_span_vectorize_vectors_returned",
        "Vectors that queries and getByIds returned";
    SCANNED = Counter "binding_span_vectorize_vectors_scanned",
        "Vectors that queries compared, where that is known";
    VECTORS = Gauge "binding_span_vectorize_vectors",
        "Vectors of an index";
    INDEXED = Gauge "binding_span_vectorize_indexed_vectors",
        "Vectors that are in the approximate index";
    MEMORY = Gauge "binding_span_vectorize_memory_bytes",
        "Memory that the vectors of a file and their index take";
    WAITING = Gauge "binding_span_vectorize_waiting_calls",
        "Calls that wait for an index";
    CONNECTIONS = Gauge "binding_span_vectorize_connections",
        "Connections to PostgreSQL that are open";
    FAILING = Gauge "binding_span_vectorize_failing",
        "1 while calls of an index fail, because its file was removed or its server is away";
}

/// Indexes that have labels of their own. They are configured.
const BINDINGS: usize = 1_024;

/// Vectorize indexes, by the bindings' names. Where there is no admin port, nothing is counted.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    counts: Option<Arc<Counts>>,
    open: Mutex<Vec<(String, OpenIndex)>>,
}

type Counts = Bounded<Binding>;

/// An index without anything to print.
struct OpenIndex(Vectorize);

impl std::fmt::Debug for OpenIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

#[derive(Debug, Default)]
struct Binding {
    operations: [Counted; Operation::ALL.len()],
    exact: AtomicU64,
    by_index: AtomicU64,
    changed: AtomicU64,
    returned: AtomicU64,
    scanned: AtomicU64,
}

/// The operations of one kind.
#[derive(Debug, Default)]
struct Counted {
    /// The errors are a fixed number of codes.
    outcomes: Bounded<AtomicU64>,
    duration: Histogram<OfIndexes>,
}

/// Outcomes of an operation that have labels of their own: more than there are.
const OUTCOMES: usize = 32;

/// From a tenth of a millisecond to half a minute.
#[derive(Debug, Default)]
pub struct OfIndexes;

impl Bounds for OfIndexes {
    const SECONDS: [f64; BUCKETS] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        10.0, 30.0,
    ];
}

impl Indexes {
    /// Those of a program where somebody may ask for metrics, or not.
    pub(super) fn new(counted: bool) -> Self {
        Self {
            counts: counted.then(Arc::default),
            open: Mutex::default(),
        }
    }

    /// What hears of the operations of a binding, which has its labels from now on.
    pub(super) fn sink(&self, binding: &str) -> Option<Arc<dyn OperationSink>> {
        let counts = self.counts.as_ref()?;
        counts.get(binding, BINDINGS);
        Some(Arc::new(Sink {
            counts: Arc::clone(counts),
            binding: binding.to_owned(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, OpenIndex)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauges(&self, read: impl Fn(&Status) -> u64) -> Vec<Sample> {
        let open = self.lock();
        summed(open.iter().map(|(name, OpenIndex(index))| Sample {
            labels: vec![("binding", label(name))],
            value: Value::Count(read(&index.status())),
        }))
    }

    /// The samples of each binding.
    fn counted(
        &self,
        add: impl Fn(&Binding, &mut dyn FnMut(&[(&'static str, &str)], Value)),
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        for row in self.counts.iter().flat_map(|counts| counts.rows()) {
            add(&row.value, &mut |more, value| {
                let more = more
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()));
                let labels = [("binding", row.label.clone())].into_iter().chain(more);
                samples.push(Sample {
                    labels: labels.collect(),
                    value,
                });
            });
        }
        samples
    }
}

impl Meter for Indexes {
    fn replace(&self, open: &[(&str, &dyn Offered)]) {
        let each = open.iter().filter_map(|(name, offered)| {
            let open = offered.downcast_ref::<Open>()?;
            Some(((*name).to_owned(), OpenIndex(open.index.clone())))
        });
        *self.lock() = each.collect();
    }

    fn samples(&self, metric: &'static Metric) -> Vec<Sample> {
        let is = |other: &Metric| metric.name == other.name;
        let count = |number: &AtomicU64| Value::Count(number.load(Relaxed));
        if is(&OPERATIONS) {
            self.counted(|binding, add| {
                for (operation, counted) in Operation::ALL.iter().zip(&binding.operations) {
                    for outcome in counted.outcomes.rows() {
                        let labels = [
                            ("operation", operation.name()),
                            ("outcome", outcome.label.as_str()),
                        ];
                        add(&labels, count(&outcome.value));
                    }
                }
            })
        } else if is(&DURATION) {
            self.counted(|binding, add| {
                for (operation, counted) in Operation::ALL.iter().zip(&binding.operations) {
                    let times = counted.duration.snapshot();
                    if times.count > 0 {
                        add(&[("operation", operation.name())], Value::Times(times));
                    }
                }
            })
        } else if is(&SEARCHES) {
            self.counted(|binding, add| {
                add(&[("search", Search::Exact.name())], count(&binding.exact));
                add(
                    &[("search", Search::Index.name())],
                    count(&binding.by_index),
                );
            })
        } else if is(&CHANGED) {
            self.counted(|binding, add| add(&[], count(&binding.changed)))
        } else if is(&RETURNED) {
            self.counted(|binding, add| add(&[], count(&binding.returned)))
        } else if is(&SCANNED) {
            self.counted(|binding, add| add(&[], count(&binding.scanned)))
        } else if is(&VECTORS) {
            self.gauges(|status| status.vectors)
        } else if is(&INDEXED) {
            self.gauges(|status| status.indexed)
        } else if is(&MEMORY) {
            self.gauges(|status| status.memory_bytes)
        } else if is(&WAITING) {
            self.gauges(|status| status.waiting as u64)
        } else if is(&CONNECTIONS) {
            self.gauges(|status| status.connections as u64)
        } else if is(&FAILING) {
            self.gauges(|status| u64::from(status.failing.is_some()))
        } else {
            Vec::new()
        }
    }

    /// An index whose file is gone needs somebody to look after it, as does a server that is away.
    fn unusable(&self) -> Vec<String> {
        let open = self.lock();
        let failing = open.iter().filter_map(|(name, OpenIndex(index))| {
            let why = index.status().failing?;
            Some(format!("{}: {}", escape(name), escape(&why)))
        });
        failing.collect()
    }
}

/// Counts the operations of a binding.
struct Sink {
    counts: Arc<Counts>,
    binding: String,
}

impl OperationSink for Sink {
    fn ended(&self, operated: &Operated) {
        let binding = &self.counts.get(&self.binding, BINDINGS).value;
        let of = |(operation, _): &(&Operation, &Counted)| **operation == operated.operation;
        let mut each = Operation::ALL.iter().zip(&binding.operations);
        if let Some((_, counted)) = each.find(of) {
            let outcome = operated.error.map_or("ok", |code| code.name());
            add(&counted.outcomes.get(outcome, OUTCOMES).value, 1);
            counted.duration.observe(operated.took);
        }
        match operated.operation {
            Operation::Describe => {}
            Operation::Insert | Operation::Upsert | Operation::DeleteByIds => {
                add(&binding.changed, operated.vectors);
            }
            Operation::Query | Operation::QueryById | Operation::GetByIds => {
                add(&binding.returned, operated.vectors);
            }
        }
        add(&binding.scanned, operated.scanned.unwrap_or(0));
        match operated.search {
            Some(Search::Exact) => add(&binding.exact, 1),
            Some(Search::Index) => add(&binding.by_index, 1),
            None => {}
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}
