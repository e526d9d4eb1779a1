//! `rows_read` and `rows_written` are workerd's, statement by statement.
//!
//! `rows.txt` has the numbers that the SQL of a Durable Object in the released workerd gives (`rowsRead`, `rowsWritten`);
//! `tests/interop/workerd/d1_rows.rs` asks it again. `+1` means that ours reads one more: see `RowCount::Exact`.

use bindings::d1::RowCount;

use crate::support::database;

const TABLE: &str = include_str!("rows.txt");

/// Rows read, rows written, statement.
fn cases() -> impl Iterator<Item = (u64, u64, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (figures, sql) = line.split_at(12);
        let figures: Vec<u64> = figures
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        (
            figures[0] + figures.get(2).unwrap_or(&0),
            figures[1],
            sql.trim_start(),
        )
    })
}

#[tokio::test]
async fn rows_are_counted_as_workerd_counts_them() {
    if RowCount::method() != RowCount::Exact {
        return;
    }
    let db = database();
    let mut different = Vec::new();
    for (read, written, sql) in cases() {
        // What only reads runs twice: a statement that was kept counts its last run alone.
        let times = if sql.starts_with("select") { 3 } else { 1 };
        for _ in 0..times {
            let meta = db.run(sql).await.map(|result| result.meta);
            match meta {
                Ok(meta) if (meta.rows_read, meta.rows_written) == (read, written) => {}
                Ok(meta) => different.push(format!(
                    "{:>4} {:>4} for {read:>4} {written:>4}  {sql}",
                    meta.rows_read, meta.rows_written
                )),
                Err(error) => different.push(format!("{error}: {sql}")),
            }
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

#[tokio::test]
async fn a_statement_that_was_kept_is_counted_by_the_schema_of_its_run() {
    let db = database();
    db.batch(&[
        "create table t (a, b)",
        "insert into t values (1, 1), (2, 1), (3, 2), (4, 2)",
    ])
    .await
    .unwrap();
    let read = async || {
        db.run("select b from t where b = 2")
            .await
            .unwrap()
            .meta
            .rows_read
    };
    let scanned = [read().await, read().await];
    db.run("create index i on t (b)").await.unwrap();
    let by_index = [read().await, read().await];
    db.run("drop index i").await.unwrap();
    let again = read().await;
    let expected = match RowCount::method() {
        RowCount::Exact => ([4, 4], [2, 2], 4),
        RowCount::Steps => ([3, 3], [1, 1], 3),
    };
    assert_eq!((scanned, by_index, again), expected);
}
