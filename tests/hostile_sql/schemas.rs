//! What is made, written or shadowed in the schema of `temp`, which outlives a call on its connection; and tricks with
//! the schema of the database.

use serde_json::json;

use crate::case::{Case, endless, sql};

/// Refused by the authorizer, or since there is no such thing.
const REFUSED: &[&str] = &[
    "SQLITE_AUTH",
    "no such",
    "cannot",
    "unknown database",
    "may not be",
    "unable to identify the object",
];

/// The rows of `t`, which nothing here changes.
const ROWS: &str = "select a from t order by rowid";

/// Each way into `temp`; afterwards others see the tables of `main`.
pub fn temporary() -> Vec<Case> {
    let refused = [
        ("temp table", "create temp table t(a)"),
        (
            "temporary table",
            "create temporary table t as select 99 as a",
        ),
        ("table in temp", "create table temp.t(a)"),
        ("table in temp, quoted", "create table \"temp\".t(a)"),
        ("table in TEMP, in brackets", "create table [TEMP].t(a)"),
        (
            "temp table if not exists",
            "create temp table if not exists t(a)",
        ),
        ("temp view", "create temp view t as select 99 as a"),
        ("view in temp", "create view temp.t as select 99 as a"),
        (
            "temp trigger",
            "create temp trigger x after insert on main.log begin delete from t; end",
        ),
        (
            "trigger in temp",
            "create trigger temp.x after insert on main.log begin delete from t; end",
        ),
        (
            "temp trigger on a view",
            "create temp trigger x instead of insert on shown begin delete from t; end",
        ),
        (
            "temp trigger before",
            "create temp trigger if not exists x before update of v on main.honest begin select raise(abort, 'no'); end",
        ),
        (
            "virtual table in temp",
            "create virtual table temp.t using fts5(a)",
        ),
        (
            "rtree in temp",
            "create virtual table temp.t using rtree(a, b, c)",
        ),
        ("index in temp", "create index temp.x on t(a)"),
        ("unique index in temp", "create unique index temp.x on t(a)"),
        ("drop in temp", "drop table temp.t"),
        (
            "drop if exists in temp",
            "drop table if exists temp.sqlite_master",
        ),
        ("alter in temp", "alter table temp.t rename to u"),
        (
            "write to sqlite_temp_master",
            "insert into sqlite_temp_master values ('table', 't', 't', 2, 'create table t(a)')",
        ),
        (
            "write to sqlite_temp_schema",
            "update sqlite_temp_schema set sql = 'x'",
        ),
        (
            "write to temp.sqlite_master",
            "delete from temp.sqlite_master",
        ),
        (
            "rename into temp",
            "alter table t rename to \"temp.t\"; drop table \"temp.t\"; create temp table t(a)",
        ),
        ("pragma temp_store", "pragma temp_store = memory"),
        ("pragma temp.user_version", "pragma temp.user_version = 7"),
        ("pragma temp.cache_size", "pragma temp.cache_size = 100000"),
        ("pragma temp.journal_mode", "pragma temp.journal_mode = off"),
        ("pragma writable_schema", "pragma writable_schema = on"),
        ("reindex temp", "reindex temp.t"),
        ("analyze temp", "analyze temp"),
        ("attach as temp", "attach ':memory:' as temp"),
        (
            "temp in a batch of statements",
            "select 1; create temp table t(a); insert into t values (9)",
        ),
        (
            "explain first",
            "explain create temp table t(a); create temp table t(a)",
        ),
        (
            "fts5vocab in temp",
            "create virtual table temp.v using fts5vocab(main, words, row)",
        ),
        (
            "a table-valued name",
            "create virtual table temp.j using json_each",
        ),
    ];
    let mut cases: Vec<Case> = refused
        .into_iter()
        .map(|(name, text)| {
            sql(name, text)
                .fails(REFUSED)
                .then(ROWS, json!([[1], [2], [3]]))
        })
        .collect();
    cases.extend([
        sql("vacuum temp", "vacuum temp").ends(&["SQLITE_AUTH", "SQLITE_ERROR"]),
        sql("temp is read", "select count(*) from sqlite_temp_master").rows(json!([[0]])),
        sql(
            "temp is read by its name",
            "select count(*) from temp.sqlite_schema",
        )
        .rows(json!([[0]])),
        sql(
            "fts5vocab in main",
            "create virtual table v using fts5vocab(words, row); drop table v",
        )
        .succeeds(),
        sql(
            "a table called temp",
            "create table \"temp\"(a); insert into \"temp\" values (1); drop table \"temp\"",
        )
        .succeeds(),
        sql(
            "a common table expression of the same name",
            "with t(a) as (select 9) select a from t",
        )
        .rows(json!([[9]])),
        sql(
            "a subquery that is kept",
            "with k as materialized (select a from t) select count(*) from k, k b",
        )
        .rows(json!([[9]])),
    ]);
    cases
}

fn columns(count: usize) -> String {
    let columns: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
    columns.join(",")
}

fn repeated(part: &str, between: &str, count: usize) -> String {
    vec![part; count].join(between)
}

pub fn tricks() -> Vec<Case> {
    let mut cases = edits();
    cases.extend(depths());
    cases.extend(widths());
    cases
}

fn edits() -> Vec<Case> {
    const DENIED: &[&str] = &["may not be modified", "SQLITE_AUTH"];
    vec![
        sql("sqlite_master is written", "insert into sqlite_master values ('table', 'z', 'z', 2, 'create table z(a)')").fails(DENIED),
        sql("sqlite_schema is updated", "update sqlite_schema set sql = 'create table t(b)' where name = 't'").fails(DENIED),
        sql("sqlite_schema is emptied", "delete from main.sqlite_schema").fails(DENIED),
        sql("sqlite_sequence is edited", "insert into seq(v) values (1); update sqlite_sequence set seq = 9223372036854775807 where name = 'seq'; insert into seq(v) values (2)").fails(&["SQLITE_FULL"]),
        sql("sqlite_sequence holds no number", "insert into sqlite_sequence values ('seq', zeroblob(1000000)); delete from sqlite_sequence").succeeds(),
        sql("sqlite_stat1 is forged", "analyze t; insert into sqlite_stat1 values ('kilo', null, '0 0 0 0 -1 99999999999999999999999'); select count(*) from kilo; drop table sqlite_stat1").ends(&["SQLITE_AUTH", "may not be"]),
        sql("a name that is SQLite's", "create table sqlite_mine(a)").fails(&["reserved"]),
        sql("a shadow table is written", "delete from words_data").fails(&["may not be modified"]),
        sql("a shadow table is dropped", "drop table words_content").fails(&["may not be dropped"]),
        sql("a shadow table is altered", "alter table words_content rename to w").fails(&["may not be altered"]),
        sql("a shadow table of the rtree is written", "insert into boxes_node values (1, zeroblob(100))").fails(&["may not be modified"]),
        sql("a shadow table is made first", "create table f2_data(id integer primary key, block blob); create virtual table f2 using fts5(a)").fails(&["already", "reserved", "may not"]),
        sql("a view on itself", "create view v1 as select * from v1; select * from v1").fails(&["circularly defined"]),
        sql("a foreign key on itself", "create table r(a primary key references r on delete cascade); insert into r values (1); delete from r; drop table r").succeeds(),
        sql("a generated column of itself", "create table g(a, b as (b + 1)); select b from g").fails(&["generated column loop"]),
        sql("a generated column that grows", "create table g(a, b as (zeroblob(a)) stored); insert into g(a) values (3000000000)").fails(&["SQLITE_TOOBIG"]).then("select count(*) from sqlite_schema where name = 'g'", json!([[0]])),
        sql("a check that runs for ever", "create table k(a check ((with recursive c(n) as (select 1 union all select n from c) select count(*) from c) > 0))").fails(&["subqueries prohibited"]),
        sql("a default that runs for ever", "create table k(a default ((with recursive c(n) as (select 1 union all select n from c) select count(*) from c)))").fails(&["not constant"]),
        sql("an index on what is random", "create index i on kilo(random())").fails(&["non-deterministic"]),
        sql("recursive triggers", "pragma recursive_triggers = 1; create table r(a); create trigger rr after insert on r begin insert into r values (new.a + 1); end; insert into r values (1)")
            .fails(&["nested too deep"])
            .then("select count(*) from sqlite_schema where name like 'r%'", json!([[0]])),
        sql("triggers that call each other", "pragma recursive_triggers = 1; create table p(a); create table q(a); create trigger pq after insert on p begin insert into q values (1); insert into q values (2); end; create trigger qp after insert on q begin insert into p values (1); insert into p values (2); end; insert into p values (1)")
            .fails(&["nested too deep", "SQLITE_INTERRUPT"]),
        sql("a trigger on every row that computes", "create table r(a); create trigger rr after insert on r begin select count(*) from kilo a, kilo b, kilo c; end; insert into r select n from kilo; drop table r").fails(&["SQLITE_INTERRUPT"]),
        sql("foreign keys off and on", "pragma foreign_keys = off; insert into child values (1, 123456)").fails(&["FOREIGN KEY constraint failed"]),
        sql("foreign keys are deferred for ever", "pragma defer_foreign_keys = on; insert into child values (1, 123456)").fails(&["FOREIGN KEY constraint failed"]),
        sql("case_sensitive_like leaks to nobody", "pragma case_sensitive_like = 1; select 'A' like 'a'").rows(json!([[0]])).then("select 'A' like 'a'", json!([[1]])),
        sql("an explain of everything", &endless("select count(*) from c").replace("with", "explain with")).succeeds(),
        sql("a cascade of deletes without end", "create table r(a integer primary key, b references r on delete cascade); insert into r select n, nullif(n - 1, 0) from kilo; delete from r where a = 1; drop table r").ends(&["SQLITE_INTERRUPT", "nested too deep"]),
    ]
}

fn depths() -> Vec<Case> {
    const DEPTH: &[&str] = &[
        "SQLITE_TOOBIG",
        "maximum depth",
        "parser stack overflow",
        "SQLITE_ERROR",
        "SQLITE_NOMEM",
    ];
    let parentheses = |count: usize| format!("select {}1{}", "(".repeat(count), ")".repeat(count));
    let subqueries = |count: usize| {
        (0..count).fold("select 1 as a".to_owned(), |inner, _| {
            format!("select a from ({inner})")
        })
    };
    let views = |count: usize| {
        let first = "create view v0 as select * from t".to_owned();
        let more = (1..count)
            .map(|n| format!("create view v{n} as select a.a from v{0} a, v{0} b", n - 1));
        let all: Vec<String> = std::iter::once(first).chain(more).collect();
        format!("{}; select count(*) from v{}", all.join(";"), count - 1)
    };
    vec![
        sql("parentheses", &parentheses(40_000)).fails(DEPTH),
        sql("not not not", &format!("select {}1", "not ".repeat(20_000))).fails(DEPTH),
        sql("minus minus", &format!("select {}1", "- ".repeat(20_000))).fails(DEPTH),
        sql(
            "a sum of 32,000 terms",
            &format!("select {}", repeated("1", "+", 32_000)),
        )
        .fails(DEPTH),
        sql(
            "a sum of 99 terms",
            &format!("select {}", repeated("1", "+", 99)),
        )
        .rows(json!([[99]])),
        sql(
            "ands of 10,000 terms",
            &format!("select {}", repeated("1", " and ", 10_000)),
        )
        .fails(DEPTH),
        sql(
            "concatenations of 20,000 terms",
            &format!("select {}", repeated("'a'", "||", 20_000)),
        )
        .fails(DEPTH),
        sql(
            "case when of 10,000 branches",
            &format!(
                "select case {} end from t",
                repeated("when a then 1", " ", 6_000)
            ),
        )
        .ends(DEPTH),
        sql("subqueries in subqueries", &subqueries(2_000)).fails(DEPTH),
        sql(
            "scalar subqueries in each other",
            &format!("select {}1{}", "(select ".repeat(3000), ")".repeat(3000)),
        )
        .fails(DEPTH),
        sql("views on views, doubling", &views(14))
            .fails(&[
                "SQLITE_NOMEM",
                "SQLITE_TOOBIG",
                "at most 64 tables",
                "SQLITE_INTERRUPT",
                "SQLITE_ERROR",
            ])
            .then(
                "select count(*) from sqlite_schema where name like 'v_'",
                json!([[0]]),
            ),
        sql("common table expressions that double", &{
            let first = "c0(a) as (select 1)".to_owned();
            let more =
                (1..30).map(|n| format!("c{n}(a) as (select a.a from c{0} a, c{0} b)", n - 1));
            let all: Vec<String> = std::iter::once(first).chain(more).collect();
            format!("with {} select count(*) from c29", all.join(","))
        })
        .fails(&[
            "SQLITE_NOMEM",
            "SQLITE_TOOBIG",
            "at most 64 tables",
            "SQLITE_INTERRUPT",
            "SQLITE_ERROR",
        ]),
        sql(
            "a with in a with",
            &format!(
                "{}select 1{}",
                "with a as (".repeat(1500),
                ") select 1".repeat(1500)
            ),
        )
        .fails(DEPTH),
        sql(
            "exists in each other",
            &format!(
                "select {}1{}",
                "exists(select ".repeat(3000),
                ")".repeat(3000)
            ),
        )
        .fails(DEPTH),
    ]
}

fn widths() -> Vec<Case> {
    const BIG: &[&str] = &["SQLITE_TOOBIG", "SQLITE_ERROR", "too many", "SQLITE_NOMEM"];
    vec![
        sql(
            "a table of 2,000 columns",
            &format!("create table wide({}); select * from wide", columns(2000)),
        )
        .fails(&["max_columns"])
        .then(
            "select count(*) from sqlite_schema where name = 'wide'",
            json!([[0]]),
        ),
        sql(
            "a table of 2,001 columns",
            &format!("create table wide({})", columns(2001)),
        )
        .fails(BIG),
        sql(
            "a join of many columns",
            &format!(
                "create table wide({}); select * from wide a, wide b, wide c",
                columns(1000)
            ),
        )
        .fails(BIG),
        sql(
            "a result of 101 columns",
            &format!("select {}", repeated("1", ",", 101)),
        )
        .fails(BIG),
        sql(
            "a compound of many selects",
            &repeated("select 1", " union all ", 8000),
        )
        .fails(BIG),
        sql(
            "values of many rows",
            &format!(
                "select count(*) from (values {})",
                repeated("(1)", ",", 20_000)
            ),
        )
        .ends(&["SQLITE_TOOBIG", "SQLITE_ERROR", "SQLITE_NOMEM"]),
        sql(
            "an insert of many rows",
            &format!(
                "insert into seq(v) values {}; delete from seq",
                repeated("(1)", ",", 20_000)
            ),
        )
        .ends(&["SQLITE_TOOBIG", "SQLITE_ERROR", "SQLITE_NOMEM"]),
        sql(
            "in a list of 45,000",
            &format!("select 1 in ({})", repeated("1", ",", 45_000)),
        )
        .fails(BIG),
        sql(
            "a function of 200 arguments",
            &format!("select max({})", repeated("1", ",", 200)),
        )
        .fails(BIG),
        sql(
            "a join of 65 tables",
            &format!(
                "select 1 from {}",
                (0..65)
                    .map(|n| format!("t t{n}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        )
        .fails(&["at most 64 tables"]),
        sql(
            "a join of 30 tables",
            &format!(
                "select count(*) from {}",
                (0..30)
                    .map(|n| format!("t t{n}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        )
        .fails(&["SQLITE_INTERRUPT"]),
        sql(
            "a join of 16 tables that is planned",
            &format!(
                "select count(*) from {} where {}",
                (0..16)
                    .map(|n| format!("kilo t{n}"))
                    .collect::<Vec<_>>()
                    .join(","),
                (1..16)
                    .map(|n| format!("t{}.n = t{n}.n", n - 1))
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
        )
        .rows(json!([[1000]])),
        sql(
            "order by of 1,000 terms",
            &format!("select 1 from t order by {}", repeated("a", ",", 1000)),
        )
        .ends(BIG),
        sql(
            "order by of 3,000 terms",
            &format!("select 1 from t order by {}", repeated("a", ",", 3000)),
        )
        .fails(BIG),
        sql(
            "or of 90 terms on an index",
            &format!(
                "select count(*) from kilo where {}",
                (0..90)
                    .map(|n| format!("n = {n}"))
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        )
        .rows(json!([[89]])),
        sql(
            "an index of 2,001 columns",
            &format!("create index wide on t({})", repeated("a", ",", 2001)),
        )
        .fails(BIG),
        sql(
            "a name of 90 KB",
            &format!(
                "create table \"{0}\"(a); drop table \"{0}\"",
                "n".repeat(45_000)
            ),
        )
        .ends(BIG),
    ]
}
