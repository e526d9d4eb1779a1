//! From spans to OTLP's messages.

use std::time::{SystemTime, UNIX_EPOCH};

use binding_span::{Attribute, AttributeList, AttributeValue, SpanKind};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, SpanFlags, Status, span, status,
};

use super::span::{Held, Record};

/// The resource that all spans are of.
pub(super) fn resource(attributes: &[(String, String)]) -> Resource {
    let attributes = attributes.iter().map(|(key, value)| KeyValue {
        key: key.clone(),
        value: Some(any(Value::StringValue(value.clone()))),
        ..KeyValue::default()
    });
    Resource {
        attributes: attributes.collect(),
        ..Resource::default()
    }
}

/// A request that carries these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Held>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "binding-span".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(|span| message(*span)).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn message(record: Record) -> Span {
    let context = record.context;
    let parent = record.parent.map(|parent| parent.0.to_be_bytes().to_vec());
    Span {
        trace_id: context.trace_id.0.to_be_bytes().to_vec(),
        span_id: context.span_id.0.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        flags: flags(context.flags, record.remote),
        name: record.name,
        kind: kind(record.kind).into(),
        start_time_unix_nano: nanos(record.start),
        end_time_unix_nano: nanos(record.end),
        attributes: record.attributes.into_iter().map(pair).collect(),
        dropped_attributes_count: record.cut,
        status: Some(status(record.status)),
        ..Span::default()
    }
}

fn flags(flags: Option<u8>, remote: bool) -> u32 {
    let mut all = u32::from(flags.unwrap_or_default()) | SpanFlags::ContextHasIsRemoteMask as u32;
    if remote {
        all |= SpanFlags::ContextIsRemoteMask as u32;
    }
    all
}

const fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Internal => span::SpanKind::Internal,
    }
}

fn status(message: Option<String>) -> Status {
    let code = match message {
        Some(_) => status::StatusCode::Error,
        None => status::StatusCode::Unset,
    };
    Status {
        code: code.into(),
        message: message.unwrap_or_default(),
    }
}

/// Attributes that the conventions have as lists of texts. A list of one text travels as that text.
const LISTS: [&str; 3] = [
    "gen_ai.request.encoding_formats",
    "gen_ai.request.stop_sequences",
    "gen_ai.response.finish_reasons",
];

fn pair(attribute: Attribute) -> KeyValue {
    let value = match attribute.value {
        AttributeValue::String(text) if LISTS.contains(&attribute.key.as_ref()) => {
            let values = elements(AttributeList::Strings(vec![text]));
            Value::ArrayValue(ArrayValue { values })
        }
        AttributeValue::String(text) => Value::StringValue(text.into_owned()),
        AttributeValue::Bool(value) => Value::BoolValue(value),
        AttributeValue::Int64(value) => Value::IntValue(value),
        AttributeValue::Float64(value) => Value::DoubleValue(value),
        AttributeValue::List(list) => Value::ArrayValue(ArrayValue {
            values: elements(*list),
        }),
    };
    KeyValue {
        key: attribute.key.into_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn elements(list: AttributeList) -> Vec<AnyValue> {
    fn each<T>(list: Vec<T>, value: impl Fn(T) -> Value) -> Vec<AnyValue> {
        list.into_iter()
            .map(|element| any(value(element)))
            .collect()
    }
    match list {
        AttributeList::Strings(list) => each(list, |text| Value::StringValue(text.into_owned())),
        AttributeList::Bools(list) => each(list, Value::BoolValue),
        AttributeList::Int64s(list) => each(list, Value::IntValue),
        AttributeList::Float64s(list) => each(list, Value::DoubleValue),
    }
}

const fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
