//! What requests to models take, and how their providers are doing: as metrics, and as lines for people.
//!
//! Callers choose models and a provider's errors, so their labels are bounded; those that are configured have labels
//! whoever came first.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::metrics::{BUCKETS, Bounded, Bounds, Histogram, Metric, Sample, Value, label, summed};
use host::{Meter, Offered, escape};

use super::catalog;
use super::config::Open;
use crate::ai::{Account, AccountSink, Ai, AiOptions, Cached, Operation, ProviderStatus};

/// AI bindings that have labels of their own. They are configured.
const BINDINGS: usize = 1_024;

/// Providers of a binding that have labels of their own. They are configured, or found at the start.
const PROVIDERS: usize = 64;

/// Models of a provider that have labels of their own. Who calls decides, where the provider answers to any name.
const MODELS: usize = 64;

/// Outcomes of an operation that have labels of their own.
const OUTCOMES: usize = 32;

/// Requests to models, by the bindings' names. Clones are the same. Where there is no admin port, nothing is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Models(Option<Arc<Inner>>);

#[derive(Default)]
struct Inner {
    bindings: Bounded<Binding>,
    open: Mutex<Vec<(String, Ai)>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bindings.fmt(f)
    }
}

#[derive(Debug, Default)]
struct Binding {
    providers: Bounded<Provider>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Provider {
    /// By operation.
    outcomes: [Bounded<AtomicU64>; OPERATIONS.len()],
    models: Bounded<Model>,
    retries: AtomicU64,
    fallbacks: AtomicU64,
    latency: Histogram<OfModels>,
    first_chunk: Histogram<OfModels>,
}

#[derive(Debug, Default)]
struct Model {
    tokens: [AtomicU64; TOKENS.len()],
    /// In billionths of a US dollar.
    cost: AtomicU64,
}

/// A model takes milliseconds, where somebody caches for it, to minutes.
#[derive(Debug, Default)]
pub struct OfModels;

impl Bounds for OfModels {
    const SECONDS: [f64; BUCKETS] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
        300.0,
    ];
}

const OPERATIONS: [(Operation, &str); 4] = [
    (Operation::Chat, "chat"),
    (Operation::TextCompletion, "text_completion"),
    (Operation::Embeddings, "embeddings"),
    (Operation::Other, "other"),
];

const TOKENS: [&str; 4] = ["input", "output", "cached_input", "reasoning"];

impl Models {
    /// Those of a program where somebody may ask for metrics, or not.
    pub(super) fn new(counted: bool) -> Self {
        Self(counted.then(Arc::default))
    }

    /// What hears of the requests of a binding; what is configured has labels from now on.
    pub(super) fn sink(&self, binding: &str, options: &AiOptions) -> Option<Arc<dyn AccountSink>> {
        let inner = self.0.as_ref()?;
        let of = inner.bindings.get(binding, BINDINGS);
        for provider in &options.providers {
            let provider = of.value.providers.get(&provider.name, PROVIDERS);
            let plain = |name: &&str| !name.contains(['*', '?']);
            let models = options.models.iter().map(|rule| rule.pattern.as_str());
            for model in models.filter(plain) {
                provider.value.models.get(model, MODELS);
            }
        }
        Some(Arc::new(Sink {
            models: Arc::clone(inner),
            binding: binding.to_owned(),
        }))
    }

    /// How the providers of all of them are doing.
    fn statuses(&self) -> Vec<(String, ProviderStatus)> {
        let Some(inner) = &self.0 else {
            return Vec::new();
        };
        let open = inner.lock().clone();
        let each = open.into_iter().flat_map(|(name, ai)| {
            let statuses = ai.status().into_iter();
            statuses.map(move |status| (name.clone(), status))
        });
        each.collect()
    }

    fn gauges(&self, read: impl Fn(&ProviderStatus) -> u64) -> Vec<Sample> {
        let statuses = self.statuses().into_iter();
        summed(statuses.map(|(binding, status)| Sample {
            labels: vec![
                ("binding", label(&binding)),
                ("provider", label(&status.name)),
            ],
            value: Value::Count(read(&status)),
        }))
    }
}

impl Meter for Models {
    fn replace(&self, open: &[(&str, &dyn Offered)]) {
        if let Some(inner) = &self.0 {
            let each = open.iter().filter_map(|(name, offered)| {
                let Open(ai) = offered.downcast_ref::<Open>()?;
                Some(((*name).to_owned(), ai.clone()))
            });
            *inner.lock() = each.collect();
        }
    }

    /// Providers whose circuit breaker is open.
    fn impaired(&self) -> Vec<String> {
        let statuses = self.statuses().into_iter();
        let failing = statuses.filter(|(_, status)| status.circuit_open);
        failing
            .map(|(binding, status)| {
                format!(
                    "{}: the circuit breaker of the provider {} is open: it failed several times in a row",
                    escape(&binding),
                    escape(&status.name)
                )
            })
            .collect()
    }

    fn samples(&self, metric: &'static Metric) -> Vec<Sample> {
        let Some(inner) = &self.0 else {
            return Vec::new();
        };
        let is = |other: &Metric| metric.name == other.name;
        if is(&catalog::LOG_LOST) {
            let open = inner.lock().clone();
            let each = open.iter().map(|(name, ai)| Sample {
                labels: vec![("binding", label(name))],
                value: Value::Count(ai.lost_log_entries()),
            });
            return summed(each);
        }
        if is(&catalog::IN_FLIGHT) {
            return self.gauges(|status| status.in_flight as u64);
        }
        if is(&catalog::WAITING) {
            return self.gauges(|status| status.waiting as u64);
        }
        if is(&catalog::CIRCUIT_OPEN) {
            return self.gauges(|status| u64::from(status.circuit_open));
        }
        let mut samples = Samples::default();
        for binding in inner.bindings.rows() {
            samples.of_binding(metric, &binding.label, &binding.value);
        }
        samples.0
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Vec<(String, Ai)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the requests of a binding.
struct Sink {
    models: Arc<Inner>,
    binding: String,
}

impl AccountSink for Sink {
    fn settled(&self, account: &Account) {
        let binding = self.models.bindings.get(&self.binding, BINDINGS);
        match account.cached {
            Some(Cached::Hit) => add(&binding.value.hits, 1),
            Some(Cached::Miss) => add(&binding.value.misses, 1),
            None => {}
        }
        // Those that there are have been named before: a caller does not add one.
        let provider = binding.value.providers.get(&account.provider, 0);
        provider.value.settled(account);
    }
}

impl Provider {
    fn settled(&self, account: &Account) {
        let operation = OPERATIONS
            .iter()
            .position(|(of, _)| *of == account.operation);
        let outcome = account.error_type.as_deref().unwrap_or("ok");
        // There is a place for each operation.
        let outcomes = &self.outcomes[operation.unwrap_or(OPERATIONS.len() - 1)];
        add(&outcomes.get(outcome, OUTCOMES).value, 1);
        add(&self.retries, u64::from(account.attempts).saturating_sub(1));
        add(&self.fallbacks, u64::from(account.step > 0));
        // What comes from a cache took nobody's time, and no tokens.
        if account.cached == Some(Cached::Hit) {
            return;
        }
        if let Some(latency) = account.latency {
            self.latency.observe(latency);
        }
        if let Some(first) = account.first_chunk {
            self.first_chunk.observe(first);
        }
        let usage = &account.reading.usage;
        let tokens = [
            usage.input,
            usage.output,
            usage.cached_input,
            usage.reasoning,
        ];
        // What a request says that it costs is its maker's, and could be anything.
        let cost = account.cost.filter(|_| !account.custom_cost);
        if tokens.iter().all(Option::is_none) && cost.is_none() {
            return;
        }
        let model = self.models.get(&account.model, MODELS);
        for (counter, tokens) in model.value.tokens.iter().zip(tokens) {
            add(counter, tokens.unwrap_or(0));
        }
        // At least 0, and beyond 64 bits nobody pays.
        add(
            &model.value.cost,
            cost.map_or(0, |dollars| (dollars * 1e9) as u64),
        );
    }
}

/// Counts come from providers: one that is too large stops its counter, and does not make it begin at 0 again.
fn add(counter: &AtomicU64, more: u64) {
    let _ = counter.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_add(more)));
}

#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    /// What has never happened has no sample.
    fn count(&mut self, labels: &[(&'static str, &str)], counter: &AtomicU64) {
        let count = counter.load(Relaxed);
        if count > 0 {
            self.push(labels, Value::Count(count));
        }
    }

    fn times(&mut self, labels: &[(&'static str, &str)], times: &Histogram<OfModels>) {
        let times = times.snapshot();
        if times.count > 0 {
            self.push(labels, Value::Times(times));
        }
    }

    fn push(&mut self, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        self.0.push(Sample {
            labels: labels.collect(),
            value,
        });
    }

    fn of_binding(&mut self, metric: &Metric, name: &str, of: &Binding) {
        let binding = ("binding", name);
        if metric.name == catalog::CACHE.name {
            self.count(&[binding, ("result", "hit")], &of.hits);
            self.count(&[binding, ("result", "miss")], &of.misses);
            return;
        }
        for provider in of.providers.rows() {
            let labels = [binding, ("provider", provider.label.as_str())];
            self.of_provider(metric, labels, &provider.value);
        }
    }

    fn of_provider(&mut self, metric: &Metric, labels: [(&'static str, &str); 2], of: &Provider) {
        let is = |other: &Metric| metric.name == other.name;
        let [binding, provider] = labels;
        if is(&catalog::REQUESTS) {
            for ((_, operation), outcomes) in OPERATIONS.iter().zip(&of.outcomes) {
                for outcome in outcomes.rows() {
                    let more = [
                        ("operation", *operation),
                        ("outcome", outcome.label.as_str()),
                    ];
                    self.count(&[binding, provider, more[0], more[1]], &outcome.value);
                }
            }
        } else if is(&catalog::RETRIES) {
            self.count(&labels, &of.retries);
        } else if is(&catalog::FALLBACKS) {
            self.count(&labels, &of.fallbacks);
        } else if is(&catalog::LATENCY) {
            self.times(&labels, &of.latency);
        } else if is(&catalog::FIRST_CHUNK) {
            self.times(&labels, &of.first_chunk);
        } else if is(&catalog::TOKENS) || is(&catalog::COST) {
            for model in of.models.rows() {
                let labels = [binding, provider, ("model", model.label.as_str())];
                self.of_model(metric, labels, &model.value);
            }
        }
    }

    fn of_model(&mut self, metric: &Metric, labels: [(&'static str, &str); 3], of: &Model) {
        let [binding, provider, model] = labels;
        if metric.name == catalog::TOKENS.name {
            for (kind, tokens) in TOKENS.iter().zip(&of.tokens) {
                self.count(&[binding, provider, model, ("type", kind)], tokens);
            }
        } else {
            let billionths = of.cost.load(Relaxed);
            if billionths > 0 {
                self.push(&labels, Value::Amount(billionths as f64 / 1e9));
            }
        }
    }
}

#[cfg(test)]
mod tests;
