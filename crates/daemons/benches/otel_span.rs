//! What a span costs the thread that makes it, in one run: without any sink, not sampled, exported by us,
//! and made with OpenTelemetry's own API and batch processor.
//!
//! `cargo bench -p binding-span-daemons --bench otel_span [-- --rounds N] [--only NAME]`
//!
//! A span is what a call makes: opened with the protocol's five attributes, renamed, tagged with two more,
//! closed; "name + 2" is the same without the five. With `--only` it makes one kind of span alone, for
//! `valgrind --tool=callgrind --separate-threads=yes`, whose difference between two numbers of rounds is what a
//! span costs in instructions; 1 is the thread that makes spans. Ours goes by OTLP to a receiver in this process that only says that it took it; the SDK's goes to
//! an exporter that drops it. Rounds of all variants are interleaved, medians are printed, and each round
//! waits, outside of what is timed, until its spans are gone: a full queue drops spans and looks cheap.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, Enrichment, NewSpan, Outcome, Sinks, SpanClose, SpanKind, SpanOpen, SpanRef,
    SpanSink, apply, no_sinks,
};
use daemons::otel::{Otel, OtlpArgs, Plan};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData,
    SpanExporter,
};

/// Spans of a round; both queues hold as many.
const SPANS: usize = 20_000;

/// What it is called, and how one span of it is made.
type Variant<'a> = (&'static str, Box<dyn Fn() + 'a>);

const EXPORTED: &str = "exported";

fn main() {
    let rounds = argument("--rounds").unwrap_or(11);
    let receiver = receiver();
    let (on, sampled_out) = (ours(&receiver, "always_on"), ours(&receiver, "always_off"));
    let (sdk_on, sdk_out) = (sdk(Sampler::AlwaysOn), sdk(Sampler::AlwaysOff));
    let (tracer, tracer_out) = (sdk_on.tracer("bench"), sdk_out.tracer("bench"));
    let (off, ours, none) = (no_sinks(), sinks(&on), sinks(&sampled_out));
    let said = Enrichment::new()
        .name("d1.query")
        .attribute("db.system.name", "sqlite")
        .attribute("db.response.returned_rows", 3);
    let (all, two) = (true, false);
    let variants: [Variant<'_>; 7] = [
        ("off: no sink", Box::new(|| by_sinks(&off, &said, all))),
        ("not sampled", Box::new(|| by_sinks(&none, &said, all))),
        (EXPORTED, Box::new(|| by_sinks(&ours, &said, all))),
        (
            "exported, name + 2",
            Box::new(|| by_sinks(&ours, &said, two)),
        ),
        ("SDK, not sampled", Box::new(|| by_sdk(&tracer_out, all))),
        ("SDK, batch processor", Box::new(|| by_sdk(&tracer, all))),
        ("SDK, name + 2", Box::new(|| by_sdk(&tracer, two))),
    ];
    let only: Option<String> = argument("--only");
    let variants: Vec<Variant<'_>> = variants
        .into_iter()
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
        .collect();
    assert!(!variants.is_empty(), "no kind of span is called {only:?}");
    let mut nanos = vec![Vec::new(); variants.len()];
    for _ in 0..rounds {
        for ((_, span), nanos) in variants.iter().zip(&mut nanos) {
            let begun = Instant::now();
            for _ in 0..SPANS {
                span();
            }
            nanos.push(begun.elapsed().as_nanos() as f64 / SPANS as f64);
            drain(&on, &sdk_on);
        }
    }
    let medians: Vec<f64> = nanos.iter_mut().map(|nanos| median(nanos)).collect();
    let exported = variants.iter().position(|(name, _)| *name == EXPORTED);
    println!(
        "{:<24}{:>10}{:>24}",
        "a span", "ns", "of what exporting takes"
    );
    for ((name, _), median) in variants.iter().zip(&medians) {
        let ratio = exported.map(|at| format!("{:.2}x", median / medians[at]));
        println!("{name:<24}{median:>10.0}{:>24}", ratio.unwrap_or_default());
    }
    let counts = on.stats().read();
    println!("exported {}, lost {}", counts.exported, counts.lost());
    assert_eq!(
        counts.lost(),
        0,
        "a round does not fit, and the figures mean nothing"
    );
}

fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)?.parse().ok()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `js-rpc` does for a call, with or without the protocol's attributes.
fn by_sinks(sinks: &Sinks, said: &Enrichment, all: bool) {
    let new = NewSpan {
        parent: None,
        remote: false,
        kind: SpanKind::Client,
    };
    let context =
        (!sinks.is_empty()).then(|| sinks.identify(&new).unwrap_or_else(|| new.by_default()));
    let Some(context) = context.filter(|context| sinks.wants(*context)) else {
        black_box(context);
        return;
    };
    let span = SpanRef {
        context,
        ..SpanRef::default()
    };
    let open = |attributes: &[Attribute]| {
        sinks.open(&SpanOpen {
            span,
            parent: None,
            name: "jsRpcSession",
            kind: new.kind,
            root: true,
            time: SystemTime::now(),
            attributes,
        });
    };
    match all {
        true => open(&[
            Attribute::new("rpc.system.name", "capnp"),
            Attribute::new("rpc.method", "query".to_owned()),
            Attribute::new("jsrpc.binding", "DB".to_owned()),
            Attribute::new("jsrpc.method", "query".to_owned()),
            Attribute::new("jsrpc.operation", "call"),
        ]),
        false => open(&[]),
    }
    apply(said, span, &**sinks);
    sinks.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time: SystemTime::now(),
    });
}

fn sinks(otel: &Otel) -> Sinks {
    vec![otel.sink()].into()
}

fn ours(receiver: &str, sampler: &str) -> Otel {
    let source = |name: &str| {
        Some(match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => receiver.to_owned(),
            "OTEL_TRACES_SAMPLER" => sampler.to_owned(),
            "OTEL_BSP_MAX_QUEUE_SIZE" => SPANS.to_string(),
            "OTEL_BSP_SCHEDULE_DELAY" => "10".to_owned(),
            _ => return None,
        })
    };
    let plan = Plan::new(&OtlpArgs::default(), "bench", &source);
    Otel::start(&plan.export.expect("there is an address")).expect("it starts")
}

/// Waits until nothing of a round is left.
fn drain(ours: &Otel, sdk: &SdkTracerProvider) {
    while ours.stats().read().queued > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    sdk.force_flush().expect("the exporter takes everything");
}

/// Takes whatever comes, without a look.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || swallow(stream));
        }
    });
    format!("http://{address}")
}

fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    while let Ok(n @ 1..) = stream.read(&mut buffer[filled..]) {
        filled += n;
        let Some(head) = buffer[..filled]
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
        else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length
            .and_then(|n| n.trim().parse().ok())
            .expect("a length");
        let mut left = (head + 4 + length).saturating_sub(filled);
        while left > 0 {
            let most = left.min(buffer.len());
            let Ok(n @ 1..) = stream.read(&mut buffer[..most]) else {
                return;
            };
            left -= n;
        }
        filled = 0;
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .is_err()
        {
            return;
        }
    }
}

#[derive(Debug)]
struct Nothing;

impl SpanExporter for Nothing {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn sdk(sampler: Sampler) -> SdkTracerProvider {
    let batches = BatchConfigBuilder::default().with_max_queue_size(SPANS);
    let processor = BatchSpanProcessor::builder(Nothing).with_batch_config(batches.build());
    SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_span_processor(processor.build())
        .build()
}

/// The same span by OpenTelemetry's API, asked first whether anybody records it.
fn by_sdk(tracer: &SdkTracer, all: bool) {
    let mut span = tracer.start("jsRpcSession");
    if all && span.is_recording() {
        span.set_attribute(KeyValue::new("rpc.system.name", "capnp"));
        span.set_attribute(KeyValue::new("rpc.method", "query".to_owned()));
        span.set_attribute(KeyValue::new("jsrpc.binding", "DB".to_owned()));
        span.set_attribute(KeyValue::new("jsrpc.method", "query".to_owned()));
        span.set_attribute(KeyValue::new("jsrpc.operation", "call"));
    }
    if span.is_recording() {
        span.update_name("d1.query".to_owned());
        span.set_attribute(KeyValue::new("db.system.name", "sqlite"));
        span.set_attribute(KeyValue::new("db.response.returned_rows", 3));
    }
    span.end();
}
