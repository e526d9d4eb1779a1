//! What is exported and how: the options, and what they do not say from the standard variables.
//!
//! Variables are set for whole machines, so one that cannot be used never stops a program: a warning says
//! what is ignored. docs/opentelemetry.md has the list of them.

mod endpoint;
mod sampler;
mod vars;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::args::{OtlpArgs, OtlpProtocol};
use super::sampler::Sampler;
use super::transport;
use crate::exit::Failure;
use vars::Vars;

/// What the options and variables ask for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The export, if there shall be one.
    pub export: Option<Settings>,
    /// Whether trace contexts are taken from callers and told to callees.
    pub propagate: bool,
    /// Whether an option asked for the export, and not only a variable that is for all programs.
    pub required: bool,
    /// What is wrong with the variables; a line each, for people.
    pub warnings: Vec<String>,
}

/// An export.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to, and how.
    pub target: Target,
    /// Attributes of the resource that all spans are of.
    pub resource: Vec<(String, String)>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// How spans are gathered.
    pub batching: Batching,
    /// What a span may have.
    pub limits: SpanLimits,
}

/// Where spans go, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// The receiver; for HTTP with the path of traces.
    pub endpoint: Uri,
    /// Sent with every request. They may hold secrets, and are never shown.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether requests are compressed, with gzip.
    pub gzip: bool,
    /// How long a batch may take to be acknowledged, with all attempts.
    pub timeout: Duration,
    /// A PEM file with the certificates of those who may issue the receiver's; else those that the system
    /// trusts.
    pub issuers: Option<PathBuf>,
    /// PEM files with our certificate and its key, for receivers that ask.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How spans are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Spans that may wait; what comes then is dropped and counted.
    pub queue: usize,
    /// Spans that are sent at once, at most; not more than `queue`.
    pub batch: usize,
    /// How long the first one waits for others.
    pub delay: Duration,
}

/// What a span may have. `None`: no limit of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanLimits {
    /// Attributes.
    pub count: Option<usize>,
    /// Characters of a text.
    pub value_chars: Option<usize>,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
        }
    }
}

/// How long a batch may take.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Plan {
    /// What the options and the variables of this process ask for, for a service that is called `service`
    /// unless they say otherwise.
    pub fn from_env(args: &OtlpArgs, service: &str) -> Self {
        let source = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        Self::new(args, service, &source)
    }

    /// The same with variables from elsewhere.
    pub fn new(args: &OtlpArgs, service: &str, source: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut vars = Vars::new(source);
        let propagate = propagate(&mut vars);
        let export = match is_off(args, &mut vars) {
            true => None,
            false => Settings::new(args, service, &mut vars),
        };
        Self {
            export,
            propagate,
            required: args.otlp.is_some(),
            warnings: vars.warnings,
        }
    }
}

impl Plan {
    /// Logs what is wrong with the variables.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{}", tail::escape(warning));
        }
    }

    /// Whether it could be done; starts nothing.
    ///
    /// # Errors
    /// As [`Plan::failed`].
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.warn();
        let Some(settings) = &self.export else {
            return Ok(());
        };
        transport::tls(&settings.target).map_or_else(|reason| self.failed(&reason), |_| Ok(()))
    }

    /// What an export that cannot begin means: an option that asked for it is taken at its word, and
    /// variables are not worth a program.
    ///
    /// # Errors
    /// [`Failure::Config`] when an option asked for it.
    pub(crate) fn failed(&self, reason: &str) -> Result<(), Failure> {
        if self.required {
            return Err(Failure::Config(format!("cannot export spans: {reason}")));
        }
        tracing::warn!("no spans are exported: {}", tail::escape(reason));
        Ok(())
    }
}

/// Whether somebody said that nothing is exported.
fn is_off(args: &OtlpArgs, vars: &mut Vars<'_>) -> bool {
    if vars.flag("OTEL_SDK_DISABLED") {
        return true;
    }
    // An option of this program is meant more than a variable of all.
    vars.exporters() == vars::Exporters::None && args.otlp.is_none()
}

impl Settings {
    fn new(args: &OtlpArgs, service: &str, vars: &mut Vars<'_>) -> Option<Self> {
        let mut target = Target::new(args, vars)?;
        if let Some(timeout) = vars.timeout(&["OTEL_BSP_EXPORT_TIMEOUT"]) {
            target.timeout = target.timeout.min(timeout);
        }
        Some(Self {
            target,
            resource: resource(service, vars),
            sampler: sampler::read(vars),
            batching: batching(vars),
            limits: limits(vars),
        })
    }
}

/// For a log: where spans go and which, and no secrets.
impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Target {
            endpoint, protocol, ..
        } = &self.target;
        let named = |(key, _): &&(String, String)| key == "service.name";
        let service = self.resource.iter().find(named);
        let service = service.map_or("", |(_, name)| name.as_str());
        let (protocol, sampler) = (protocol.name(), self.sampler);
        write!(
            f,
            "{endpoint} by {protocol}, as service {service:?}, sampled {sampler}"
        )
    }
}

fn batching(vars: &mut Vars<'_>) -> Batching {
    let default = Batching::default();
    let queue = vars.positive(&["OTEL_BSP_MAX_QUEUE_SIZE"]);
    let queue = queue.unwrap_or(default.queue);
    let asked = vars.positive(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"]);
    if asked.is_some_and(|batch| batch > queue) {
        vars.warn(format!(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is more than the {queue} of OTEL_BSP_MAX_QUEUE_SIZE, which is used instead"
        ));
    }
    Batching {
        queue,
        batch: asked.unwrap_or(default.batch).min(queue),
        delay: vars
            .millis(&["OTEL_BSP_SCHEDULE_DELAY"])
            .unwrap_or(default.delay),
    }
}

fn limits(vars: &mut Vars<'_>) -> SpanLimits {
    SpanLimits {
        count: vars.number(&[
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
        ]),
        value_chars: vars.number(&[
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ]),
    }
}

/// Who the spans are of: what the variables say, and what we know ourselves.
fn resource(service: &str, vars: &mut Vars<'_>) -> Vec<(String, String)> {
    let mut resource = vars.pairs("OTEL_RESOURCE_ATTRIBUTES");
    if let Some(name) = vars.text("OTEL_SERVICE_NAME") {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name));
    }
    let version = env!("CARGO_PKG_VERSION");
    let ours = [
        ("service.name", service),
        ("service.version", version),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "binding-span"),
        ("telemetry.sdk.version", version),
    ];
    for (key, value) in ours {
        if !resource.iter().any(|(known, _)| known == key) {
            resource.push((key.to_owned(), value.to_owned()));
        }
    }
    resource
}

/// Whether trace contexts travel. Ours travel in a field of their own, so every propagator that carries
/// W3C's fields means the same here.
fn propagate(vars: &mut Vars<'_>) -> bool {
    let Some(text) = vars.word("OTEL_PROPAGATORS") else {
        return true;
    };
    let mut travels = false;
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        match name {
            "none" => return false,
            "tracecontext" => travels = true,
            "baggage" => {}
            other => vars.warn(format!(
                "OTEL_PROPAGATORS: {other:?} is not known here; tracecontext, baggage (which has no effect) and none are"
            )),
        }
    }
    travels
}
