//! How daemons end, and what is left when they do: sockets, calls, data.

mod util;

use std::os::unix::fs::FileTypeExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use util::{Done, World, request};

/// Makes a write wait for as long as this is held: a lock on the database that is not the callee's.
fn hold(database: &rusqlite::Connection) -> impl FnOnce() + '_ {
    database.execute_batch("begin immediate").unwrap();
    || database.execute_batch("commit").unwrap()
}

/// A write through this socket, on a thread of its own.
fn write(world: &World, socket: &str, more: &[&str]) -> thread::JoinHandle<Done> {
    let mut command: Command = util::caller();
    let (at, sql) = (world.unix(socket), request("insert into t values (4)"));
    command
        .args(["call", "--no-tree", "--connect", &at, "DB.query", &sql])
        .args(more);
    thread::spawn(move || util::finish(&mut command, None))
}

fn is_socket(world: &World, name: &str) -> bool {
    let found = std::fs::symlink_metadata(world.path(name));
    found.is_ok_and(|found| found.file_type().is_socket())
}

#[test]
fn either_signal_finishes_the_call_in_flight_and_removes_the_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        for (daemon, socket) in [(0, "callee.sock"), (1, "caller.sock")] {
            let world = World::new();
            let database = world.database();
            let mut daemons = [world.callee(&["--tail", "stderr"]), world.caller(&[])];
            assert!(is_socket(&world, socket));
            let release = hold(&database);
            let call = write(&world, socket, &[]);
            daemons[0].line("sqlite.transaction");

            daemons[daemon].signal(signal);
            daemons[daemon].line("finishing the calls in flight");
            release();
            let done = call.join().unwrap();
            assert_eq!(done.json()["success"], json!(true), "{signal:?} {socket}");
            let [callee, caller] = daemons;
            let ended = if daemon == 0 {
                callee.end()
            } else {
                caller.end()
            };
            assert!(ended.success(), "{signal:?} {socket}");
            assert!(!is_socket(&world, socket));
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let world = World::new();
    let database = world.database();
    let mut callee = world.callee(&["--tail", "stderr"]);
    let _release = hold(&database);
    let call = write(&world, "callee.sock", &[]);
    callee.line("sqlite.transaction");
    callee.signal(Signal::TERM);
    callee.line("finishing the calls in flight");
    // One within a second of the first is the first one again.
    thread::sleep(Duration::from_millis(1100));
    callee.signal(Signal::INT);
    assert_eq!(callee.end().code(), Some(128 + 2));
    assert_eq!(call.join().unwrap().code, Some(69));
    assert!(!is_socket(&world, "callee.sock"));
}

#[test]
fn calls_that_do_not_finish_are_given_up_after_the_drain() {
    let world = World::new();
    let database = world.database();
    let mut callee = world.callee(&["--tail", "stderr", "--drain", "50ms"]);
    let _release = hold(&database);
    let call = write(&world, "callee.sock", &[]);
    callee.line("sqlite.transaction");
    callee.signal(Signal::TERM);
    callee.line("gave up 1 calls that were not done within 50ms");
    assert!(callee.end().success());
    assert_eq!(call.join().unwrap().code, Some(69));
}

#[test]
fn a_callee_that_is_killed_costs_the_call_and_nothing_that_was_committed() {
    let world = World::new();
    let database = world.database();
    let mut callee = world.callee(&["--tail", "stderr"]);
    let caller = world.caller(&[]);
    let through = world.unix("caller.sock");
    let committed = world.query(&through, "insert into t values (10)", &[]);
    assert_eq!(committed.json()["success"], json!(true));
    callee.line("\"outcome\"");

    for socket in ["callee.sock", "caller.sock"] {
        let release = hold(&database);
        let call = write(&world, socket, &[]);
        callee.line("sqlite.transaction");
        callee.kill();
        let done = call.join().unwrap();
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(69), ""),
            "{socket}: {done:?}"
        );
        assert!(
            done.last_line().starts_with("caller: connection lost: "),
            "{done:?}"
        );
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        release();
        // Its socket is still there, and replaced by the next one's.
        assert!(is_socket(&world, "callee.sock"));
        callee = world.callee(&["--tail", "stderr"]);
    }

    // The caller is the same process as before, and connects again.
    let done = world.query(&through, "select a from t order by a", &[]);
    assert_eq!(done.rows(), json!([[1], [2], [3], [10]]));
    assert!(caller.stop().success());
    assert!(callee.stop().success());
    drop(database);
    let files = world.files();
    assert_eq!(files, ["shop.sqlite"], "nothing is left but the database");
}

#[test]
fn a_socket_that_somebody_listens_on_is_not_taken_over() {
    let world = World::new();
    world.database();
    let first = world.callee(&[]);
    let (at, db) = (world.unix("callee.sock"), world.db());
    let second = world.run(util::callee(), &["--listen", &at, "--d1", &db]);
    assert_eq!(second.code, Some(78));
    assert!(
        second.last_line().contains("another process listens there"),
        "{second:?}"
    );
    assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    assert!(first.stop().success());
}

/// Starts a callee in a terminal of its own, whose number it says.
fn in_terminal(world: &World, options: &str) -> (std::process::Child, rustix::process::Pid) {
    let pid = world.path("pid");
    let _ = std::fs::remove_file(&pid);
    // Whatever runs the tests may ignore SIGHUP, as under `nohup`, and so would the callee.
    let line = format!(
        "echo $$ > {}; exec env --default-signal=HUP {} {options}",
        pid.display(),
        util::callee().get_program().display()
    );
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script.current_dir(world.path("."));
    let null = std::process::Stdio::null;
    let child = script.stdin(null()).stdout(null()).stderr(null()).spawn();
    let child = child.unwrap();
    let until = Instant::now() + util::LIMIT;
    while !world.path("callee.sock").exists() {
        assert!(Instant::now() < until, "it does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id: i32 = util::read(&pid).trim().parse().unwrap();
    (child, rustix::process::Pid::from_raw(id).unwrap())
}

#[test]
fn a_terminal_that_closes_ends_what_was_started_in_it_without_a_file() {
    let world = World::new();
    world.database();
    let run = |options: &str, ends: bool| {
        let (mut child, pid) = in_terminal(&world, options);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        if ends {
            assert!(child.wait().unwrap().success(), "{options}");
            assert!(!world.path("callee.sock").exists(), "{options}");
            return;
        }
        // It goes on, and answers.
        std::thread::sleep(Duration::from_millis(300));
        let done = world.query(&world.unix("callee.sock"), "select 1", &[]);
        assert_eq!(done.code, Some(0), "{options}: {done:?}");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{options}");
    };
    run("--listen unix:callee.sock --d1 DB=shop.sqlite", true);
    let text = "listen = 'unix:callee.sock'\n[d1.DB]\npath = 'shop.sqlite'\n";
    std::fs::write(world.path("callee.toml"), text).unwrap();
    run("--config callee.toml", false);
    // Who says `nohup` means it; elsewhere there is no terminal.
    run(
        "--listen unix:callee.sock --d1 DB=shop.sqlite <&- 2>log >log",
        false,
    );
}
