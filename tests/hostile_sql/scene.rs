//! A callee within an address space, on a database that has something to gather and to sort; and what its processes
//! take.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use js_rpc::Address;

use crate::util::{self, Daemon, World};

/// What a call may take on the database.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// What SQLite may take in a worker, in MiB.
pub const MEMORY: u64 = 64;
/// What a worker may take besides, and what the callee may take over its start, in MiB.
pub const OWN_MEMORY: u64 = 256;
pub const CALLEE_MEMORY: u64 = 150;
/// KiB of address space of each process.
const ADDRESS_SPACE: u64 = 4 << 20;

/// The tables that are there.
const PRELUDE: &str = "
    pragma journal_mode = wal;
    create table t(a); insert into t values (1), (2), (3);
    create table honest(id integer primary key, v text);
    insert into honest select value, 'v' || value from generate(100);
    create table log(n integer primary key);
    create table kilo(n integer primary key, x text);
    insert into kilo select value, 'a text that is neither long nor short ' || value from generate(1000);
    create table mega(n integer primary key, x text);
    insert into mega select value, printf('%.*c', 1900000 + value, 'x') from generate(16);
    create table child(id integer primary key, parent references kilo(n));
    create table seq(id integer primary key autoincrement, v);
    create view shown as select a from t;
    create virtual table words using fts5(body);
    insert into words select x from kilo;
    create virtual table boxes using rtree(id, x0, x1);
    insert into boxes select n, n, n + 1 from kilo;
";

fn prelude() -> String {
    let mut sql = PRELUDE.to_owned();
    for count in [100, 1000, 16] {
        let values = format!(
            "(with recursive g(value) as (select 1 union all select value + 1 from g where value < {count}) select value from g)"
        );
        sql = sql.replace(&format!("generate({count})"), &values);
    }
    sql
}

pub struct Scene {
    pub world: World,
    pub callee: Daemon,
    pub watch: Watch,
    pub pid: u32,
}

impl Scene {
    /// A callee with the limits above.
    pub fn new(world: World) -> Self {
        let database = rusqlite::Connection::open(world.path("shop.sqlite")).unwrap();
        database.execute_batch(&prelude()).unwrap();
        drop(database);
        let callee = start(&world);
        let pid = callee.id();
        let watch = Watch::start(pid);
        Self {
            world,
            callee,
            watch,
            pid,
        }
    }

    /// Starts the callee again, after its end.
    pub fn restart(&mut self) {
        self.callee = start(&self.world);
        self.pid = self.callee.id();
        self.watch = Watch::start(self.pid);
    }

    pub fn address(&self) -> Address {
        self.world.unix("callee.sock").parse().unwrap()
    }

    /// A connection beside the callee.
    pub fn beside(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.world.path("shop.sqlite")).unwrap();
        connection.busy_timeout(util::LIMIT).unwrap();
        connection
    }
}

/// The id of the worker of a callee that writes, or of one that reads.
pub fn worker(callee: u32, of: &str) -> Option<u32> {
    let workers = children(callee).into_iter();
    workers
        .filter(|pid| role(*pid).as_deref() == Some(of))
        .min()
}

fn start(world: &World) -> Daemon {
    let callee = util::callee();
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(callee.get_program());
    for (name, value) in callee.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let memory = format!("{MEMORY}MiB");
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = [
        "--listen",
        &listen,
        "--d1",
        &db,
        "--d1-timeout",
        &timeout,
        "--d1-memory",
        &memory,
        "--d1-max-size",
        "96MiB",
        "--d1-max-log",
        "24MiB",
        "--d1-max-temporary",
        "24MiB",
    ];
    world.start(command, &args).ready()
}

/// The processes that a process has started and that live.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = tasks.flatten().map(|task| {
        let list = std::fs::read_to_string(task.path().join("children"));
        list.unwrap_or_default()
    });
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect()
}

/// The last argument of a worker: `write` or `read`.
fn role(pid: u32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split('\0').filter(|word| !word.is_empty());
    line.contains("d1-worker")
        .then(|| words.next_back().map(str::to_owned))?
}

/// The most memory that a process had, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Looks at the callee and its workers all the time.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
    pub start: u64,
}

#[derive(Default)]
struct Seen {
    callee: u64,
    workers: BTreeMap<u32, u64>,
}

/// What was seen since it was last asked, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peaks {
    pub callee: u64,
    pub worker: u64,
    /// Workers that ended.
    pub ended: usize,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (look, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                look.lock().unwrap().look(pid);
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
            pid,
            start: peak(pid).unwrap(),
        }
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Peaks {
        let mut seen = self.seen.lock().unwrap();
        seen.look(self.pid);
        let alive = children(self.pid);
        let peaks = Peaks {
            callee: seen.callee.saturating_sub(self.start) >> 10,
            worker: seen.workers.values().max().copied().unwrap_or(0) >> 10,
            ended: seen
                .workers
                .keys()
                .filter(|pid| !alive.contains(pid))
                .count(),
        };
        *seen = Seen::default();
        // The kernel's own note of the peak begins anew.
        for pid in alive.into_iter().chain([self.pid]) {
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        peaks
    }
}

impl Seen {
    fn look(&mut self, pid: u32) {
        self.callee = self.callee.max(peak(pid).unwrap_or(0));
        for worker in children(pid) {
            if let Some(now) = peak(worker) {
                let most = self.workers.entry(worker).or_default();
                *most = now.max(*most);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
