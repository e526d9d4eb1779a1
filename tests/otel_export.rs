//! The export of spans to a receiver that is there, slow, gone, or back again: what it took and what was
//! lost add up to what ended, exactly.

mod otlp;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use binding_span::{
    Attribute, Enrichment, NewSpan, Outcome, SpanClose, SpanKind, SpanOpen, SpanRef, SpanSink,
    apply,
};
use daemons::otel::{Otel, OtelCounts, OtelStats, OtlpArgs, Plan};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use otlp::{LIMIT, Mode, Protocol, Receiver, get, text};

/// Long enough for whatever is still to be delivered.
const END: Duration = Duration::from_secs(30);

fn export(receiver: &Receiver, vars: &[(&str, &str)]) -> Otel {
    start(&receiver.endpoint(), vars).unwrap()
}

/// The same by either protocol.
fn export_by(protocol: Protocol, receiver: &Receiver, vars: &[(&str, &str)]) -> Otel {
    let name = match protocol {
        Protocol::Http => "http/protobuf",
        Protocol::Grpc => "grpc",
    };
    let by = [("OTEL_EXPORTER_OTLP_PROTOCOL", name)];
    export(receiver, &[vars, &by].concat())
}

fn start(endpoint: &str, vars: &[(&str, &str)]) -> Result<Otel, String> {
    let source = |name: &str| {
        let set = vars.iter().find(|(known, _)| *known == name);
        match (set, name) {
            (Some((_, value)), _) => Some((*value).to_owned()),
            (None, "OTEL_EXPORTER_OTLP_ENDPOINT") => Some(endpoint.to_owned()),
            (None, "OTEL_BSP_SCHEDULE_DELAY") => Some("20".to_owned()),
            _ => None,
        }
    };
    let plan = Plan::new(&OtlpArgs::default(), "test", &source);
    assert_eq!(plan.warnings, [""; 0]);
    Otel::start(&plan.export.expect("an address is set"))
}

/// A call from its beginning to its end: renamed, and tagged with two attributes.
fn call(sink: &dyn SpanSink) -> SpanRef {
    let span = open(sink);
    let said = Enrichment::new()
        .name("d1.query")
        .attribute("rows", 3)
        .attribute("table", "users");
    apply(&said, span, sink);
    sink.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time: SystemTime::now(),
    });
    span
}

fn open(sink: &dyn SpanSink) -> SpanRef {
    let new = NewSpan {
        parent: None,
        remote: false,
        kind: SpanKind::Client,
    };
    let span = SpanRef {
        context: sink.identify(&new).unwrap(),
        ..SpanRef::default()
    };
    sink.open(&SpanOpen {
        span,
        parent: None,
        name: "jsRpcSession",
        kind: new.kind,
        root: true,
        time: SystemTime::now(),
        attributes: &[Attribute::new("rpc.method", "query")],
    });
    span
}

fn calls(otel: &Otel, n: usize) {
    let sink = otel.sink();
    for _ in 0..n {
        call(&*sink);
    }
}

/// Ends it, with so much time for what is left. What was counted then.
fn end(otel: &Otel, within: Duration) -> OtelCounts {
    let until = Instant::now() + within;
    otel.close(until);
    otel.finish(until);
    // Where it could not end in time, its thread counts what it gave up when it gets a turn.
    wait(&otel.stats(), |counts| {
        (counts.open, counts.queued) == (0, 0) && counts.sampled == counts.exported + counts.lost()
    })
}

/// Waits until the counts are so; nothing tells when they change.
#[track_caller]
fn wait(stats: &OtelStats, until: impl Fn(&OtelCounts) -> bool) -> OtelCounts {
    let limit = Instant::now() + LIMIT;
    loop {
        let counts = stats.read();
        if until(&counts) {
            return counts;
        }
        assert!(Instant::now() < limit, "{counts:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_span_arrives_with_its_new_name_typed_attributes_and_the_resource() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(
        &receiver,
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20ecret"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop"),
        ],
    );
    let span = call(&*otel.sink());
    let taken = &receiver.wait_spans(1)[0];
    assert_eq!(taken.span.trace_id, span.context.trace_id.0.to_be_bytes());
    assert_eq!(taken.span.span_id, span.context.span_id.0.to_be_bytes());
    assert_eq!(taken.span.name, "d1.query");
    let attributes = &taken.span.attributes;
    assert_eq!(
        get(attributes, "binding_span.original_name"),
        Some(&text("jsRpcSession"))
    );
    assert_eq!(get(attributes, "rpc.method"), Some(&text("query")));
    assert_eq!(get(attributes, "rows"), Some(&Value::IntValue(3)));
    assert_eq!(
        taken.span.status.as_ref().unwrap().code(),
        StatusCode::Unset
    );
    assert!(taken.span.start_time_unix_nano <= taken.span.end_time_unix_nano);
    assert_eq!(get(&taken.resource, "service.name"), Some(&text("shop")));
    assert_eq!(receiver.headers()["api-key"], "s ecret");
    assert_eq!(end(&otel, END).exported, 1);
}

#[test]
fn a_burst_of_10_5_spans_is_delivered_or_counted() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(&receiver, &[]);
    let begun = Instant::now();
    calls(&otel, 100_000);
    let took = begun.elapsed();
    let counts = end(&otel, END);
    assert_eq!(counts.sampled, 100_000);
    assert_eq!(
        counts.exported,
        receiver.count() as u64,
        "what it took is what is counted"
    );
    assert_eq!((counts.failed, counts.cut), (0, 0));
    println!(
        "100000 spans in {took:?}: {} delivered, {} dropped",
        counts.exported, counts.dropped
    );
}

#[test]
fn a_queue_that_is_large_enough_loses_nothing_of_it() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(&receiver, &[("OTEL_BSP_MAX_QUEUE_SIZE", "100000")]);
    // As much as fits into the memory that spans may take.
    calls(&otel, 50_000);
    let counts = end(&otel, END);
    assert_eq!((counts.exported, counts.lost()), (50_000, 0));
    assert_eq!(receiver.count(), 50_000);
}

#[test]
fn a_receiver_that_goes_away_and_comes_back_under_load_costs_what_is_counted() {
    let mut receiver = Receiver::start(Mode::Take);
    // As long as a busy machine needs to acknowledge a batch: one that was taken must not count as failed.
    let otel = export(&receiver, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "3000")]);
    let stats = otel.stats();
    let phase = |until: &dyn Fn(&OtelCounts) -> bool| {
        let limit = Instant::now() + LIMIT;
        while !until(&stats.read()) {
            calls(&otel, 100);
            std::thread::sleep(Duration::from_millis(1));
            assert!(Instant::now() < limit, "{:?}", stats.read());
        }
    };
    phase(&|counts| counts.exported > 2_000);
    receiver.stop();
    phase(&|counts| counts.failed > 500 && counts.dropped > 500);
    let before = stats.read();
    receiver.restart();
    phase(&|counts| counts.exported > before.exported + 2_000);
    let counts = end(&otel, END);
    assert_eq!(counts.exported, receiver.count() as u64, "{counts:?}");
    println!("receiver away and back: {counts:?}");
}

#[test]
fn a_receiver_that_was_never_there_costs_nothing_but_the_spans() {
    // A port that was free a moment ago may be another's by now.
    let otel = start("http://127.0.0.1:1", &[]).unwrap();
    let begun = Instant::now();
    calls(&otel, 10_000);
    let took = begun.elapsed();
    assert!(took < LIMIT / 2, "spans do not wait: {took:?}");
    let ends = Instant::now();
    let counts = end(&otel, END);
    assert_eq!((counts.exported, counts.lost()), (0, 10_000));
    assert!(ends.elapsed() < END, "at the end nothing is tried twice");
}

#[test]
fn a_receiver_that_never_answers_holds_nobody_up_and_is_left_when_time_is_over() {
    let receiver = Receiver::start(Mode::Hang);
    let otel = export(&receiver, &[]);
    calls(&otel, 5_000);
    receiver.wait_requests(1);
    let begun = Instant::now();
    let counts = end(&otel, Duration::from_millis(300));
    let took = begun.elapsed();
    // Sooner than the request would time out.
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(counts.exported, 0);
    assert!(counts.cut >= 2048 && counts.dropped >= 1, "{counts:?}");
}

#[test]
fn a_batch_that_is_not_answered_in_time_is_given_up_and_the_next_one_is_sent() {
    let receiver = Receiver::start(Mode::Hang);
    // Short enough to be waited for; as long as a busy machine needs to take the next one.
    let otel = export(&receiver, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")]);
    calls(&otel, 10);
    wait(&otel.stats(), |counts| counts.failed == 10);
    receiver.mode(Mode::Take);
    calls(&otel, 5);
    receiver.wait_spans(5);
    assert_eq!(end(&otel, END).exported, 5);
}

#[test]
fn a_busy_receiver_is_tried_again_and_one_that_says_no_is_not() {
    let receiver = Receiver::start(Mode::Busy(2));
    let otel = export(&receiver, &[]);
    calls(&otel, 1);
    receiver.wait_spans(1);
    receiver.wait_requests(3);
    wait(&otel.stats(), |counts| counts.exported == 1);
    receiver.mode(Mode::Answer(400));
    calls(&otel, 2);
    wait(&otel.stats(), |counts| counts.failed == 2);
    receiver.mode(Mode::Reject(3));
    calls(&otel, 5);
    let counts = wait(&otel.stats(), |counts| counts.exported + counts.failed == 8);
    assert!(
        counts.failed > 2,
        "what it rejects of a batch is not delivered: {counts:?}"
    );
    assert_eq!(end(&otel, END).exported, receiver.count() as u64);
}

#[test]
fn a_receiver_that_asks_to_be_left_alone_is_left_alone() {
    let pause = Duration::from_secs(1);
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let receiver = Receiver::by(protocol, Mode::Throttle(2, pause));
        let otel = export_by(protocol, &receiver, &[]);
        calls(&otel, 3);
        receiver.wait_requests(3);
        wait(&otel.stats(), |counts| counts.exported == 3);
        let came = receiver.requests();
        for two in came.windows(2) {
            assert!(two[1] - two[0] >= pause, "{protocol:?}: {came:?}");
        }
        // Without such a word gRPC's receivers have no room for good, and HTTP's are only busy.
        receiver.mode(Mode::Answer(429));
        calls(&otel, 1);
        receiver.wait_requests(4);
        match protocol {
            Protocol::Grpc => wait(&otel.stats(), |counts| counts.failed == 1),
            Protocol::Http => {
                receiver.mode(Mode::Take);
                wait(&otel.stats(), |counts| counts.exported == 4)
            }
        };
        assert_eq!(end(&otel, END).exported, receiver.count() as u64);
    }
}

#[test]
fn the_pause_that_a_receiver_asks_for_is_not_the_next_batches_time() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let pause = Duration::from_secs(2);
        let receiver = Receiver::by(protocol, Mode::Throttle(1, pause));
        // The first batch has no time to wait for that; the second one is not sent into it.
        let otel = export_by(
            protocol,
            &receiver,
            &[("OTEL_EXPORTER_OTLP_TIMEOUT", "1500")],
        );
        calls(&otel, 1);
        wait(&otel.stats(), |counts| counts.failed == 1);
        calls(&otel, 2);
        receiver.wait_spans(2);
        let came = receiver.requests();
        assert!(came[1] - came[0] >= pause, "{protocol:?}: {came:?}");
        let counts = end(&otel, END);
        assert_eq!((counts.exported, counts.failed), (2, 1), "{protocol:?}");
    }
}

#[test]
fn the_end_does_not_wait_for_a_pause_that_a_receiver_asks_for() {
    let receiver = Receiver::start(Mode::Throttle(1, Duration::from_secs(200)));
    let otel = export(&receiver, &[]);
    calls(&otel, 1);
    receiver.wait_requests(1);
    let begun = Instant::now();
    // The first attempt was the last one, or there is one more; it is not given up in a pause.
    assert_eq!(end(&otel, END).cut, 0);
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
}

#[test]
fn a_large_batch_is_sent_in_parts() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(&receiver, &[("OTEL_BSP_SCHEDULE_DELAY", "60000")]);
    let sink = otel.sink();
    let long = "x".repeat(100_000);
    for _ in 0..100 {
        let span = open(&*sink);
        sink.attributes(span, &[Attribute::new("long", long.clone())]);
        sink.close(&SpanClose {
            span,
            outcome: Outcome::Ok,
            error: None,
            time: SystemTime::now(),
        });
    }
    assert_eq!(end(&otel, END).exported, 100);
    receiver.wait_requests(5);
}

#[test]
fn spans_that_are_open_at_the_end_are_exported_and_say_so() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(&receiver, &[]);
    let held = open(&*otel.sink());
    assert_eq!(otel.stats().read().open, 1);
    assert_eq!(end(&otel, END).exported, 1);
    let taken = &receiver.taken()[0].span;
    assert_eq!(taken.span_id, held.context.span_id.0.to_be_bytes());
    let unfinished = get(&taken.attributes, "binding_span.unfinished");
    assert_eq!(unfinished, Some(&Value::BoolValue(true)));
}

#[test]
fn what_an_explicit_limit_cuts_is_said_on_the_span() {
    let receiver = Receiver::start(Mode::Take);
    let otel = export(&receiver, &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")]);
    calls(&otel, 1);
    let span = &receiver.wait_spans(1)[0].span;
    let keys: Vec<&str> = span.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["rpc.method", "binding_span.original_name", "rows"]);
    assert_eq!(span.dropped_attributes_count, 1);
    assert_eq!(otel.stats().read().attributes_cut, 1);
}

/// A certificate for localhost, written to a file, and a server that shows it.
fn identity(folder: &tempfile::TempDir) -> (String, Arc<rustls::ServerConfig>) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, signed.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.unwrap());
    (file.to_str().unwrap().to_owned(), Arc::new(config.unwrap()))
}

#[test]
fn https_works_with_a_certificate_that_is_trusted_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = identity(&folder);
    let receiver = Receiver::with(Mode::Take, Some(config));
    let otel = export(&receiver, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)]);
    calls(&otel, 3);
    receiver.wait_spans(3);
    assert_eq!(end(&otel, END).exported, 3);

    let (other, _) = identity(&tempfile::tempdir().unwrap());
    let missing = start(
        &receiver.endpoint(),
        &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &other)],
    );
    let reason = missing.err().expect("its folder is gone");
    assert!(reason.contains(&other), "{reason}");

    let stranger = tempfile::tempdir().unwrap();
    let (file, _) = identity(&stranger);
    let otel = export(
        &receiver,
        &[
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &file),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
        ],
    );
    calls(&otel, 2);
    assert_eq!(end(&otel, END).lost(), 2);
    assert_eq!(receiver.count(), 3);
}
