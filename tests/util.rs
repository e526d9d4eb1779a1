//! Starts the real programs in a folder of their own, and always ends them.
//!
//! Each test is a `World`. Whatever is waited for has a limit, so that a test fails instead of hanging.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tempfile::TempDir;

/// The longest that anything may take, on a machine that has other things to do as well.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A folder and what runs in it.
pub struct World {
    folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bs-").tempdir().unwrap();
        Self { folder }
    }

    /// One whose folder is in memory where there is such a place, so that how busy the disk is counts for nothing.
    pub fn in_memory() -> Self {
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("bs-").tempdir_in("/dev/shm");
        folder.map_or_else(|_| Self::new(), |folder| Self { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The address of a socket of that name.
    pub fn unix(&self, name: &str) -> String {
        format!("unix:{}", self.text(name))
    }

    /// `name=value` for options that take a name and a path or an address.
    pub fn db(&self) -> String {
        format!("DB={}", self.text("shop.sqlite"))
    }

    /// The names of files here.
    pub fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A database with the table `t(a)` that holds 1, 2 and 3.
    pub fn database(&self) -> rusqlite::Connection {
        let database = rusqlite::Connection::open(self.path("shop.sqlite")).unwrap();
        let sql =
            "pragma journal_mode = wal; create table t(a); insert into t values (1), (2), (3)";
        database.execute_batch(sql).unwrap();
        database
    }

    /// A callee with that database on `callee.sock`, ready; with `more` options.
    pub fn callee(&self, more: &[&str]) -> Daemon {
        let (listen, db) = (self.unix("callee.sock"), self.db());
        let args = [&["--listen", &listen, "--d1", &db], more].concat();
        self.start(callee(), &args).ready()
    }

    /// A `caller serve` on `caller.sock` that passes `DB` on to that callee, ready; with `more` options.
    pub fn caller(&self, more: &[&str]) -> Daemon {
        let listen = self.unix("caller.sock");
        let bind = format!("DB={}", self.unix("callee.sock"));
        let args = [&["serve", "--listen", &listen, "--bind", &bind], more].concat();
        self.start(caller(), &args).ready()
    }

    /// Starts a program in the folder.
    pub fn start(&self, mut program: Command, args: &[&str]) -> Daemon {
        Daemon::start(program.current_dir(self.folder.path()).args(args))
    }

    /// Runs a program in the folder to its end.
    pub fn run(&self, mut program: Command, args: &[&str]) -> Done {
        finish(program.current_dir(self.folder.path()).args(args), None)
    }

    /// `caller call --connect ADDR ...`
    pub fn call(&self, address: &str, args: &[&str]) -> Done {
        self.run(caller(), &[&["call", "--connect", address], args].concat())
    }

    /// A call of `DB.query` with one statement.
    pub fn query(&self, address: &str, sql: &str, more: &[&str]) -> Done {
        let request = request(sql);
        self.call(address, &[&["DB.query", &request], more].concat())
    }

    /// The events in a file of tail events.
    pub fn tail(&self, name: &str) -> Vec<Json> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The argument of `query` with one statement.
pub fn request(sql: &str) -> String {
    serde_json::json!({"queries": [{"sql": sql}]}).to_string()
}

/// The program `callee`, without what the environment would tell it.
pub fn callee() -> Command {
    clean(env!("CARGO_BIN_EXE_callee"))
}

/// The program `caller`, likewise.
pub fn caller() -> Command {
    clean(env!("CARGO_BIN_EXE_caller"))
}

/// The program `bspan`, likewise.
pub fn bspan() -> Command {
    clean(env!("CARGO_BIN_EXE_bspan"))
}

fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let read = name.to_string_lossy();
        let ours = read.starts_with("BINDING_SPAN_") || read.starts_with("OTEL_");
        if ours
            || [
                "RUST_LOG",
                "TRACEPARENT",
                "COLUMNS",
                "CLICOLOR_FORCE",
                "NOTIFY_SOCKET",
                "WATCHDOG_USEC",
                "LISTEN_PID",
            ]
            .iter()
            .any(|n| name == *n)
        {
            command.env_remove(name);
        }
    }
    command
}

/// What a program said until its end.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// The result of a call that must have succeeded: standard output is one line of JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// What D1 answered, whether the statement failed or not: then the call did as well.
    #[track_caller]
    pub fn answer(&self) -> Json {
        let json: Json = serde_json::from_str(&self.stdout).unwrap_or_default();
        let success = json["success"].as_bool();
        let code = success.map(|success| i32::from(!success));
        assert!(code.is_some() && self.code == code, "{self:?}");
        json
    }

    /// The rows of the first statement of a query.
    #[track_caller]
    pub fn rows(&self) -> Json {
        let json = self.json();
        json.pointer("/results/queryResults/0/data/rows")
            .unwrap_or_else(|| panic!("no rows: {json}"))
            .clone()
    }

    /// The last line of standard error.
    pub fn last_line(&self) -> &str {
        self.stderr.lines().next_back().unwrap_or_default()
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command to its end, with a text on its standard input.
pub fn finish(command: &mut Command, stdin: Option<&str>) -> Done {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = pid(&child);
    if let Some(text) = stdin {
        let mut pipe = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
    }
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    match is_done.recv_timeout(LIMIT) {
        Ok(output) => output.unwrap().into(),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{command:?} did not end within {LIMIT:?}");
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// A program that stays; killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Daemon {
    fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))
    }

    /// Starts a command whose standard input and output are the test's to say.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            for text in stderr.lines() {
                let Ok(text) = text else { return };
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits until it says that it listens.
    #[track_caller]
    pub fn ready(mut self) -> Self {
        self.line("listening on");
        self
    }

    /// Waits for a line of standard error that contains this.
    #[track_caller]
    pub fn line(&mut self, part: &str) -> String {
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let _ = writeln!(self.seen, "{line}");
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?}; there was:\n{}", self.seen),
            }
        }
    }

    /// Everything that it says, to its end.
    pub fn rest(&mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            let _ = writeln!(self.seen, "{line}");
        }
        self.seen.clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> ExitStatus {
        // Its standard error stream ends with it.
        self.rest();
        self.child.wait().unwrap()
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an admin port on a socket of this name answers to `GET /metrics`.
pub fn metrics(world: &World, socket: &str) -> String {
    get(world, socket, "/metrics")
}

/// What it answers to `GET` of another page.
pub fn get(world: &World, socket: &str, page: &str) -> String {
    let mut stream = UnixStream::connect(world.path(socket)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The text of a file, or nothing.
pub fn read(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        file.read_to_string(&mut text).unwrap();
    }
    text
}

/// The spans that opened in tail events, by name, with their ids and their parents'.
pub fn opened(events: &[Json]) -> Vec<(String, String, Option<String>)> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    events
        .iter()
        .filter(|event| event["event"]["type"] == "spanOpen")
        .map(|event| {
            (
                text(&event["event"]["name"]).unwrap(),
                text(&event["event"]["spanId"]).unwrap(),
                text(&event["spanContext"]["spanId"]),
            )
        })
        .collect()
}

/// All attributes in tail events, in order.
pub fn attributes(events: &[Json]) -> Vec<(String, Json)> {
    let lists = events.iter().filter_map(|e| e["event"]["info"].as_array());
    lists
        .flatten()
        .map(|a| (a["name"].as_str().unwrap().to_owned(), a["value"].clone()))
        .collect()
}

/// The value of an attribute.
pub fn attribute(events: &[Json], name: &str) -> Option<Json> {
    let found = attributes(events)
        .into_iter()
        .rev()
        .find(|(key, _)| key == name);
    found.map(|(_, value)| value)
}
