//! What requests to models take, and how their providers are doing: as metrics, and as lines for people.
//!
//! Callers choose models and a provider's errors, so their labels are bounded; those that are configured have labels
//! whoever came first.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bindings::ai::{Account, AccountSink, Ai, AiOptions, Cached, Operation, ProviderStatus};

use super::bounded::{Bounded, label};
use super::catalog::{self, Metric};
use super::histogram::{Histogram, OfModels, Snapshot};

/// AI bindings that have labels of their own. They are configured.
const BINDINGS: usize = 1_024;

/// Providers of a binding that have labels of their own. They are configured, or found at the start.
const PROVIDERS: usize = 64;

/// Models of a provider that have labels of their own. Who calls decides, where the provider answers to any name.
pub(crate) const MODELS: usize = 64;

/// Outcomes of an operation that have labels of their own.
const OUTCOMES: usize = 32;

/// Requests to models, by the bindings' names. Clones are the same. Where there is no admin port, nothing is counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models(Option<Arc<Inner>>);

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

const OPERATIONS: [(Operation, &str); 4] = [
    (Operation::Chat, "chat"),
    (Operation::TextCompletion, "text_completion"),
    (Operation::Embeddings, "embeddings"),
    (Operation::Other, "other"),
];

const TOKENS: [&str; 4] = ["input", "output", "cached_input", "reasoning"];

impl Models {
    /// Those of a program that has an admin port.
    pub(super) fn counted() -> Self {
        Self(Some(Arc::default()))
    }

    /// What hears of the requests of a binding; what is configured has labels from now on.
    pub(crate) fn sink(&self, binding: &str, options: &AiOptions) -> Option<Arc<dyn AccountSink>> {
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

    /// These are open from now on.
    pub(crate) fn replace(&self, open: Vec<(String, Ai)>) {
        if let Some(inner) = &self.0 {
            *inner.lock() = open;
        }
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

    /// A line for each provider whose circuit breaker is open.
    pub(crate) fn failing(&self) -> Vec<String> {
        let statuses = self.statuses().into_iter();
        let failing = statuses.filter(|(_, status)| status.circuit_open);
        failing
            .map(|(binding, status)| {
                format!(
                    "{}: the circuit breaker of the provider {} is open: it failed several times in a row",
                    tail::escape(&binding),
                    tail::escape(&status.name)
                )
            })
            .collect()
    }

    /// The samples of a metric, if it is one of models.
    pub(super) fn samples(&self, metric: &Metric) -> Vec<Sample> {
        let Some(inner) = &self.0 else {
            return Vec::new();
        };
        let is = |other: &Metric| metric.name == other.name;
        if is(&catalog::AI_LOG_LOST) {
            let open = inner.lock().clone();
            let each = open.iter().map(|(name, ai)| Sample {
                labels: vec![("binding", label(name))],
                value: Value::Count(ai.lost_log_entries()),
            });
            return summed(each);
        }
        if is(&catalog::AI_IN_FLIGHT) {
            return self.gauges(|status| status.in_flight as u64);
        }
        if is(&catalog::AI_WAITING) {
            return self.gauges(|status| status.waiting as u64);
        }
        if is(&catalog::AI_CIRCUIT_OPEN) {
            return self.gauges(|status| u64::from(status.circuit_open));
        }
        if !metric.name.starts_with("binding_span_ai_") {
            return Vec::new();
        }
        let mut samples = Samples::default();
        for binding in inner.bindings.rows() {
            samples.of_binding(metric, &binding.label, &binding.value);
        }
        samples.0
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

/// Counts, as one where several have the same labels.
fn summed(each: impl Iterator<Item = Sample>) -> Vec<Sample> {
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

/// One value of a metric of models.
pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

pub(super) enum Value {
    Count(u64),
    Dollars(f64),
    Times(Snapshot),
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
        if metric.name == catalog::AI_CACHE.name {
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
        if is(&catalog::AI_REQUESTS) {
            for ((_, operation), outcomes) in OPERATIONS.iter().zip(&of.outcomes) {
                for outcome in outcomes.rows() {
                    let more = [
                        ("operation", *operation),
                        ("outcome", outcome.label.as_str()),
                    ];
                    self.count(&[binding, provider, more[0], more[1]], &outcome.value);
                }
            }
        } else if is(&catalog::AI_RETRIES) {
            self.count(&labels, &of.retries);
        } else if is(&catalog::AI_FALLBACKS) {
            self.count(&labels, &of.fallbacks);
        } else if is(&catalog::AI_LATENCY) {
            self.times(&labels, &of.latency);
        } else if is(&catalog::AI_FIRST_CHUNK) {
            self.times(&labels, &of.first_chunk);
        } else if is(&catalog::AI_TOKENS) || is(&catalog::AI_COST) {
            for model in of.models.rows() {
                let labels = [binding, provider, ("model", model.label.as_str())];
                self.of_model(metric, labels, &model.value);
            }
        }
    }

    fn of_model(&mut self, metric: &Metric, labels: [(&'static str, &str); 3], of: &Model) {
        let [binding, provider, model] = labels;
        if metric.name == catalog::AI_TOKENS.name {
            for (kind, tokens) in TOKENS.iter().zip(&of.tokens) {
                self.count(&[binding, provider, model, ("type", kind)], tokens);
            }
        } else {
            let billionths = of.cost.load(Relaxed);
            if billionths > 0 {
                self.push(&labels, Value::Dollars(billionths as f64 / 1e9));
            }
        }
    }
}
