//! What subscribers that print see, and what their filter does to the others. Each test installs its
//! subscriber for its own thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

use binding_span::{
    ApplyEnrichment, Attribute, Enrichment, SpanRef, SpanSink, apply, is_enrichment_event,
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Lines that were logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What a plain `fmt` subscriber prints when `said` is applied to a span.
fn printed(said: &Enrichment) -> String {
    let log = Log::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(log.clone())
        .with_ansi(false);
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        let applied = tracing::info_span!("jsRpcSession", method = "query").apply_enrichment(said);
        assert!(applied.event && applied.seen());
    });
    log.text()
}

#[test]
fn a_plain_subscriber_sees_name_and_attributes_inside_of_the_span() {
    let said = Enrichment::new()
        .name("d1.query")
        .attribute("db.system.name", "sqlite")
        .attribute("rows", 3)
        .attribute("ratio", 2.0)
        .attribute("reasons", ["stop", "length"])
        .attribute("", 1);
    let line = printed(&said);
    let expected = "INFO jsRpcSession{method=\"query\"}: binding_span::enrichment: span enriched \
                    name=\"d1.query\" attributes=db.system.name=\"sqlite\" rows=3 ratio=2.0 \
                    reasons=[\"stop\", \"length\"] dropped=1\n";
    assert!(line.ends_with(expected), "{line}");
}

#[test]
fn what_another_process_said_cannot_draw_on_the_terminal_or_forge_a_line() {
    let nasty = "\u{1b}[2J\u{1b}]0;x\u{7}\nERROR forged\r\0\u{202e}\u{9b}31m\u{2028}\u{feff}";
    let said = Enrichment::new()
        .name(nasty)
        .attribute(nasty, nasty)
        .attribute("list", vec![nasty; 2])
        .attribute("rows=3 forged", "a\" forged=\"b");
    let line = printed(&said);
    assert_eq!(line.matches('\n').count(), 1, "{line:?}");
    let raw = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2028}\u{feff}".contains(c);
    assert!(!line.contains(raw), "{line:?}");
    assert!(
        line.contains(r#""rows=3 forged"="a\" forged=\"b""#),
        "{line}"
    );
}

/// A sink of the application's own, which no log filter concerns.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl SpanSink for Seen {
    fn rename(&self, _span: SpanRef, name: &str) {
        self.0.lock().unwrap().push(name.to_owned());
    }

    fn attributes(&self, _span: SpanRef, attributes: &[Attribute]) {
        let keys = attributes.iter().map(|a| a.key.to_string());
        self.0.lock().unwrap().extend(keys);
    }
}

#[test]
fn a_log_filter_of_warn_silences_the_log_and_neither_opentelemetry_nor_a_sink() {
    let (log, exporter, sink) = (
        Log::default(),
        InMemorySpanExporter::default(),
        Seen::default(),
    );
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let otel = OpenTelemetryLayer::new(provider.tracer("test"))
        .with_filter(FilterFn::new(|metadata| !is_enrichment_event(metadata)));
    let fmt = tracing_subscriber::fmt::layer()
        .with_writer(log.clone())
        .with_filter(EnvFilter::new("warn")); // what RUST_LOG=warn makes
    let subscriber = Registry::default().with(otel).with(fmt);
    let said = Enrichment::new().name("d1.query").attribute("rows", 3);
    tracing::subscriber::with_default(subscriber, || {
        let applied = tracing::info_span!("jsRpcSession").apply_enrichment(&said);
        assert!(applied.exported() && !applied.event);
        apply(&said, SpanRef::default(), &sink);
    });
    assert_eq!(log.text(), "");
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans[0].name, "d1.query");
    assert!(spans[0].events.is_empty());
    assert_eq!(*sink.0.lock().unwrap(), ["d1.query", "rows"]);
}

#[test]
fn a_log_filter_can_ask_for_enrichment_alone() {
    let log = Log::default();
    let fmt = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(log.clone())
        .with_filter(EnvFilter::new("warn,binding_span::enrichment=info"));
    tracing::subscriber::with_default(Registry::default().with(fmt), || {
        let span = tracing::error_span!("jsRpcSession");
        tracing::info!("not wanted");
        assert!(span.apply_enrichment(&Enrichment::new().name("a\nb")).event);
    });
    let line: serde_json::Value = serde_json::from_str(&log.text()).unwrap();
    assert_eq!(line["fields"]["name"], "a\nb");
}
