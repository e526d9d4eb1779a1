//! Statements that fill the database, its log or temporary files.

use serde_json::json;

use crate::case::{Case, batch, endless, sql};

/// Space, memory, or time: whichever comes first.
const BOUNDED: &[&str] = &["SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_INTERRUPT"];
/// Alone, there is time enough.
const FULL: &[&str] = &["SQLITE_FULL"];
const AUTH: &[&str] = &["SQLITE_AUTH"];

pub fn cases() -> Vec<Case> {
    vec![
        sql(
            "inserts without end",
            &endless("insert into kilo select 10000 + n, 'x' from c"),
        )
        .fails(BOUNDED)
        .then("select count(*) from kilo", json!([[1000]])),
        sql(
            "inserts of large values without end",
            &endless("insert into kilo select 10000 + n, zeroblob(1900000) from c"),
        )
        .fails(FULL)
        .then("select count(*) from kilo", json!([[1000]])),
        sql(
            "inserts of random blobs without end",
            &endless("insert into kilo select 10000 + n, randomblob(100000) from c"),
        )
        .fails(FULL)
        .then("select count(*) from kilo", json!([[1000]])),
        batch("a thousand inserts of large values", || {
            vec!["insert into kilo select max(n) + 1, zeroblob(1900000) from kilo".to_owned(); 1000]
        })
        .fails(FULL)
        .then("select count(*) from kilo", json!([[1000]])),
        sql("a table of a query", "create table huge as select a.x || b.n as x from mega a, kilo b")
            .fails(FULL)
            .then("select count(*) from sqlite_schema where name = 'huge'", json!([[0]])),
        sql("an update of all large values, often", &format!("{}select 1", "update mega set x = substr(x, 2) || 'y';".repeat(20)))
            .fails(BOUNDED)
            .then("select count(*) from mega where x like '%xx'", json!([[16]])),
        sql("indexes of large values", "create index large on mega(x || n); create index larger on mega(x || -n); create index largest on mega(n || x)")
            .fails(FULL)
            .then("select count(*) from sqlite_schema where name like 'large%'", json!([[0]])),
        sql("a write that never changes its size", &endless("update honest set v = 'v' || id where (select count(*) from c) > 0"))
            .fails(BOUNDED),
        sql(
            "a replace without end",
            &endless("replace into kilo select 5000, randomblob(1000000) from c"),
        )
        .fails(BOUNDED)
        .then("select count(*) from kilo", json!([[1000]])),
        sql("an upsert without end", &endless("insert into kilo select 1, 'x' from c where true on conflict do update set x = x || randomblob(10000)"))
            .fails(&["SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_INTERRUPT", "SQLITE_TOOBIG"])
            .then("select x from kilo where n = 1", json!([["a text that is neither long nor short 1"]])),
        sql("a sort on the disk", "select count(*) from (select a.n, b.n, c.n from kilo a, kilo b, kilo c order by a.x, b.x)")
            .fails(BOUNDED),
        sql("a trigger that writes much", "create trigger much after insert on seq begin insert into kilo select max(n) + 1, zeroblob(1900000) from kilo; end; insert into seq(v) select n from kilo; drop trigger much")
            .fails(FULL)
            .then("select count(*) from sqlite_schema where name = 'much'", json!([[0]])),
        sql("delete and insert", "delete from mega; insert into mega select n, zeroblob(1900000) from kilo")
            .fails(FULL)
            .then("select count(*) from mega", json!([[16]])),
        sql("a long read after a large write that was rolled back", "select count(*) from kilo a, kilo b where b.n < 500")
            .rows(json!([[499_000]])),
        sql("a longer write after a large write that was rolled back", "insert into seq(v) select a.n from kilo a, kilo b where b.n < 20; delete from seq")
            .ends(BOUNDED),
        sql("page_size", "pragma page_size = 65536").fails(AUTH),
        sql("vacuum", "vacuum").fails(&["SQLITE_AUTH", "cannot VACUUM from within a transaction"]),
        sql("vacuum into", "vacuum into '/tmp/binding-span-vacuumed.sqlite'").fails(&["SQLITE_AUTH", "cannot VACUUM"]),
        sql("attach", "attach '/tmp/binding-span-attached.sqlite' as other").fails(AUTH),
        sql("attach memory", "attach ':memory:' as other").fails(AUTH),
        sql("attach by a parameter-like name", "attach database 'file:/etc/passwd?mode=ro' as p key 'x'").fails(AUTH),
        sql("detach", "detach main").fails(AUTH),
        sql("max_page_count", "pragma max_page_count = 4294967294").fails(AUTH),
        sql("journal_size_limit", "pragma journal_size_limit = -1").fails(AUTH),
        sql("journal_mode", "pragma journal_mode = off").fails(AUTH),
        sql("synchronous", "pragma synchronous = off").fails(AUTH),
        sql("wal_checkpoint", "pragma wal_checkpoint(truncate)").fails(AUTH),
        sql("mmap_size", "pragma mmap_size = 1000000000").fails(AUTH),
        sql("cache_size", "pragma cache_size = 1000000000").fails(AUTH),
        sql("soft_heap_limit", "pragma hard_heap_limit = 0").fails(AUTH),
        sql("temp_store_directory", "pragma temp_store_directory = '/etc'").fails(AUTH),
        sql("locking_mode", "pragma locking_mode = exclusive").fails(AUTH),
        sql("query_only", "pragma query_only = 1").fails(AUTH),
        sql("threads", "pragma threads = 100").fails(AUTH),
    ]
}
