//! One span, seen by a recorder, by OpenTelemetry and by a subscriber that prints. Each test installs
//! its subscriber for its own thread; they are a binary of their own because whether a span is wanted
//! at all is cached for the process.

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use binding_span::{AttributeValue, Enrichment, is_enrichment_event};
use common::{BINDING, Spans, WIRES, Way, Wire, World, serve, service, socket_dir, unix};
use js_rpc::{
    Args, Client, ConnectOptions, Connection, Context, JsError, Proxy, Server, Stub, reply,
};
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing::Instrument;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
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

/// What OpenTelemetry exports and a subscriber prints under a filter such as `RUST_LOG` has.
struct Telemetry {
    exporter: InMemorySpanExporter,
    log: Log,
    _installed: tracing::subscriber::DefaultGuard,
}

impl Telemetry {
    fn install(filter: &str, sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let log = Log::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(sampler)
            .build();
        let otel = OpenTelemetryLayer::new(provider.tracer("test"))
            .with_filter(FilterFn::new(|metadata| !is_enrichment_event(metadata)));
        let fmt = tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            .with_ansi(false)
            .with_filter(EnvFilter::new(filter));
        let subscriber = Registry::default().with(otel).with(fmt);
        Self {
            exporter,
            log,
            _installed: tracing::subscriber::set_default(subscriber),
        }
    }

    fn exported(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    /// The exported span of this name.
    fn span(&self, name: &str) -> SpanData {
        let spans = self.exported();
        let found = spans.iter().find(|span| span.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
            .clone()
    }
}

fn value(span: &SpanData, key: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|kv| kv.key.as_str() == key);
    let value = found.next().map(|kv| kv.value.clone());
    assert!(found.next().is_none(), "{key} is exported twice");
    value
}

fn callee() -> impl js_rpc::Service {
    service(async |method: &str, _: Args, cx: &Context| {
        let said = Enrichment::new().name("d1.query").attribute("rows", 3);
        let said = said.attribute("reasons", ["stop", "length"]);
        cx.enrich(said.attribute("cost", 1.5).attribute("service.name", "you"));
        match method {
            "throw" => Err(JsError::type_error("no")),
            "make" => reply(&Stub::new(callee())),
            _ => reply(&1),
        }
    })
}

/// A callee and a caller without any subscriber around the callee's start.
async fn call_under_a_span(world: &World, method: &str) {
    let request = tracing::info_span!("request", otel.kind = "server");
    let call = async { world.call(method).await.map(drop) };
    let _ = call.instrument(request).await;
}

#[tokio::test(flavor = "local")]
async fn the_same_span_is_seen_by_recorder_opentelemetry_and_fmt() {
    for way in [Way::Unix, Way::Proxied] {
        let telemetry = Telemetry::install("info", Sampler::AlwaysOn);
        let world = World::of(way, callee()).await;
        call_under_a_span(&world, "run").await;

        let recorded = world.caller.last();
        assert_eq!(
            (&*recorded.original_name, &*recorded.name),
            ("jsRpcSession", "d1.query")
        );
        assert_eq!(recorded.get("rows"), Some(&AttributeValue::Int64(3)));

        let spans = telemetry.exported();
        let id = SpanId::from(recorded.context.span_id.0);
        let exported = spans
            .iter()
            .find(|s| s.span_context.span_id() == id)
            .unwrap();
        assert_eq!(exported.name, "d1.query");
        assert_eq!(exported.span_kind, SpanKind::Client);
        assert_eq!(value(exported, "rows"), Some(Value::I64(3)));
        assert_eq!(value(exported, "cost"), Some(Value::F64(1.5)));
        let reasons = Array::String(vec!["stop".into(), "length".into()]);
        assert_eq!(value(exported, "reasons"), Some(Value::Array(reasons)));
        assert_eq!(value(exported, "service.name"), None);
        assert_eq!(value(exported, "binding_span.dropped"), Some(Value::I64(1)));
        assert_eq!(value(exported, "rpc.method"), Some("run".into()));
        assert_eq!(exported.status, Status::Unset);
        assert!(exported.events.is_empty(), "the event is kept out");

        // Parented to the application's span, in the recorder as well.
        let request = telemetry.span("request");
        assert_eq!(exported.parent_span_id, request.span_context.span_id());
        assert_eq!(
            recorded.parent.unwrap().0.to_be_bytes(),
            request.span_context.span_id().to_bytes()
        );
        assert_eq!(recorded.context.flags, Some(1));

        // The callee's own span is below it.
        let server = telemetry.span("S.run");
        assert_eq!(server.span_kind, SpanKind::Server);
        let above = world.above_callee(&recorded).await;
        assert_eq!(server.parent_span_id, SpanId::from(above.context.span_id.0));
        assert_eq!(
            server.span_context.trace_id(),
            request.span_context.trace_id()
        );

        let text = telemetry.log.text();
        let said = "span enriched name=\"d1.query\" attributes=rows=3 reasons=[\"stop\", \"length\"] cost=1.5 dropped=1";
        assert!(text.contains(said), "{text}");
        assert!(
            text.contains("request{") && text.contains(":jsRpcSession{"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_log_filter_concerns_the_log_alone_and_can_ask_for_enrichment() {
    for (filter, lines) in [
        ("warn", 0),
        ("off", 0),
        ("warn,binding_span=info", 1),
        ("warn,binding_span::enrichment=info", 1),
        ("info,binding_span::enrichment=off", 0),
    ] {
        let telemetry = Telemetry::install(filter, Sampler::AlwaysOn);
        let world = World::of(Way::Unix, callee()).await;
        call_under_a_span(&world, "run").await;
        let text = telemetry.log.text();
        assert_eq!(text.lines().count(), lines, "{filter}: {text}");
        let name = if filter.contains("::") {
            ""
        } else {
            "jsRpcSession{"
        };
        assert!(lines == 0 || text.contains(name), "{filter}: {text}");
        assert_eq!(world.caller.last().name, "d1.query");
        let exported = telemetry.span("d1.query");
        assert_eq!(value(&exported, "rows"), Some(Value::I64(3)));
    }
}

#[tokio::test(flavor = "local")]
async fn a_failed_call_has_status_and_error_type_on_both_sides() {
    for wire in WIRES {
        let telemetry = Telemetry::install("off", Sampler::AlwaysOn);
        let world = World::over(Way::Unix, wire, callee()).await;
        call_under_a_span(&world, "throw").await;
        let of_kind = |kind: SpanKind| {
            let named = |span: &SpanData| span.span_kind == kind && span.name != "request";
            telemetry.exported().into_iter().find(named).unwrap()
        };
        let [client, server] = [of_kind(SpanKind::Client), of_kind(SpanKind::Server)];
        for span in [&client, &server] {
            assert_eq!(span.status, Status::error("no"));
            assert_eq!(value(span, "error.type"), Some("TypeError".into()));
        }
        // What was said is on the caller's span; on the callee's own, of the same trace, where a text is all that
        // the caller gets.
        let ((told, name), (untold, own)) = match wire {
            Wire::OneMessage => ((&client, "d1.query"), (&server, "S.throw")),
            Wire::ThreeCalls => ((&server, "d1.query"), (&client, "jsRpcSession")),
        };
        assert_eq!((&*told.name, &*untold.name), (name, own));
        assert_eq!(value(told, "rows"), Some(Value::I64(3)));
        assert_eq!(value(untold, "rows"), None);
        assert_eq!(server.parent_span_id, client.span_context.span_id());
    }
}

#[tokio::test(flavor = "local")]
async fn a_trace_that_is_not_sampled_is_not_exported_on_either_side_and_recorded_all_the_same() {
    let telemetry = Telemetry::install("off", Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let world = World::of(Way::Unix, callee()).await;
    call_under_a_span(&world, "run").await;
    assert_eq!(telemetry.exported(), []);
    let [client, server] = [world.caller.last(), world.callee.last()];
    assert_eq!(client.name, "d1.query");
    assert_eq!(
        (client.context.flags, server.context.flags),
        (Some(0), Some(0))
    );
    assert_eq!(server.parent, Some(client.context.span_id));
}

#[tokio::test(flavor = "local")]
async fn a_callers_flags_decide_for_the_callees_sampler_and_unset_ones_leave_it_to_it() {
    for (flags, exported) in [(Some(0), 0), (Some(1), 2), (None, 2)] {
        let telemetry =
            Telemetry::install("off", Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let world = World::of(Way::Unix, callee()).await;
        let parent = binding_span::SpanContext {
            flags,
            ..binding_span::SpanContext::root()
        };
        world.call("run").parent(parent).await.unwrap();
        let spans = telemetry.exported();
        assert_eq!(spans.len(), exported, "{flags:?}");
        for span in spans {
            let trace = span.span_context.trace_id().to_bytes();
            assert_eq!(u128::from_be_bytes(trace), parent.trace_id.0);
            assert!(span.span_context.is_sampled());
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_session_span_ends_with_its_last_stub_for_opentelemetry_too() {
    let telemetry = Telemetry::install("off", Sampler::AlwaysOn);
    let world = World::of(Way::Unix, callee()).await;
    let stub: Stub = world.call("make").await.unwrap().parse().unwrap();
    let clients = || {
        let spans = telemetry.exported();
        spans
            .into_iter()
            .filter(|s| s.span_kind == SpanKind::Client)
            .collect::<Vec<_>>()
    };
    assert_eq!(clients(), []);
    stub.call("run", ()).await.unwrap();
    let [call] = &clients()[..] else {
        panic!("one call")
    };
    drop(stub);
    // Once the callee has said what was left to say.
    world.caller.ended(2).await;
    let [_, session] = &clients()[..] else {
        panic!("and its session")
    };
    assert_eq!(call.parent_span_id, session.span_context.span_id());
    assert_eq!(session.parent_span_id, SpanId::INVALID);
    assert!(call.end_time <= session.end_time);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_span_is_a_child_of_the_calling_threads_span() {
    // The callee has a thread of its own, with no subscriber.
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let world = World::of(Way::Unix, callee()).await;
            ready.send(world.address.clone()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let spans = Spans::new();
    let options = ConnectOptions {
        sinks: spans.sinks(),
        ..ConnectOptions::default()
    };
    let client = Client::connect(is_ready.recv().unwrap(), options)
        .await
        .unwrap();
    let threads = (0..4).map(|_| {
        let client = client.clone();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let telemetry = Telemetry::install("off", Sampler::AlwaysOn);
            let request = tracing::info_span!("request");
            request
                .in_scope(|| runtime.block_on(client.call(BINDING, "run", ())))
                .unwrap();
            let id = request.context();
            use opentelemetry::trace::TraceContextExt;
            let id = id.span().span_context().span_id();
            drop(request);
            let exported = telemetry.span("d1.query");
            assert_eq!(exported.parent_span_id, id);
            assert!(exported.attributes.contains(&KeyValue::new("rows", 3)));
            id
        })
    });
    let threads: Vec<_> = threads.collect();
    let parents: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for span in spans.ended(4).await {
        assert!(parents.contains(&SpanId::from(span.parent.unwrap().0)));
    }
}

#[tokio::test(flavor = "local")]
async fn a_subscriber_alone_without_sinks_sees_it_all() {
    let telemetry = Telemetry::install("off", Sampler::AlwaysOn);
    let dir = socket_dir();
    let at = serve(
        Server::new().service(BINDING, callee()),
        &unix(&dir, "callee"),
    )
    .await;
    let proxy = Proxy::new(at, BINDING, ConnectOptions::default());
    let front = serve(Server::new().proxy(BINDING, proxy), &unix(&dir, "front")).await;
    let connection = Connection::connect(&front, ConnectOptions::default())
        .await
        .unwrap();
    connection.binding(BINDING).call("run", ()).await.unwrap();
    connection.binding(BINDING).call("run", ()).await.unwrap();
    let server = telemetry.span("S.run");
    let spans = telemetry.exported();
    let parent_of = |span: &SpanData| {
        let of = |s: &&SpanData| s.span_context.span_id() == span.parent_span_id;
        spans.iter().find(of).cloned()
    };
    let proxied = parent_of(&server).unwrap();
    let caller = parent_of(&proxied).unwrap();
    assert_eq!((&*proxied.name, &*caller.name), ("d1.query", "d1.query"));
    assert_eq!(caller.parent_span_id, SpanId::INVALID);
    assert_eq!(value(&caller, "binding_span.dropped"), Some(Value::I64(1)));
}
