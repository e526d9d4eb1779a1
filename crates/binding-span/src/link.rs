//! The identity of a `tracing` span in a distributed trace, where an OpenTelemetry layer gives it one.
//!
//! Without the feature `opentelemetry`, or without such a layer, no span has an identity and all of
//! this does nothing.

use tracing::Span;

use crate::SpanContext;

/// The OpenTelemetry identity of a `tracing` span, if it has a valid one. Asking fixes it: a parent
/// can no longer be set.
pub fn context_of(span: &Span) -> Option<SpanContext> {
    #[cfg(feature = "opentelemetry")]
    if !span.is_disabled() {
        return otel::context_of(span);
    }
    let _ = span;
    None
}

/// Makes a new span the child of a span elsewhere. Returns whether an OpenTelemetry layer took it.
///
/// OpenTelemetry has no "not decided": a parent without flags is given to samplers as a sampled one,
/// and marked (see `is_undecided`) for samplers that want to decide by themselves.
pub fn set_parent(span: &Span, parent: SpanContext) -> bool {
    #[cfg(feature = "opentelemetry")]
    if !span.is_disabled() && parent.trace_id.is_valid() {
        return otel::set_parent(span, parent);
    }
    let _ = (span, parent);
    false
}

/// Whether a parent that [`set_parent`] made had no flags: nobody has decided about this trace. A
/// sampler that finds so can treat the span as the first one of its trace.
///
/// ```
/// use binding_span::link::is_undecided;
/// use opentelemetry::{Context, KeyValue, trace::{Link, SpanKind, TraceId}};
/// use opentelemetry_sdk::trace::{SamplingResult, ShouldSample};
///
/// #[derive(Debug, Clone)]
/// struct OwnDecision<S>(S); // around `Sampler::ParentBased(..)`
///
/// impl<S: ShouldSample + Clone + 'static> ShouldSample for OwnDecision<S> {
///     fn should_sample(
///         &self,
///         parent: Option<&Context>,
///         trace_id: TraceId,
///         name: &str,
///         kind: &SpanKind,
///         attributes: &[KeyValue],
///         links: &[Link],
///     ) -> SamplingResult {
///         let parent = parent.filter(|parent| !is_undecided(parent));
///         self.0.should_sample(parent, trace_id, name, kind, attributes, links)
///     }
/// }
/// ```
#[cfg(feature = "opentelemetry")]
pub fn is_undecided(parent: &opentelemetry::Context) -> bool {
    parent.get::<otel::Undecided>().is_some()
}

/// Marks a span as failed: its status, and `error.type`, which should be of low cardinality.
pub fn set_error(span: &Span, kind: &str, message: &str) {
    #[cfg(feature = "opentelemetry")]
    if !span.is_disabled() {
        otel::set_error(span, kind, message);
    }
    let _ = (span, kind, message);
}

#[cfg(feature = "opentelemetry")]
mod otel {
    use opentelemetry::trace::{
        SpanContext as OtelContext, Status, TraceContextExt, TraceFlags, TraceState,
    };
    use opentelemetry::{Context, KeyValue};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use crate::{SpanContext, SpanId, TraceId};

    /// Marks a context whose flags are made up.
    pub(super) struct Undecided;

    pub(super) fn context_of(span: &Span) -> Option<SpanContext> {
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| SpanContext {
            trace_id: TraceId(u128::from_be_bytes(context.trace_id().to_bytes())),
            span_id: SpanId(u64::from_be_bytes(context.span_id().to_bytes())),
            flags: Some(context.trace_flags().to_u8()),
        })
    }

    pub(super) fn set_parent(span: &Span, parent: SpanContext) -> bool {
        let flags = TraceFlags::new(parent.flags.unwrap_or(SpanContext::SAMPLED));
        let remote = OtelContext::new(
            parent.trace_id.0.into(),
            parent.span_id.0.into(),
            flags,
            true,
            TraceState::default(),
        );
        let mut context = Context::new().with_remote_span_context(remote);
        if parent.flags.is_none() {
            context = context.with_value(Undecided);
        }
        span.set_parent(context).is_ok()
    }

    pub(super) fn set_error(span: &Span, kind: &str, message: &str) {
        let context = span.context();
        let span = context.span();
        if span.is_recording() {
            span.set_status(Status::error(message.to_owned()));
            span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
        }
    }
}
