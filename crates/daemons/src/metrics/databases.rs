//! How databases and the processes that run their SQL are doing: as metrics, and as lines for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bindings::d1::{DatabaseStatus, WhyReplaced};

use super::bounded::label;
use super::catalog::{self, Metric};

/// Databases, by the bindings' names. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Databases(Arc<Mutex<Vec<(String, DatabaseStatus)>>>);

impl Databases {
    /// These are the databases from now on.
    pub(crate) fn replace(&self, databases: Vec<(String, DatabaseStatus)>) {
        *self.lock() = databases;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, DatabaseStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line for each database that cannot be used at present.
    pub(crate) fn failing(&self) -> Vec<String> {
        let databases = self.lock();
        let failing = databases.iter().filter_map(|(name, status)| {
            let why = status.failing()?;
            Some(format!("{}: {}", tail::escape(name), tail::escape(&why)))
        });
        failing.collect()
    }

    /// The samples of a metric, if it is one of databases: labels beside the binding's, and the value.
    pub(super) fn samples(&self, metric: &Metric) -> Vec<Sample> {
        let is = |other: &Metric| metric.name == other.name;
        let mut samples: Vec<Sample> = Vec::new();
        for (name, status) in &*self.lock() {
            let binding = label(name);
            let mut add = |reason: Option<&'static str>, value: u64| {
                let known = samples.iter_mut();
                let mut same = known.filter(|s| s.binding == binding && s.reason == reason);
                match same.next() {
                    Some(same) => same.value += value,
                    None => samples.push(Sample {
                        binding: binding.clone(),
                        reason,
                        value,
                    }),
                }
            };
            if is(&catalog::D1_FAILING) {
                add(None, u64::from(status.failing().is_some()));
            } else if is(&catalog::D1_WORKERS) {
                add(None, status.workers() as u64);
            } else if is(&catalog::D1_WAITING) {
                add(None, status.waiting() as u64);
            } else if is(&catalog::D1_REPLACED) {
                for why in WhyReplaced::ALL {
                    add(Some(why.name()), status.replaced(why));
                }
            }
        }
        samples
    }
}

/// One value of a metric of databases.
pub(super) struct Sample {
    pub(super) binding: String,
    pub(super) reason: Option<&'static str>,
    pub(super) value: u64,
}
