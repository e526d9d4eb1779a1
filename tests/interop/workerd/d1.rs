//! A Worker's D1 database is a SQLite file that `callee` serves: by calls, answered in either form, and by plain HTTP in a
//! stock workerd.

use serde_json::json;

use crate::harness::{Builder, Daemon, Workerd, within};

/// How a Worker's `env.DB` reaches the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By calls, which takes experimental features, answered in this form.
    Calls(&'static str),
    /// By plain HTTP.
    Http,
}

const WAYS: [Way; 3] = [Way::Calls("legacy"), Way::Calls("new"), Way::Http];

async fn start(way: Way) -> (Daemon, Workerd) {
    let (form, builder) = match way {
        Way::Calls(form) => (form, Builder::new("d1").experimental()),
        Way::Http => ("legacy", Builder::new("d1_http")),
    };
    let callee = Daemon::callee_with(&["--d1-reply", form]).await;
    let workerd = builder
        .external("database", &callee.address())
        .start()
        .await;
    (callee, workerd)
}

#[tokio::test(flavor = "local")]
async fn statements_are_prepared_bound_and_run_in_every_way() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            workerd.run("statements").await;
            let syntax = "near \"SELEC\": syntax error at offset 0: SQLITE_ERROR";
            if way != Way::Http {
                assert_eq!(workerd.run("query").await, json!(syntax), "{way:?}");
            }
            assert_eq!(workerd.run("many").await, json!(64));
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn figures_are_d1s() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            workerd.run("figures").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_batch_is_one_transaction() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            let failed = workerd.run("batch").await;
            let unique = "D1_ERROR: UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT";
            assert!(
                failed.as_str().unwrap_or_default().starts_with(unique),
                "{failed}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn every_column_type_goes_there_and_back() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            workerd.run("types").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn errors_are_d1s() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            let count = "D1_ERROR: Wrong number of parameter bindings for SQL query.";
            let errors = workerd.run("errors").await;
            for (case, begins) in [
                (
                    "syntax",
                    "D1_ERROR: near \"SELEC\": syntax error at offset 0: SQLITE_ERROR",
                ),
                ("table", "D1_ERROR: no such table: nowhere: SQLITE_ERROR"),
                (
                    "column",
                    "D1_ERROR: no such column: b at offset 7: SQLITE_ERROR",
                ),
                (
                    "unique",
                    "D1_ERROR: UNIQUE constraint failed: u.a: SQLITE_CONSTRAINT",
                ),
                (
                    "not_null",
                    "D1_ERROR: NOT NULL constraint failed: u.a: SQLITE_CONSTRAINT",
                ),
                ("few", count),
                ("many", count),
                ("nothing", "D1_ERROR: SQL code did not contain a statement."),
                (
                    "transaction",
                    "D1_ERROR: BEGIN, COMMIT or ROLLBACK is not allowed",
                ),
                // Deprecated, and a plain HTTP request of the binding however it is called.
                ("dump", "D1_DUMP_ERROR: Status + 501"),
            ] {
                let message = errors[case].as_str().unwrap_or_default();
                assert!(message.starts_with(begins), "{way:?}: {case}: {errors:#}");
            }
            let says = "near \"INVALID\": syntax error at offset 0: SQLITE_ERROR";
            let exec = match way {
                Way::Calls(_) => format!("D1_EXEC_ERROR: {says}"),
                // workerd names the line of the first result, which is the only one.
                Way::Http => format!("D1_EXEC_ERROR: Error in line 1: INVALID SQL: {says}"),
            };
            assert_eq!(workerd.run("exec").await, json!(exec), "{way:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_session_has_bookmarks_that_grow() {
    within(async {
        for way in WAYS {
            let (_callee, workerd) = start(way).await;
            workerd.run("sessions").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_database_is_a_file_that_others_open_while_it_is_served() {
    within(async {
        for way in WAYS {
            let (callee, workerd) = start(way).await;
            workerd.run("write").await;
            let file = rusqlite::Connection::open(callee.file("db.sqlite")).unwrap();
            let who: String = file
                .query_row("select who from seen", [], |row| row.get(0))
                .unwrap();
            assert_eq!(who, "the Worker");
            file.execute("insert into seen values ('somebody else')", [])
                .unwrap();
            assert_eq!(
                workerd.run("read").await,
                json!([["somebody else"], ["the Worker"]])
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn statements_of_a_stock_worker_are_named_at_a_caller_in_between() {
    within(async {
        let callee = Daemon::callee().await;
        let bind = format!("DB={}", callee.address());
        let caller = Daemon::caller(&["--bind", &bind]).await;
        let builder = Builder::new("d1_http").external("database", &caller.address());
        let workerd = builder.start().await;
        workerd.run("write").await;
        assert_eq!(workerd.run("read").await, json!([["the Worker"]]));
        // Nothing tells when a file grows.
        let named = async || {
            let tail = std::fs::read_to_string(caller.file("tail.jsonl")).unwrap();
            tail.matches("\"d1.query\"").count() >= 3
                && tail.contains("\"cloudflare.d1.response.rows_written\"")
                && tail.contains("INSERT INTO seen VALUES (?)")
        };
        while !named().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}
