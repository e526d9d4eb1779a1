//! Functions that reach out of the database, transactions by hand, parameters that are none, and texts.

use js_rpc::{Args, Value};
use js_value::Object;
use serde_json::json;

use crate::case::{Case, call, endless, sql, with};

const AUTH: &[&str] = &["SQLITE_AUTH"];
/// It is refused, or it is not there.
const REFUSED: &[&str] = &[
    "SQLITE_AUTH",
    "no such function",
    "no such table",
    "no such module",
    "unsafe use",
    "too many arguments",
    "unknown database",
];

pub fn functions() -> Vec<Case> {
    let refused = [
        ("load_extension", "select load_extension('/tmp/x.so')"),
        (
            "load_extension with an entry",
            "select load_extension('/tmp/x.so', 'init')",
        ),
        ("LOAD_EXTENSION", "select LOAD_EXTENSION('x')"),
        (
            "load_extension in a trigger",
            "create trigger l after insert on t begin select load_extension('x'); end; insert into t values (4)",
        ),
        (
            "load_extension in a view",
            "create view l as select load_extension('x') as a; select * from l",
        ),
        (
            "load_extension in a default",
            "create table l(a, b default (load_extension('x'))); insert into l(a) values (1)",
        ),
        ("fts3_tokenizer", "select fts3_tokenizer('simple')"),
        (
            "fts3_tokenizer with a pointer",
            "select fts3_tokenizer('mine', x'4141414141414141')",
        ),
        ("edit", "select edit('x', 'rm')"),
        ("readfile", "select readfile('/etc/passwd')"),
        ("writefile", "select writefile('/tmp/x', 'y')"),
        ("fsdir", "select * from fsdir('/')"),
        ("lsmode", "select lsmode(1)"),
        ("sqlar_compress", "select sqlar_compress('x')"),
        ("zipfile", "select * from zipfile('/tmp/x.zip')"),
        (
            "a zipfile table",
            "create virtual table z using zipfile('/tmp/x.zip')",
        ),
        (
            "csv",
            "create virtual table z using csv(filename='/etc/passwd')",
        ),
        ("dbstat", "select * from dbstat"),
        (
            "a dbstat table",
            "create virtual table z using dbstat(main)",
        ),
        ("sqlite_dbpage", "select * from sqlite_dbpage"),
        (
            "sqlite_dbpage is written",
            "update sqlite_dbpage set data = zeroblob(4096) where pgno = 1",
        ),
        ("sqlite_stmt", "select * from sqlite_stmt"),
        ("bytecode", "select * from bytecode('select 1')"),
        ("tables_used", "select * from tables_used('select 1')"),
        ("carray", "select * from carray(1, 2)"),
        (
            "generate_series",
            "select * from generate_series(1, 1000000000)",
        ),
        ("completion", "select * from completion('a')"),
        (
            "a table of json_each",
            "create virtual table z using json_each",
        ),
        ("fts3", "create virtual table z using fts3(a)"),
        ("fts4", "create virtual table z using fts4(a, tokenize=icu)"),
        ("fts4aux", "create virtual table z using fts4aux(words)"),
        ("geopoly", "create virtual table z using geopoly(a)"),
        (
            "a module that is none",
            "create virtual table z using unheard_of",
        ),
        ("pragma_database_list", "select * from pragma_database_list"),
        (
            "pragma_writable_schema",
            "select * from pragma_writable_schema(1)",
        ),
        (
            "pragma_temp_store_directory",
            "select * from pragma_temp_store_directory",
        ),
        ("pragma_module_list", "select * from pragma_module_list"),
        ("pragma_function_list", "select * from pragma_function_list"),
        (
            "pragma_integrity_check",
            "select * from pragma_integrity_check",
        ),
        (
            "pragma_user_version",
            "select * from pragma_user_version(9)",
        ),
        (
            "pragma_journal_mode",
            "select * from pragma_journal_mode('delete')",
        ),
        ("sqlite_offset", "select sqlite_offset(a) from t"),
        ("sqlite_log", "select sqlite_log(1, 'x')"),
        ("an unknown function", "select system('id')"),
    ];
    let mut cases: Vec<Case> = refused
        .into_iter()
        .map(|(name, text)| {
            sql(name, text)
                .ends(REFUSED)
                .then("select count(*) from t", json!([[3]]))
        })
        .collect();
    cases.extend([
        sql("an FTS5 tokenizer that is none", "create virtual table z using fts5(a, tokenize='nothing')").fails(&["no such tokenizer", "error in tokenizer"]),
        sql("FTS5 on the content of another table", "create virtual table z using fts5(a, content='sqlite_master'); insert into z(z) values ('rebuild'); drop table z").ends(&["SQLITE_AUTH", "SQLITE_ERROR", "no such"]),
        sql("FTS5 with an option that is injected", "create virtual table z using fts5(a, content='t; drop table t')").ends(&["SQLITE_ERROR"]),
        sql("FTS5 configured badly", "insert into words(words, rank) values ('pgsz', 1 << 40)").ends(&["SQLITE_ERROR"]),
        sql("FTS5 ranks by SQL", "insert into words(words, rank) values ('rank', 'load_extension(''x'')'); select * from words where words match 'text' order by rank").fails(&["SQLITE_ERROR", "SQLITE_AUTH", "no such"]),
    ]);
    cases
}

pub fn transactions() -> Vec<Case> {
    let refused = [
        "begin",
        "BEGIN TRANSACTION",
        "begin deferred",
        "begin immediate",
        "begin exclusive transaction",
        "commit",
        "commit transaction",
        "end",
        "END TRANSACTION",
        "rollback",
        "rollback transaction",
        "rollback to savepoint x",
        "savepoint x",
        "savepoint \"main\"",
        "release x",
        "release savepoint x",
        "/* a */ begin -- b",
        "select 1; commit; insert into t values (9)",
        "insert into t values (9); commit",
        "insert into t values (9); rollback; begin immediate",
        ";;; end;;;",
    ];
    let mut cases: Vec<Case> = refused
        .into_iter()
        .map(|text| {
            sql(text, text)
                .fails(AUTH)
                .then("select count(*) from t", json!([[3]]))
        })
        .collect();
    cases.extend([
        sql("on conflict rollback", "insert or rollback into honest values (1, 'x'); insert into t values (9)").fails(&["UNIQUE constraint failed"]).then("select count(*) from t", json!([[3]])),
        sql("raise rollback", "create trigger rb before insert on t begin select raise(rollback, 'gone'); end; insert into t values (9)").fails(&["gone"]).then("select count(*) from t", json!([[3]])),
        sql("a rollback in the middle, and more statements", "insert into t values (9); insert or rollback into honest values (1, 'x'); insert into t values (10)").fails(&["UNIQUE constraint failed"]).then("select count(*) from t", json!([[3]])),
        sql("on conflict fail", "insert into t values (9); insert or fail into honest values (1, 'x')").fails(&["UNIQUE constraint failed"]).then("select count(*) from t", json!([[3]])),
        sql("a failing statement at the end", "delete from t; select * from unheard_of").fails(&["no such table"]).then("select count(*) from t", json!([[3]])),
        call("a rollback in a batch, and more statements", || {
            let query = |sql: &str| Value::from(Object::from([("sql", Value::from(sql))]));
            crate::honest::queries(vec![query("delete from t"), query("insert or rollback into honest values (1, 'x')"), query("delete from honest")])
        }).fails(&["UNIQUE constraint failed"]).then("select count(*) from honest", json!([[100]])),
    ]);
    cases
}

pub fn windows() -> Vec<Case> {
    const BOUNDED: &[&str] = &[
        "SQLITE_INTERRUPT",
        "SQLITE_NOMEM",
        "SQLITE_FULL",
        "SQLITE_TOOBIG",
    ];
    vec![
        sql("row_number over an endless recursion", &endless("select max(r) from (select row_number() over () r from c)")).fails(BOUNDED),
        sql("a sum over all rows for each row", "select sum(s) from (select sum(length(a.x || b.x)) over (order by a.n, b.n rows between unbounded preceding and unbounded following exclude current row) s from kilo a, kilo b)").fails(BOUNDED),
        sql("group_concat over a growing frame", "select sum(length(g)) from (select group_concat(a.x) over (order by a.n, b.n) g from kilo a, kilo b)").fails(BOUNDED),
        sql("max over a sliding frame", "select count(*) from (select max(a.n) over (order by b.n rows between 100000 preceding and current row) m from kilo a, kilo b)").fails(BOUNDED),
        sql("nth_value far away", "select count(*) from (select nth_value(a.x, 999999) over (order by b.n rows between unbounded preceding and unbounded following) from kilo a, kilo b)").fails(BOUNDED),
        sql("lead and lag of large values", "select sum(length(l)) from (select lead(a.x, 15) over (order by a.n) l from mega a, kilo b)").fails(BOUNDED),
        sql("groups with exclude ties", "select count(*) from (select avg(a.n) over (order by b.n % 3 groups between 1 preceding and 1 following exclude ties) from kilo a, kilo b)").fails(BOUNDED),
        sql("range with a float", "select count(*) from (select count(*) over (order by a.n / 7.0 range between 1e300 preceding and 1e300 following) from kilo a, kilo b)").fails(BOUNDED),
        sql("ntile of nothing", "select ntile(0) over () from t").fails(&["ntile must be a positive integer"]),
        sql("a frame that is negative", "select sum(a) over (rows between -1 preceding and current row) from t").fails(&["frame starting offset"]),
        sql("a hundred windows", &format!("select {} from t", (0..90).map(|n| format!("sum(a) over (order by a + {n})")).collect::<Vec<_>>().join(","))).ends(&["SQLITE_TOOBIG", "SQLITE_NOMEM", "SQLITE_ERROR"]),
        sql("a window in a window", "select sum(sum(a) over ()) over () from t").fails(&["misuse"]),
        sql("json_group_array over a growing frame", "select sum(length(g)) from (select json_group_array(a.x) over (order by a.n) g from kilo a, t)").ends(BOUNDED),
    ]
}

fn argument(value: Value) -> impl Fn() -> Args {
    move || Args::from(vec![value.clone()])
}

fn param(value: Value) -> impl Fn() -> Vec<Value> {
    move || vec![value.clone()]
}

pub fn parameters() -> Vec<Case> {
    const COUNT: &[&str] = &["Wrong number of parameter bindings"];
    let object = |values: [(&str, Value); 1]| Value::from(Object::from(values));
    let text = |sql: &str| Value::from(sql);
    vec![
        with("too few", "select ?1, ?2", param(1.into())).fails(COUNT),
        with("too many", "select 1", param(1.into())).fails(COUNT),
        with(
            "a number of a parameter that is large",
            "select ?101",
            param(1.into()),
        )
        .fails(&["variable number must be"]),
        with(
            "a number of a parameter that is huge",
            "select ?99999999999",
            param(1.into()),
        )
        .fails(&["variable number must be"]),
        with(
            "101 parameters",
            &format!("select {}", vec!["?"; 101].join(",")),
            || vec![Value::from(1); 101],
        )
        .fails(&["too many SQL variables"]),
        with("named parameters", "select :a, $b, @c", || {
            vec![1.into(), 2.into(), 3.into()]
        })
        .rows(json!([[1, 2, 3]])),
        with("an array", "select ?1", param(Value::Array(vec![1.into()]))).ends(&["D1_TYPE_ERROR"]),
        with(
            "an array of what is no byte",
            "select ?1",
            param(Value::Array(vec![256.into()])),
        )
        .throws("D1_TYPE_ERROR"),
        with(
            "an object",
            "select ?1",
            param(Object::from([("a", 1)]).into()),
        )
        .throws("D1_TYPE_ERROR"),
        with("a date", "select ?1", param(Value::Date(0.0))).throws("D1_TYPE_ERROR"),
        with("undefined", "select ?1", param(Value::Undefined)).throws("D1_TYPE_ERROR"),
        with(
            "a map",
            "select ?1",
            param(Value::Map(vec![(1.into(), 2.into())])),
        )
        .throws("D1_TYPE_ERROR"),
        with(
            "a bigint",
            "select ?1",
            param(js_value::to_value(&(1_i128 << 80)).unwrap_or(Value::Undefined)),
        )
        .throws(""),
        with("NaN", "select ?1 is null", param(Value::Number(f64::NAN))).rows(json!([[1]])),
        with(
            "infinity",
            "select ?1 > 1e308",
            param(Value::Number(f64::INFINITY)),
        )
        .rows(json!([[1]])),
        with(
            "a text with NUL",
            "select length(?1), length(cast(?1 as blob))",
            param("a\0b".into()),
        )
        .rows(json!([[1, 3]])),
        with(
            "a text as a table's name",
            "select * from ?1",
            param("t".into()),
        )
        .fails(&["syntax error"]),
        with(
            "a text as a limit",
            "select a from t limit ?1",
            param("x".into()),
        )
        .fails(&["datatype mismatch"]),
        with(
            "a limit that is negative",
            "select a from t limit ?1",
            param((-1).into()),
        )
        .rows(json!([[1], [2], [3]])),
        with(
            "injection stays a text",
            "select ?1",
            param("'; drop table t; --".into()),
        )
        .rows(json!([["'; drop table t; --"]]))
        .then("select count(*) from t", json!([[3]])),
        call("no argument", || Args::from(Vec::new())).throws("query: "),
        call("a string", argument(text("select 1"))).throws("query: "),
        call(
            "queries that are a string",
            argument(object([("queries", text("select 1"))])),
        )
        .throws("query: "),
        call(
            "a query that is null",
            argument(object([("queries", Value::Array(vec![Value::Null]))])),
        )
        .throws("query: "),
        call(
            "sql that is a number",
            argument(object([(
                "queries",
                Value::Array(vec![object([("sql", 1.into())])]),
            )])),
        )
        .throws("query: "),
        call(
            "no queries",
            argument(object([("queries", Value::Array(Vec::new()))])),
        )
        .succeeds(),
        call(
            "params that are an object",
            argument(object([(
                "queries",
                Value::Array(vec![
                    Object::from([
                        ("sql", text("select 1")),
                        ("params", object([("0", 1.into())])),
                    ])
                    .into(),
                ]),
            )])),
        )
        .throws("query: "),
        call(
            "a bookmark that is a number",
            argument(
                Object::from([
                    ("queries", Value::Array(Vec::new())),
                    ("bookmark", 1.into()),
                ])
                .into(),
            ),
        )
        .throws("query: "),
    ]
}

pub fn texts() -> Vec<Case> {
    const NONE: &[&str] = &["did not contain a statement"];
    vec![
        sql("nothing", "").fails(NONE),
        sql("spaces", &" ".repeat(99_000)).fails(NONE),
        sql("semicolons", &";".repeat(99_000)).fails(NONE),
        sql("comments", &"/**/".repeat(24_000)).fails(NONE),
        sql("a comment that does not end", "/* select 1").fails(NONE),
        sql("a comment in a comment", "select /* /* */ 1").rows(json!([[1]])),
        sql("a quote that does not end", "select 'x").fails(&["unrecognized token"]),
        sql("NUL", "select 1\0; drop table t")
            .fails(&["NUL"])
            .then("select count(*) from t", json!([[3]])),
        sql("10,000 statements", &"select 1;".repeat(10_000)).rows(json!([[1]])),
        sql(
            "5,000 statements that write",
            &"insert into seq default values;".repeat(3_000),
        )
        .ends(&["SQLITE_INTERRUPT"]),
        sql(
            "statements without end",
            &format!(
                "{}delete from seq",
                "select count(*) from kilo a, kilo b;".repeat(2_000)
            ),
        )
        .fails(&["SQLITE_INTERRUPT"]),
        sql("100,001 bytes", &format!("select 1{}", " ".repeat(99_993)))
            .fails(&["SQLITE_TOOBIG", "statement too long"]),
        sql("not UTF-8 in a name", "select 1 as \u{fffd}\u{202e}\u{0}").fails(&["NUL"]),
        sql("parameters before the last", "select ?1; select 1")
            .fails(&["only the last statement"]),
        sql(
            "explain query plan",
            "explain query plan select * from kilo a, kilo b",
        )
        .succeeds(),
        sql("a keyword alone", "select").fails(&["incomplete input"]),
        sql("another language", "{\"sql\": 1}").fails(&["unrecognized token", "syntax error"]),
        sql("a dot command", ".read /etc/passwd").fails(&["syntax error"]),
        sql(
            "a write behind a comment that says select",
            "/* select */ insert into seq default values; -- select",
        )
        .succeeds(),
        sql(
            "a write behind a with",
            "with x as (select 1) insert into seq(v) select * from x returning v",
        )
        .rows(json!([[1]])),
        sql(
            "a write that looks like a read",
            "select 1; delete from seq",
        )
        .succeeds()
        .then("select count(*) from seq", json!([[0]])),
    ]
}
