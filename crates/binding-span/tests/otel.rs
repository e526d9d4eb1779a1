//! The OpenTelemetry side of a `tracing` span. Each test installs its subscriber for its own thread.

use binding_span::{
    Applied, ApplyEnrichment, DropReason, Enrichment, OtelSide, Policy, is_enrichment_event,
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// What is exported of what `work` does under an OpenTelemetry layer that leaves our event out.
fn exported(sampler: Sampler, work: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_sampler(sampler)
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("test"))
        .with_filter(FilterFn::new(|metadata| !is_enrichment_event(metadata)));
    let subscriber = Registry::default().with(layer);
    tracing::subscriber::with_default(subscriber, work);
    exporter.get_finished_spans().unwrap()
}

fn value(span: &SpanData, key: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|kv| kv.key.as_str() == key);
    let value = found.next().map(|kv| kv.value.clone());
    assert!(found.next().is_none(), "{key} is exported twice");
    value
}

fn said() -> Enrichment {
    Enrichment::new()
        .name("d1.query")
        .attribute("db.system.name", "sqlite")
        .attribute("rows", 3)
        .attribute("cost", 1.5)
        .attribute("cached", true)
}

#[test]
fn a_span_is_renamed_and_tagged_after_it_was_entered_and_injected_from_another_thread() {
    let spans = exported(Sampler::AlwaysOn, || {
        let span = tracing::info_span!("jsRpcSession");
        span.in_scope(|| tracing::info_span!("inner").in_scope(|| ()));
        let _injected = span.context();
        let remote = span.clone();
        let applied = std::thread::spawn(move || remote.apply_enrichment(&said()));
        let applied = applied.join().unwrap();
        assert_eq!(applied.opentelemetry, OtelSide::Recorded);
        assert!(applied.renamed && applied.seen() && applied.exported());
        assert_eq!((applied.attributes, applied.event), (4, false));
    });
    let span = spans.last().unwrap();
    assert_eq!(span.name, "d1.query");
    assert_eq!(value(span, "db.system.name"), Some("sqlite".into()));
    assert_eq!(value(span, "rows"), Some(Value::I64(3)));
    assert_eq!(value(span, "cost"), Some(Value::F64(1.5)));
    assert_eq!(value(span, "cached"), Some(Value::Bool(true)));
    assert_eq!(value(span, "binding_span.dropped"), None);
    assert!(span.events.is_empty(), "the event is kept out");
    assert_eq!(spans[0].name, "inner");
}

#[test]
fn a_list_is_an_array() {
    use opentelemetry::Array;
    let spans = exported(Sampler::AlwaysOn, || {
        let said = Enrichment::new()
            .attribute("reasons", ["stop", "length"])
            .attribute("bools", [true, false])
            .attribute("integers", [1, 2])
            .attribute("doubles", [1.5]);
        let applied = tracing::info_span!("call").apply_enrichment(&said);
        assert_eq!(applied.attributes, 4);
    });
    let texts = vec!["stop".into(), "length".into()];
    for (key, array) in [
        ("reasons", Array::String(texts)),
        ("bools", Array::Bool(vec![true, false])),
        ("integers", Array::I64(vec![1, 2])),
        ("doubles", Array::F64(vec![1.5])),
    ] {
        assert_eq!(value(&spans[0], key), Some(Value::Array(array)));
    }
}

#[test]
fn merged_attributes_are_exported_once_with_the_last_value() {
    let spans = exported(Sampler::AlwaysOn, || {
        let mut said = said();
        for rows in [4, 5] {
            said.merge(Enrichment::new().name("d1.batch").attribute("rows", rows));
        }
        let span = tracing::info_span!("jsRpcSession");
        assert!(span.apply_enrichment(&said).exported());
    });
    assert_eq!(spans[0].name, "d1.batch");
    assert_eq!(value(&spans[0], "rows"), Some(Value::I64(5)));
}

#[test]
fn what_was_dropped_is_on_the_span_and_in_what_apply_returns() {
    let spans = exported(Sampler::AlwaysOn, || {
        let said = Enrichment::new().attribute("", 1).attribute("rpc.x", 1);
        let said = Policy::default().accept(said);
        let applied = tracing::info_span!("call").apply_enrichment(&said);
        assert_eq!(applied.dropped.count(DropReason::DeniedKey), 1);
        assert_eq!(
            applied.to_string(),
            "not renamed, 0 attributes; dropped key_empty=1 denied_key=1"
        );
    });
    let dropped = KeyValue::new("binding_span.dropped", 2);
    assert!(spans[0].attributes.contains(&dropped));
    assert_eq!(spans[0].name, "call");
}

#[test]
fn without_the_filter_the_event_is_a_span_event() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("test"));
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        assert!(tracing::info_span!("call").apply_enrichment(&said()).event);
    });
    assert_eq!(exporter.get_finished_spans().unwrap()[0].events.len(), 1);
}

#[test]
fn a_trace_that_is_not_sampled_costs_nothing_and_says_so() {
    let spans = exported(Sampler::AlwaysOff, || {
        let applied = tracing::info_span!("call").apply_enrichment(&said());
        assert_eq!(applied.opentelemetry, OtelSide::NotSampled);
        assert!(!applied.seen() && !applied.renamed && applied.attributes == 0);
    });
    assert!(spans.is_empty());
}

#[test]
fn a_span_that_nobody_wants_is_left_alone() {
    let subscriber = Registry::default().with(LevelFilter::OFF);
    tracing::subscriber::with_default(subscriber, || {
        let applied = tracing::info_span!("call").apply_enrichment(&said());
        assert_eq!(applied, Applied::default());
        assert!(!applied.seen());
    });
}

#[test]
fn without_an_opentelemetry_layer_the_other_side_is_unreachable() {
    tracing::subscriber::with_default(Registry::default(), || {
        let applied = tracing::info_span!("call").apply_enrichment(&said());
        assert_eq!(applied.opentelemetry, OtelSide::Unreachable);
        assert!(!applied.exported());
    });
}

#[test]
fn a_span_that_only_another_layer_wants_is_unreachable_and_does_not_panic() {
    let provider = SdkTracerProvider::builder().build();
    let otel = OpenTelemetryLayer::new(provider.tracer("test")).with_filter(LevelFilter::WARN);
    let other = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = Registry::default().with(otel).with(other);
    tracing::subscriber::with_default(subscriber, || {
        let applied = tracing::info_span!("call").apply_enrichment(&said());
        assert_eq!(applied.opentelemetry, OtelSide::Unreachable);
        assert!(applied.event && applied.seen() && !applied.exported());
    });
}

#[test]
fn a_layer_inside_of_a_reload_layer_is_unreachable() {
    let provider = SdkTracerProvider::builder().build();
    let otel = OpenTelemetryLayer::new(provider.tracer("test"));
    let (layer, _handle) = tracing_subscriber::reload::Layer::new(otel);
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let applied = tracing::info_span!("call").apply_enrichment(&said());
        assert_eq!(applied.opentelemetry, OtelSide::Unreachable);
    });
}

#[test]
fn the_count_of_drops_survives_the_sdks_own_limit() {
    let spans = exported(Sampler::AlwaysOn, || {
        let mut said = Enrichment::new().attribute("", 1);
        for i in 0..256 {
            said.set_attribute(format!("k{i}"), i);
        }
        let applied = tracing::info_span!("call").apply_enrichment(&said);
        assert_eq!(applied.attributes, 256);
    });
    assert_eq!(spans[0].attributes.len(), 128);
    let dropped = KeyValue::new("binding_span.dropped", 1);
    assert!(spans[0].attributes.contains(&dropped));
}

#[test]
fn nothing_said_does_nothing() {
    let spans = exported(Sampler::AlwaysOn, || {
        let applied = tracing::info_span!("call").apply_enrichment(&Enrichment::new());
        assert_eq!(applied, Applied::default());
    });
    assert_eq!(spans[0].name, "call");
}
