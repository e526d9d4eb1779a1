//! The second process of the demo: a callee with a small shop's database and an AI gateway.
//!
//! It says `ready` on its standard output stream, then writes its own tail events there. It stops when
//! its standard input stream ends, which it does when the first process is gone, however that ended.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bindings::ai::{Ai, AiOptions, Endpoint, ProviderOptions};
use bindings::d1::{Database, DatabaseOptions, Query};
use js_rpc::{Address, Listener, RpcLimits, Server};
use tail::JsonLines;
use tokio::io::AsyncReadExt;

use crate::exit::Failure;
use crate::telemetry::Telemetry;

/// What it says when it can be connected to.
pub(super) const READY: &str = "ready";

/// Its socket.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("callee.sock")
}

fn database(folder: &Path) -> PathBuf {
    folder.join("shop.sqlite")
}

const SCHEMA: [&str; 2] = [
    "create table product (id integer primary key, name text not null, price real not null, \
     stock integer not null check (stock >= 0))",
    "create table orders (id integer primary key, product integer not null references product, \
     pieces integer not null)",
];

/// Serves until the standard input stream ends, then takes its files away.
pub(crate) async fn run(folder: &Path) -> Result<(), Failure> {
    let database = stock(folder).await?;
    let ai = models()?;
    let listener = Listener::bind(&Address::Unix(socket(folder))).await?;
    let telemetry = Telemetry::new().lines(JsonLines::to(std::io::stdout()));
    let limits = RpcLimits {
        drain: Duration::from_secs(1),
        ..RpcLimits::default()
    };
    let server = Server::new()
        .service("DB", database.clone())
        .service("AI", ai)
        .sinks(telemetry.sinks())
        .limits(limits);
    let ready = writeln!(std::io::stdout(), "{READY}");
    ready.map_err(|error| Failure::Output(format!("cannot say that it is ready: {error}")))?;
    server.serve([listener], orphaned()).await;
    database.close().await;
    telemetry.finish().await;
    clean(folder);
    Ok(())
}

/// Models: one, which counts words and needs nothing.
fn models() -> Result<Ai, Failure> {
    let options = AiOptions {
        providers: vec![ProviderOptions::new("builtin", Endpoint::Builtin)],
        ..AiOptions::default()
    };
    Ai::open("AI", options, None).map_err(|error| Failure::Config(error.to_string()))
}

/// A small shop.
async fn stock(folder: &Path) -> Result<Database, Failure> {
    let options = DatabaseOptions {
        create: true,
        readers: 1,
        ..DatabaseOptions::default()
    };
    let database = Database::open(database(folder), options)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let mut queries: Vec<Query> = SCHEMA.map(Query::new).into();
    queries.push(
        Query::new(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?1) \
             insert into product select i, 'product ' || i, i * 1.25, 10 from n",
        )
        .bind(super::steps::PRODUCTS),
    );
    let stocked = database.query(queries.into()).await;
    stocked.map_err(|error| super::unexpected(format_args!("the shop has no stock: {error}")))?;
    Ok(database)
}

/// Completes when the first process closed our input or is gone.
async fn orphaned() {
    let (mut stdin, mut ignored) = (tokio::io::stdin(), [0; 64]);
    while matches!(stdin.read(&mut ignored).await, Ok(1..)) {}
}

/// Takes away what is ours. The first process does it too, unless it was killed.
fn clean(folder: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = database(folder).into_os_string();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
    let _ = std::fs::remove_file(socket(folder));
    // Only if it is empty: whoever runs this by hand may have given any folder.
    let _ = std::fs::remove_dir(folder);
}
