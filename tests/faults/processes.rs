//! Programs that stand still, that are killed beside the callee, and that have no descriptors left.

use std::collections::HashSet;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::json;

use crate::http::{Http, http_of};
use crate::relay::Mode;
use crate::scene::{Scene, Way, descriptors, failed};
use crate::util::{self, Daemon, request};

#[test]
fn a_daemon_that_stands_still_costs_a_deadline_and_goes_on_where_it_was() {
    for (way, caller_stands) in [
        (Way::Direct, false),
        (Way::Front, false),
        (Way::Front, true),
    ] {
        let mut scene = Scene::new(way);
        let (value, call) = scene.write_that_waits(&["--deadline", "3s"]);
        let stands = |scene: &Scene, signal| match caller_stands {
            true => scene.caller.signal(signal),
            false => scene.callee.signal(signal),
        };
        stands(&scene, Signal::STOP);
        failed(&call.join().unwrap(), 124, &["deadline of 3s passed"]);
        stands(&scene, Signal::CONT);
        scene.release();
        scene.works();
        assert!(scene.count(value) <= 1);
        scene.end();
    }
}

#[test]
fn a_program_that_stands_still_in_its_call_costs_nobody_else_anything() {
    let mut scene = Scene::new(Way::Front);
    scene.database.execute_batch("begin immediate").unwrap();
    let mut call = util::caller();
    let sql = request("insert into t values (7)");
    call.args([
        "call",
        "--no-tree",
        "--connect",
        &scene.at,
        "DB.query",
        &sql,
    ]);
    let call = call.stdout(std::process::Stdio::piped()).spawn().unwrap();
    scene.callee.line("sqlite.transaction");
    let id = Pid::from_child(&call);
    kill_process(id, Signal::STOP).unwrap();
    scene.release();
    scene.committed(7);
    for _ in 0..3 {
        scene.works();
    }
    kill_process(id, Signal::CONT).unwrap();
    let done = call.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    scene.end();
}

#[test]
fn a_killed_program_costs_its_own_call() {
    let mut scene = Scene::new(Way::Front);
    scene.database.execute_batch("begin immediate").unwrap();
    let mut call = util::caller();
    let sql = request("insert into t values (8)");
    call.args([
        "call",
        "--no-tree",
        "--connect",
        &scene.at,
        "DB.query",
        &sql,
    ]);
    let mut call = call.spawn().unwrap();
    scene.callee.line("sqlite.transaction");
    call.kill().unwrap();
    call.wait().unwrap();
    scene.release();
    scene.works();
    assert!(scene.count(8) <= 1);
    scene.end();
}

#[test]
fn a_killed_sidecar_costs_the_call_and_nothing_that_was_committed() {
    let mut scene = Scene::new(Way::Front);
    let (value, call) = scene.write_that_waits(&[]);
    scene.hold_answer(value);
    let bind = format!("DB={}", scene.world.unix("callee.sock"));
    let listen = scene.world.unix("next.sock");
    let args = ["serve", "--listen", &listen, "--bind", &bind];
    let next = scene.world.start(util::caller(), &args).ready();
    std::mem::replace(&mut scene.caller, next).kill();
    scene.relay.set(Mode::EndReplies);
    failed(
        &call.join().unwrap(),
        69,
        &["connection lost: ", "not known"],
    );
    scene.at = listen;
    scene.works();
    assert_eq!(scene.count(value), 1);
    scene.end();
}

/// Lets a program open `more` descriptors than it has. Each new one has the lowest number that is free.
fn leave(daemon: &Daemon, more: usize) {
    let open: HashSet<u64> = descriptors(daemon).into_iter().collect();
    let free = (0..).filter(|number| !open.contains(number)).nth(more);
    limit(daemon, free.unwrap());
}

fn limit(daemon: &Daemon, current: u64) {
    let limit = Rlimit {
        current: Some(current),
        maximum: Some(4096),
    };
    let id = Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    prlimit(id, Resource::Nofile, limit).unwrap();
}

#[test]
fn a_sidecar_without_descriptors_says_that_it_cannot_connect_and_later_does() {
    let mut scene = Scene::new(Way::Front);
    let idle = descriptors(&scene.caller).len();
    // Enough to be called, not enough to call.
    leave(&scene.caller, 1);
    let (value, call) = scene.write(&[]);
    failed(
        &call.join().unwrap(),
        69,
        &["cannot connect to 127.0.0.1:", "Too many open files"],
    );
    assert_eq!(scene.count(value), 0);

    let since = std::time::Instant::now();
    while descriptors(&scene.caller).len() > idle {
        assert!(since.elapsed() < util::LIMIT, "it keeps what it had opened");
        std::thread::yield_now();
    }
    // Not enough to be called: whoever comes waits, and says for how long.
    leave(&scene.caller, 0);
    let (value, call) = scene.write(&["--deadline", "2s"]);
    let done = call.join().unwrap();
    failed(&done, 124, &["deadline of 2s passed"]);
    assert_eq!(scene.count(value), 0);
    scene.caller.line("cannot accept");
    limit(&scene.caller, 1024);
    scene.works();
    scene.end();
}

#[test]
fn daemons_without_descriptors_go_on_with_the_connections_that_they_have() {
    let world = util::World::new();
    world.database();
    let callee = world.callee(&[]);
    let mut caller = world.caller(&["--http", "127.0.0.1:0"]);
    let at = http_of(&mut caller);
    let mut http = Http::tcp(&at);
    let query = |sql: &str| format!("[{}]", request(sql));
    let path = "/v1/call/DB/query";
    assert_eq!(http.post(path, "", &query("select 1")).status, 200);
    for daemon in [&callee, &caller] {
        leave(daemon, 0);
    }
    for sql in [
        "insert into t values (4)",
        "select a from t order by a desc",
    ] {
        let answer = http.post(path, "", &query(sql));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["success"], json!(true), "{answer:?}");
    }
    // Whoever comes now waits until there are some again; the log does not grow with the time.
    let mut waits = Http::tcp(&at);
    let line = caller.line("cannot accept");
    assert!(line.contains("Too many open files"), "{line}");
    let length = query("select 1").len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{}",
        query("select 1")
    );
    std::io::Write::write_all(&mut waits.0, head.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    for daemon in [&callee, &caller] {
        limit(daemon, 1024);
    }
    assert_eq!(waits.receive().status, 200);
    caller.signal(Signal::TERM);
    let said = caller.rest();
    assert!(said.matches("cannot accept").count() <= 5, "{said}");
    assert!(caller.end().success());
    assert!(callee.stop().success());
}
