//! Much at once, and much in one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use js_rpc::{ConnectOptions, Connection, NetworkLimits, RpcLimits};
use serde_json::{Value as Json, json};
use tokio::task::LocalSet;

use crate::callee::{BINDING, Settings};
use crate::scene::{Flight, Route, Scene, Setup, path, post};
use crate::util::{self, World, request};

#[test]
fn more_calls_than_may_be_on_their_way_wait_and_all_succeed() {
    let setup = Setup {
        callee: Settings {
            in_flight: Some(12),
            ..Settings::default()
        },
        ..Setup::default()
    };
    let scene = Scene::new(Route::Http, &setup);
    let http = scene.world.path("sidecar0.http");
    let began = Instant::now();
    let calls = || post(&http, &path("naps"), &json!([]));
    let calls: Vec<Flight> = (0..40).map(|_| calls()).collect();
    for call in calls {
        let ended = call.end();
        assert_eq!(
            (ended.code.as_str(), ended.text.as_str()),
            ("200", "\"rested\"")
        );
    }
    // Twelve at a time of 100 ms each.
    println!("40 calls, 12 at a time: {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_millis(300));
    let counted = util::metrics(&scene.world, "sidecar0.admin");
    assert!(
        counted.contains("method=\"naps\",outcome=\"ok\"} 40"),
        "{counted}"
    );
    assert!(
        !counted.contains("binding_span_call_errors_total{"),
        "{counted}"
    );
}

#[test]
fn the_same_with_a_database() {
    let world = World::new();
    world.database();
    let limit = ["--limit-in-flight", "12"];
    let callee = world.callee(&limit);
    let http = world.unix("caller.http");
    let caller = world.caller(&[&["--http", &http], &limit[..]].concat());
    let args: Json = serde_json::from_str(&request("select count(*) from t")).unwrap();
    let call = || {
        post(
            &world.path("caller.http"),
            "/v1/call/DB/query",
            &json!([args]),
        )
    };
    let calls: Vec<Flight> = (0..40).map(|_| call()).collect();
    for call in calls {
        let ended = call.end();
        assert_eq!(ended.code, "200", "{ended:?}");
        let rows = ended.body.pointer("/results/queryResults/0/data/rows");
        assert_eq!(rows, Some(&json!([[3]])), "{ended:?}");
    }
    assert!(caller.stop().success() && callee.stop().success());
}

/// A call with so many bytes there and back.
async fn echo(address: String, bytes: usize) {
    let options = ConnectOptions {
        limits: RpcLimits {
            call: Duration::from_secs(60),
            network: NetworkLimits::default(),
            ..RpcLimits::default()
        },
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address.parse().unwrap(), options)
        .await
        .unwrap();
    let sent: Arc<str> = "0123456789abcdef".repeat(bytes / 16).into();
    let reply = connection
        .binding(BINDING)
        .call("echo", (&*sent,))
        .await
        .unwrap();
    assert!(
        reply.parse::<String>().unwrap() == *sent,
        "it comes back as it went"
    );
}

#[test]
fn one_call_of_31_mib_passes_through_a_sidecar_and_back() {
    let scene = Scene::new(Route::Sidecar, &Setup::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let address = scene.address();
    let began = Instant::now();
    LocalSet::new().block_on(&runtime, echo(address, 31 << 20));
    println!("31 MiB there and back: {:?}", began.elapsed());
    scene.counted("echo", "ok", None);
}

#[test]
fn a_batch_of_31_mib_passes_through_a_sidecar() {
    const STATEMENTS: usize = 17;
    const BYTES: usize = 1_915_000;
    let world = World::new();
    world.database();
    let callee = world.callee(&[]);
    let caller = world.caller(&["--tail", "caller.jsonl"]);
    let value = "v".repeat(BYTES);
    let query = json!({"sql": "insert into t values (?1)", "params": [value]});
    let batch = json!({"queries": vec![query; STATEMENTS]}).to_string();
    assert!(batch.len() > 31 << 20, "{}", batch.len());
    std::fs::write(world.path("batch.json"), &batch).unwrap();
    let address = world.unix("caller.sock");
    let began = Instant::now();
    let call = ["DB.query", "@batch.json", "--deadline", "60s"];
    let done = world.call(&address, &call);
    println!("a batch of {} bytes: {:?}", batch.len(), began.elapsed());
    assert_eq!(done.json()["success"], json!(true), "{}", done.stdout);
    // The same from the standard input stream.
    let args = [
        "call",
        "--deadline",
        "60s",
        "--connect",
        &address,
        "DB.query",
        "@-",
    ];
    let done = util::finish(util::caller().args(args), Some(&batch));
    assert_eq!(done.json()["success"], json!(true), "{}", done.stdout);
    let sum = "select count(*), sum(length(a)) from t where typeof(a) = 'text'";
    let rows = world.query(&address, sum, &[]).rows();
    assert_eq!(rows, json!([[2 * STATEMENTS, 2 * STATEMENTS * BYTES]]));
    assert!(caller.stop().success() && callee.stop().success());
}
