//! What it costs to count rows as D1 does: `cargo bench -p binding-span-bindings --bench rows`, and the same with
//! `LIBSQLITE3_FLAGS=SQLITE_ENABLE_MATH_FUNCTIONS` before it, which counts steps alone.
//!
//! Processor time of a statement, in calls of 100, so that sending calls counts for little.

use std::time::Duration;

use bindings::d1::{Database, DatabaseOptions, Query, QueryRequest, RowCount};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let options = DatabaseOptions {
        create: true,
        readers: 1,
        ..DatabaseOptions::default()
    };
    let database = Database::open(folder.path().join("shop.sqlite"), options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let run = |sql: &str, times: usize| {
        let queries = vec![Query::new(sql); times];
        runtime.block_on(database.query(QueryRequest::from(queries)))
    };
    let rows = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000) \
                select i, i % 100, 'name ' || i from n";
    for sql in [
        "create table t (id integer primary key, kind integer, name text)",
        "create index kinds on t (kind)",
        rows,
    ] {
        run(sql, 1)?;
    }
    println!("rows are counted: {:?}", RowCount::method());
    println!("us of a statement");
    for sql in [
        "select * from t where id = 4321",
        "select * from t where kind = 7 limit 10",
        "select a.id from t a join t b on b.kind = a.kind where a.id = 17 order by b.name",
        "select sum(length(name)) from t",
        "select count(*) from t",
        "update t set name = 'another' where id = 99",
        "insert or replace into t values (1, 2, 'x')",
    ] {
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let started = processor();
            run(sql, 100)?;
            // The first one warms up.
            if round > 0 {
                times.push(processor().saturating_sub(started) / 100);
            }
        }
        times.sort();
        println!("{:>8.1}  {sql}", times[ROUNDS / 2].as_secs_f64() * 1e6);
    }
    Ok(())
}

fn processor() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
