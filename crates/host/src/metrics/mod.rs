//! Metrics of a kind of binding: their definitions, what counts them, and their samples. How they are written is the
//! program's.

mod bounded;
mod histogram;

pub use bounded::{Bounded, Labelled, OTHER, label};
pub use histogram::{BUCKETS, Bounds, Histogram, Snapshot};

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name; the `_total` of a counter and the `_info` of an information are added when it is
    /// written.
    pub name: &'static str,
    /// What its values are.
    pub form: Form,
    /// What it means, in a line.
    pub help: &'static str,
}

/// What a metric's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A count that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// How many values were how large.
    Histogram,
    /// Labels alone.
    Info,
}

/// Metrics, each a static of its own, and a list of them in the order in which they are written.
///
/// ```
/// host::catalog! {
///     ALL;
///     HITS = Counter "binding_span_cache_hits", "Requests that a cache answered";
///     ENTRIES = Gauge "binding_span_cache_entries", "Answers in a cache";
/// }
/// assert_eq!(ALL.len(), 2);
/// assert_eq!(HITS.name, "binding_span_cache_hits");
/// ```
#[macro_export]
macro_rules! catalog {
    ($all:ident; $($id:ident = $form:ident $name:literal, $help:literal;)*) => {
        $(pub(crate) static $id: $crate::metrics::Metric = $crate::metrics::Metric {
            name: $name,
            form: $crate::metrics::Form::$form,
            help: $help,
        };)*
        /// All of them, in the order in which they are written.
        pub(crate) static $all: &[&$crate::metrics::Metric] = &[$(&$id,)*];
    };
}

/// One value of a metric, and what it is of.
#[derive(Debug)]
pub struct Sample {
    /// Labels and their values, in the order in which they are written. Whatever peers choose is bounded: [`Bounded`].
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Debug)]
pub enum Value {
    /// A whole number, of a counter or a gauge.
    Count(u64),
    /// Another number, of a counter or a gauge.
    Amount(f64),
    /// Durations, of a histogram.
    Times(Snapshot),
}

/// The same samples, with one where several have the same labels, as bindings whose names look alike have: counts are
/// added up.
pub fn summed(each: impl IntoIterator<Item = Sample>) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for sample in each {
        let known = samples
            .iter_mut()
            .find(|known| known.labels == sample.labels);
        match (known.map(|known| &mut known.value), &sample.value) {
            (Some(Value::Count(count)), Value::Count(more)) => *count += more,
            _ => samples.push(sample),
        }
    }
    samples
}
