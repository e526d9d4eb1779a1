//! The programs and a collector that is not ours: what a call looks like in OpenTelemetry, by both of
//! OTLP's protocols, and what the standard variables change about it.

#[path = "interop/rotel/restart.rs"]
mod restart;
#[path = "interop/rotel/mod.rs"]
mod rotel;
#[path = "interop/setup.rs"]
mod setup;
mod util;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use binding_span::{Enrichment, NewSpan, SpanKind, SpanOpen, SpanRef, SpanSink};
use daemons::otel::{Otel, OtlpArgs, Plan};
use js_rpc::{Args, Context, Listener, Server, reply, service_fn};
use rotel::{Rotel, Seen};
use serde_json::json;
use util::{Daemon, World, callee, caller, metrics};

const SQL: &str = "select a from t order by a";

/// Serves a model on `model.sock` that says of a call what lists are for, as long as the test runs.
fn model(world: &World) {
    let address = world.unix("model.sock").parse().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let listener = Listener::bind(&address).await.unwrap();
            ready.send(()).unwrap();
            let model = service_fn(async |_: &str, _: Args, cx: &Context| {
                let said = Enrichment::new()
                    .name("chat llama-4")
                    .attribute("gen_ai.response.finish_reasons", ["stop", "length"])
                    .attribute("app.scores", [0.5, 2.0])
                    .attribute("app.long", vec![1_i64; 65]);
                cx.enrich(said);
                reply(&"done")
            });
            let server = Server::new().service("AI", model);
            server.serve([listener], std::future::pending()).await;
        });
    });
    is_ready.recv().unwrap();
}

/// Variables for each of the programs.
type Vars<'a> = &'a [(&'a str, &'a str)];

fn with(mut program: Command, vars: Vars<'_>) -> Command {
    // Nothing waits for a batch to fill.
    program.env("OTEL_BSP_SCHEDULE_DELAY", "20");
    program.envs(vars.iter().copied());
    program
}

fn start_callee(world: &World, vars: Vars<'_>, more: &[&str]) -> Daemon {
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = [&["--listen", &listen, "--d1", &db], more].concat();
    world.start(with(callee(), vars), &args).ready()
}

fn start_caller(world: &World, vars: Vars<'_>, more: &[&str]) -> Daemon {
    let listen = world.unix("caller.sock");
    let bind = format!("DB={}", world.unix("callee.sock"));
    let args = [&["serve", "--listen", &listen, "--bind", &bind], more].concat();
    world.start(with(caller(), vars), &args).ready()
}

/// One call through the caller; its variables.
fn call(world: &World, vars: Vars<'_>, sql: &str) -> util::Done {
    let (address, request) = (world.unix("caller.sock"), util::request(sql));
    let args = [
        "call",
        "--connect",
        &address,
        "--no-tree",
        "DB.query",
        &request,
    ];
    world.run(with(caller(), vars), &args)
}

/// The one span of that name and kind.
#[track_caller]
fn one<'a>(spans: &'a [Seen], name: &str, service: &str) -> &'a Seen {
    let mut found = spans
        .iter()
        .filter(|span| span.name == name && span.service == service);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no {name} of {service}: {spans:#?}"));
    assert!(
        found.next().is_none(),
        "{name} of {service} is there twice: {spans:#?}"
    );
    span
}

#[test]
fn a_call_through_both_programs_is_one_trace_by_both_protocols() {
    for protocol in ["grpc", "http/protobuf"] {
        let world = World::new();
        world.database();
        let mut rotel = Rotel::start(&world);
        let endpoint = match protocol {
            "grpc" => rotel.grpc(),
            _ => rotel.http(),
        };
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let callee = start_callee(&world, &vars, &[]);
        // The option instead of the variables.
        let caller = start_caller(
            &world,
            &[],
            &["--otlp", &endpoint, "--otlp-protocol", protocol],
        );
        let single = [&vars[..], &[("OTEL_SERVICE_NAME", "app")]].concat();
        call(&world, &single, SQL).json();

        let spans = rotel.spans(4);
        assert_eq!(spans.len(), 4, "no span comes twice: {spans:#?}");
        let app = one(&spans, "d1.query", "app");
        let sidecar = one(&spans, "d1.query", "caller");
        let server = one(&spans, "DB.query", "callee");
        let statement = one(&spans, "sqlite.transaction", "callee");
        assert!(
            spans.iter().all(|span| span.trace == app.trace),
            "one trace: {spans:#?}"
        );
        assert_eq!(app.parent, "");
        assert_eq!(sidecar.parent, app.id);
        assert_eq!(server.parent, sidecar.id);
        assert_eq!(statement.parent, server.id);
        for client in [app, sidecar] {
            assert_eq!(client.kind, "SPAN_KIND_CLIENT");
            assert_eq!(client.status, "STATUS_CODE_UNSET");
            assert_eq!(
                client.get("binding_span.original_name"),
                Some("Str(jsRpcSession)")
            );
            assert_eq!(client.get("rpc.system.name"), Some("Str(capnp)"));
            assert_eq!(client.get("rpc.method"), Some("Str(query)"));
            assert_eq!(
                client.get("db.query.text"),
                Some("Str(select a from t order by a)")
            );
            assert_eq!(client.get("db.response.returned_rows"), Some("Int(3)"));
            assert_eq!(
                client.get("cloudflare.d1.response.changed_db"),
                Some("Bool(false)")
            );
            let duration = client
                .get("cloudflare.d1.response.sql_duration_ms")
                .unwrap();
            assert!(duration.starts_with("Double("), "{duration}");
        }
        assert_eq!(server.kind, "SPAN_KIND_SERVER");
        assert_eq!(statement.kind, "SPAN_KIND_INTERNAL");
        for daemon in [caller, callee] {
            assert!(daemon.stop().success());
        }
        assert_eq!(rotel.seen().len(), 4, "and the end exports nothing again");
    }
}

#[test]
fn a_call_that_fails_is_an_error_on_its_span() {
    let world = World::new();
    world.database();
    let mut rotel = Rotel::start(&world);
    let endpoint = rotel.http();
    let vars = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let _callee = start_callee(&world, &vars, &[]);
    let _caller = start_caller(&world, &vars, &[]);
    let args = [
        "call",
        "--connect",
        &world.unix("caller.sock"),
        "--no-tree",
        "DB.nothing",
    ];
    assert_eq!(world.run(with(caller(), &vars), &args).code, Some(1));
    let spans = rotel.spans(3);
    for span in &spans {
        assert_eq!(span.status, "STATUS_CODE_ERROR", "{span:#?}");
        assert_eq!(span.get("error.type"), Some("Str(TypeError)"), "{span:#?}");
        assert!(span.message.contains("nothing"), "{span:#?}");
    }
    // D1 says what went wrong in a result.
    call(&world, &[], "select no from nowhere");
    // Each program exports when it likes: so many spans need not have this one among them.
    rotel.until(|spans| spans.iter().any(|span| span.name == "d1.query"));
    let spans = rotel.seen();
    let enriched = spans.iter().find(|span| span.name == "d1.query").unwrap();
    assert_eq!(enriched.status, "STATUS_CODE_ERROR", "{enriched:#?}");
    assert!(enriched.get("error.type").is_some(), "{enriched:#?}");
}

const LAST: &str = "last";

/// Exports a span of the service "last" from here.
fn last_span(endpoint: &str) {
    let args = OtlpArgs {
        otlp: Some(endpoint.parse().unwrap()),
        otlp_protocol: None,
    };
    let otel = Otel::start(&Plan::new(&args, LAST, &|_| None).export.unwrap()).unwrap();
    let new = NewSpan {
        parent: None,
        remote: false,
        kind: SpanKind::Client,
    };
    otel.sink().open(&SpanOpen {
        span: SpanRef {
            context: otel.sink().identify(&new).unwrap(),
            ..SpanRef::default()
        },
        parent: None,
        name: LAST,
        kind: new.kind,
        root: true,
        time: SystemTime::now(),
        attributes: &[],
    });
    let until = Instant::now() + util::LIMIT;
    otel.close(until);
    otel.finish(until);
}

/// The names of the spans that arrive from one call, when all programs have ended.
fn names_of_a_call(callee_vars: Vars<'_>, caller_vars: Vars<'_>) -> Vec<String> {
    let world = World::new();
    world.database();
    let mut rotel = Rotel::start(&world);
    let endpoint = rotel.http();
    let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let callee = start_callee(&world, &[&to[..], callee_vars].concat(), &[]);
    let caller = start_caller(&world, &[&to[..], caller_vars].concat(), &[]);
    call(&world, &[], SQL).json();
    // Their end flushes what they have.
    assert!(caller.stop().success());
    assert!(callee.stop().success());
    // One more, which is printed behind all of theirs.
    last_span(&endpoint);
    rotel.until(|spans| spans.iter().any(|span| span.service == LAST));
    let spans = rotel.seen();
    let spans = spans.iter().filter(|span| span.service != LAST);
    let mut names: Vec<String> = spans.map(|s| format!("{} {}", s.service, s.name)).collect();
    names.sort();
    names
}

#[test]
fn samplers_and_switches_decide_what_is_exported() {
    let all = [
        "callee DB.query",
        "callee sqlite.transaction",
        "caller d1.query",
    ];
    let never = ("OTEL_TRACES_SAMPLER", "always_off");
    let none = ("OTEL_SDK_DISABLED", "true");
    let ratio = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let expected: [(Vars<'_>, Vars<'_>, &[&str]); 6] = [
        (&[], &[], &all),
        // The decision of the caller travels.
        (&[], &[never], &[]),
        // And holds: the callee's own sampler is asked where nobody has decided.
        (&ratio, &[], &all),
        (&ratio, &[none], &[]),
        (&[never], &[], &all[2..]),
        (&[none], &[], &all[2..]),
    ];
    for (callee_vars, caller_vars, names) in expected {
        assert_eq!(
            names_of_a_call(callee_vars, caller_vars),
            names,
            "{callee_vars:?} {caller_vars:?}"
        );
    }
}

#[test]
fn without_propagation_each_program_has_a_trace_of_its_own() {
    let world = World::new();
    world.database();
    let mut rotel = Rotel::start(&world);
    let endpoint = rotel.http();
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_PROPAGATORS", "none"),
    ];
    let _callee = start_callee(&world, &vars[..1], &[]);
    let _caller = start_caller(&world, &vars, &[]);
    call(&world, &vars[..1], SQL).json();
    let spans = rotel.spans(4);
    let roots = spans.iter().filter(|span| span.parent.is_empty());
    assert_eq!(roots.count(), 3, "{spans:#?}");
    let mut traces: Vec<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 3);
}

#[test]
fn limits_of_values_and_of_their_number_hold() {
    let world = World::new();
    world.database();
    let mut rotel = Rotel::start(&world);
    let endpoint = rotel.http();
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "6"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "10"),
    ];
    let _callee = start_callee(&world, &[], &[]);
    let _caller = start_caller(&world, &vars, &[]);
    call(&world, &[], SQL).json();
    let span = &rotel.spans(1)[0];
    assert_eq!(span.name, "d1.query", "a name is no value");
    assert_eq!(span.get("db.query.text"), Some("Str(select)"));
    assert_eq!(span.attributes.len(), 10, "{span:#?}");
}

#[test]
fn calls_and_the_end_do_not_wait_for_a_receiver_that_does_not_answer() {
    let world = World::new();
    world.database();
    // It accepts, by its backlog, and never says a word.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let endpoint = format!("http://{address}");
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            // No batch is given up before the end, however long the calls take.
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300000"),
        ];
        let callee = start_callee(&world, &vars, &[]);
        let mut caller = start_caller(&world, &vars, &[]);
        for _ in 0..20 {
            call(&world, &[], SQL).json();
        }
        let begun = Instant::now();
        caller.signal(rustix::process::Signal::TERM);
        let said = caller.rest();
        assert!(caller.end().success());
        assert!(callee.stop().success());
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        let lines = said
            .lines()
            .filter(|line| line.contains("spans were lost"))
            .count();
        assert_eq!(lines, 1, "one line, not a flood:\n{said}");
        assert!(
            said.contains("spans were lost: 20, 20 left when the program ended"),
            "{said}"
        );
    }
}

#[test]
fn a_single_call_waits_for_its_span_no_longer_than_it_must() {
    let world = World::new();
    world.database();
    let _callee = start_callee(&world, &[], &[]);
    let _caller = start_caller(&world, &[], &[]);
    // Where nobody listens; a port that was free a moment ago may be another's by now.
    let gone = "127.0.0.1:1";
    for protocol in ["grpc", "http/protobuf"] {
        let endpoint = format!("http://{gone}");
        let vars = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let done = call(&world, &vars, SQL);
        assert_eq!(
            done.rows().as_array().unwrap().len(),
            3,
            "the result is what counts"
        );
        assert!(
            done.stderr.contains("spans were lost: 1, 1 not taken by"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr.contains("refused"),
            "it says why: {}",
            done.stderr
        );
    }
}

#[test]
fn what_cannot_be_exported_stops_a_program_that_was_told_to_by_option_alone() {
    let world = World::new();
    world.database();
    let vars = [("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem")];
    let listen = world.unix("callee.sock");
    let db = world.db();
    let args = [
        "--listen",
        &listen,
        "--d1",
        &db,
        "--otlp",
        "https://localhost:1",
    ];
    let done = world.run(with(callee(), &vars), &args);
    assert_eq!(done.code, Some(78), "{done:?}");
    assert!(done.stderr.contains("/no/such.pem"), "{done:?}");
    let checked = world.run(
        with(callee(), &vars),
        &[&args[..], &["--check-config"]].concat(),
    );
    assert_eq!(checked.code, Some(78), "{checked:?}");

    let by_variable = [
        vars[0],
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:1"),
    ];
    let mut daemon = world.start(with(callee(), &by_variable), &args[..4]);
    daemon.line("no spans are exported");
    daemon.line("listening on");
    assert!(daemon.stop().success());

    let done = world.run(
        callee(),
        &["--listen", &listen, "--d1", &db, "--otlp", "localhost:4317"],
    );
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("http://localhost:4318"), "{done:?}");
}

#[test]
fn the_same_span_is_seen_by_four_readers() {
    let world = World::new();
    world.database();
    let mut rotel = Rotel::start(&world);
    let _callee = start_callee(&world, &[], &[]);
    let endpoint = rotel.http();
    let more = [
        "--otlp",
        &endpoint,
        "--tail",
        "tail.jsonl",
        "--admin",
        "unix:caller.admin",
    ];
    // Spans are for a plain log as well, if it is told so.
    let mut caller = start_caller(&world, &[("RUST_LOG", "warn,binding_span=info")], &more);
    call(&world, &[], SQL).json();

    let otlp = rotel.spans(1).remove(0);
    assert_eq!(otlp.name, "d1.query");
    assert_eq!(otlp.get("db.response.returned_rows"), Some("Int(3)"));

    let line = caller.line("d1.query");
    assert!(line.contains("db.response.returned_rows=3"), "{line}");

    let limit = Instant::now() + util::LIMIT;
    let exported = "binding_span_otlp_exported_spans_total 1\n";
    let mut scraped = metrics(&world, "caller.admin");
    while !scraped.contains(exported) {
        assert!(Instant::now() < limit, "{scraped}");
        scraped = metrics(&world, "caller.admin");
    }
    for line in [
        "binding_span_renames_total{side=\"client\",binding=\"DB\"} 1\n",
        "binding_span_enrichments_applied_total{side=\"client\",binding=\"DB\"} 1\n",
        "binding_span_otlp_lost_spans_total{reason=\"not_taken\"} 0\n",
        "binding_span_otlp_queued_spans 0\n",
    ] {
        assert!(scraped.contains(line), "no {line}in:\n{scraped}");
    }

    assert!(caller.stop().success());
    let events = world.tail("tail.jsonl");
    let opened = util::opened(&events);
    let [(name, id, _)] = opened.as_slice() else {
        panic!("not one span: {opened:?}");
    };
    assert_eq!(
        (name.as_str(), id),
        ("jsRpcSession", &otlp.id),
        "the same span"
    );
    assert_eq!(
        util::attribute(&events, "span.name"),
        Some("d1.query".into())
    );
    assert_eq!(
        util::attribute(&events, "db.response.returned_rows"),
        Some(3.into())
    );
}

#[test]
fn a_list_is_a_list_in_tree_tail_and_collector() {
    let world = World::new();
    let mut rotel = Rotel::start(&world);
    model(&world);
    let listen = world.unix("caller.sock");
    let bind = format!("AI={}", world.unix("model.sock"));
    let otlp = ["--otlp", &rotel.http(), "--tail", "tail.jsonl"];
    let args = [&["serve", "--listen", &listen, "--bind", &bind], &otlp[..]].concat();
    let caller = world.start(with(util::caller(), &[]), &args).ready();
    let done = world.call(&listen, &["AI.run"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let shown = r#"gen_ai.response.finish_reasons = ["stop","length"]"#;
    assert!(done.stderr.contains(shown), "{done:?}");

    let spans = rotel.spans(1);
    let span = one(&spans, "chat llama-4", "caller");
    assert_eq!(
        span.get("gen_ai.response.finish_reasons"),
        Some("Slice(Str(stop), Str(length))")
    );
    let scores = span.get("app.scores").unwrap();
    assert!(scores.starts_with("Slice(Double("), "{scores}");
    assert_eq!(span.get("app.long"), None);
    assert_eq!(span.get("binding_span.dropped"), Some("Int(1)"));

    assert!(caller.stop().success());
    let events = world.tail("tail.jsonl");
    let said: Vec<_> = events
        .iter()
        .filter_map(|event| event["event"]["info"].as_array())
        .flatten()
        .collect();
    let reasons = json!({"name": "gen_ai.response.finish_reasons", "value": ["stop", "length"]});
    assert!(said.contains(&&reasons), "{said:#?}");
    let scores = json!({"name": "app.scores", "value": [0.5, 2.0]});
    assert!(said.contains(&&scores), "{said:#?}");
}
