//! File systems that are full, and files that may not grow. A full one is a small tmpfs of the test's own,
//! which takes root to mount; a limit of file sizes (`RLIMIT_FSIZE`) takes nobody.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use serde_json::{Value as Json, json};

use crate::scene::insert;
use crate::util::{self, Daemon, World};

/// A file system of 1 MiB, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// None where the test may not mount.
    fn mount(world: &World) -> Option<Self> {
        let path = world.path("small");
        fs::create_dir(&path).unwrap();
        if !geteuid().is_root() {
            println!("skipped: it takes root to mount a small file system");
            return None;
        }
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&path)
            .output()
            .unwrap();
        if mount.status.success() {
            return Some(Self(path));
        }
        println!("skipped: this root may not mount: {mount:?}");
        None
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        for size in [4096, 1] {
            let error = loop {
                if let Err(error) = file.write_all(&vec![b'x'; size]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull);
        }
    }

    /// Makes room again.
    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !std::thread::panicking() {
            assert!(done.unwrap().success());
        }
    }
}

fn database(path: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).unwrap();
    let sql = "pragma journal_mode = wal; create table t(a); insert into t values (1), (2), (3)";
    database.execute_batch(sql).unwrap();
    database
}

fn write(at: &str, value: i64) -> Json {
    insert(at, value, &[]).join().unwrap().answer()
}

/// What holds of a database that could not grow, and then could again.
struct Checked<'a> {
    ways: [&'a str; 2],
    database: &'a rusqlite::Connection,
}

impl Checked<'_> {
    /// Writes values from this one on until one fails, in turns through each way; the one that failed.
    fn until_full(&self, mut value: i64) -> i64 {
        loop {
            let done = write(self.ways[value as usize % 2], value);
            if done["success"] == json!(false) {
                let message = done["error"]["$error"]["message"].as_str().unwrap();
                let says = ["SQLITE_FULL", "SQLITE_IOERR"];
                assert!(says.iter().any(|says| message.contains(says)), "{message}");
                println!("{value}: {message}");
                return value;
            }
            value += 1;
            assert!(value < 2000, "it never fails");
        }
    }

    fn values(&self) -> Vec<i64> {
        let mut all = self.database.prepare("select a from t order by a").unwrap();
        let all = all.query_map([], |row| row.get(0)).unwrap();
        all.map(Result::unwrap).collect()
    }

    fn goes_on(&self, world: &World, make_room: impl FnOnce()) {
        let failed = self.until_full(4);
        for at in self.ways {
            assert_eq!(write(at, -1)["success"], json!(false), "still full");
            let read = world.query(at, "select count(*) from t", &[]);
            assert_eq!(
                read.rows(),
                json!([[failed - 1]]),
                "what can be read is read"
            );
        }
        make_room();
        for (value, at) in (failed..).zip(self.ways) {
            assert_eq!(write(at, value)["success"], json!(true));
        }
        let expected: Vec<i64> = (1..=failed + 1).collect();
        assert_eq!(self.values(), expected, "each that was answered, once");
        let sound: String = self
            .database
            .query_row("pragma integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

#[test]
fn a_full_disk_costs_the_writes_and_nothing_that_was_committed() {
    let world = World::new();
    let Some(small) = Small::mount(&world) else {
        return;
    };
    let path = small.0.join("shop.sqlite");
    let database = database(&path);
    let listen = world.unix("callee.sock");
    let db = format!("DB={}", path.display());
    let callee = world.start(util::callee(), &["--listen", &listen, "--d1", &db]);
    let callee = callee.ready();
    let caller = world.caller(&[]);
    let ways = [listen.as_str(), &world.unix("caller.sock")];
    small.fill();
    let checked = Checked {
        ways,
        database: &database,
    };
    checked.goes_on(&world, || small.clear());
    assert!(caller.stop().success());
    assert!(callee.stop().success());
    drop(database);
}

/// What the files of a daemon and of its workers may grow to, from now on.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    for id in [vec![daemon.id()], children(daemon.id())].concat() {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        let id = Pid::from_raw(i32::try_from(id).unwrap());
        prlimit(id, Resource::Fsize, limit).unwrap();
    }
}

/// The processes that a process started.
fn children(id: u32) -> Vec<u32> {
    let path = format!("/proc/{id}/task/{id}/children");
    let children = fs::read_to_string(path).unwrap();
    let ids = children.split_whitespace();
    ids.map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_limit_of_file_sizes_costs_the_writes_and_not_the_callee() {
    let world = World::new();
    let database = world.database();
    let callee = world.callee(&[]);
    let caller = world.caller(&[]);
    let ways = [&*world.unix("callee.sock"), &world.unix("caller.sock")];
    let log = fs::metadata(world.path("shop.sqlite-wal")).unwrap().len();
    limit_files(&callee, Some(log + 20_000));
    let checked = Checked {
        ways,
        database: &database,
    };
    checked.goes_on(&world, || limit_files(&callee, None));
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}

/// Each line of a file of tail events that is whole, and how many are not.
fn lines(path: &Path) -> (Vec<Json>, usize) {
    let text = fs::read_to_string(path).unwrap();
    let read: Vec<_> = text.lines().map(serde_json::from_str::<Json>).collect();
    let broken = read.iter().filter(|line| line.is_err()).count();
    (read.into_iter().flatten().collect(), broken)
}

/// Calls with a tail that cannot be written, and then can.
fn tail_goes_on(world: &World, path: &Path, mut caller: Daemon, full: impl Fn(&Daemon, bool)) {
    let at = world.unix("caller.sock");
    let call = || assert_eq!(world.query(&at, "select 1", &[]).rows(), json!([[1]]));
    call();
    full(&caller, true);
    (0..5).for_each(|_| call());
    let line = caller.line("cannot write tail events to");
    assert!(
        line.contains("events are lost until it works again"),
        "{line}"
    );
    full(&caller, false);
    let before = lines(path).0.len();
    (0..3).for_each(|_| call());
    assert!(caller.stop().success());
    let (events, broken) = lines(path);
    assert!(broken <= 1, "at most the one that broke off: {broken}");
    let opened = events[before..].iter();
    let opened = opened.filter(|event| event["event"]["type"] == "spanOpen");
    assert!(opened.count() >= 3, "{events:?}");
}

#[test]
fn a_full_disk_costs_tail_events_and_no_call() {
    let world = World::new();
    let Some(small) = Small::mount(&world) else {
        return;
    };
    world.database();
    let callee = world.callee(&[]);
    let path = small.0.join("tail.jsonl");
    let caller = world.caller(&["--tail", path.to_str().unwrap()]);
    tail_goes_on(&world, &path, caller, |_, full| match full {
        true => small.fill(),
        false => small.clear(),
    });
    assert!(callee.stop().success());
}

#[test]
fn a_limit_of_file_sizes_costs_tail_events_and_no_call() {
    let world = World::new();
    world.database();
    let callee = world.callee(&[]);
    let path = world.path("tail.jsonl");
    let caller = world.caller(&["--tail", "tail.jsonl"]);
    tail_goes_on(&world, &path, caller, |caller, full| {
        limit_files(caller, full.then_some(100));
    });
    assert!(callee.stop().success());
}
