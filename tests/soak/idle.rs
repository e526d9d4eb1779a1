//! What a connection costs the callee on which nothing happens, and what an open session costs it.

use js_rpc::{Address, ConnectOptions, Connection};
use serde_json::json;

use crate::measure::Watched;

/// Connections at once: fewer than one user may have.
const CONNECTIONS: usize = 300;

/// Sessions at once, on one connection.
const SESSIONS: usize = 1200;

/// Prints both, and whether they are within what they may cost, 12 KiB and 1 KiB.
pub async fn run(at: &Address, watched: &mut Watched) -> bool {
    // What everything needs that is done for the first time.
    drop(connections(at, 10).await);
    let first = connections(at, 1).await;
    drop(sessions(&first[0], SESSIONS / 4).await);
    let before = watched.sample();
    let held = connections(at, CONNECTIONS).await;
    let after = watched.sample();
    let connection = (after.memory_kib - before.memory_kib) / CONNECTIONS as f64;
    println!("an idle connection, after one call: {connection:.2} KiB (at most 12)");
    let open = sessions(&held[0], SESSIONS).await;
    let session = (watched.sample().memory_kib - after.memory_kib) / SESSIONS as f64;
    println!("an open session, whose result is held: {session:.2} KiB (at most 1)");
    drop((open, held));
    connection <= 12.0 && session <= 1.0
}

async fn connections(at: &Address, count: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let connection = Connection::connect(at, ConnectOptions::default()).await;
        let connection = connection.expect("it listens");
        drop(sessions(&connection, 1).await);
        connections.push(connection);
    }
    connections
}

/// Results that are held, and with them their sessions.
async fn sessions(on: &Connection, count: usize) -> Vec<js_rpc::Stub> {
    let db = on.binding("DB");
    let mut held = Vec::new();
    for _ in 0..count {
        let request = json!({"queries": [{"sql": "select 1"}]});
        let call = db.call("query", (request,)).send();
        held.extend(call.pipelined());
        call.await.expect("an answer");
    }
    held
}
