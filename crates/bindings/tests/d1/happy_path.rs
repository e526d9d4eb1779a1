//! The calls of workerd's own D1 tests (`src/cloudflare/internal/test/d1`), and what they expect.

use bindings::d1::{Cell, Query, QueryResult, RowCount};

use crate::support::{Fixture, database, text};

async fn users() -> Fixture {
    let db = database();
    db.run(
        " CREATE TABLE users
        (
            user_id    INTEGER PRIMARY KEY,
            name       TEXT,
            home       TEXT,
            features   TEXT,
            land_based BOOLEAN
        );",
    )
    .await
    .unwrap();
    db
}

const INSERT: &str = "
    INSERT INTO users (name, home, features, land_based) VALUES
      ('Albert Ross', 'sky', 'wingspan', false),
      ('Al Dente', 'bowl', 'mouthfeel', true)
    RETURNING *
";

fn albert() -> Vec<Cell> {
    vec![
        Cell::Integer(1),
        text("Albert Ross"),
        text("sky"),
        text("wingspan"),
        Cell::Integer(0),
    ]
}

fn al() -> Vec<Cell> {
    vec![
        Cell::Integer(2),
        text("Al Dente"),
        text("bowl"),
        text("mouthfeel"),
        Cell::Integer(1),
    ]
}

#[tokio::test]
async fn an_empty_table_is_an_empty_result_with_columns() {
    let db = users().await;
    let result = db.run("SELECT * FROM users;").await.unwrap();
    assert_eq!(
        result.columns,
        ["user_id", "name", "home", "features", "land_based"]
    );
    assert!(result.rows.is_empty() && !result.meta.changed_db);
    assert!(db.run("DELETE FROM users;").await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn inserted_rows_come_back_when_asked_for() {
    let db = users().await;
    assert_eq!(db.run(INSERT).await.unwrap().rows, [albert(), al()]);
    assert_eq!(
        db.run("SELECT * FROM users;").await.unwrap().rows,
        [albert(), al()]
    );
    let one = "SELECT * FROM users WHERE user_id = ?;";
    let queries = vec![Query::new(one).bind(2), Query::new(one).bind(1)];
    let outcome = db.database.query(queries.into()).await.unwrap();
    let rows: Vec<_> = outcome
        .results
        .into_iter()
        .map(|result| result.rows)
        .collect();
    assert_eq!(rows, [[al()], [albert()]]);
}

#[tokio::test]
async fn booleans_compare_with_what_was_stored() {
    let db = users().await;
    db.run(INSERT).await.unwrap();
    let count = "SELECT count(1) as count FROM users WHERE land_based = ?";
    for (param, expected) in [
        (true.into(), 1),
        (false.into(), 1),
        (0.into(), 1),
        (1.into(), 1),
        (2.into(), 0),
    ] {
        let result = db.bind(count, [param]).await.unwrap();
        assert_eq!(result.rows, [[Cell::Integer(expected)]]);
    }
}

#[tokio::test]
async fn the_figures_of_a_batch_are_d1s_where_sqlite_can_count_them() {
    let db = users().await;
    db.run(INSERT).await.unwrap();
    let results = db
        .batch(&[
            "CREATE TABLE abc (a INT, b INT, c INT);",
            "CREATE TABLE cde (c TEXT, d TEXT, e TEXT);",
            "INSERT INTO abc VALUES (1,2,3),(4,5,6);",
            "INSERT INTO cde VALUES (\"A\", \"B\", \"C\"),(\"D\",\"E\",\"F\"),(\"G\",\"H\",\"I\");",
        ])
        .await
        .unwrap();
    let figures = |result: &QueryResult| {
        (
            result.meta.changed_db,
            result.meta.changes,
            result.meta.last_row_id,
        )
    };
    let figures: Vec<_> = results.iter().map(figures).collect();
    assert_eq!(
        figures,
        [(true, 0, 2), (true, 0, 2), (true, 2, 2), (true, 3, 3)]
    );

    let join = db.run("SELECT * FROM abc, cde;").await.unwrap();
    assert_eq!(join.columns, ["a", "b", "c", "c", "d", "e"]);
    assert_eq!(join.rows.len(), 6);
    assert_eq!(
        (
            join.meta.changes,
            join.meta.rows_written,
            join.meta.changed_db
        ),
        (0, 0, false)
    );
    let within = db
        .run("SELECT * from cde WHERE c IN ('A','B','C','X','Y','Z')")
        .await
        .unwrap();
    assert_eq!((within.rows.len(), within.meta.rows_written), (1, 0));
    if RowCount::method() == RowCount::Exact {
        assert_eq!((join.meta.rows_read, within.meta.rows_read), (8, 3));
    }

    let dropped = db
        .batch(&["DROP TABLE users;", "DROP TABLE abc;", "DROP TABLE cde;"])
        .await
        .unwrap();
    for result in dropped {
        assert_eq!(
            (
                result.meta.changed_db,
                result.meta.changes,
                result.meta.last_row_id
            ),
            (true, 0, 3)
        );
        assert_eq!(result.meta.rows_written, 0);
    }
}
