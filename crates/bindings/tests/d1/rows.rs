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
