//! Enrichment on spans of an OpenTelemetry that is older than binding-span's: [`SpanSink`] on the version
//! that the application has.

use binding_span::{Attribute, AttributeValue, SpanRef, SpanSink};
use opentelemetry::Value;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Applies enrichment to a `tracing` span that declares `otel.name = tracing::field::Empty`. (This
/// version of `tracing-opentelemetry` reads the field until the span closes; newer ones do not.)
pub struct Older<'a>(pub &'a Span);

impl SpanSink for Older<'_> {
    fn rename(&self, _span: SpanRef, name: &str) {
        self.0.record("otel.name", name);
    }

    fn attributes(&self, _span: SpanRef, attributes: &[Attribute]) {
        for Attribute { key, value } in attributes {
            let value: Value = match value {
                AttributeValue::String(text) => text.clone().into(),
                AttributeValue::Bool(value) => (*value).into(),
                AttributeValue::Int64(value) => (*value).into(),
                AttributeValue::Float64(value) => (*value).into(),
            };
            self.0.set_attribute(key.clone(), value);
        }
    }
}
