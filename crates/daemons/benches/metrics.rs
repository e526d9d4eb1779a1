//! What counting a call costs: the sink by itself, and a whole binding call with it and without, in one
//! run.
//!
//! `cargo bench -p binding-span-daemons --bench metrics`
//! With `--instructions sink|nobody|plain|counted N` it does N of one thing and exits: run it twice with
//! different N under `valgrind --tool=callgrind` and take the difference.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, InvocationId, Outcome, Sinks, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen,
    SpanRef, SpanSink, TraceId,
};
use daemons::metrics::Metrics;
use js_rpc::{
    Address, Args, Binding, ConnectOptions, Connection, Context, Enrichment, Listener,
    NetworkStats, Server, Service, ServiceResult, async_trait, reply,
};

/// A sink that wants to know everything, and does nothing with it.
struct Nobody;

impl SpanSink for Nobody {
    fn rename(&self, _: SpanRef, _: &str) {}
    fn attributes(&self, _: SpanRef, _: &[Attribute]) {}
}

/// The reports of one call: opened, renamed, tagged with two attributes, returned, closed.
fn report(sink: &dyn SpanSink, first: &[Attribute], said: &[Attribute], n: u64) {
    let span = SpanRef {
        context: SpanContext {
            trace_id: TraceId(1),
            // Ids are random.
            span_id: SpanId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            flags: None,
        },
        invocation: InvocationId(1),
    };
    let time = SystemTime::UNIX_EPOCH;
    sink.open(&SpanOpen {
        span,
        parent: None,
        name: "jsRpcSession",
        kind: SpanKind::Client,
        root: true,
        time,
        attributes: first,
    });
    sink.rename(span, "ai_gateway.run");
    sink.attributes(span, said);
    sink.returned(span, Outcome::Ok, None);
    sink.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time,
    });
}

fn reports(sink: &dyn SpanSink, calls: u64) -> Duration {
    let first = [
        Attribute::new("rpc.system.name", "capnp"),
        Attribute::new("rpc.method", "run"),
        Attribute::new("jsrpc.binding", "AI"),
        Attribute::new("jsrpc.method", "run"),
        Attribute::new("jsrpc.operation", "call"),
    ];
    let said = [
        Attribute::new("gen_ai.request.model", "llama-4"),
        Attribute::new("tokens", 42),
    ];
    let began = Instant::now();
    for n in 0..calls {
        report(black_box(sink), &first, &said, n);
    }
    began.elapsed()
}

struct Callee;

#[async_trait(?Send)]
impl Service for Callee {
    async fn call(&self, _method: &str, _args: Args, cx: &Context) -> ServiceResult {
        let said = Enrichment::new().name("ai_gateway.run");
        cx.enrich(
            said.attribute("gen_ai.request.model", "llama-4")
                .attribute("tokens", 42),
        );
        reply(&3)
    }
}

fn metrics() -> Arc<dyn SpanSink> {
    Metrics::new("bench", &NetworkStats::default())
}

async fn connect(address: &Address, sink: Arc<dyn SpanSink>) -> (Connection, Binding) {
    let options = ConnectOptions {
        sinks: Sinks::from([sink]),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(address, options).await;
    let connection = connection.expect("a connection");
    let binding = connection.binding("AI");
    (connection, binding)
}

async fn calls(binding: &Binding, calls: u64) -> Duration {
    let began = Instant::now();
    for _ in 0..calls {
        binding.call("run", (1, "two")).await.expect("a result");
    }
    began.elapsed()
}

fn median(mut figures: Vec<Duration>, calls: u64) -> f64 {
    figures.sort();
    figures[figures.len() / 2].as_secs_f64() * 1e9 / calls as f64
}

async fn bench() {
    const REPORTS: u64 = 200_000;
    const CALLS: u64 = 2_000;
    const ROUNDS: usize = 11;
    let (nobody, counted) = (Nobody, metrics());
    let round = || (reports(&nobody, REPORTS), reports(&*counted, REPORTS));
    let (idle, sink): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| round()).unzip();
    let (idle, sink) = (median(idle, REPORTS), median(sink, REPORTS));
    println!("five reports of a call, to nobody: {idle:.0} ns; to the metrics: {sink:.0} ns");

    let (address, _folder) = serve().await;
    let (_first, plain) = connect(&address, Arc::new(Nobody)).await;
    let (_second, watched) = connect(&address, metrics()).await;
    let mut rounds = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rounds.0.push(calls(&plain, CALLS).await);
        rounds.1.push(calls(&watched, CALLS).await);
    }
    let (plain, watched) = (median(rounds.0, CALLS), median(rounds.1, CALLS));
    println!(
        "a binding call, name + 2, its span to nobody: {plain:.0} ns; to the metrics: {watched:.0} ns, \
         {:.3}x",
        watched / plain
    );
}

async fn serve() -> (Address, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let address = Address::Unix(folder.path().join("bench.sock"));
    let listener = Listener::bind(&address).await.expect("a listener");
    let server = Server::new().service("AI", Callee);
    tokio::task::spawn_local(async move {
        server.serve([listener], std::future::pending()).await;
    });
    (address, folder)
}

async fn instructions(what: &str, n: u64) {
    match what {
        "nobody" => drop(reports(&Nobody, n)),
        "sink" => drop(reports(&*metrics(), n)),
        _ => {
            let sink = match what {
                "counted" => metrics(),
                _ => Arc::new(Nobody),
            };
            let (address, _folder) = serve().await;
            let (_connection, binding) = connect(&address, sink).await;
            calls(&binding, n).await;
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        match args.iter().position(|arg| arg == "--instructions") {
            Some(at) => {
                let n = args.get(at + 2).and_then(|n| n.parse().ok());
                instructions(&args[at + 1], n.expect("how many")).await;
            }
            None => bench().await,
        }
    });
}
