//! D1 whose SQL runs in processes: the answers are those of the database whose SQL runs on threads, and a process
//! ends when it should and only then. (What hostile SQL can do to the program is in `hostile_sql`.)

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bindings::d1::{
    Database, DatabaseOptions, IsolatedDatabase, Isolation, WhyReplaced, WorkerProgram,
};
use js_rpc::{Args, Context, Service, ServiceResult, Stub, async_trait, reply};
use serde_json::{Value, json};
use tempfile::TempDir;

fn options() -> DatabaseOptions {
    DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    }
}

fn isolation() -> Isolation {
    Isolation {
        program: WorkerProgram::at(env!("CARGO_BIN_EXE_callee")),
        ..Isolation::default()
    }
}

struct Fixture {
    database: IsolatedDatabase,
    stub: Stub,
    path: PathBuf,
    _folder: TempDir,
}

async fn open(options: DatabaseOptions) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sqlite");
    let database = IsolatedDatabase::open(&path, options, isolation()).await;
    let database = database.unwrap();
    Fixture {
        stub: Stub::new(database.clone()),
        database,
        path,
        _folder: folder,
    }
}

impl Fixture {
    async fn run(&self, sql: &str) -> Value {
        query(&self.stub, &json!({"queries": [{"sql": sql}]})).await
    }
}

/// The reply, or what was thrown.
async fn query(stub: &Stub, argument: &Value) -> Value {
    match stub.call("query", (argument,)).await {
        Ok(reply) => {
            let payload = reply.into_payload();
            payload.to_json().unwrap()
        }
        Err(error) => json!({"thrown": error.to_string()}),
    }
}

fn message(reply: &Value) -> &str {
    let error = &reply["error"];
    let native = &error["$error"]["message"];
    native
        .as_str()
        .unwrap_or_else(|| panic!("no error in {reply}"))
}

fn rows(reply: &Value) -> &Value {
    &reply["results"]["queryResults"][0]["data"]["rows"]
}

fn on_local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .unwrap()
    });
}

/// What differs between any two runs.
fn without_times(mut reply: Value) -> Value {
    if let Some(results) = reply
        .as_object_mut()
        .and_then(|reply| reply.get_mut("results"))
    {
        results["bookmark"] = json!("");
        for result in results["queryResults"].as_array_mut().unwrap() {
            result["meta"]["duration"] = json!(0);
            result["meta"]["timings"] = json!(0);
        }
    }
    // Where an error was made.
    if let Some(error) = reply.get_mut("error") {
        error["$error"]["stack"] = json!("");
    }
    reply
}

#[test]
fn answers_are_those_of_threads() {
    on_local(async {
        let processes = open(options()).await;
        let folder = tempfile::tempdir().unwrap();
        let threads = Database::open(folder.path().join("shop.sqlite"), options()).unwrap();
        let threads = Stub::new(threads);
        let long = "x".repeat(100_000);
        let many: Vec<Value> = (0..900)
            .map(|n| json!({"sql": "insert into t values (?1, ?2)", "params": [n, long[..100]]}))
            .collect();
        let calls = [
            json!({"queries": [{"sql": "create table t (a, b)"}]}),
            json!({"queries": [{"sql": "insert into t values (?1, ?2)", "params": [1, "one"]}]}),
            json!({"queries": [{"sql": "insert into t values (2, x'00ff') returning *"}]}),
            json!({"queries": [{"sql": "select * from t"}, {"sql": "select 1.5 as x, null as y"}]}),
            // Larger than what the program itself looks into; reads and writes.
            json!({"queries": many}),
            json!({"queries": [{"sql": "select length(?1), count(*) from t", "params": [long]}]}),
            json!({"queries": [{"sql": "select ?1", "params": [long]}, {"sql": "drop table t"}, {"sql": "create table t (a, b)"}]}),
            json!({"queries": []}),
            json!({"queries": [{"sql": "select * from nowhere"}]}),
            json!({"queries": [{"sql": "insert into t values (1)"}]}),
            json!({"queries": [{"sql": "with x as (select 1) insert into t select 1, 2 from x"}]}),
            json!({"queries": [{"sql": "explain delete from t"}]}),
            json!({"queries": [{"sql": "begin"}]}),
            json!({"queries": [{"sql": "create table temp.t (a)"}]}),
            json!({"queries": [{"sql": "select ?1", "params": [{}]}]}),
            json!({"queries": "select 1"}),
            json!({"queries": [{"sql": "select 1"}], "bookmark": "x".repeat(300)}),
            json!(7),
        ];
        for call in &calls {
            let expected = without_times(query(&threads, call).await);
            let answer = without_times(query(&processes.stub, call).await);
            let text = call.to_string();
            assert_eq!(answer, expected, "{}", &text[..text.len().min(200)]);
        }
        let unknown = processes.stub.call("exec", ()).await.unwrap_err();
        assert!(unknown.to_string().contains("\"exec\""), "{unknown}");
    });
}

/// Makes plain HTTP requests of what a call says: the method is the path, the argument the body.
enum Requests {
    Threads(Database),
    Processes(IsolatedDatabase),
}

#[async_trait(?Send)]
impl Service for Requests {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        let (body,): (String,) = args.parse()?;
        let request = http::Request::post(format!("http://d1{}", method.replace('\\', "")));
        let request = request.header(BOOKMARK, "first-primary").body(body.into());
        let answer = match self {
            Self::Threads(database) => database.answer_http(request.unwrap(), cx.scope()).await,
            Self::Processes(database) => database.answer_http(request.unwrap(), cx).await,
        };
        let bookmark = answer.headers().contains_key(BOOKMARK);
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        reply(&json!([status, bookmark, body]))
    }
}

const BOOKMARK: &str = "x-cf-d1-session-commit-token";

#[test]
fn plain_http_is_answered_as_by_threads() {
    on_local(async {
        let options = DatabaseOptions {
            max_request_bytes: 200_000,
            ..options()
        };
        let processes = open(options.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let threads = Database::open(folder.path().join("shop.sqlite"), options).unwrap();
        let threads = Stub::new(Requests::Threads(threads));
        let processes = Stub::new(Requests::Processes(processes.database.clone()));
        let long = "x".repeat(100_000);
        for (path, body, status, succeeds) in [
            (
                "/execute",
                json!({"sql": "create table t (a unique)"}),
                200,
                true,
            ),
            (
                "/query",
                json!([{"sql": "insert into t values (?)", "params": [1]}, {"sql": "select * from t"}]),
                200,
                true,
            ),
            (
                "/query?resultsFormat=ROWS_AND_COLUMNS",
                json!({"sql": "select a, 9007199254740993 as n from t"}),
                200,
                true,
            ),
            // Larger than what the program itself looks into; reads and writes.
            (
                "/query",
                json!({"sql": "select length(?) as n", "params": [long]}),
                200,
                true,
            ),
            (
                "/query",
                json!([{"sql": "select ?", "params": [long]}, {"sql": "insert into t values (2)"}]),
                200,
                true,
            ),
            ("/query", json!({"sql": 1, "params": [long]}), 400, false),
            (
                "/query",
                json!({"sql": "select ?", "params": [long, long]}),
                413,
                false,
            ),
            (
                "/query",
                json!({"sql": "insert into t values (1)"}),
                200,
                false,
            ),
            (
                "/query",
                json!({"sql": "select ?", "params": [{}]}),
                400,
                false,
            ),
            ("/query", json!("select 1"), 400, false),
            ("/dump", json!(null), 501, false),
        ] {
            let ask = async |stub: &Stub| {
                let answer = stub.call(path, (body.to_string(),)).await.unwrap();
                let mut answer: Value = answer.parse().unwrap();
                if let Some(results) = answer[2].as_array_mut() {
                    results.iter_mut().for_each(without_times_of_one);
                } else {
                    without_times_of_one(&mut answer[2]);
                }
                answer
            };
            let (ours, theirs) = (ask(&processes).await, ask(&threads).await);
            let words: String = body.to_string().chars().take(100).collect();
            assert_eq!(ours, theirs, "{path} {words}");
            assert_eq!(
                (&ours[0], &ours[1]),
                (&json!(status), &json!(succeeds)),
                "{path} {words}: {ours}"
            );
        }
    });
}

fn without_times_of_one(answer: &mut Value) {
    if let Some(meta) = answer.get_mut("meta") {
        meta["duration"] = json!(0);
        meta["timings"] = json!(0);
    }
}

#[test]
fn a_function_that_does_not_look_at_the_clock_ends_with_its_process() {
    on_local(async {
        let timeout = Duration::from_millis(500);
        let db = open(DatabaseOptions {
            timeout,
            ..options()
        })
        .await;
        db.run("create table t (a)").await;
        // Quadratic: minutes of one instruction of SQLite's.
        let slow = "instr(hex(zeroblob(990000)), hex(zeroblob(490000)) || '1')";
        for (sql, written) in [
            (format!("select {slow}"), 0),
            (
                format!("insert into t values (1); insert into t select {slow}"),
                0,
            ),
        ] {
            let started = Instant::now();
            let reply = db.run(&sql).await;
            assert_eq!(
                message(&reply),
                "The call ran longer than 500 ms and was stopped; it was rolled back: SQLITE_INTERRUPT"
            );
            let took = started.elapsed();
            assert!(took < timeout + Duration::from_secs(1), "{took:?}");
            let found = db.run("select count(*) from t").await;
            assert_eq!(rows(&found), &json!([[written]]));
        }
        let status = db.database.status();
        assert_eq!(status.replaced(WhyReplaced::Stuck), 2);
        assert_eq!(status.failing(), None);
    });
}

#[test]
fn a_call_for_which_nobody_waits_leaves_nothing_and_frees_its_process() {
    on_local(async {
        let db = open(options()).await;
        db.run("create table t (a)").await;
        let endless = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
        let slow =
            "insert into t select instr(hex(zeroblob(990000)), hex(zeroblob(490000)) || '1')";
        for (sql, killed) in [(endless, 0), (slow, 1)] {
            let call = db.run(sql);
            let given_up = tokio::time::timeout(Duration::from_millis(300), call).await;
            assert!(given_up.is_err(), "{sql}");
            let since = Instant::now();
            let reply = db
                .run("insert into t values (1) returning (select count(*) from t)")
                .await;
            assert_eq!(reply["success"], json!(true), "{reply}");
            assert!(
                since.elapsed() < Duration::from_secs(1),
                "{:?}",
                since.elapsed()
            );
            assert_eq!(
                db.database.status().replaced(WhyReplaced::Stuck),
                killed,
                "{sql}"
            );
        }
        assert_eq!(rows(&db.run("select * from t").await), &json!([[1], [1]]));
    });
}

#[test]
fn memory_has_a_bound_that_costs_one_call() {
    on_local(async {
        let db = open(DatabaseOptions {
            max_temporary_bytes: 50_000_000,
            ..options()
        })
        .await;
        let many = |n: u32| {
            format!(
                "(with recursive n(i) as (select 1 union all select i + 1 from n where i < {n}) \
                 select randomblob(900000) as a from n)"
            )
        };
        for (sql, words) in [
            (
                format!("select length(group_concat(a)) from {}", many(500)),
                "string or blob too big",
            ),
            (
                format!("select count(distinct a) from {}", many(200)),
                "more than 50000000 bytes of temporary files",
            ),
        ] {
            let reply = db.run(&sql).await;
            assert!(message(&reply).contains(words), "{reply}");
        }
        let columns = vec!["randomblob(1900000)"; 100].join(", ");
        let reply = db.run(&format!("select {columns}")).await;
        assert!(message(&reply).ends_with("SQLITE_NOMEM"), "{reply}");
        let columns = vec!["1"; 101].join(", ");
        let reply = db.run(&format!("select {columns}")).await;
        assert!(
            message(&reply).contains("101 columns, more than 100"),
            "{reply}"
        );
        let complex = vec!["a + 1"; 90].join(", ");
        let complex = format!(
            "select {}",
            vec![format!("(select max({}) from (select 1 as a))", complex); 90].join(", ")
        );
        let reply = db.run(&complex).await;
        assert!(message(&reply).contains("too complex"), "{reply}");
        assert_eq!(rows(&db.run("select 1").await), &json!([[1]]));
        assert_eq!(db.database.status().replaced(WhyReplaced::Ended), 0);
    });
}

#[test]
fn a_file_that_is_removed_or_replaced_takes_no_writes() {
    on_local(async {
        let db = open(options()).await;
        db.run("create table t (a)").await;
        let aside = db.path.with_extension("aside");
        std::fs::rename(&db.path, &aside).unwrap();
        let status = db.database.status();
        assert!(
            status
                .failing()
                .unwrap()
                .contains("was removed or replaced")
        );
        let reply = db.run("insert into t values (1)").await;
        assert!(
            message(&reply).contains(
                "was removed or replaced while it was served; nothing of the call was written"
            ),
            "{reply}"
        );
        let reply = db.run("insert into t values (2)").await;
        assert!(
            message(&reply).contains("The database cannot be used"),
            "{reply}"
        );
        // Back again, as it was.
        std::fs::rename(&aside, &db.path).unwrap();
        until(async || db.run("insert into t values (3)").await["success"] == json!(true)).await;
        assert_eq!(rows(&db.run("select * from t").await), &json!([[3]]));
        assert_eq!(status.failing(), None);
        // Another file, beside which the log of the one before still is.
        let other = rusqlite::Connection::open(&aside).unwrap();
        other
            .execute_batch("create table t (a); insert into t values ('other')")
            .unwrap();
        drop(other);
        std::fs::rename(&aside, &db.path).unwrap();
        until(async || {
            status
                .failing()
                .is_some_and(|why| why.contains("may be the log of the file before"))
        })
        .await;
        let log = db.path.with_extension("sqlite-wal");
        std::fs::remove_file(log).unwrap();
        until(async || db.run("select * from t").await["success"] == json!(true)).await;
        assert_eq!(rows(&db.run("select * from t").await), &json!([["other"]]));
    });
}

#[test]
fn when_it_is_closed_one_file_and_no_process_is_left() {
    on_local(async {
        let db = open(options()).await;
        db.run("create table t (a)").await;
        db.run("select * from t").await;
        let status = db.database.status();
        assert_eq!(status.workers(), 2);
        db.database.close().await;
        assert_eq!(status.workers(), 0);
        let folder = db.path.parent().unwrap();
        let left: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["shop.sqlite"]);
        assert_eq!(message(&db.run("select 1").await), "The database is closed");
    });
}

/// Waits until the condition holds, for as long as the test may take.
async fn until(condition: impl AsyncFn() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
