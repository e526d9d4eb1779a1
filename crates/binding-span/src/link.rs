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
pub fn set_parent(span: &Span, parent: SpanContext) -> bool {
    #[cfg(feature = "opentelemetry")]
    if !span.is_disabled() && parent.trace_id.is_valid() {
        return otel::set_parent(span, parent);
    }
    let _ = (span, parent);
    false
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
        // OpenTelemetry has no "not decided"; a parent that says "sampled" lets parent-based samplers
        // record, which is what a root without a decision does by default.
        let flags = TraceFlags::new(parent.flags.unwrap_or(SpanContext::SAMPLED));
        let remote = OtelContext::new(
            parent.trace_id.0.into(),
            parent.span_id.0.into(),
            flags,
            true,
            TraceState::default(),
        );
        span.set_parent(Context::new().with_remote_span_context(remote))
            .is_ok()
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
