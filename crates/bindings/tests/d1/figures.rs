//! `meta`: every figure is measured.

use std::time::Duration;

use bindings::d1::{Meta, RowCount};

use crate::support::{Fixture, database};

/// 100 rows with ids 1 to 100, of which `kind` splits ten off.
async fn hundred() -> Fixture {
    let db = database();
    db.batch(&[
        "create table t (id integer primary key, kind, note)",
        "create index by_kind on t (kind)",
        "insert into t (kind, note) select value % 10, 'n' || value from json_each('[' || (with recursive n(i) as (select 0 union all select i + 1 from n where i < 99) select group_concat(i) from n) || ']')",
    ])
    .await
    .unwrap();
    db
}

#[tokio::test]
async fn without_the_flags_rows_read_is_a_lower_bound() {
    let db = hundred().await;
    // (statement, as D1 counts, times a cursor moved on)
    let cases = [
        ("select * from t", 100, 99),
        ("select * from t where note = 'n5'", 100, 99),
        ("select * from t where id = 5", 1, 0),
        ("select * from t where kind = 3", 11, 10),
        ("select * from t limit 7", 7, 6),
        ("select count(*) from t", 100, 0),
        ("select max(id) from t", 1, 0),
        ("select a.id from t a join t b on b.id = a.id + 1", 200, 99),
        ("select 1", 0, 0),
    ];
    for (sql, exact, steps) in cases {
        let expected = match RowCount::method() {
            RowCount::Exact => exact,
            RowCount::Steps => steps,
        };
        assert_eq!(db.run(sql).await.unwrap().meta.rows_read, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_depends_on_how_sqlite_was_compiled_is_known_at_run_time() {
    // `.cargo/config.toml` asks for both; a build elsewhere may have neither, and works.
    let asked = |flag| option_env!("LIBSQLITE3_FLAGS").is_some_and(|flags| flags.contains(flag));
    let counts = RowCount::method() == RowCount::Exact;
    let flags = [
        "SQLITE_ENABLE_STMT_SCANSTATUS",
        "SQLITE_ENABLE_BYTECODE_VTAB",
    ];
    assert_eq!(counts, flags.into_iter().all(asked));
    let maths = database().run("select sqrt(4)").await.is_ok();
    assert_eq!(maths, asked("SQLITE_ENABLE_MATH_FUNCTIONS"));
}

#[tokio::test]
async fn changes_count_rows_and_reads_change_nothing() {
    let db = hundred().await;
    let cases = [
        ("select * from t", 0, false),
        ("update t set note = 'x' where kind = 3", 10, true),
        ("delete from t where id = 1000", 0, false),
        ("delete from t where id <= 5", 5, true),
        ("create table u (a)", 0, true),
        ("create table if not exists u (a)", 0, false),
        ("alter table u add column b", 0, true),
        ("drop table u", 0, true),
    ];
    for (sql, changes, changed) in cases {
        let meta = db.run(sql).await.unwrap().meta;
        assert_eq!((meta.changes, meta.changed_db), (changes, changed), "{sql}");
    }
}

#[tokio::test]
async fn rows_that_triggers_write_count_too() {
    let db = hundred().await;
    db.batch(&[
        "create table log (id)",
        "create trigger r after delete on t begin insert into log values (old.id); end",
    ])
    .await
    .unwrap();
    assert_eq!(
        db.run("delete from t where kind = 1")
            .await
            .unwrap()
            .meta
            .changes,
        20
    );
}

#[tokio::test]
async fn the_last_row_id_is_the_last_inserts_and_reads_repeat_it() {
    let db = database();
    assert_eq!(db.run("select 1").await.unwrap().meta.last_row_id, 0);
    db.run("create table t (id integer primary key)")
        .await
        .unwrap();
    assert_eq!(
        db.run("insert into t values (41), (42)")
            .await
            .unwrap()
            .meta
            .last_row_id,
        42
    );
    assert_eq!(db.run("select 1").await.unwrap().meta.last_row_id, 42);
}

#[tokio::test]
async fn the_size_is_the_files() {
    let db = hundred().await;
    let size = db.run("select 1").await.unwrap().meta.size_after;
    db.database.close().await;
    assert_eq!(size, std::fs::metadata(&db.path).unwrap().len());
}

#[tokio::test]
async fn each_statement_of_a_batch_has_its_own_figures() {
    let db = hundred().await;
    let results = db
        .batch(&[
            "update t set note = 1 where id < 4",
            "select * from t",
            "delete from t where id = 1",
        ])
        .await
        .unwrap();
    let changes: Vec<u64> = results.iter().map(|result| result.meta.changes).collect();
    assert_eq!(changes, [3, 0, 1]);
    let total = Meta::total(results.iter().map(|result| &result.meta));
    assert_eq!((total.changes, total.changed_db), (4, true));
}

#[tokio::test]
async fn durations_are_real_and_sql_is_part_of_the_whole() {
    let db = database();
    let sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select count(*) from n";
    let meta = db.run(sql).await.unwrap().meta;
    assert!(meta.sql_duration > Duration::from_millis(5), "{meta:?}");
    assert!(meta.duration >= meta.sql_duration, "{meta:?}");
}
