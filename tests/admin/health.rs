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
