//! Processes that are killed or stand still under writes, and files that are taken away: every write that was
//! acknowledged is there, and what a failed call says of itself is true.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use js_rpc::{Address, Client, ConnectOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::case::{Outcome, make, outcome};
use crate::honest::{local, query};
use crate::scene::{Scene, TIMEOUT, worker};
use crate::table::Table;

const ROUNDS: usize = 10;
const CLIENTS: usize = 4;
/// What an answer may take beyond the time of a call.
const SPARE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<i64>,
    /// With what was said of them.
    nothing: BTreeSet<i64>,
    all: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    /// No answer: the connection was lost.
    lost: BTreeSet<i64>,
    late: Vec<String>,
    strange: BTreeSet<String>,
}

impl Told {
    fn add(&mut self, n: i64, outcome: &Outcome) {
        let message = outcome.message();
        let said = |part: &str| message.contains(part);
        if outcome.took > TIMEOUT + SPARE {
            self.late.push(format!("{n} took {:?}", outcome.took));
        }
        let kind = if outcome.succeeded() {
            &mut self.acknowledged
        } else if said("nothing of the call was")
            || said("rolled back")
            || said("Too many requests")
        {
            &mut self.nothing
        } else if said("all of it was written, or nothing") || said("either all of it") {
            &mut self.unknown
        } else if said("all of it was written") {
            &mut self.all
        } else {
            &mut self.lost
        };
        kind.insert(n);
        if outcome.reply.is_ok() && !outcome.succeeded() {
            let text: String = message.chars().take(160).collect();
            if !text.is_empty() {
                self.strange.insert(text);
            }
        }
    }
}

/// Clients that write, until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(scene: &Scene, next: &Arc<AtomicI64>) -> Self {
        let (stop, told): (Arc<AtomicBool>, Arc<Mutex<Told>>) = Default::default();
        let threads = (0..CLIENTS).map(|_| {
            let address = scene.address();
            let (stop, told, next) = (Arc::clone(&stop), Arc::clone(&told), Arc::clone(next));
            std::thread::spawn(move || local(write(address, stop, told, next)))
        });
        Self {
            threads: threads.collect(),
            stop,
            told,
        }
    }

    /// Waits until so many more writes were acknowledged.
    #[track_caller]
    fn more(&self, count: usize) {
        let before = self.acknowledged();
        let since = Instant::now();
        while self.acknowledged() < before + count {
            assert!(since.elapsed() < crate::util::LIMIT, "no more writes");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn acknowledged(&self) -> usize {
        self.told.lock().unwrap().acknowledged.len()
    }

    fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

async fn write(
    address: Address,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
    next: Arc<AtomicI64>,
) {
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let open = match client.take() {
            Some(client) => client,
            None => match Client::connect(address.clone(), ConnectOptions::default()).await {
                Ok(client) => client,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        let n = next.fetch_add(1, Ordering::Relaxed);
        let args = query("insert into log values (?1)", vec![n.into()]);
        let outcome = outcome(&open, args).await;
        if outcome.reply.is_ok() {
            client = Some(open);
        }
        told.lock().unwrap().add(n, &outcome);
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that has ended meanwhile is none that must be ended.
    let _ = kill_process(pid.unwrap(), signal);
}

fn check(scene: &Scene, table: &mut Table, name: &str, told: &Told) {
    let beside = scene.beside();
    let mut found = beside.prepare("select n from log").unwrap();
    let found = found.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let found: BTreeSet<i64> = found.map(Result::unwrap).collect();
    let missing: Vec<_> = told.acknowledged.difference(&found).collect();
    let there: Vec<_> = told.nothing.intersection(&found).collect();
    let not_there: Vec<_> = told.all.difference(&found).collect();
    let count = |kind: &BTreeSet<i64>| (kind.len(), kind.intersection(&found).count());
    let (acknowledged, nothing, all) = (
        count(&told.acknowledged),
        count(&told.nothing),
        count(&told.all),
    );
    let (unknown, lost) = (count(&told.unknown), count(&told.lost));
    table.note(format!(
        "{name}: acknowledged {acknowledged:?}, nothing written {nothing:?}, all written {all:?}, either {unknown:?}, connection lost {lost:?} (calls, found)"
    ));
    for said in &told.strange {
        table.note(format!("    {said}"));
    }
    for (what, list) in [
        ("acknowledged and not found", missing),
        ("said not to be written, and found", there),
        ("said to be written, and not found", not_there),
    ] {
        if !list.is_empty() {
            table.wrong(format!("{name}: {what}: {list:?}"));
        }
    }
    for late in &told.late {
        table.wrong(format!("{name}: {late}"));
    }
    let sound: String = beside
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap();
    if sound != "ok" {
        table.wrong(format!("{name}: the database is broken: {sound}"));
    }
}

pub fn run(table: &mut Table) {
    let mut scene = Scene::new(crate::util::World::new());
    let next = Arc::new(AtomicI64::new(1));
    callee(&mut scene, table, &next);
    workers(
        &scene,
        table,
        &next,
        "the write worker is killed",
        |scene| {
            if let Some(pid) = worker(scene.pid, "write") {
                kill(pid, Signal::KILL);
            }
        },
    );
    workers(
        &scene,
        table,
        &next,
        "the log's index is cut off",
        |scene| {
            let path = scene.world.path("shop.sqlite-shm");
            let file = std::fs::OpenOptions::new().write(true).open(path);
            if let Ok(file) = file {
                file.set_len(0).unwrap();
            }
        },
    );
    stands_still(&scene, table);
    readers(&scene, table);
    file(&scene, table);
    if scene.callee.id() != scene.pid
        || !std::path::Path::new(&format!("/proc/{}", scene.pid)).exists()
    {
        table.wrong("the callee is gone".to_owned());
    }
    assert!(scene.callee.stop().success());
}

fn callee(scene: &mut Scene, table: &mut Table, next: &Arc<AtomicI64>) {
    let writers = Writers::start(scene, next);
    for round in 0..ROUNDS {
        writers.more(20 + round);
        kill(scene.pid, Signal::KILL);
        scene.restart();
    }
    writers.more(20);
    let told = writers.end();
    check(scene, table, "the callee is killed", &told);
}

fn workers(
    scene: &Scene,
    table: &mut Table,
    next: &Arc<AtomicI64>,
    name: &str,
    fault: impl Fn(&Scene),
) {
    let writers = Writers::start(scene, next);
    for round in 0..ROUNDS {
        writers.more(20 + round);
        fault(scene);
    }
    writers.more(20);
    let told = writers.end();
    if !told.lost.is_empty() {
        table.wrong(format!("{name}: connections were lost"));
    }
    check(scene, table, name, &told);
}

/// A call that must be answered in time, however.
fn in_time(scene: &Scene, table: &mut Table, what: &str, sql: &str) -> Outcome {
    let outcome = make(scene, query(sql, Vec::new()));
    if outcome.took > TIMEOUT + SPARE {
        table.wrong(format!("{what}: took {:?}", outcome.took));
    }
    outcome
}

/// A call that must succeed soon.
fn soon(scene: &Scene, table: &mut Table, what: &str, sql: &str) {
    let since = Instant::now();
    loop {
        let outcome = in_time(scene, table, what, sql);
        if outcome.succeeded() {
            table.note(format!("{what}: works again after {:?}", since.elapsed()));
            return;
        }
        if since.elapsed() > Duration::from_secs(5) {
            table.wrong(format!("{what}: still: {}", outcome.message()));
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

const READ: &str = "select count(*) from t";
const WRITE: &str = "insert into seq(v) values (1)";

fn stands_still(scene: &Scene, table: &mut Table) {
    for (role, sql) in [("write", WRITE), ("read", READ)] {
        let what = format!("a {role} worker stands still");
        let Some(pid) = worker(scene.pid, role) else {
            table.wrong(format!("{what}: there is none"));
            continue;
        };
        kill(pid, Signal::STOP);
        let outcome = in_time(scene, table, &what, sql);
        table.note(format!("{what}: {:?} {}", outcome.took, outcome.message()));
        soon(scene, table, &what, sql);
        let replaced = !std::path::Path::new(&format!("/proc/{pid}")).exists();
        if role == "write" && !replaced {
            table.wrong(format!("{what}: it is still there"));
        }
        kill(pid, Signal::CONT);
    }
}

fn readers(scene: &Scene, table: &mut Table) {
    let what = "read workers are killed";
    let stop = AtomicBool::new(false);
    let said = Mutex::new(BTreeSet::new());
    let (mut failed, mut done) = (0, 0);
    let pid = scene.pid;
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for _ in 0..ROUNDS {
                std::thread::sleep(Duration::from_millis(120));
                if let Some(pid) = worker(pid, "read") {
                    kill(pid, Signal::KILL);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            let sql = "select count(*) from kilo a, kilo b where b.n < 100";
            let outcome = in_time(scene, table, what, sql);
            match outcome.succeeded() {
                true => done += 1,
                false => {
                    failed += 1;
                    said.lock().unwrap().insert(outcome.message().to_owned());
                }
            }
        }
    });
    table.note(format!("{what}: {done} read, {failed} failed"));
    for said in said.into_inner().unwrap() {
        if !said.contains("nothing of the call was") {
            table.wrong(format!("{what}: {said}"));
        }
        table.note(format!("    {said}"));
    }
    soon(scene, table, what, READ);
}

/// The database file is taken away, another one is put there, and the first is put back.
fn file(scene: &Scene, table: &mut Table) {
    let (path, away) = (
        scene.world.path("shop.sqlite"),
        scene.world.path("away.sqlite"),
    );
    let fails = |table: &mut Table, what: &str| {
        for sql in [READ, WRITE] {
            let outcome = in_time(scene, table, what, sql);
            table.note(format!("{what}: {sql}: {}", outcome.message()));
            if outcome.succeeded() {
                table.wrong(format!("{what}: {sql} succeeds"));
            }
        }
    };
    std::fs::rename(&path, &away).unwrap();
    fails(table, "the file is removed");
    let log = std::fs::metadata(scene.world.path("shop.sqlite-wal"));
    table.note(format!(
        "    log beside it: {:?} bytes",
        log.map(|log| log.len()).ok()
    ));
    std::fs::rename(&away, &path).unwrap();
    for sql in [READ, WRITE] {
        soon(scene, table, "the file is put back", sql);
    }
    let three = make(scene, query("select a from t order by rowid", Vec::new()));
    if three.reply.as_ref().is_ok_and(|reply| {
        reply["results"]["queryResults"][0]["data"]["rows"] != json!([[1], [2], [3]])
    }) {
        table.wrong(format!("the file is put back: {three:?}"));
    }
}
