//! Whether a daemon is alive, and whether it is ready.

use std::time::Instant;

use rustix::process::Signal;

use super::http::At;
use super::util::{self, LIMIT, World};

#[test]
fn while_it_drains_it_is_alive_and_not_ready() {
    let world = World::new();
    let database = world.database();
    let mut callee = world.callee(&["--admin", "unix:admin.sock", "--tail", "stderr"]);
    let at = At::socket(&world, "admin.sock");
    for page in ["/readyz", "/healthz"] {
        let answer = at.get(page);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    }
    database.execute_batch("begin immediate").unwrap();
    let (to, request) = (
        world.unix("callee.sock"),
        util::request("insert into t values (4)"),
    );
    let call = std::thread::spawn(move || {
        let mut command = util::caller();
        command.args(["call", "--no-tree", "--connect", &to, "DB.query", &request]);
        util::finish(&mut command, None)
    });
    callee.line("sqlite.transaction");
    let in_flight = "binding_span_calls_in_flight{side=\"server\"}";
    assert_eq!(at.scrape().value(in_flight), 1.0);

    callee.signal(Signal::TERM);
    callee.line("finishing the calls in flight");
    // It says so just before it is so.
    let began = Instant::now();
    while at.get("/readyz").status != 503 {
        assert!(began.elapsed() < LIMIT, "it is ready for ever");
    }
    for page in ["/readyz", "/healthz"] {
        let answer = at.get(page);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.starts_with("draining"), "{answer:?}");
    }
    let live = at.get("/livez");
    assert_eq!(live.status, 200, "{live:?}");
    assert!(live.body.starts_with("ok: answered within"), "{live:?}");
    let scrape = at.scrape();
    assert_eq!(
        (scrape.value(in_flight), scrape.value("binding_span_ready")),
        (1.0, 0.0)
    );

    database.execute_batch("commit").unwrap();
    assert_eq!(call.join().unwrap().code, Some(0));
    assert!(callee.end().success());
    assert!(!world.path("admin.sock").exists(), "the socket is removed");
}

#[test]
fn what_there_is_is_said_and_what_is_not_too() {
    let world = World::new();
    let caller = world.caller(&["--admin", "unix:admin.sock"]);
    let at = At::socket(&world, "admin.sock");
    let list = at.get("/");
    assert_eq!(list.status, 200);
    for page in ["/metrics", "/livez", "/readyz", "/healthz"] {
        assert!(list.body.contains(page), "{list:?}");
    }
    let lost = at.get("/nothing");
    assert_eq!(lost.status, 404);
    assert!(lost.body.contains("/readyz"), "{lost:?}");
    let posted = at.send("POST /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n");
    assert_eq!(posted.status, 405);
    assert!(posted.head.contains("allow: get, head"), "{posted:?}");
    let head = at.send("HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let query = at.get("/metrics?name[]=x");
    assert_eq!(query.status, 200, "what scrapers add does not matter");
    assert!(caller.stop().success());
}

/// What `/readyz` says of each binding below its `ok`, once it is so.
fn bindings(at: &At, done: impl Fn(&[&str]) -> bool) -> Vec<String> {
    let began = Instant::now();
    loop {
        let answer = at.get("/readyz");
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines: Vec<&str> = answer.body.lines().collect();
        assert_eq!(lines[0], "ok");
        if done(&lines[1..]) {
            return lines[1..].iter().map(|line| (*line).to_owned()).collect();
        }
        assert!(began.elapsed() < LIMIT, "{answer:?}");
        std::thread::yield_now();
    }
}

/// The two gauges of a binding.
fn gauges(at: &At, binding: &str) -> (f64, f64) {
    let scrape = at.scrape();
    let gauge = |name: &str| {
        let series = format!("binding_span_binding_{name}{{binding=\"{binding}\"}}");
        scrape.samples[&series]
    };
    (gauge("connected"), gauge("failing"))
}

#[test]
fn it_says_how_each_binding_is_doing_and_is_ready_whatever_that_is() {
    let world = World::new();
    world.database();
    let (callee_at, request) = (world.unix("callee.sock"), util::request("select 1"));
    let mut config = format!(
        "listen = ['unix:./caller.sock']\nadmin = 'unix:./admin.sock'\n[bind.DB]\nto = '{callee_at}'\n\
         [bind.GONE]\nto = 'unix:./gone.sock'\n[bind.\"x\\u001b[2J\\ny\"]\nto = '{callee_at}'\n"
    );
    std::fs::write(world.path("caller.toml"), &config).unwrap();
    let callee = world.callee(&[]);
    let caller = world.start(util::caller(), &["serve", "--config", "caller.toml"]);
    let mut caller = caller.ready();
    let (at, through) = (At::socket(&world, "admin.sock"), world.unix("caller.sock"));
    let idle = bindings(&at, |lines| lines.len() == 3);
    let unused = "not connected yet; the first call connects";
    for (line, name) in idle.iter().zip(["DB", "GONE", "x\\u{1b}[2J\\ny"]) {
        assert_eq!(*line, format!("{name}: {unused}"));
    }
    for name in ["DB", "GONE", "x\\\\u{1b}[2J\\\\ny"] {
        assert_eq!(gauges(&at, name), (0.0, 0.0), "{name}");
    }

    world.query(&through, "select 1", &[]).json();
    let gone = || world.call(&through, &["GONE.query", &request]);
    assert_eq!(gone().code, Some(69));
    let said = bindings(&at, |_| true);
    assert!(said[0].starts_with("DB: connected for "), "{said:?}");
    let failing = &said[1];
    assert!(failing.starts_with("GONE: failing for "), "{said:?}");
    assert!(
        failing.contains(" ago: unavailable: cannot connect to unix:"),
        "{said:?}"
    );
    assert!(failing.contains("there is no socket"), "{said:?}");
    assert!(said[2].ends_with(unused), "{said:?}");
    assert_eq!(gauges(&at, "DB"), (1.0, 0.0));
    assert_eq!(gauges(&at, "GONE"), (0.0, 1.0));
    // As a health check shows it.
    let asked = world.run(
        util::caller(),
        &["health", "--connect", &world.unix("admin.sock")],
    );
    assert_eq!(
        (asked.code, asked.stdout.lines().count()),
        (Some(0), 4),
        "{asked:?}"
    );

    // One goes, the other comes.
    callee.kill();
    let lost = bindings(&at, |lines| lines[0].contains("connection was lost"));
    assert!(lost[0].starts_with("DB: not connected; "), "{lost:?}");
    assert_eq!(gauges(&at, "DB"), (0.0, 0.0));
    assert_eq!(world.query(&through, "select 1", &[]).code, Some(69));
    assert_eq!(gauges(&at, "DB"), (0.0, 1.0));
    let (listen, gone_db) = (world.unix("gone.sock"), world.db().replace("DB=", "GONE="));
    let again = ["--listen", &listen, "--d1", &gone_db];
    let callee = world.start(util::callee(), &again).ready();
    gone().json();
    assert_eq!(gauges(&at, "GONE"), (1.0, 0.0));

    // What is there is what the file says.
    config = config
        .replace("[bind.GONE]", "[bind.NEW]")
        .replace("'unix:./gone.sock'", "'unix:./new.sock'");
    std::fs::write(world.path("caller.toml"), &config).unwrap();
    caller.signal(Signal::HUP);
    caller.line("read the configuration again");
    let now = bindings(&at, |_| true);
    assert!(
        now[0].starts_with("DB: failing"),
        "it keeps what it had: {now:?}"
    );
    assert_eq!(now[1], format!("NEW: {unused}"));
    assert_eq!(
        at.scrape().sum("binding_span_binding_connected", "GONE"),
        0.0
    );
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}
