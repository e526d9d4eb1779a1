//! Enrichment on spans of an OpenTelemetry that is older than binding-span's: [`SpanSink`] on the version
//! that the application has.

use binding_span::{Attribute, AttributeList, AttributeValue, SpanRef, SpanSink};
use opentelemetry::{Array, Value};
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
                AttributeValue::List(list) => Value::Array(array(list)),
            };
            self.0.set_attribute(key.clone(), value);
        }
    }
}

fn array(list: &AttributeList) -> Array {
    match list {
        AttributeList::Strings(texts) => {
            Array::String(texts.iter().map(|text| text.clone().into()).collect())
        }
        AttributeList::Bools(values) => Array::Bool(values.clone()),
        AttributeList::Int64s(values) => Array::I64(values.clone()),
        AttributeList::Float64s(values) => Array::F64(values.clone()),
    }
}
