//! Statements that gather, sort, return or are given more than there is memory for.

use js_rpc::{Args, Value};
use js_value::Object;
use serde_json::json;

use crate::case::{Case, batch, call, endless, sql, with};

const TOO_BIG: &[&str] = &["SQLITE_TOOBIG"];
/// Or its time is up first: what is large takes a build without optimization long to read.
const TOO_BIG_OR_LATE: &[&str] = &["SQLITE_TOOBIG", "SQLITE_INTERRUPT"];
/// Memory, or temporary files, or time: whichever comes first.
const BOUNDED: &[&str] = &["SQLITE_NOMEM", "SQLITE_FULL", "SQLITE_INTERRUPT"];
const RESULT: &[&str] = &["max_result_bytes"];
const ROWS: &[&str] = &["max_result_rows", "max_result_bytes"];

/// A value of as many bytes as one may have.
const LARGEST: usize = 2_000_000;

pub fn cases() -> Vec<Case> {
    let mut cases = results();
    cases.extend(gathered());
    cases.extend(given());
    cases
}

fn results() -> Vec<Case> {
    vec![
        sql(
            "a row of huge columns",
            "select x, x, x, x, x, x, x, x, x, x from mega",
        )
        .fails(RESULT),
        sql(
            "a row that doubles in subqueries",
            "with a as (select x, x y, x z, x w from mega) select * from a, a b, a c",
        )
        .fails(RESULT),
        sql("rows without end", &endless("select n from c")).fails(ROWS),
        sql("empty rows without end", &endless("select null from c")).fails(ROWS),
        sql("a blob as an array of numbers", "select zeroblob(1999999)").fails(RESULT),
        batch("a thousand results of 1.9 MB", || {
            vec!["select x from mega".to_owned(); 1000]
        })
        .fails(RESULT),
        batch("a thousand results of wide rows", || {
            vec!["select * from kilo".to_owned(); 1000]
        })
        .fails(ROWS),
        sql(
            "column names of 90 KB",
            &format!("select 1 as \"{}\"", "c".repeat(90_000)),
        )
        .succeeds(),
    ]
}

fn gathered() -> Vec<Case> {
    vec![
        sql("zeroblob", "select length(zeroblob(2000001))").fails(TOO_BIG),
        sql("zeroblob of 2^40", "select length(zeroblob(1 << 40))").fails(TOO_BIG),
        sql("randomblob", "select length(randomblob(1 << 30))").fails(TOO_BIG),
        sql(
            "printf with a width",
            "select length(printf('%.*c', 2147483647, 'x'))",
        )
        .ends(TOO_BIG),
        sql(
            "printf with a precision",
            "select length(printf('%2000000000d', 1))",
        )
        .ends(TOO_BIG),
        sql("hex doubles", "select length(hex(x)) from mega").fails(TOO_BIG),
        sql("quote doubles", "select length(quote(zeroblob(1900000)))").fails(TOO_BIG),
        sql(
            "replace multiplies",
            "select length(replace(x, 'x', 'xxxxxxxxxxxxxxxx')) from mega",
        )
        .fails(TOO_BIG),
        sql("concatenation", "select length(x || x) from mega").fails(TOO_BIG),
        sql(
            "group_concat of large values",
            "select length(group_concat(x)) from mega",
        )
        .fails(TOO_BIG),
        sql(
            "string_agg of large values",
            "select length(string_agg(mega.x, ',')) from mega, kilo",
        )
        .fails(TOO_BIG),
        sql(
            "json_group_array of large values",
            "select length(json_group_array(x)) from mega",
        )
        .fails(TOO_BIG),
        sql(
            "json_group_object of large values",
            "select length(json_group_object(n, x)) from mega",
        )
        .fails(TOO_BIG),
        sql(
            "a sort of large values",
            "select length(x) from (select a.x || b.n as x from mega a, kilo b order by 1)",
        )
        .fails(BOUNDED),
        sql(
            "distinct large values",
            "select count(distinct substr(a.x, b.n)) from mega a, kilo b",
        )
        .fails(BOUNDED),
        sql(
            "groups of large values",
            "select count(*) from (select 1 from mega a, kilo b group by substr(a.x, b.n) || b.n)",
        )
        .fails(BOUNDED),
        sql(
            "a recursion that gathers",
            "with recursive c(n, x) as (select 1, zeroblob(1900000) union select n + 1, x from c) select max(n) from c",
        )
        .fails(BOUNDED),
        sql(
            "a recursion with an order",
            "with recursive c(n, x) as (select 1, zeroblob(1900000) union all select n + 1, x from c order by 1 desc) select max(n) from c",
        )
        .fails(BOUNDED),
        sql(
            "a recursion that widens",
            "with recursive c(n, x) as (select 1, zeroblob(900000) union all select n * 2 + i, x from c, (select 0 i union all select 1 union all select 2)) select max(n) from c",
        )
        .fails(BOUNDED),
        sql(
            "a materialized table",
            "with a as materialized (select zeroblob(1900000) x from kilo a, kilo b) select count(*) from a, a b where a.x <> b.x",
        )
        .fails(BOUNDED),
        sql(
            "in a list of large values",
            "select 1 from t where 'y' in (select substr(a.x, b.n) from mega a, kilo b)",
        )
        .fails(BOUNDED),
        sql(
            "an automatic index",
            "select count(*) from (select substr(a.x, b.n) x from mega a, kilo b limit 100000) a, (select substr(a.x, b.n) x from mega a, kilo b limit 100000) b where a.x = b.x",
        )
        .fails(BOUNDED),
        sql(
            "except and intersect of large values",
            "select substr(a.x, b.n) from mega a, kilo b except select 'x'",
        )
        .fails(&["SQLITE_NOMEM", "SQLITE_FULL", "SQLITE_INTERRUPT", "max_result_bytes"]),
        sql(
            "an aggregate for each of many groups",
            "select count(*) from (select group_concat(substr(a.x, 1, 100000)) from mega a, kilo b group by b.n)",
        )
        .ends(BOUNDED),
        sql(
            "a percentile-like window",
            "select sum(length(y)) from (select group_concat(substr(x, 1, 100000)) over (order by n rows between 10 preceding and current row) y from mega)",
        )
        .succeeds(),
    ]
}

fn text(bytes: usize) -> Value {
    Value::from("y".repeat(bytes))
}

fn query(sql: &str, params: Vec<Value>) -> Value {
    Object::from([("sql", Value::from(sql)), ("params", Value::Array(params))]).into()
}

fn given() -> Vec<Case> {
    let most = || vec![text(LARGEST)];
    vec![
        with("a parameter of 2 MB", "select length(?1)", most).rows(json!([[LARGEST]])),
        with("a parameter of 2 MB and one", "select length(?1)", || {
            vec![text(LARGEST + 1)]
        })
        .fails(TOO_BIG_OR_LATE),
        with("a parameter of 12 MB", "select length(?1)", || {
            vec![text(12 << 20)]
        })
        .fails(TOO_BIG_OR_LATE),
        with(
            "seven parameters of 2 MB",
            "select length(?1||?2||?3||?4||?5||?6||?7)",
            || (0..7).map(|_| text(LARGEST)).collect(),
        )
        .fails(TOO_BIG_OR_LATE),
        with(
            "a parameter used by every row",
            "select count(distinct ?1 || n) from kilo a",
            || vec![text(LARGEST - 10)],
        )
        .fails(BOUNDED),
        call(
            "a thousand statements that share a parameter of 1.9 MB",
            || {
                // Each `params` but the first refers to the first one's array: 1.9 GB, expanded.
                let first = query("select length(?1)", vec![text(1_900_000)]);
                let others = (1..1000).map(|_| {
                    Object::from([
                        ("sql", Value::from("select length(?1)")),
                        ("params", Value::BackRef(3)),
                    ])
                    .into()
                });
                crate::honest::queries(std::iter::once(first).chain(others).collect())
            },
        )
        .throws("query: "),
        call("references that double", || {
            let mut levels = vec![Value::Array(vec![text(1000)])];
            for level in 1..40 {
                let before = Value::BackRef(level - 1);
                levels.push(Value::Array(vec![before.clone(), before]));
            }
            let queries = Object::from([
                ("levels", Value::Array(levels)),
                ("queries", Value::BackRef(1)),
            ]);
            Args::from(vec![queries.into()])
        })
        .throws("query: "),
        call("an argument that contains itself", || {
            let queries = Object::from([("queries", Value::Array(vec![Value::BackRef(0)]))]);
            Args::from(vec![queries.into()])
        })
        .throws("query: "),
        call("a parameter that contains itself", || {
            let own = query("select ?1", vec![Value::BackRef(2)]);
            crate::honest::queries(vec![own])
        })
        .throws("contains itself"),
        call("a thousand statements of 14 KB", || {
            let sql = format!("select '{}' from t where 0", "z".repeat(14_000));
            let queries = (0..1000).map(|_| query(&sql, Vec::new()));
            crate::honest::queries(queries.collect())
        })
        .ends(&["SQLITE_INTERRUPT", "max_result_bytes"]),
        batch("a thousand and one statements", || {
            vec!["select 1".to_owned(); 1001]
        })
        .fails(&["max_statements"]),
        call("a million numbers", || {
            let params = (0..1_000_000).map(|n| Value::Number(f64::from(n)));
            crate::honest::query("select ?1", params.collect())
        })
        .fails(&["Wrong number of parameter bindings", "SQLITE_INTERRUPT"]),
        call("two million numbers", || {
            let params = (0..2_000_000).map(|n| Value::Number(f64::from(n)));
            crate::honest::query("select ?1", params.collect())
        })
        .refused(&["more than 1048576 values", "SQLITE_INTERRUPT"]),
        call("fifteen megabytes of semicolons", || {
            crate::honest::query(&";".repeat(15_000_000), Vec::new())
        })
        .fails(&[
            "SQLITE_TOOBIG",
            "did not contain a statement",
            "SQLITE_INTERRUPT",
        ]),
        call("a text of 15 MB", || {
            crate::honest::query(&format!("select '{}'", "q".repeat(15_000_000)), Vec::new())
        })
        .fails(TOO_BIG_OR_LATE),
        call("a bookmark of 10 MB", || {
            let mut request = Object::from([("queries", Value::Array(Vec::new()))]);
            request.insert("bookmark", "b".repeat(10 << 20));
            Args::from(vec![request.into()])
        })
        .fails(&["D1_SESSION_ERROR", "SQLITE_INTERRUPT"]),
    ]
}
