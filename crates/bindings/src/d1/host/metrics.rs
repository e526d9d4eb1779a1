//! How databases and the processes that run their SQL are doing: as metrics, and as lines for people.

use std::sync::{Mutex, MutexGuard, PoisonError};

use host::metrics::{Metric, Sample, Value, label, summed};
use host::{Meter, Offered, escape};

use super::config::Open;
use crate::d1::{DatabaseStatus, WhyReplaced};

host::catalog! {
    ALL;
    FAILING = Gauge "binding_span_d1_failing",
        "1 while calls of a database fail, because its file was removed or cannot be opened";
    WORKERS = Gauge "binding_span_d1_workers",
        "Processes that run a database's SQL";
    WAITING = Gauge "binding_span_d1_waiting_calls",
        "Calls that wait for one of a database's processes";
    REPLACED = Counter "binding_span_d1_workers_replaced",
        "Processes of a database that ended or were killed, by reason";
}

/// Databases, by the bindings' names.
#[derive(Debug, Default)]
pub(super) struct Databases(Mutex<Vec<(String, DatabaseStatus)>>);

impl Databases {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, DatabaseStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Databases {
    fn replace(&self, open: &[(&str, &dyn Offered)]) {
        let each = open.iter().filter_map(|(name, offered)| {
            let open = offered.downcast_ref::<Open>()?;
            Some(((*name).to_owned(), open.database.status()))
        });
        *self.lock() = each.collect();
    }

    fn samples(&self, metric: &'static Metric) -> Vec<Sample> {
        let is = |other: &Metric| metric.name == other.name;
        let mut samples = Vec::new();
        for (name, status) in &*self.lock() {
            let mut add = |reason: Option<&str>, count: u64| {
                let mut labels = vec![("binding", label(name))];
                labels.extend(reason.map(|reason| ("reason", reason.to_owned())));
                let value = Value::Count(count);
                samples.push(Sample { labels, value });
            };
            if is(&FAILING) {
                add(None, u64::from(status.failing().is_some()));
            } else if is(&WORKERS) {
                add(None, status.workers() as u64);
            } else if is(&WAITING) {
                add(None, status.waiting() as u64);
            } else if is(&REPLACED) {
                for why in WhyReplaced::ALL {
                    add(Some(why.name()), status.replaced(why));
                }
            }
        }
        summed(samples)
    }

    /// A database whose file is gone needs somebody to look after it.
    fn unusable(&self) -> Vec<String> {
        let databases = self.lock();
        let failing = databases.iter().filter_map(|(name, status)| {
            let why = status.failing()?;
            Some(format!("{}: {}", escape(name), escape(&why)))
        });
        failing.collect()
    }
}
