//! A database, the programs around it and a relay between two of them; and what must hold of all of them
//! whatever happened.

use std::cell::Cell;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde_json::json;

use crate::relay::{Mode, Relay};
use crate::util::{self, Daemon, Done, LIMIT, World, request};

/// Where the relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `caller call`, the relay, `callee`.
    Direct,
    /// `caller call`, the relay, `caller serve`, `callee`.
    Front,
    /// `caller call`, `caller serve`, the relay, `callee`.
    Back,
}

pub const WAYS: [Way; 3] = [Way::Direct, Way::Front, Way::Back];

/// The programs, and the table `t(a)` that calls write to.
pub struct Scene {
    pub world: World,
    pub callee: Daemon,
    pub caller: Daemon,
    pub relay: Relay,
    /// Where calls go.
    pub at: String,
    pub database: rusqlite::Connection,
    /// The last value that was written; each is written once.
    last: Cell<i64>,
}

impl Scene {
    pub fn new(way: Way) -> Self {
        Self::with(way, &[])
    }

    /// The same, with more options for `caller serve`.
    pub fn with(way: Way, more: &[&str]) -> Self {
        let world = World::new();
        let database = world.database();
        let mut callee = world.callee(&["--listen", "127.0.0.1:0", "--tail", "stderr"]);
        let callee_at = port(&mut callee);
        let between = |to: &str| (Relay::to(to), to.to_owned());
        let serve = |to: &str| {
            let bind = format!("DB={to}");
            let args = [&["serve", "--listen", "127.0.0.1:0", "--bind", &bind], more].concat();
            let mut caller = world.start(util::caller(), &args);
            let at = port(&mut caller);
            (caller, at)
        };
        let (relay, caller, at) = match way {
            Way::Direct => {
                let (relay, callee_at) = between(&callee_at);
                let at = relay.address.clone();
                (relay, serve(&callee_at).0, at)
            }
            Way::Front => {
                let (caller, caller_at) = serve(&callee_at);
                let (relay, _) = between(&caller_at);
                let at = relay.address.clone();
                (relay, caller, at)
            }
            Way::Back => {
                let (relay, _) = between(&callee_at);
                let (caller, at) = serve(&relay.address);
                (relay, caller, at)
            }
        };
        Self {
            world,
            callee,
            caller,
            relay,
            at,
            database,
            last: Cell::new(1000),
        }
    }

    /// A call that writes a value which nothing else writes.
    pub fn write(&self, more: &[&str]) -> (i64, JoinHandle<Done>) {
        let value = self.last.get() + 1;
        self.last.set(value);
        let call = insert(&self.at, value, more);
        (value, call)
    }

    /// The same, when it has reached the database and waits there for a lock that the test holds.
    pub fn write_that_waits(&mut self, more: &[&str]) -> (i64, JoinHandle<Done>) {
        self.database.execute_batch("begin immediate").unwrap();
        let written = self.write(more);
        self.callee.line("sqlite.transaction");
        written
    }

    /// Lets go of the lock.
    pub fn release(&self) {
        self.database.execute_batch("commit").unwrap();
    }

    /// How often a value is in the file.
    pub fn count(&self, value: i64) -> i64 {
        let sql = "select count(*) from t where a = ?1";
        self.database
            .query_row(sql, [value], |row| row.get(0))
            .unwrap()
    }

    /// Holds the answer to a call that waits for the lock, and lets go of the lock: what it writes is
    /// committed, and whoever called does not know it.
    #[track_caller]
    pub fn hold_answer(&self, value: i64) {
        self.relay.set(Mode::HoldReplies);
        self.release();
        self.committed(value);
        let since = Instant::now();
        while !self.relay.holds_answer() {
            assert!(since.elapsed() < LIMIT, "there is no answer");
            thread::yield_now();
        }
    }

    /// Waits until a value is committed.
    #[track_caller]
    pub fn committed(&self, value: i64) {
        let since = Instant::now();
        while self.count(value) == 0 {
            assert!(since.elapsed() < LIMIT, "{value} is not written");
            thread::yield_now();
        }
    }

    /// A write that must work, as if nothing had happened.
    #[track_caller]
    pub fn works(&self) {
        self.relay.mend();
        let (value, call) = self.write(&[]);
        let done = call.join().unwrap();
        assert_eq!(done.json()["success"], json!(true), "{done:?}");
        assert_eq!(self.count(value), 1);
    }

    /// Ends the programs in order. Whatever was written is there once.
    #[track_caller]
    pub fn end(self) {
        let Self {
            callee,
            caller,
            database,
            relay,
            ..
        } = self;
        assert!(caller.stop().success());
        assert!(callee.stop().success());
        drop(relay);
        let sql = "select count(*) from (select a from t group by a having count(*) > 1)";
        let twice: i64 = database.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(twice, 0, "nothing is written twice");
        let sound: String = database
            .query_row("pragma integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

/// `caller call`, on a thread of its own, that inserts a value.
pub fn insert(at: &str, value: i64, more: &[&str]) -> JoinHandle<Done> {
    let sql = request(&format!("insert into t values ({value})"));
    let mut command: Command = util::caller();
    command
        .args(["call", "--no-tree", "--connect", at, "DB.query", &sql])
        .args(more);
    thread::spawn(move || util::finish(&mut command, None))
}

/// Where a daemon listens by TCP.
pub fn port(daemon: &mut Daemon) -> String {
    let line = daemon.line("listening on 127.0.0.1:");
    let at = line.split("listening on ").nth(1).unwrap();
    at.split(',').next().unwrap().to_owned()
}

/// What a failed call said, in one line, with no result.
#[track_caller]
pub fn failed(done: &Done, code: i32, says: &[&str]) {
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(code), ""),
        "{done:?}"
    );
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    for part in says {
        assert!(done.stderr.contains(part), "no {part:?} in {done:?}");
    }
}

/// The numbers of the descriptors that a program has open.
pub fn descriptors(daemon: &Daemon) -> Vec<u64> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    let numbers = open.map(|fd| fd.unwrap().file_name().into_string().unwrap());
    numbers.map(|number| number.parse().unwrap()).collect()
}
