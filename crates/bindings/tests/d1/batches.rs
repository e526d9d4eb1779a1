//! A call is one transaction.

use bindings::d1::{Cell, Query, QueryRequest};

use crate::support::{Fixture, database, text};

#[tokio::test]
async fn a_batch_returns_one_result_for_each_statement() {
    let db = database();
    let results = db
        .batch(&[
            "create table t (a)",
            "insert into t values (1), (2)",
            "select sum(a) as s from t",
        ])
        .await
        .unwrap();
    assert_eq!(results.len(), 3);
    assert!(results[0].rows.is_empty() && results[1].rows.is_empty());
    assert_eq!(results[2].rows, [[Cell::Integer(3)]]);
}

#[tokio::test]
async fn a_failing_statement_rolls_back_the_whole_batch_and_its_message_is_the_error() {
    let db = database();
    db.run("create table t (a unique)").await.unwrap();
    let error = db
        .batch(&[
            "insert into t values (1)",
            "create table u (b)",
            "insert into t values (1)",
            "selec",
        ])
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("UNIQUE constraint failed: t.a"),
        "{error}"
    );
    assert_eq!(db.value("select count(*) from t").await, Cell::Integer(0));
    assert!(db.run("select * from u").await.is_err());
    // The connection is clean: the next call begins its own transaction.
    db.run("insert into t values (1)").await.unwrap();
    assert_eq!(db.value("select count(*) from t").await, Cell::Integer(1));
}

#[tokio::test]
async fn a_constraint_that_waits_for_the_commit_fails_the_batch() {
    let db = database();
    db.batch(&[
        "create table parent (id integer primary key)",
        "create table child (id references parent deferrable initially deferred)",
    ])
    .await
    .unwrap();
    let error = db.run("insert into child values (9)").await.unwrap_err();
    assert_eq!(error.error_type(), "SQLITE_CONSTRAINT_FOREIGNKEY");
    assert_eq!(
        db.value("select count(*) from child").await,
        Cell::Integer(0)
    );
    db.batch(&[
        "insert into child values (9)",
        "insert into parent values (9)",
    ])
    .await
    .unwrap();
}

#[tokio::test]
async fn foreign_keys_hold_unless_a_batch_defers_them() {
    let db = database();
    db.batch(&[
        "create table p (id integer primary key)",
        "create table c (id references p)",
    ])
    .await
    .unwrap();
    assert!(db.run("insert into c values (1)").await.is_err());
    db.batch(&[
        "pragma defer_foreign_keys = on",
        "insert into c values (1)",
        "insert into p values (1)",
    ])
    .await
    .unwrap();
    assert!(db.run("insert into c values (2)").await.is_err());
}

#[tokio::test]
async fn a_batch_without_statements_succeeds_and_changes_nothing() {
    let db = database();
    assert!(db.batch(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_statement_that_only_looks_like_a_read_is_run_by_the_writer() {
    let db = database();
    db.run("create table t (a)").await.unwrap();
    db.run("with x(a) as (values (5)) insert into t select a from x")
        .await
        .unwrap();
    db.run("select 1; insert into t values (6)").await.unwrap();
    assert_eq!(db.value("select group_concat(a) from t").await, text("5,6"));
}

#[tokio::test]
async fn bookmarks_grow_and_any_text_is_accepted() {
    let db = database();
    let mut last = String::new();
    for sent in [
        None,
        Some("first-primary"),
        Some("first-unconstrained"),
        Some("token-doesnot-matter-for-now"),
    ] {
        let bookmark = ask(&db, sent).await;
        assert!(bookmark > last, "{bookmark} after {last}");
        last = bookmark;
    }
    assert!(ask(&db, Some(&last)).await > last);
    let future = "ffffffff-fffffff0";
    assert_eq!(ask(&db, Some(future)).await, future);
    assert!(
        ask(&db, None).await.as_str() < future,
        "one caller's bookmark is not another's"
    );
}

#[tokio::test]
async fn a_bookmark_from_before_a_restart_is_older_than_one_after() {
    let db = database();
    let before = ask(&db, None).await;
    db.database.close().await;
    let again = bindings::d1::Database::open(&db.path, Default::default()).unwrap();
    let after = again
        .query(Query::new("select 1").into())
        .await
        .unwrap()
        .bookmark
        .to_string();
    assert!(after > before);
}

#[tokio::test]
async fn a_bookmark_that_is_far_too_long_is_refused() {
    let db = database();
    let request = QueryRequest {
        queries: vec![],
        bookmark: Some("x".repeat(257)),
    };
    let error = db.database.query(request).await.unwrap_err();
    assert!(error.to_string().contains("257 bytes"), "{error}");
}

async fn ask(db: &Fixture, bookmark: Option<&str>) -> String {
    let request = QueryRequest {
        queries: vec![Query::new("select 1")],
        bookmark: bookmark.map(str::to_owned),
    };
    db.database
        .query(request)
        .await
        .unwrap()
        .bookmark
        .to_string()
}
