//! What is said when a file cannot be served.

use std::path::Path;
use std::time::Duration;

use bindings::d1::{Database, DatabaseOptions, OpenError, Query};
use rusqlite::Connection;

use crate::support::{database, options};

fn refused(path: &Path, options: DatabaseOptions) -> OpenError {
    Database::open(path, options).expect_err("it must not open")
}

#[test]
fn each_reason_has_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(
        at("text.sqlite"),
        "This is not a database, but it is long enough to look like one. ".repeat(20),
    )
    .unwrap();
    let cases = [
        (
            at("none.sqlite"),
            false,
            "no such database file: ",
            "(`create`)",
        ),
        (
            at("no/folder.sqlite"),
            true,
            "its folder does not exist",
            "mkdir -p",
        ),
        (
            folder.path().to_owned(),
            true,
            " is not a file",
            "give the path of a SQLite database file",
        ),
        (
            at("text.sqlite"),
            true,
            " is not a SQLite database",
            "backup",
        ),
    ];
    for (path, create, what, todo) in cases {
        let error = refused(
            &path,
            DatabaseOptions {
                create,
                ..DatabaseOptions::default()
            },
        )
        .to_string();
        assert!(error.contains(what) && error.contains(todo), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    assert!(!at("none.sqlite").exists());
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_said_to_be_one() {
    use std::os::unix::fs::PermissionsExt;
    let db = database();
    std::fs::set_permissions(&db.path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new()
        .append(true)
        .open(&db.path)
        .is_ok()
    {
        return; // root may do everything
    }
    let error = refused(&db.path, options()).to_string();
    assert!(
        error.contains("cannot write the database") && error.contains("permission"),
        "{error}"
    );
}

#[test]
fn a_locked_file_is_said_to_be_locked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sqlite");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("create table t (a); begin exclusive; insert into t values (1)")
        .unwrap();
    let error = refused(
        &path,
        DatabaseOptions {
            busy_timeout: Duration::from_millis(10),
            ..options()
        },
    );
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    other.execute_batch("commit").unwrap();
    Database::open(&path, options()).unwrap();
}

#[tokio::test]
async fn names_that_mean_something_to_sqlite_are_only_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x.sqlite?mode=memory", "a?b#c%41.sqlite"] {
        let path = folder.path().join(name);
        let database = Database::open(&path, options()).unwrap();
        database
            .query(Query::new("create table t (a)").into())
            .await
            .unwrap();
        database.close().await;
        assert!(std::fs::metadata(&path).unwrap().len() > 0, "{name}");
    }
}

#[tokio::test]
async fn the_file_is_an_ordinary_database_that_others_can_use_meanwhile() {
    let db = database();
    db.run("create table t (a)").await.unwrap();
    let other = Connection::open(&db.path).unwrap();
    other.execute("insert into t values (5)", ()).unwrap();
    assert_eq!(db.run("select a from t").await.unwrap().rows.len(), 1);
    db.run("insert into t values (6)").await.unwrap();
    let sum: i64 = other
        .query_row("select sum(a) from t", (), |row| row.get(0))
        .unwrap();
    assert_eq!(sum, 11);
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_and_then_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sqlite");
    let database = Database::open(
        &path,
        DatabaseOptions {
            busy_timeout: Duration::from_millis(20),
            ..options()
        },
    )
    .unwrap();
    database
        .query(Query::new("create table t (a)").into())
        .await
        .unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let error = database
        .query(Query::new("insert into t values (1)").into())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "database is locked: SQLITE_BUSY");
    assert!(
        database
            .query(Query::new("select * from t").into())
            .await
            .is_ok()
    );
    other.execute_batch("rollback").unwrap();
    database
        .query(Query::new("insert into t values (1)").into())
        .await
        .unwrap();
}

#[tokio::test]
async fn without_the_log_the_files_journal_mode_stays() {
    let folder = tempfile::tempdir().unwrap();
    for (wal, expected) in [(false, "delete"), (true, "wal")] {
        let path = folder.path().join(expected);
        let database = Database::open(&path, DatabaseOptions { wal, ..options() }).unwrap();
        database
            .query(Query::new("create table t (a)").into())
            .await
            .unwrap();
        let outcome = database
            .query(Query::new("pragma journal_mode").into())
            .await
            .unwrap();
        assert_eq!(outcome.results[0].rows, [[crate::support::text(expected)]]);
    }
}

#[test]
fn the_name_is_the_files_unless_the_operator_gives_one() {
    assert_eq!(database().database.name(), "shop");
    let named = crate::support::database_with(DatabaseOptions {
        name: Some("orders".into()),
        ..options()
    });
    assert_eq!(named.database.name(), "orders");
}

#[tokio::test]
async fn a_closed_database_says_so_and_has_written_everything() {
    let db = database();
    db.run("create table t (a)").await.unwrap();
    let pending: Vec<_> = (0..20)
        .map(|_| {
            let database = db.database.clone();
            tokio::spawn(async move {
                database
                    .query(Query::new("insert into t values (1)").into())
                    .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    db.database.close().await;
    assert!(
        !db.path.with_extension("sqlite-wal").exists(),
        "the log was folded into the file"
    );
    assert_eq!(
        db.run("select 1").await.unwrap_err().to_string(),
        "The database is closed"
    );
    let mut committed = 0;
    for call in pending {
        committed += i64::from(call.await.unwrap().is_ok());
    }
    let other = Connection::open(&db.path).unwrap();
    let rows: i64 = other
        .query_row("select count(*) from t", (), |row| row.get(0))
        .unwrap();
    assert_eq!(rows, committed);
}
