//! The two halves over a real socket, and the price of it in lines.

use binding_span::binding_span_capnp::binding_span_enrichment;
use opentelemetry::Value;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{Registry, layer::SubscriberExt};
use your_own_service::inventory_capnp::inventory;
use your_own_service::{Warehouse, connect, lookup, serve};

/// A warehouse on a port of its own, served by this thread, and a client of it.
async fn warehouse() -> inventory::Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::task::spawn_local(serve(listener, Warehouse::example()));
    connect(&address).await.unwrap()
}

/// The spans that lookups of `skus` make, and the counts.
async fn spans_of(skus: &[&str]) -> (Vec<SpanData>, Vec<u32>) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = OpenTelemetryLayer::new(provider.tracer("test"));
    let _installed = tracing::subscriber::set_default(Registry::default().with(layer));
    let inventory = warehouse().await;
    let mut counts = Vec::new();
    for sku in skus {
        counts.push(lookup(&inventory, sku).await.unwrap());
    }
    (exporter.get_finished_spans().unwrap(), counts)
}

#[tokio::test(flavor = "local")]
async fn the_callee_names_and_tags_its_callers_span() {
    let (spans, counts) = spans_of(&["nut", "no such thing"]).await;
    assert_eq!(counts, [41, 0]);
    let shelf = |span: &SpanData| {
        let mut attributes = span.attributes.iter();
        let shelf = attributes.find(|kv| kv.key.as_str() == "inventory.shelf");
        shelf.map(|kv| kv.value.clone())
    };
    assert_eq!(spans[0].name, "inventory.lookup");
    assert_eq!(shelf(&spans[0]), Some(Value::I64(7)));
    assert_eq!(spans[1].name, "inventory", "nothing was said about it");
    assert_eq!(shelf(&spans[1]), None);
}

#[tokio::test(flavor = "local")]
async fn calls_at_the_same_time_on_one_connection_are_not_mixed() {
    let inventory = warehouse().await;
    let calls = (0..64).map(|i| {
        let mut request = inventory.lookup_request();
        request.get().set_sku(["nut", "washer", "?"][i % 3]);
        async move {
            let response = request.send().promise.await.unwrap();
            let said = response.get().unwrap().get_enrichment().unwrap();
            let said = binding_span::read(said, Default::default());
            (i, said.get("inventory.shelf").cloned())
        }
    });
    for (i, shelf) in futures::future::join_all(calls).await {
        let expected = [Some(7_u32.into()), Some(9_u32.into()), None];
        assert_eq!(shelf, expected[i % 3].clone());
    }
}

#[tokio::test(flavor = "local")]
async fn when_nothing_was_said_the_field_stays_null() {
    let inventory = warehouse().await;
    for (sku, said) in [("nut", true), ("no such thing", false)] {
        let mut request = inventory.lookup_request();
        request.get().set_sku(sku);
        let response = request.send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().has_enrichment(), said, "{sku}");
    }
}

#[test]
fn the_types_are_those_of_binding_span() {
    let mut message = capnp::message::Builder::new_default();
    let mut results = message.init_root::<inventory::lookup_results::Builder<'_>>();
    let _: binding_span_enrichment::Builder<'_> = results.reborrow().init_enrichment();
}

const SOURCES: [&str; 6] = [
    include_str!("../Cargo.toml"),
    include_str!("../build.rs"),
    include_str!("../schema/inventory.capnp"),
    include_str!("../schema/compile.sh"),
    include_str!("../src/server.rs"),
    include_str!("../src/client.rs"),
];

#[test]
fn at_most_fifteen_lines_are_not_those_of_an_ordinary_service() {
    let lines = || SOURCES.iter().flat_map(|source| source.lines());
    let code = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with('#')
    };
    let is_marked = |line: &&str| line.ends_with("// +") || line.ends_with("# +");
    let marked = lines().filter(is_marked).count();
    assert!(marked <= 15, "{marked} lines");
    for line in lines().filter(code).filter(|line| !is_marked(line)) {
        for ours in ["binding", "nrich", "CallScope", "call.", "said", "applied"] {
            assert!(!line.contains(ours), "not marked: {line}");
        }
    }
}

#[test]
fn the_readme_shows_the_lines_that_are_marked() {
    let readme = include_str!("../README.md");
    let shown = |line: &str| readme.contains(line.trim_end_matches("// +").trim());
    let of_the_service = [SOURCES[2], SOURCES[4], SOURCES[5]].map(str::lines);
    for line in of_the_service.into_iter().flatten() {
        let marked = line.ends_with(" +") && !line.starts_with("use ");
        assert!(!marked || shown(line.trim_end_matches("# +")), "{line}");
    }
}
