//! A served database can be copied as the operator's guide says, while it is written to.

mod util;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::Backup;
use util::World;

/// Two rows in one transaction, so that a copy that tears one shows it.
const WRITE: &str = "insert into pairs select max(n) + 1, 'a' from pairs; insert into pairs select max(n), 'b' from pairs";

/// Writes through the callee until it is told to stop, and counts the transactions that were committed.
fn write(world: &World, stop: &AtomicBool, written: &AtomicUsize) {
    let statements: Vec<_> = WRITE
        .split("; ")
        .map(|sql| serde_json::json!({ "sql": sql }))
        .collect();
    let request = serde_json::json!({ "queries": statements }).to_string();
    while !stop.load(Ordering::Relaxed) {
        let at = world.unix("callee.sock");
        world.call(&at, &["DB.query", &request, "--no-tree"]).json();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until something is written.
fn next_write(written: &AtomicUsize) {
    let (before, since) = (written.load(Ordering::Relaxed), Instant::now());
    while written.load(Ordering::Relaxed) == before {
        assert!(since.elapsed() < util::LIMIT, "nobody writes any more");
        thread::yield_now();
    }
}

/// What a copy has: it is whole, and has no half of a transaction.
fn check(copy: &Connection, at_least: i64) {
    let one = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let whole: String = copy
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    let (a, b) = (
        one("select count(*) from pairs where half = 'a'"),
        one("select count(*) from pairs where half = 'b'"),
    );
    assert_eq!(a, b, "half of a transaction was copied");
    assert!(a >= at_least, "{a}");
}

#[test]
fn a_copy_that_is_made_while_calls_write_has_whole_transactions_and_stops_nobody() {
    let world = World::new();
    let database = Connection::open(world.path("shop.sqlite")).unwrap();
    let sql = "pragma journal_mode = wal; create table pairs(n, half); insert into pairs values (0, 'a'), (0, 'b')";
    database.execute_batch(sql).unwrap();
    drop(database);
    let callee = world.callee(&[]);
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// Also when a check fails: the scope waits for the thread that writes.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| write(&world, &stop, &written));
        for n in 0..3 {
            next_write(&written);
            let source = Connection::open(world.path("shop.sqlite")).unwrap();
            source.busy_timeout(util::LIMIT).unwrap();
            // What `VACUUM INTO` does in any client of SQLite.
            let vacuumed = world.text(&format!("vacuumed-{n}.sqlite"));
            source.execute("vacuum into ?1", [&vacuumed]).unwrap();
            check(&Connection::open(&vacuumed).unwrap(), 1);
            // What `.backup` does in `sqlite3`.
            let mut copy = Connection::open(world.path(&format!("copy-{n}.sqlite"))).unwrap();
            let backup = Backup::new(&source, &mut copy).unwrap();
            backup.run_to_completion(100, Duration::ZERO, None).unwrap();
            drop(backup);
            check(&copy, 1);
        }
        // Nobody was stopped.
        next_write(&written);
    });
    assert!(callee.stop().success());
}

#[test]
fn a_callee_that_ended_leaves_one_file_and_one_that_was_killed_leaves_a_log_that_belongs_to_it() {
    let world = World::new();
    drop(world.database());
    let callee = world.callee(&[]);
    let insert = "insert into t values (4)";
    world.query(&world.unix("callee.sock"), insert, &[]).json();
    callee.kill();
    let left = world.files();
    assert!(left.contains(&"shop.sqlite-wal".to_owned()), "{left:?}");
    // Copied together, they are the database.
    for name in ["shop.sqlite", "shop.sqlite-wal"] {
        let copy = name.replace("shop", "moved");
        std::fs::copy(world.path(name), world.path(&copy)).unwrap();
    }
    let moved = Connection::open(world.path("moved.sqlite")).unwrap();
    let count = |database: &Connection| -> i64 {
        database
            .query_row("select count(*) from t", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(&moved), 4);

    let callee = world.callee(&[]);
    assert!(callee.stop().success());
    let left = world.files();
    assert!(!left.contains(&"shop.sqlite-wal".to_owned()), "{left:?}");
    assert_eq!(
        count(&Connection::open(world.path("shop.sqlite")).unwrap()),
        4
    );
}

#[test]
fn a_callee_whose_calls_only_read_leaves_one_file_too() {
    let world = World::new();
    for run in ["first", "second"] {
        let callee = world.callee(&["--d1-create"]);
        let at = world.unix("callee.sock");
        world.query(&at, "select 1", &[]).json();
        assert!(callee.stop().success());
        assert_eq!(world.files(), ["shop.sqlite"], "{run}");
    }
}
