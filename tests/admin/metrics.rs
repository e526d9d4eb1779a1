//! What is counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use binding_span::DropReason;
use js_rpc::{Address, ConnectOptions, Connection, Reason, RefusedBy};

use super::http::At;
use super::openmetrics::Scrape;
use super::util::{self, LIMIT, World};

/// A caller that passes `DB` on, and `OFF` to the same database, whose attributes do not count.
fn config(world: &World) {
    let callee = world.unix("callee.sock");
    let config = format!(
        "listen = ['unix:./caller.sock']\nadmin = 'unix:./caller.admin'\n\
         [bind.DB]\nto = '{callee}'\n[bind.OFF]\nto = '{callee}#DB'\nattributes = false\n\
         rename = 'off'\n"
    );
    std::fs::write(world.path("caller.toml"), config).unwrap();
}

/// Scrapes until something is true that follows from what was done, soon.
pub fn until(at: &At, mut done: impl FnMut(&Scrape) -> bool) -> Scrape {
    let began = std::time::Instant::now();
    loop {
        let scrape = at.scrape();
        if done(&scrape) {
            return scrape;
        }
        assert!(began.elapsed() < LIMIT, "{:#?}", scrape.samples);
        std::thread::yield_now();
    }
}

#[test]
fn what_is_counted_is_what_happened() {
    let world = World::new();
    world.database();
    config(&world);
    let quota = "--connections-per-peer 3 --connections 9 --connections-reserved 0";
    let quota: Vec<&str> = quota.split(' ').collect();
    let callee = world.callee(&[&["--admin", "unix:callee.admin"][..], &quota].concat());
    let caller = world.start(util::caller(), &["serve", "--config", "caller.toml"]);
    let caller = caller.ready();
    let at = [
        At::socket(&world, "caller.admin"),
        At::socket(&world, "callee.admin"),
    ];
    let before = at.each_ref().map(At::scrape);
    assert_eq!(before[0].sum("binding_span_calls_total", ""), 0.0);

    let through = world.unix("caller.sock");
    for _ in 0..3 {
        world.query(&through, "select a from t", &[]).json();
    }
    let request = util::request("select a from t");
    for _ in 0..2 {
        world.call(&through, &["OFF.query", &request]).json();
    }
    assert_eq!(world.call(&through, &["DB.nothing", "1"]).code, Some(1));

    // Connections end after their programs, and sessions after their calls.
    let quiet = |scrape: &Scrape| {
        scrape.value("binding_span_spans_open{side=\"client\"}") == 0.0
            && scrape.sum("binding_span_sessions_open", "") == 0.0
            && scrape.value("binding_span_connections_open{listener=\"rpc\"}") == 0.0
    };
    let after = until(&at[0], quiet);
    let more = |series: &str| after.value(series) - before[0].value(series);
    for (series, count) in [
        (
            "calls_total{side=\"client\",binding=\"DB\",method=\"query\",outcome=\"ok\"}",
            3.0,
        ),
        (
            "calls_total{side=\"client\",binding=\"OFF\",method=\"query\",outcome=\"ok\"}",
            2.0,
        ),
        (
            "calls_total{side=\"client\",binding=\"DB\",method=\"nothing\",outcome=\"exception\"}",
            1.0,
        ),
        (
            "call_duration_seconds_count{side=\"client\",binding=\"DB\",method=\"query\"}",
            3.0,
        ),
        (
            "call_errors_total{side=\"client\",binding=\"DB\",error_type=\"TypeError\"}",
            1.0,
        ),
        (
            "enrichments_applied_total{side=\"client\",binding=\"DB\"}",
            3.0,
        ),
        ("renames_total{side=\"client\",binding=\"DB\"}", 3.0),
        (
            "enrichments_applied_total{side=\"client\",binding=\"OFF\"}",
            0.0,
        ),
        (
            "attributes_dropped_total{side=\"client\",binding=\"OFF\",reason=\"rename_off\"}",
            2.0,
        ),
        ("calls_in_flight{side=\"client\"}", 0.0),
        ("sessions_total{side=\"server\"}", 6.0),
        ("sessions_total{side=\"client\"}", 6.0),
        ("connections_accepted_total{listener=\"rpc\"}", 6.0),
        ("network_queued_bytes{side=\"client\"}", 0.0),
    ] {
        assert_eq!(more(&format!("binding_span_{series}")), count, "{series}");
    }
    assert_eq!(after.sum("binding_span_calls_total", ""), 6.0);
    // The same calls to the same database: what counted there is what was dropped here.
    let applied = more("binding_span_attributes_applied_total{side=\"client\",binding=\"DB\"}");
    let dropped = "binding_span_attributes_dropped_total{side=\"client\",binding=\"OFF\",\
                   reason=\"attributes_off\"}";
    assert!(applied >= 3.0 * 5.0, "{applied}");
    assert_eq!(more(dropped) * 3.0, applied * 2.0);
    assert_eq!(
        after.sum("binding_span_attributes_dropped_total", "\"DB\""),
        0.0
    );

    // What left the one arrives at the other, releases behind the last answer a little later.
    let bytes = |scrape: &Scrape, side: &str, direction: &str| {
        let labels = format!("{{side=\"{side}\",direction=\"{direction}\"}}");
        scrape.value(&format!("binding_span_network_bytes_total{labels}"))
    };
    let (mut caller_sees, mut callee_sees) = (Scrape::default(), Scrape::default());
    until(&at[1], |now| {
        callee_sees = now.clone();
        caller_sees = at[0].scrape();
        ["out", "in"]
            .into_iter()
            .zip(["in", "out"])
            .all(|(caller, callee)| {
                bytes(&caller_sees, "client", caller) == bytes(&callee_sees, "server", callee)
            })
    });
    assert!(
        bytes(&caller_sees, "client", "out") > 0.0 && bytes(&caller_sees, "client", "in") > 0.0
    );
    let server = "binding_span_calls_total{side=\"server\",binding=\"DB\",method=\"query\",\
                  outcome=\"ok\"}";
    assert_eq!(callee_sees.value(server), 5.0);
    strangers(&world, &at[1]);
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}

/// Besides the caller's two connections one more of this user is let in.
fn strangers(world: &World, at: &At) {
    let refused = "binding_span_connections_refused_total{listener=\"rpc\",reason=\"per_peer\"}";
    let frame = "binding_span_network_interventions_total{side=\"server\",reason=\"frame\"}";
    let opening = "binding_span_connections_refused_total{listener=\"rpc\",reason=\"opening\"}";
    let before = at.scrape();
    let connect = || UnixStream::connect(world.path("callee.sock")).unwrap();
    let mut hostile = connect();
    until(at, |now| {
        now.value("binding_span_connections_open{listener=\"rpc\"}") == 3.0
    });
    let mut next = connect();
    next.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(next.read(&mut [0]).unwrap_or(0), 0, "it is closed at once");
    // A frame of four billion segments.
    hostile.write_all(&[0xff; 8]).unwrap();
    let after = until(at, |now| now.value(frame) > before.value(frame));
    assert_eq!(after.value(frame) - before.value(frame), 1.0);
    assert_eq!(after.value(refused) - before.value(refused), 1.0);
    drop(hostile);
    until(at, |now| {
        now.value("binding_span_connections_open{listener=\"rpc\"}") == 2.0
    });
    // What is neither Cap'n Proto nor HTTP does not get that far.
    connect().write_all(b"CONNECT nothing\r\n\r\n").unwrap();
    until(at, |now| now.value(opening) - before.value(opening) == 1.0);
}

#[test]
fn methods_that_a_peer_makes_up_share_a_label() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--admin", "unix:callee.admin"]);
    let at = At::socket(&world, "callee.admin");
    let address: Address = world.unix("callee.sock").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(&address, ConnectOptions::default());
        let binding = connection.await.unwrap().binding("DB");
        for hundred in 0..10 {
            let calls = (0..100).map(|i| {
                // Some of what peers make up, people must not see as it is.
                let method = format!("\u{1b}[31m\"\\\n{}", hundred * 100 + i);
                binding.call(&method, ()).send()
            });
            for call in futures::future::join_all(calls).await {
                assert!(call.is_err());
            }
        }
    });
    let scrape = at.scrape();
    let calls = "binding_span_calls_total";
    assert_eq!(scrape.sum(calls, ""), 1_000.0);
    assert_eq!(scrape.sum(calls, "method=\"_other\""), 1_000.0 - 32.0);
    let labels = |scrape: &Scrape| {
        let of_calls = |series: &&String| series.starts_with(calls);
        scrape.samples.keys().filter(of_calls).count()
    };
    assert_eq!(labels(&scrape), 33);
    assert!(at.get("/metrics").body.len() < 200_000);

    // A method that is there gets its label all the same.
    world
        .query(&world.unix("callee.sock"), "select 1", &[])
        .json();
    let scrape = at.scrape();
    assert_eq!(scrape.sum(calls, "method=\"query\""), 1.0);
    assert_eq!(labels(&scrape), 34);
    assert!(callee.stop().success());
}

#[test]
fn whoever_does_not_ask_for_openmetrics_gets_the_classic_format_with_the_same_samples() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--admin", "unix:callee.admin"]);
    let at = At::socket(&world, "callee.admin");
    world
        .query(&world.unix("callee.sock"), "select 1", &[])
        .json();
    let open = until(&at, |now| now.sum("binding_span_sessions_open", "") == 0.0);
    let curl = at.scrape_as("*/*");
    let prefers =
        at.scrape_as("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8");
    assert!(!open.classic && curl.classic && prefers.classic);
    assert!(
        !at.scrape_as("text/plain;q=0.8, application/openmetrics-text;q=0.9")
            .classic
    );
    // Nothing at all is said here.
    Scrape::read_classic(&at.get("/metrics").body);
    let series = |scrape: &Scrape| scrape.samples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(series(&open), series(&curl));
    let calls =
        "binding_span_calls_total{side=\"server\",binding=\"DB\",method=\"query\",outcome=\"ok\"}";
    assert_eq!((open.value(calls), curl.value(calls)), (1.0, 1.0));
    assert_eq!(curl.types["binding_span_calls_total"], "counter");
    assert_eq!(curl.types["binding_span_build_info"], "gauge");
    assert_eq!(
        curl.types["binding_span_call_duration_seconds"],
        "histogram"
    );
    assert_eq!(curl.types.len(), open.types.len());
    assert!(callee.stop().success());
}

#[test]
fn what_the_tail_loses_is_counted() {
    let world = World::new();
    world.database();
    let callee = world.callee(&["--admin", "unix:callee.admin", "--tail", "/dev/full"]);
    let at = At::socket(&world, "callee.admin");
    world
        .query(&world.unix("callee.sock"), "select 1", &[])
        .json();
    let lost = "binding_span_tail_lost_events_total{sink=\"lines\",reason=\"write_failed\"}";
    let queued = "binding_span_tail_queued_events{sink=\"lines\"}";
    let scrape = until(&at, |now| now.value(lost) > 0.0 && now.value(queued) == 0.0);
    assert!(scrape.samples.contains_key(queued));
    callee.kill();
}

#[test]
fn what_becomes_of_exported_spans_adds_up() {
    let world = World::new();
    world.database();
    // Nobody is there to take them.
    let otlp = ["--otlp", "http://127.0.0.1:1"];
    let callee = world.callee(&[&["--admin", "unix:callee.admin"][..], &otlp].concat());
    let at = At::socket(&world, "callee.admin");
    for _ in 0..3 {
        world
            .query(&world.unix("callee.sock"), "select 1", &[])
            .json();
    }
    let of = |scrape: &Scrape, what: &str| scrape.value(&format!("binding_span_otlp_{what}"));
    let calls = "binding_span_calls_total";
    // Numbers are read one after the other, while spans move on.
    let adds_up = |now: &Scrape| {
        let lost = now.sum("binding_span_otlp_lost_spans_total", "");
        of(now, "queued_spans") + lost == of(now, "sampled_spans_total")
    };
    let scrape = until(&at, |now| {
        now.sum(calls, "") == 3.0 && of(now, "open_spans") == 0.0 && adds_up(now)
    });
    assert!(of(&scrape, "sampled_spans_total") >= 3.0);
    assert_eq!(of(&scrape, "exported_spans_total"), 0.0);
    callee.kill();
}

/// The rows of the tables in `docs/metrics.md`: name, type and labels.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let docs = include_str!("../../docs/metrics.md");
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("| `binding_span_") || line.starts_with("| `process_"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3]
            .split(',')
            .map(|label| label.trim().trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        let name = cells[1].trim_matches('`').to_owned();
        assert!(cells[4].len() > 5 && !cells[5].is_empty(), "{row}");
        (name, (cells[2].to_owned(), labels.collect()))
    });
    rows.collect()
}

#[test]
fn the_documentation_lists_what_is_exported_and_nothing_else() {
    let world = World::new();
    world.database();
    config(&world);
    let _callee = world.callee(&[]);
    let caller = world.start(util::caller(), &["serve", "--config", "caller.toml"]);
    let caller = caller.ready();
    world
        .query(&world.unix("caller.sock"), "select 1", &[])
        .json();
    let request = util::request("select 1");
    world
        .call(&world.unix("caller.sock"), &["OFF.query", &request])
        .json();
    assert_eq!(
        world.call(&world.unix("caller.sock"), &["DB.no", "1"]).code,
        Some(1)
    );
    let scrape = At::socket(&world, "caller.admin").scrape();
    let documented = documented();
    let full = |name: &str| match scrape.types[name].as_str() {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    };
    let written = scrape.types.iter();
    let written: BTreeMap<String, String> = written
        .map(|(name, kind)| (full(name), kind.clone()))
        .collect();
    let of_docs = documented.iter();
    let of_docs: BTreeMap<String, String> = of_docs
        .map(|(name, (kind, _))| (name.clone(), kind.clone()))
        .collect();
    assert_eq!(written, of_docs);
    for (name, labels) in &scrape.labels {
        let known = &documented[&full(name)].1;
        let known = known.iter().cloned().collect();
        assert_eq!(*labels, known, "{name}");
    }
    assert!(caller.stop().success());
}

#[test]
fn the_documentation_explains_every_reason() {
    let docs = include_str!("../../docs/metrics.md");
    let network = Reason::ALL.iter().map(|reason| reason.label());
    let accept = RefusedBy::ALL.iter().map(|by| by.label());
    let dropped = DropReason::ALL.iter().map(|reason| reason.label());
    for reason in network.chain(accept).chain(dropped) {
        assert!(docs.contains(&format!("| `{reason}` | ")), "{reason}");
    }
}
