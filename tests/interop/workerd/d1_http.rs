//! The same Worker in a stock workerd, without any experimental feature: `env.DB` speaks D1's plain HTTP.

use std::convert::Infallible;
use std::rc::Rc;

use binding_span::{CallScope, Sinks, SpanRef};
use bindings::d1::{Database, DatabaseOptions};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use js_rpc::Address;
use serde_json::json;

use crate::harness::{Builder, Workerd, within};

/// Serves a new database by plain HTTP.
async fn serve(folder: &tempfile::TempDir) -> Address {
    let options = DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    };
    let database = Database::open(folder.path().join("db.sqlite"), options).unwrap();
    let database = Rc::new(database);
    let at = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&at).unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let database = Rc::clone(&database);
            let serve = service_fn(move |request: Request<Incoming>| {
                let database = Rc::clone(&database);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let request = Request::from_parts(head, body);
                    let call = CallScope::new(SpanRef::default(), Sinks::default());
                    let answer = database.answer_http(request, &call).await;
                    Ok::<_, Infallible>(answer.map(Full::new))
                }
            });
            let socket = TokioIo::new(socket);
            tokio::task::spawn_local(http1::Builder::new().serve_connection(socket, serve));
        }
    });
    Address::Unix(at)
}

async fn start() -> (tempfile::TempDir, Workerd) {
    let folder = tempfile::tempdir().unwrap();
    let at = serve(&folder).await;
    let workerd = Builder::new("d1_http").external("database", &at);
    let workerd = workerd.start().await;
    (folder, workerd)
}

#[tokio::test(flavor = "local")]
async fn a_worker_does_without_experimental_features_what_it_does_with_them() {
    within(async {
        let (_folder, workerd) = start().await;
        // The first one expects a new database.
        for case in [
            "figures",
            "statements",
            "types",
            "sessions",
            "write",
            "read",
        ] {
            workerd.run(case).await;
        }
        assert_eq!(workerd.run("many").await, json!(64));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn failures_are_d1s_and_leave_nothing_behind() {
    within(async {
        let (_folder, workerd) = start().await;
        let unique = "D1_ERROR: UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT";
        let failed = workerd.run("batch").await;
        assert!(failed.as_str().unwrap().starts_with(unique), "{failed}");
        let errors = workerd.run("errors").await;
        for (case, begins) in [
            ("syntax", "D1_ERROR: near \"SELEC\": syntax error at offset 0: SQLITE_ERROR"),
            ("few", "D1_ERROR: Wrong number of parameter bindings for SQL query."),
            ("nothing", "D1_ERROR: SQL code did not contain a statement."),
            ("transaction", "D1_ERROR: BEGIN, COMMIT or ROLLBACK is not allowed"),
            ("dump", "D1_DUMP_ERROR: Status + 501"),
        ] {
            let message = errors[case].as_str().unwrap_or_default();
            assert!(message.starts_with(begins), "{case}: {errors:#}");
        }
        // workerd names the line of the first result, which is the only one.
        let exec = "D1_EXEC_ERROR: Error in line 1: INVALID SQL: near \"INVALID\": syntax error at offset 0: SQLITE_ERROR";
        assert_eq!(workerd.run("exec").await, json!(exec));
    })
    .await;
}
