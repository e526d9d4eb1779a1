//! Standard streams that nobody reads, or that are not open at all.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
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

/// The number behind a label, in a daemon's metrics.
fn metric(world: &World, admin: &str, series: &str) -> u64 {
    let mut stream = UnixStream::connect(world.path(admin)).unwrap();
    stream.set_read_timeout(Some(util::LIMIT)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let number = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    number.trim().parse().unwrap()
}

const LOST: &str = "binding_span_log_lost_lines_total{reason=\"slow\"}";
const WAITING: &str = "binding_span_log_queued_bytes";
const NOISE: &str = "a CONNECT request that cannot be read: ";

/// Makes a daemon log so many long lines.
fn noise(at: &str, count: u64) {
    // Each of these takes nine characters in the log.
    let request = format!("CONNECT {}\r\n\r\n", "\u{e0041}".repeat(100));
    for _ in 0..count {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(util::LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // Until it is closed: by then the line is logged, or soon.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

/// A daemon on TCP whose standard error stream is read by whoever has the other end.
struct Stalled {
    daemon: Killed,
    at: String,
    admin: &'static str,
    stderr: BufReader<PipeReader>,
}

impl Stalled {
    fn start(world: &World, mut program: Command, admin: &'static str, args: &[&str]) -> Self {
        let admin_at = format!("unix:{admin}");
        program.current_dir(world.path(".")).args(args).args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            &admin_at,
            "--log",
            "info,js_rpc::server=debug",
        ]);
        let (child, stderr) = piped(&mut program);
        let (daemon, mut stderr) = (Killed(child), BufReader::new(stderr));
        let at = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it is ready");
            if let Some((_, at)) = line.split_once("listening on 127.0.0.1:") {
                let port = at.split([',', ' ']).next().unwrap();
                break format!("127.0.0.1:{port}");
            }
        };
        Self {
            daemon,
            at,
            admin,
            stderr,
        }
    }

    /// Logs until lines are lost; how many were logged.
    fn fill(&self, world: &World) -> u64 {
        let mut logged = 0;
        while metric(world, self.admin, LOST) == 0 {
            noise(&self.at, 100);
            logged += 100;
            assert!(logged < 100_000, "nothing is lost");
        }
        logged
    }

    /// Asks it to end; what it has said until then, or that nobody reads that.
    fn stop(mut self, read: bool) -> String {
        let mut said = String::new();
        kill_process(Pid::from_child(&self.daemon.0), Signal::TERM).unwrap();
        if read {
            self.stderr.read_to_string(&mut said).unwrap();
        }
        let ended = self.daemon.0.wait().unwrap();
        assert!(ended.success(), "{ended}");
        said
    }
}

/// A callee and a caller that nobody reads; both write tail events to the same stream.
fn stalled(world: &World) -> [Stalled; 2] {
    let db = world.db();
    let args = ["--d1", &db, "--tail", "stderr"];
    let callee = Stalled::start(world, util::callee(), "callee.admin", &args);
    let bind = format!("DB={}", callee.at);
    let args = ["serve", "--bind", &bind, "--tail", "stderr"];
    let caller = Stalled::start(world, util::caller(), "caller.admin", &args);
    [callee, caller]
}

#[test]
fn a_log_that_is_not_read_stalls_no_call_and_later_says_what_it_lost() {
    let world = World::new();
    world.database();
    let daemons = stalled(&world);
    let mut logged = daemons.each_ref().map(|daemon| daemon.fill(&world));
    for daemon in &daemons {
        assert_eq!(
            world.query(&daemon.at, "select 1", &[]).rows(),
            json!([[1]])
        );
        assert!(metric(&world, daemon.admin, WAITING) > 1_000_000);
    }
    for (mut daemon, logged) in daemons.into_iter().zip(&mut logged).rev() {
        let lost = metric(&world, daemon.admin, LOST);
        // Somebody reads again, and only then it is told.
        let mut line = String::new();
        let mut read = 0;
        while !line.contains("lines of this log are missing") {
            line.clear();
            assert!(daemon.stderr.read_line(&mut line).unwrap() > 0);
            read += u64::from(line.contains(NOISE));
        }
        noise(&daemon.at, 10);
        *logged += 10;
        let said = daemon.stop(true);
        read += said.matches(NOISE).count() as u64;
        let told = format!("missing: {lost} that were not read in time");
        assert!(line.contains(&told), "{lost}: {line}");
        assert_eq!(read + lost, *logged, "every line is there or counted");
        assert!(!said.contains("missing"), "{said}");
        assert!(said.contains("finishing the calls in flight"), "{said}");
    }
}

#[test]
fn a_daemon_whose_log_is_never_read_again_ends_in_order_and_in_time() {
    let world = World::new();
    world.database();
    let daemons = stalled(&world);
    for daemon in daemons.into_iter().rev() {
        daemon.fill(&world);
        daemon.stop(false);
    }
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
