//! What a caller may not do, and what a call may not cost.

use std::time::{Duration, Instant};

use bindings::d1::{DatabaseOptions, QueryError};

use crate::support::{ENDLESS, database, database_with, options};

#[tokio::test]
async fn statements_that_reach_outside_the_call_are_refused() {
    let db = database();
    let other = db.path.with_file_name("other.sqlite");
    let cases = [
        "begin".to_owned(),
        "begin immediate; select 1".to_owned(),
        "commit".to_owned(),
        "rollback".to_owned(),
        "savepoint a".to_owned(),
        "release a".to_owned(),
        format!("attach '{}' as other", other.display()),
        "detach main".to_owned(),
        format!("vacuum into '{}'", other.display()),
        "vacuum".to_owned(),
        "pragma journal_mode = delete".to_owned(),
        "pragma synchronous = off".to_owned(),
        "pragma writable_schema = on".to_owned(),
        "pragma temp_store_directory = '/'".to_owned(),
        "pragma user_version = 7".to_owned(),
        "pragma trusted_schema = on".to_owned(),
        "pragma mmap_size = 1".to_owned(),
        "pragma wal_checkpoint".to_owned(),
        "select load_extension('x')".to_owned(),
        "create temp table t (a)".to_owned(),
        "create virtual table v using fts3(a)".to_owned(),
        "create virtual table v using csv(filename='/etc/passwd')".to_owned(),
        "select * from pragma_cache_size".to_owned(),
    ];
    for sql in cases {
        let error = db.run(&sql).await.unwrap_err();
        assert!(
            matches!(error, QueryError::NotAllowed { .. } | QueryError::Sqlite(_)),
            "{sql}: {error:?}"
        );
        db.run("create table probe (a); insert into probe values (1); drop table probe")
            .await
            .unwrap();
    }
    assert!(!other.exists());
}

#[tokio::test]
async fn a_refusal_says_what_and_what_to_do_instead() {
    let db = database();
    let cases = [
        (
            "begin",
            "BEGIN, COMMIT or ROLLBACK is not allowed (the statements of one call are one transaction: send them as a batch): SQLITE_AUTH",
        ),
        (
            "pragma journal_mode = delete",
            "PRAGMA journal_mode is not allowed: SQLITE_AUTH",
        ),
        (
            "select load_extension('x')",
            "The function load_extension is not allowed: SQLITE_AUTH",
        ),
        (
            "attach 'x' as y",
            "Another database file is not allowed (a binding is one database): SQLITE_AUTH",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(db.run(sql).await.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn what_d1_allows_is_allowed() {
    let db = database();
    db.run("create table t (a integer primary key, b); create index i on t (b)")
        .await
        .unwrap();
    let cases = [
        "pragma table_list",
        "pragma table_info('t')",
        "pragma table_xinfo(t)",
        "pragma index_list(t)",
        "pragma index_info(i)",
        "pragma foreign_key_list(t)",
        "pragma foreign_key_check",
        "pragma quick_check",
        "pragma optimize",
        "pragma foreign_keys = off",
        "select * from pragma_table_info('t')",
        "select name from sqlite_master",
        "explain query plan select * from t",
        "explain insert into t values (1, 2)",
        "alter table t rename to u",
        "alter table u rename column b to c",
        "alter table u add column d",
        "alter table u drop column d",
        "reindex u",
        "analyze",
        "create virtual table words using fts5(word)",
        "insert into words values ('hello world')",
        "select * from words where words match 'hello'",
        "create virtual table boxes using rtree(id, x0, x1)",
        "insert into boxes values (1, 0, 1)",
        "select * from boxes where x0 < 2",
        "select json_extract('{\"a\":1}', '$.a'), unixepoch(), soundex('x')",
        "create view v as select * from u",
        "select * from v",
        "drop view v",
        "drop table words",
        "insert into u values (1, \"double quoted text\")",
    ];
    for sql in cases {
        if let Err(error) = db.run(sql).await {
            panic!("{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn a_setting_that_a_call_changes_is_its_own() {
    let db = database();
    let results = db
        .batch(&["pragma case_sensitive_like = on", "select 'A' like 'a'"])
        .await
        .unwrap();
    assert_eq!(results[1].rows, [[bindings::d1::Cell::Integer(0)]]);
    let results = db
        .batch(&["pragma recursive_triggers", "select 'A' like 'a'"])
        .await
        .unwrap();
    assert_eq!(results[1].rows, [[bindings::d1::Cell::Integer(1)]]);
    let results = db
        .batch(&["pragma foreign_keys = off", "pragma foreign_keys"])
        .await
        .unwrap();
    assert_eq!(results[1].rows, [[bindings::d1::Cell::Integer(1)]]);
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_stopped_on_either_kind_of_thread() {
    for readers in [0, 1] {
        let limit = Duration::from_millis(300);
        let db = database_with(DatabaseOptions {
            timeout: limit,
            readers,
            ..options()
        });
        let started = Instant::now();
        let error = db.run(ENDLESS).await.unwrap_err();
        assert_eq!(error, QueryError::Timeout(limit));
        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(
            error
                .to_string()
                .starts_with("The call ran longer than 300 ms"),
            "{error}"
        );
        db.run("select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_runs_too_long_leaves_nothing() {
    let db = database_with(DatabaseOptions {
        timeout: Duration::from_millis(300),
        ..options()
    });
    db.run("create table t (a)").await.unwrap();
    let error = db
        .batch(&[
            "insert into t values (1)",
            &format!("insert into t {ENDLESS}"),
        ])
        .await
        .unwrap_err();
    assert_eq!(error.error_type(), "SQLITE_INTERRUPT");
    assert!(db.run("select * from t").await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn a_result_ends_at_its_caps_which_the_error_names() {
    let db = database_with(DatabaseOptions {
        max_result_rows: 3,
        max_result_bytes: 105,
        ..options()
    });
    let rows = |n: usize| {
        format!(
            "select value from json_each('[{}]')",
            vec!["1"; n].join(",")
        )
    };
    assert_eq!(db.run(&rows(3)).await.unwrap().rows.len(), 3);
    let error = db.run(&rows(4)).await.unwrap_err();
    assert!(
        matches!(error, QueryError::TooManyRows(3))
            && error.to_string().contains("max_result_rows"),
        "{error}"
    );
    // The caps are the call's, not the statement's.
    assert_eq!(
        db.batch(&[&rows(2), &rows(2)]).await.unwrap_err(),
        QueryError::TooManyRows(3)
    );
    assert!(db.run("select zeroblob(10) as b").await.is_ok());
    let error = db.run("select zeroblob(11) as b").await.unwrap_err();
    assert!(
        matches!(error, QueryError::TooManyBytes(105))
            && error.to_string().contains("max_result_bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn values_texts_and_batches_have_their_caps() {
    let db = database_with(DatabaseOptions {
        max_value_bytes: 1000,
        max_sql_bytes: 2000,
        max_statements: 2,
        ..options()
    });
    assert_eq!(
        db.run("select length(zeroblob(2000)) + length(randomblob(2000))")
            .await
            .unwrap_err()
            .error_type(),
        "SQLITE_TOOBIG"
    );
    let error = db
        .bind("select ?1", ["x".repeat(1001).into()])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "string or blob too big: SQLITE_TOOBIG");
    let error = db
        .run(&format!("select 1 -- {}", "x".repeat(2000)))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "statement too long: SQLITE_TOOBIG");
    let error = db.batch(&["select 1"; 3]).await.unwrap_err();
    assert!(error.to_string().contains("max_statements"), "{error}");
}

#[tokio::test]
async fn hostile_texts_are_errors_and_not_more() {
    let db = database();
    let deep = format!("select {}1{}", "(".repeat(5000), ")".repeat(5000));
    let compound = vec!["select 1"; 100].join(" union all ");
    let nul = "select 1\0; drop table t".to_owned();
    let many = format!("{}select 1", ";".repeat(50_000));
    for sql in [deep, compound, nul] {
        assert!(db.run(&sql).await.is_err());
    }
    let error = db.run("select 1 where 'x' like '%'").await;
    assert!(error.is_ok());
    assert_eq!(db.run(&many).await.unwrap().rows.len(), 1);
}
