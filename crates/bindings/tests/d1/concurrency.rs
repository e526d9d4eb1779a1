//! Many calls at once, and calls that nobody waits for.

use std::time::{Duration, Instant};

use bindings::d1::{Cell, Database, DatabaseOptions, Query, QueryError};
use tokio::task::JoinSet;

use crate::support::{ENDLESS, database, database_with, options};

/// Waits until the condition holds; the test's own time limit is generous.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it never came true"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn count(database: &Database) -> Cell {
    let outcome = database
        .query(Query::new("select count(*) from t").into())
        .await
        .unwrap();
    outcome.results[0].rows[0][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_calls_at_once_all_get_their_own_answer() {
    let db = database();
    db.run("create table t (a integer primary key)")
        .await
        .unwrap();
    let mut calls = JoinSet::new();
    for n in 0..64 {
        let database = db.database.clone();
        calls.spawn(async move {
            let sql = if n % 2 == 0 {
                "insert into t values (?1) returning a"
            } else {
                "select ?1 as a"
            };
            let outcome = database
                .query(Query::new(sql).bind(n).into())
                .await
                .unwrap();
            assert_eq!(outcome.results[0].rows, [[Cell::Integer(i64::from(n))]]);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(count(&db.database).await, Cell::Integer(32));
}

#[tokio::test]
async fn reads_are_answered_beside_a_long_write() {
    let db = database();
    db.run("create table t (a)").await.unwrap();
    let writer = db.database.clone();
    let slow = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) select i from n";
    let write = tokio::spawn(async move { writer.query(Query::new(slow).into()).await });
    let mut reads_during = 0;
    while !write.is_finished() {
        if count(&db.database).await == Cell::Integer(0) {
            reads_during += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(reads_during > 0, "no read was answered while the write ran");
    write.await.unwrap().unwrap();
    assert_eq!(count(&db.database).await, Cell::Integer(400_000));
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_interrupted() {
    for readers in [0, 1] {
        let db = database_with(DatabaseOptions {
            readers,
            ..options()
        });
        let endless = db.database.query(Query::new(ENDLESS).into());
        assert!(
            tokio::time::timeout(Duration::from_millis(50), endless)
                .await
                .is_err()
        );
        // The one thread that would answer this is free again, long before the statement's own end.
        let answered = tokio::time::timeout(Duration::from_secs(20), db.run("select 1")).await;
        assert!(answered.is_ok_and(|result| result.is_ok()));
    }
}

#[tokio::test]
async fn a_write_for_which_nobody_waits_is_rolled_back_soon() {
    let db = database();
    db.run("create table t (a)").await.unwrap();
    let other = rusqlite::Connection::open(&db.path).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let writer = db.database.clone();
    let slow = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000000) select i from n";
    let call = tokio::spawn(async move { writer.query(Query::new(slow).into()).await });
    // The write lock is taken: it has begun.
    until(async || other.execute_batch("begin immediate; rollback").is_err()).await;
    call.abort();
    let since = Instant::now();
    until(async || other.execute_batch("begin immediate; rollback").is_ok()).await;
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(count(&db.database).await, Cell::Integer(0));
}

#[tokio::test]
async fn a_call_that_was_cancelled_in_the_queue_does_not_run() {
    let db = database_with(DatabaseOptions {
        readers: 0,
        ..options()
    });
    db.run("create table t (a)").await.unwrap();
    let busy = db.database.clone();
    let busy = tokio::spawn(async move { busy.query(Query::new(ENDLESS).into()).await });
    tokio::task::yield_now().await;
    let waiting = db
        .database
        .query(Query::new("insert into t values (1)").into());
    assert!(
        tokio::time::timeout(Duration::from_millis(20), waiting)
            .await
            .is_err()
    );
    busy.abort();
    assert_eq!(count(&db.database).await, Cell::Integer(0));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let db = database_with(DatabaseOptions {
        readers: 0,
        max_queued: 1,
        ..options()
    });
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let database = db.database.clone();
        calls.spawn(async move { database.query(Query::new(ENDLESS).into()).await });
    }
    let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused, QueryError::Overloaded);
    calls.abort_all();
}
