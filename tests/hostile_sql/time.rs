//! Statements that compute for ever, or for long within one of SQLite's instructions.

use js_rpc::Value;
use serde_json::json;

use crate::case::{Case, endless, sql, with};

const INTERRUPT: &[&str] = &["SQLITE_INTERRUPT"];
const TOO_BIG: &[&str] = &["SQLITE_TOOBIG"];
const PATTERN: &[&str] = &["pattern too complex"];

pub fn cases() -> Vec<Case> {
    let mut cases = loops();
    cases.extend(functions());
    cases.extend(json());
    cases.extend(modules());
    cases
}

fn loops() -> Vec<Case> {
    vec![
        sql("an endless recursion", &endless("select count(*) from c")).fails(INTERRUPT),
        sql(
            "an endless recursion that writes",
            &endless("insert into kilo select -n, 'x' from c where n < 0"),
        )
        .fails(INTERRUPT)
        .then("select count(*) from kilo", json!([[1000]])),
        sql(
            "a cross join",
            "select count(*) from kilo a, kilo b, kilo c, kilo d",
        )
        .fails(INTERRUPT),
        sql(
            "a join on what is not equal",
            "select count(*) from kilo a join kilo b on a.x <> b.x join kilo c on b.x like c.x",
        )
        .fails(INTERRUPT),
        sql(
            "a correlated subquery",
            "select max((select count(*) from kilo b, kilo c where b.n + c.n > a.n)) from kilo a",
        )
        .fails(INTERRUPT),
        sql(
            "exists in exists",
            "select count(*) from kilo a where not exists (select 1 from kilo b where not exists (select 1 from kilo c where c.n = -b.n and a.n = 0) and b.n < 0 or b.n + a.n < 0 or (select count(*) from kilo d, kilo e where d.n + e.n = a.n) = 3)",
        )
        .fails(INTERRUPT),
        sql(
            "an update with a subquery",
            "update kilo set x = (select count(*) from kilo a, kilo b, kilo c)",
        )
        .fails(INTERRUPT)
        .then("select count(*) from kilo where x like 'a text%'", json!([[1000]])),
        sql(
            "a delete with a subquery",
            "delete from kilo where (select count(*) from kilo a, kilo b, kilo c) > 0",
        )
        .fails(INTERRUPT)
        .then("select count(*) from kilo", json!([[1000]])),
        sql(
            "a printf loop",
            &endless("select max(printf('%.*f', 300, n)) from c"),
        )
        .fails(INTERRUPT),
        sql("a sort of an endless recursion", &endless("select n from c order by -n")).fails(&[
            "SQLITE_INTERRUPT",
            "SQLITE_FULL",
            "SQLITE_NOMEM",
        ]),
        sql("an offset", "select 1 from kilo a, kilo b, kilo c limit 1 offset 999999999")
            .fails(INTERRUPT),
    ]
}

fn text() -> Vec<Value> {
    vec![Value::from("ab".repeat(1_000_000))]
}

fn functions() -> Vec<Case> {
    let over = |call: &str| format!("select sum({call}) from kilo");
    vec![
        with(
            "instr of much in much",
            &over("instr(?1, substr(?1, 1, 900000) || 'c' || n)"),
            text,
        )
        .fails(INTERRUPT),
        with(
            "one quadratic instr",
            "select instr(?1, substr(?1, 1, 1000000) || 'c')",
            text,
        )
        .ends(INTERRUPT),
        with(
            "replace of much in much",
            &over("length(replace(?1, substr(?1, 1, 900000) || 'c', n))"),
            text,
        )
        .fails(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        with("like of much", &over("?1 like '%a_b%a_b%a_b%a_b%a_b%c' || n"), text).ends(INTERRUPT),
        with("glob of much", &over("?1 glob '*a?b*a?b*a?b*a?b*c' || n"), text).ends(INTERRUPT),
        with("like with many %", "select ?1 like '%a%b%a%b%a%b%a%b%a%b%a%b%a%b%c'", text)
            .ends(INTERRUPT),
        with("a like pattern that is long", "select 'x' like ?1", text).fails(PATTERN),
        with("a glob pattern that is long", "select 'x' glob ?1", text).fails(PATTERN),
        with("trim of much by much", &over("length(trim(substr(?1, n), substr(?1, 1, 200000)))"), text)
            .fails(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        with("one trim of much by much", "select length(trim(?1, ?1))", text).ends(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        with("lower and upper of much", &over("length(lower(upper(?1 || n)))"), text)
            .fails(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        with("hex and unhex", "select length(unhex(hex(substr(?1, 1, 900000))))", text)
            .rows(json!([[900_000]])),
        with("soundex of much", &over("length(soundex(?1 || n))"), text).ends(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG", "no such function"]),
        with("regexp is not there", "select ?1 regexp '(a+)+$'", text)
            .fails(&["no such function"]),
        with("a date of many modifiers", "select max(datetime(n, 'unixepoch', '+1 month', '+1 day', '-1 year', 'weekday 3', 'start of month')) > '' from kilo a", Vec::new)
            .rows(json!([[1]])),
        with("the sum of texts", &over("?1 + n"), text).ends(INTERRUPT),
        with("a compare of long texts", "select count(*) from mega a, kilo b, mega c where substr(a.x, b.n) < c.x", Vec::new)
            .fails(INTERRUPT),
        with("unicode and char", "select sum(unicode(substr(?1, n * 1999, 1))) from kilo", text)
            .ends(INTERRUPT),
        with("substr from the end", &over("length(substr(?1, -n))"), text).ends(INTERRUPT),
        with("iif and case in each other", &nested(90), Vec::new).succeeds(),
        with("a text as a number", "select cast(?1 as integer), abs(?1)", || {
            vec![Value::from("9".repeat(1_999_000))]
        })
        .succeeds(),
    ]
}

fn nested(depth: usize) -> String {
    let expression = (0..depth).fold("1".to_owned(), |inner, _| format!("iif(1, {inner}, 0)"));
    format!("select {expression}")
}

fn deep(depth: usize) -> impl Fn() -> Vec<Value> {
    move || vec![Value::from("[".repeat(depth) + &"]".repeat(depth))]
}

fn wide() -> Vec<Value> {
    let numbers: Vec<String> = (0..250_000).map(|n| n.to_string()).collect();
    vec![Value::from(format!("[{}]", numbers.join(",")))]
}

fn json() -> Vec<Case> {
    vec![
        with("deep JSON", "select json_valid(?1)", deep(900_000)).rows(json!([[0]])),
        with("deep JSON is read", "select json(?1)", deep(1001)).fails(&["malformed JSON"]),
        with("JSON as deep as it may be", "select length(json(?1))", deep(1000))
            .rows(json!([[2000]])),
        with("json_each of a wide array", "select count(*) from json_each(?1)", wide)
            .rows(json!([[250_000]])),
        with("json_tree of a wide array, squared", "select count(*) from json_tree(?1) a, json_tree(?1) b", wide)
            .fails(INTERRUPT),
        with("json_extract in a loop", "select sum(json_extract(?1, '$[' || n || ']')) from kilo", wide)
            .ends(INTERRUPT),
        with("json_set in a loop", "select sum(length(json_set(?1, '$[' || n || ']', n))) from kilo", wide)
            .fails(INTERRUPT),
        with("json_insert at the end", "with recursive c(n, j) as (select 0, ?1 union all select n + 1, json_insert(j, '$[#]', n) from c) select max(n) from c", wide)
            .fails(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        with("json_patch of objects", "select length(json_patch(?1, ?1))", || {
            let members: Vec<String> = (0..60_000).map(|n| format!("\"key{n}\":{n}")).collect();
            vec![Value::from(format!("{{{}}}", members.join(",")))]
        })
        .ends(INTERRUPT),
        with("jsonb that is none", "select json(?1)", || {
            vec![Value::ArrayBuffer(vec![0xfb; 100_000])]
        })
        .fails(&["malformed JSON"]),
        with("a path of 2 MB", "select json_extract('{}', '$' || ?1)", || {
            vec![Value::from(".a".repeat(900_000))]
        })
        .rows(json!([[null]])),
        with("json_pretty of deep JSON", "select length(json_pretty(?1))", deep(1000)).ends(TOO_BIG),
    ]
}

fn modules() -> Vec<Case> {
    vec![
        sql(
            "an FTS5 table is built from large texts",
            "create virtual table f1 using fts5(body); insert into f1 select replace(substr(x, 1, 1000000), 'xxxx', 'x' || n || ' ') from mega; drop table f1",
        )
        .ends(&["SQLITE_INTERRUPT", "SQLITE_FULL", "SQLITE_NOMEM"])
        .then("select count(*) from sqlite_schema where name like 'f1%'", json!([[0]])),
        with("an FTS5 row of one word of 2 MB", "insert into words values (?1)", text)
            .ends(&["SQLITE_INTERRUPT", "SQLITE_TOOBIG"]),
        sql(
            "an FTS5 expression with NEAR",
            &format!("select count(*) from words('NEAR({}, 100000)')", "text ".repeat(500)),
        )
        .ends(INTERRUPT),
        sql(
            "an FTS5 expression that is deep",
            &format!("select count(*) from words('{}a{}')", "(".repeat(5000), ")".repeat(5000)),
        )
        .fails(&["fts5", "parser stack overflow"]),
        sql(
            "an FTS5 expression of many words",
            &format!("select count(*) from words('{}')", vec!["te*"; 4000].join(" OR ")),
        )
        .ends(&["SQLITE_INTERRUPT", "fts5"]),
        sql("every FTS5 prefix", "select count(*) from kilo a, words('a* OR t* OR n* OR l*')").ends(INTERRUPT),
        sql("FTS5 looks at itself", "insert into words(words) values ('integrity-check')").succeeds(),
        sql("FTS5 is optimized", "insert into words(words) values ('optimize')").succeeds(),
        sql("FTS5 is rebuilt", "insert into words(words) values ('rebuild')").ends(INTERRUPT),
        sql(
            "FTS5 highlights and ranks",
            "select highlight(words, 0, '<b>', '</b>'), bm25(words) from words where words match 'text' order by rank",
        )
        .ends(INTERRUPT),
        sql(
            "FTS5 auxiliary functions squared",
            "select snippet(words, 0, '[', ']', '...', 60), (select count(*) from kilo a, kilo b, kilo c) from words where words match 'a'",
        )
        .fails(INTERRUPT),
        sql(
            "an rtree that is searched for all",
            "select count(*) from boxes a, boxes b, boxes c where a.x0 < b.x1 and b.x0 < c.x1",
        )
        .fails(INTERRUPT),
        sql(
            "an rtree that is filled without end",
            &endless("insert into boxes select 100000 + n, n, n + 1 from c"),
        )
        .fails(&["SQLITE_INTERRUPT", "SQLITE_FULL"])
        .then("select count(*) from boxes", json!([[1000]])),
        sql("quick_check", "pragma quick_check").ends(INTERRUPT),
        sql("quick_check in a loop", "select count(*) from kilo, pragma_quick_check").ends(&["SQLITE_INTERRUPT", "SQLITE_AUTH"]),
        sql("foreign_key_check", "pragma foreign_key_check").rows(json!([])),
        sql("optimize", "pragma optimize").succeeds(),
        sql("analyze", "analyze").ends(&["SQLITE_INTERRUPT", "SQLITE_AUTH"]),
    ]
}
