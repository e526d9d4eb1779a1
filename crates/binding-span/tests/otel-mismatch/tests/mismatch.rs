//! What a user with another version of OpenTelemetry is told, and that the way out works.

use binding_span::{Applied, ApplyEnrichment, Enrichment, OtelSide, SpanRef, is_enrichment_event};
use opentelemetry::Value;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use otel_mismatch::Older;
use tracing::{Metadata, Span, field};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// The span that is exported when `work` is done with it under the older layer, without our event.
fn exported(work: impl FnOnce(&Span)) -> SpanData {
    exported_with(|event| !is_enrichment_event(event), work)
}

fn exported_with(filter: fn(&Metadata<'_>) -> bool, work: impl FnOnce(&Span)) -> SpanData {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("test")).with_filter(FilterFn::new(filter));
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        work(&tracing::info_span!("call", otel.name = field::Empty));
    });
    exporter.get_finished_spans().unwrap().remove(0)
}

fn said() -> Enrichment {
    Enrichment::new().name("d1.query").attribute("rows", 3)
}

#[test]
fn apply_says_that_nothing_was_reached() {
    let mut applied = Applied::default();
    let span = exported(|span| applied = span.apply_enrichment(&said()));
    assert_eq!(span.name, "call", "the rename is lost");
    assert!(span.attributes.iter().all(|kv| kv.key.as_str() != "rows"));
    assert_eq!(applied.opentelemetry, OtelSide::Unreachable);
    assert!(!applied.seen() && !applied.renamed && applied.attributes == 0);
    assert_eq!(
        applied.to_string(),
        "not exported: no OpenTelemetry span of this library's version was found"
    );
}

#[test]
fn where_the_event_is_let_through_it_becomes_a_span_event_and_is_not_taken_for_more() {
    let mut applied = Applied::default();
    let span = exported_with(|_| true, |span| applied = span.apply_enrichment(&said()));
    assert_eq!((span.name.as_ref(), span.events.len()), ("call", 1));
    assert!(applied.event && !applied.exported());
}

#[test]
fn a_sink_on_the_older_version_gets_rename_and_attributes_exported() {
    let span = exported(|span| {
        span.in_scope(|| ());
        binding_span::apply(&said(), SpanRef::default(), &Older(span));
    });
    assert_eq!(span.name, "d1.query");
    let rows = span.attributes.iter().find(|kv| kv.key.as_str() == "rows");
    assert_eq!(rows.unwrap().value, Value::I64(3));
}
