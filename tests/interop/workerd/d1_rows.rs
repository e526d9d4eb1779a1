//! The numbers with which D1's `rows_read` and `rows_written` are compared are workerd's.

use serde_json::json;

use crate::harness::{Builder, within};

/// With ours beside them where they differ; `crates/bindings/tests/d1/rows.rs` compares ours.
const TABLE: &str = include_str!("../../../crates/bindings/tests/d1/rows.txt");

#[tokio::test(flavor = "local")]
async fn a_durable_object_reads_and_writes_as_many_rows_as_the_table_says() {
    within(async {
        let disk = tempfile::tempdir().unwrap();
        let workerd = Builder::new("d1_rows")
            .directory("disk", disk.path())
            .start()
            .await;
        let (mut rows, mut query) = (Vec::new(), Vec::new());
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let (figures, sql) = line.split_at(12);
            let mut figures = figures
                .split_whitespace()
                .map(|n| n.parse::<u64>().unwrap());
            rows.push(json!([figures.next(), figures.next()]));
            query.push(format!("sql={}", encoded(sql.trim_start())));
        }
        let answer = workerd.run(&format!("?{}", query.join("&"))).await;
        assert_eq!(answer, json!(rows));
    })
    .await;
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
