//! Spans that continue a trace from elsewhere. Each test installs its subscriber for its own thread.

use binding_span::{SpanContext, SpanId, TraceId, link};
use opentelemetry::trace::{Link, Status, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SamplingResult, SdkTracerProvider, ShouldSample, SpanData,
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{Registry, layer::SubscriberExt};

/// What is exported of what `work` does.
fn exported(sampler: impl ShouldSample + 'static, work: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_sampler(sampler)
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("test"));
    tracing::subscriber::with_default(Registry::default().with(layer), work);
    exporter.get_finished_spans().unwrap()
}

fn parent(flags: Option<u8>) -> SpanContext {
    SpanContext {
        trace_id: TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        span_id: SpanId(0xb7ad_6b71_6920_3331),
        flags,
    }
}

#[test]
fn the_identity_of_a_span_is_that_which_is_exported() {
    let mut context = None;
    let spans = exported(Sampler::AlwaysOn, || {
        context = link::context_of(&tracing::info_span!("call"));
    });
    let (context, exported) = (context.unwrap(), &spans[0].span_context);
    assert_eq!(
        context.trace_id.to_string(),
        exported.trace_id().to_string()
    );
    assert_eq!(context.span_id.to_string(), exported.span_id().to_string());
    assert_eq!(context.flags, Some(SpanContext::SAMPLED));
}

#[test]
fn without_a_layer_a_span_has_no_identity_and_takes_no_parent() {
    tracing::subscriber::with_default(Registry::default(), || {
        let span = tracing::info_span!("call");
        assert_eq!(link::context_of(&span), None);
        assert!(!link::set_parent(&span, parent(None)));
        link::set_error(&span, "TypeError", "nobody sees it");
    });
    assert_eq!(link::context_of(&tracing::Span::none()), None);
}

#[test]
fn a_span_becomes_the_child_of_one_elsewhere_as_long_as_nobody_asked_for_its_identity() {
    let spans = exported(Sampler::AlwaysOn, || {
        let span = tracing::info_span!("served");
        assert!(link::set_parent(&span, parent(Some(1))));
        assert_eq!(
            link::context_of(&span).unwrap().trace_id,
            parent(None).trace_id
        );
        assert!(!link::set_parent(&span, SpanContext::root()), "too late");
    });
    let id = spans[0].parent_span_id.to_string();
    assert_eq!(id, parent(None).span_id.to_string());
    assert!(spans[0].parent_span_is_remote);
}

/// Decides by itself where nobody else has: the example in the documentation of `is_undecided`.
#[derive(Debug, Clone)]
struct OwnDecision(Sampler);

impl ShouldSample for OwnDecision {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: opentelemetry::trace::TraceId,
        name: &str,
        kind: &opentelemetry::trace::SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|parent| !link::is_undecided(parent));
        let sampler = &self.0;
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

#[test]
fn unset_flags_leave_the_decision_to_the_receivers_own_sampler() {
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    let cases = [
        (by_parent(Sampler::AlwaysOn), None, true),
        (by_parent(Sampler::AlwaysOff), None, false),
        (by_parent(Sampler::AlwaysOff), Some(1), true),
        (by_parent(Sampler::AlwaysOn), Some(0), false),
        (Sampler::AlwaysOn, Some(0), true),
        (Sampler::AlwaysOff, None, false),
    ];
    for (sampler, flags, expected) in cases {
        let case = format!("{sampler:?} with {flags:?}");
        let spans = exported(OwnDecision(sampler), || {
            let span = tracing::info_span!("served");
            assert!(link::set_parent(&span, parent(flags)));
        });
        assert_eq!(!spans.is_empty(), expected, "{case}");
    }
}

#[test]
fn a_failed_span_has_status_and_error_type() {
    let spans = exported(Sampler::AlwaysOn, || {
        link::set_error(&tracing::info_span!("call"), "TypeError", "no such method");
    });
    assert_eq!(spans[0].status, Status::error("no such method"));
    let kind = KeyValue::new("error.type", "TypeError");
    assert!(spans[0].attributes.contains(&kind));
}
