//! Tail events that a caller sends to another process: one that declines them, and one that sends them back.

mod reporter;
mod util;

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use binding_span::SpanSink;
use binding_span_schema::tail_stream_capnp::tail_event;
use capnp::struct_list;
use js_rpc::{Listener, Server, TailReceiver};
use serde_json::json;
use util::{World, caller, metrics};

/// A receiver as workerd is for a Worker whose `tailStream()` returns no handler: it takes the first report of
/// each stream, and asks for no more.
struct Declining(Cell<u32>);

impl TailReceiver for Declining {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        self.0.set(self.0.get() + events.len());
        assert_eq!(events.len(), 1, "the onset alone");
        Ok(false)
    }
}

/// A receiver as an older workerd is: it ends a stream at a `spanUpdate`. It tells how many attributes came.
struct Older(std::sync::mpsc::Sender<u32>);

impl TailReceiver for Older {
    fn report(&self, events: struct_list::Reader<'_, tail_event::Owned>) -> capnp::Result<bool> {
        for event in events {
            match event.get_event().which() {
                Ok(tail_event::event::SpanUpdate(_)) => return Ok(false),
                Ok(tail_event::event::Attribute(list)) => self.0.send(list?.len()).unwrap(),
                _ => {}
            }
        }
        Ok(true)
    }
}

/// Serves one that declines on `tail.sock`, for as long as the test runs.
fn declining(world: &World) {
    receiving(world, || Declining(Cell::new(0)));
}

/// Serves a receiver on `tail.sock`, for as long as the test runs.
fn receiving<T: TailReceiver>(world: &World, receiver: impl FnOnce() -> T + Send + 'static) {
    let address = world.unix("tail.sock").parse().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let listener = Listener::bind(&address).await.unwrap();
            ready.send(()).unwrap();
            let server = Server::new().tail("t", receiver());
            server.serve([listener], std::future::pending()).await;
        });
    });
    is_ready.recv().unwrap();
}

/// A sample of a metric.
fn sample(text: &str, series: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

const DECLINED: &str = "binding_span_tail_declined_events_total";
const LOST: &str = "binding_span_tail_lost_events_total{sink=\"peer\",reason=\"undelivered\"}";
const RETURNED: &str = "binding_span_tail_left_out_events_total{kind=\"returned\"}";

/// Waits until metrics do.
fn until(world: &World, socket: &str, enough: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + util::LIMIT;
    loop {
        let text = metrics(world, socket);
        if enough(&text) {
            return text;
        }
        assert!(Instant::now() < end, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_receiver_declines_is_not_lost_and_is_counted_apart() {
    let world = World::new();
    world.database();
    declining(&world);
    let to = format!("{}#t", world.unix("tail.sock"));
    let admin = world.unix("admin.sock");
    let _callee = world.callee(&[]);
    let caller = world.caller(&["--tail-to", &to, "--admin", &admin, "--tail", "tail.jsonl"]);
    for _ in 0..3 {
        world.query(&world.unix("caller.sock"), "select 1", &[]);
    }
    // Of each call all events but the onset.
    until(&world, "admin.sock", |text| {
        let events = util::read(&world.path("tail.jsonl")).lines().count() as u64;
        events > 3 && sample(text, DECLINED) == events - 3
    });
    assert_eq!(sample(&metrics(&world, "admin.sock"), LOST), 0);
    assert!(caller.stop().success());
}

#[test]
fn events_that_callers_send_in_a_circle_reach_each_of_them_once() {
    let world = World::new();
    world.database();
    let _callee = world.callee(&[]);
    // a sends to b, b to c, c to a.
    let ring = [("a", "b"), ("b", "c"), ("c", "a")];
    let start = |(own, next): (&str, &str)| {
        let socket = |name: &str| world.unix(&format!("{name}.sock"));
        let listen = socket(own);
        let to = format!("{}#events", socket(next));
        let admin = socket(&format!("{own}-admin"));
        let file = format!("{own}.jsonl");
        let bind = format!("DB={}", world.unix("callee.sock"));
        let args = [
            "serve", "--listen", &listen, "--bind", &bind, "--tail", &file,
        ];
        let more = ["--tail-from", "events", "--tail-to", &to, "--admin", &admin];
        let args = [&args[..], &more].concat();
        world.start(caller(), &args).ready()
    };
    let mut callers = ring.map(start);
    for (own, _) in ring {
        let done = world.query(&world.unix(&format!("{own}.sock")), "select 1", &[]);
        assert_eq!(done.rows(), json!([[1]]));
    }
    // Each hears of its own call again once, and says so.
    for (own, _) in ring {
        until(&world, &format!("{own}-admin.sock"), |text| {
            sample(text, RETURNED) == 1
        });
    }
    for caller in &mut callers {
        caller.line("go in a circle");
    }
    thread::sleep(Duration::from_millis(300));
    for (own, _) in ring {
        let text = metrics(&world, &format!("{own}-admin.sock"));
        assert_eq!(sample(&text, RETURNED), 1, "{own}");
        assert_eq!(sample(&text, LOST), 0, "{own}");
        let events = world.tail(&format!("{own}.jsonl"));
        let onsets = events.iter().filter(|e| e["event"]["type"] == "onset");
        assert_eq!(onsets.count(), 3, "{own}");
        let outcomes = events.iter().filter(|e| e["event"]["type"] == "outcome");
        assert_eq!(outcomes.count(), 3, "{own}");
        // Nine of each, one of them the new name as `spanUpdate`.
        assert_eq!(events.len(), 27, "{own}");
    }
}

#[test]
fn a_caller_that_would_send_its_events_to_itself_does_not_start() {
    let world = World::new();
    std::os::unix::fs::symlink(world.path("."), world.path("link")).unwrap();
    let (own, link) = (world.unix("caller.sock"), world.unix("link/caller.sock"));
    let fenced = format!("{own},binding=events");
    let other = format!("{own},binding=DB");
    let cases: [(&str, &str, bool); 8] = [
        (&own, &own, true),
        (&own, "unix:caller.sock", true),
        (&own, &link, true),
        (&fenced, &own, true),
        ("127.0.0.1:7999", "localhost:7999", true),
        ("[::1]:7999", "127.0.0.1:7998", false),
        // Not reached there, and another socket.
        (&other, &own, false),
        (&own, "unix:other.sock", false),
    ];
    for (listen, to, refused) in cases {
        let to = format!("{to}#events");
        let args = ["--listen", listen, "--bind", "DB=unix:callee.sock"];
        let more = ["--tail-from", "events", "--tail-to", &to, "--check-config"];
        let done = world.run(caller(), &[&["serve"], &args[..], &more].concat());
        let code = if refused { 78 } else { 0 };
        assert_eq!(done.code, Some(code), "{listen} {to}: {done:?}");
        assert_eq!(done.stderr.contains("would come back"), refused, "{done:?}");
    }
    // Another service there is another thing.
    let to = format!("{own}#other");
    let args = ["serve", "--listen", &own, "--tail-from", "events"];
    let more = ["--tail-to", &to, "--check-config"];
    let done = world.run(caller(), &[&args[..], &more].concat());
    assert_eq!(done.code, Some(0), "{done:?}");
    // In a file, with its place.
    let file = format!("listen = ['{own}']\ntail-from = 'events'\ntail-to = '{own}#events'\n");
    std::fs::write(world.path("caller.toml"), file).unwrap();
    let done = world.run(
        caller(),
        &["serve", "--config", "caller.toml", "--check-config"],
    );
    assert!(
        done.stderr.contains("caller.toml:3:11: tail-to: "),
        "{done:?}"
    );
}

/// What the events of a file say of renames and failures: names and statuses of `spanUpdate`, `span.name`
/// attributes, and the names under which spans opened.
fn said_of_names(world: &World, file: &str) -> (usize, usize, usize, Vec<String>) {
    let events = world.tail(file);
    let count = |is: &dyn Fn(&serde_json::Value) -> bool| {
        events.iter().map(|e| &e["event"]).filter(|e| is(e)).count()
    };
    let names = count(&|e| e["type"] == "spanUpdate" && e["info"]["type"] == "name");
    let statuses = count(&|e| e["type"] == "spanUpdate" && e["info"]["status"]["code"] == "error");
    let attributes = count(&|e| e["type"] == "attributes" && e["info"][0]["name"] == "span.name");
    let opened = events.iter().filter_map(|e| match &e["event"] {
        event if event["type"] == "spanOpen" => event["name"].as_str().map(str::to_owned),
        _ => None,
    });
    (names, statuses, attributes, opened.collect())
}

#[test]
fn how_renames_are_written_is_chosen_by_option_variable_or_key() {
    for (how, names, statuses, attributes, opened) in [
        ("both", 2, 1, 2, "jsRpcSession"),
        ("span-update", 2, 1, 0, "jsRpcSession"),
        ("attribute", 0, 0, 2, "jsRpcSession"),
        ("late", 0, 0, 0, "d1.query"),
    ] {
        let world = World::new();
        world.database();
        // By the key in a file, and by the variable.
        let text = format!(
            "listen = ['{}']\ntail = 'callee.jsonl'\ntail-rename = '{how}'\n[d1.DB]\npath = '{}'\n",
            world.unix("callee.sock"),
            world.db().trim_start_matches("DB=")
        );
        std::fs::write(world.path("callee.toml"), text).unwrap();
        let callee = world
            .start(util::callee(), &["--config", "callee.toml"])
            .ready();
        let mut program = caller();
        program.env("BINDING_SPAN_TAIL_RENAME", how);
        let (listen, bind) = (world.unix("caller.sock"), world.unix("callee.sock"));
        let bind = format!("DB={bind}");
        let args = [
            "serve",
            "--listen",
            &listen,
            "--bind",
            &bind,
            "--tail",
            "caller.jsonl",
        ];
        let serve = world.start(program, &args).ready();
        for sql in ["select 1", "select nothing"] {
            world.query(&listen, sql, &[]);
        }
        assert!(serve.stop().success() && callee.stop().success());
        let expected = vec![opened.to_owned(); 2];
        assert_eq!(
            said_of_names(&world, "caller.jsonl"),
            (names, statuses, attributes, expected),
            "{how}"
        );
        // The callee's own span has its name from the beginning on.
        let (names, failed, attributes, _) = said_of_names(&world, "callee.jsonl");
        // It failed, and so did the statement below it.
        assert_eq!((names, failed, attributes), (0, 2 * statuses, 0), "{how}");
    }
    let world = World::new();
    let done = world.run(caller(), &["serve", "--tail-rename", "never"]);
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains("both, span-update, attribute, late"),
        "{done:?}"
    );
}

#[test]
fn a_receiver_that_ends_streams_at_renames_is_warned_of_and_spared_them() {
    let world = World::new();
    let (got, attributes) = std::sync::mpsc::channel();
    receiving(&world, || Older(got));
    let to = format!("{}#t", world.unix("tail.sock"));
    for how in ["both", "attribute"] {
        let options = ["--tail-from", reporter::SERVICE, "--tail-to", &to];
        let mut caller = world.caller(&[&options[..], &["--tail-rename", how]].concat());
        let mut reporter = reporter::Reporter::connect(&world.unix("caller.sock"));
        // Of another process, and as workerd tells it.
        let span = reporter::span(7, 1);
        reporter.report(|feed| {
            reporter::open(feed, span, None, "jsRpcSession");
            feed.rename(span, "d1.query");
        });
        match how {
            "both" => drop(caller.line("choose --tail-rename attribute")),
            // As the update, and as the attribute that came with it.
            _ => {
                let next = || attributes.recv_timeout(util::LIMIT).unwrap();
                assert_eq!([next(), next()], [1, 1]);
            }
        }
        assert!(caller.stop().success());
        assert!(attributes.try_recv().is_err(), "{how}");
    }
}
