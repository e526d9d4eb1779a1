//! Standard streams that nobody reads, or that are not open at all.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::util::{self, World, request};

/// A program with both streams in pipes; the end of one of them is given.
fn piped(program: &mut Command) -> (Child, PipeReader) {
    let (stdout, writer) = std::io::pipe().unwrap();
    // Nobody reads what a daemon might print.
    drop(stdout);
    let (stderr, stderr_writer) = std::io::pipe().unwrap();
    let child = program
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(stderr_writer)
        .spawn()
        .unwrap();
    // Its ends of the pipes are the program's alone.
    program.stdout(Stdio::null()).stderr(Stdio::null());
    (child, stderr)
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a daemon whose standard error stream is read until it is ready, and then by nobody.
fn unheard(world: &World, mut program: Command, args: &[&str]) -> (Killed, String) {
    program.current_dir(world.path(".")).args(args);
    let (child, stderr) = piped(&mut program);
    let child = Killed(child);
    let lines = BufReader::new(stderr).lines().map(Result::unwrap);
    let tcp = "listening on 127.0.0.1:";
    let line = { lines }.find(|line| line.contains(tcp)).unwrap();
    let at = line.split("listening on ").nth(1).unwrap();
    let at = at.split([',', ' ']).next().unwrap().to_owned();
    (child, at)
}

/// What makes a daemon, and the libraries below it, complain.
fn annoy(at: &str) {
    for bytes in [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        b"CONNECT nothing HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        // An empty message.
        &[0; 8],
        // A bootstrap, and then one of the same question.
        &bootstraps(),
    ] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(util::LIMIT)).unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

fn bootstraps() -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let root = message.init_root::<capnp_rpc::rpc_capnp::message::Builder<'_>>();
    root.init_bootstrap().set_question_id(0);
    let once = capnp::serialize::write_message_to_words(&message);
    [once.clone(), once].concat()
}

#[test]
fn daemons_that_nobody_listens_to_work_and_stop_in_order() {
    let world = World::new();
    world.database();
    let db = world.db();
    let args = ["--listen", "127.0.0.1:0", "--d1", &db, "--tail", "stderr"];
    let (callee, callee_at) = unheard(&world, util::callee(), &args);
    let bind = format!("DB={callee_at}");
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--bind",
        &bind,
        "--tail",
        "stderr",
    ];
    let (caller, caller_at) = unheard(&world, util::caller(), &args);
    for at in [&callee_at, &caller_at] {
        annoy(at);
        let done = world.query(at, "select 1", &[]);
        assert_eq!(done.rows(), json!([[1]]));
    }
    for mut daemon in [caller, callee] {
        kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
        let ended = daemon.0.wait().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

#[test]
fn a_call_whose_streams_are_not_open_runs_once() {
    let world = World::new();
    let database = world.database();
    let callee = world.callee(&[]);
    let at = world.unix("callee.sock");
    let closed = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"];
    for (value, closed) in (10..).zip(closed) {
        let mut shell = Command::new("sh");
        let script = format!("exec \"$0\" \"$@\" {closed}");
        let sql = request(&format!("insert into t values ({value})"));
        let program = util::caller();
        shell.arg("-c").arg(script).arg(program.get_program());
        shell.args(["call", "--connect", &at, "DB.query", &sql]);
        let done = util::finish(&mut shell, None);
        assert_eq!(done.code, Some(0), "{closed}: {done:?}");
        let count = "select count(*) from t where a = ?1";
        let count: i64 = database
            .query_row(count, [value], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1, "{closed}");
    }
    assert!(callee.stop().success());
}
