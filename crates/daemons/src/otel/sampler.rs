//! Which traces are recorded.

use binding_span::{NewSpan, SpanContext, TraceId};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};

/// Decides whether a trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// What decides where nobody has.
    pub root: RootRule,
    /// Whether a decision that came with the parent holds. One that came without flags is none.
    pub by_parent: bool,
}

/// What decides about a trace that nobody has decided about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RootRule {
    /// Every trace is recorded.
    Always,
    /// No trace is.
    Never,
    /// This part of all traces is, from 0 to 1; the same traces in every process that has the same ratio.
    Ratio(f64),
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            root: RootRule::Always,
            by_parent: true,
        }
    }
}

impl Sampler {
    /// The identity of a new span, with the decision in its flags.
    pub(crate) fn identify(&self, new: &NewSpan) -> SpanContext {
        let context = new.by_default();
        let decided = new.parent.and_then(|parent| parent.flags);
        let sampled = match decided.filter(|_| self.by_parent) {
            Some(flags) => flags & SpanContext::SAMPLED != 0,
            None => self.root.samples(context.trace_id),
        };
        let others = decided.unwrap_or(0) & !SpanContext::SAMPLED;
        SpanContext {
            flags: Some(others | u8::from(sampled)),
            ..context
        }
    }

    /// Whether a span is recorded. One whose identity carries no decision is of a maker that asked
    /// nobody; the same rule holds.
    pub(super) fn samples(&self, span: SpanContext) -> bool {
        match span.flags {
            Some(flags) => flags & SpanContext::SAMPLED != 0,
            None => self.root.samples(span.trace_id),
        }
    }
}

impl RootRule {
    fn samples(self, trace: TraceId) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Ratio(ratio) => {
                // The SDK's own, so that all processes take the same traces.
                let sampler = SdkSampler::TraceIdRatioBased(ratio);
                let kind = SpanKind::Internal;
                let result = sampler.should_sample(None, trace.0.into(), "", &kind, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

/// As `OTEL_TRACES_SAMPLER` names it.
impl std::fmt::Display for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.by_parent {
            f.write_str("parentbased_")?;
        }
        match self.root {
            RootRule::Always => f.write_str("always_on"),
            RootRule::Never => f.write_str("always_off"),
            RootRule::Ratio(ratio) => write!(f, "traceidratio {ratio}"),
        }
    }
}
