//! The shortest program that is a D1 database: `cargo run --example serve_d1 -- 127.0.0.1:7400 shop.sqlite`.
//!
//! A Worker reaches it as `env.DB` when its workerd points `capnpConnectHost = "DB"` at the address; the
//! crate's README shows that configuration. The `callee` program does the same with options, telemetry and
//! an orderly end.

use bindings::d1::{Database, DatabaseOptions};
use js_rpc::{Listener, Server};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(path)) = (args.next(), args.next()) else {
        return Err("usage: serve_d1 ADDRESS FILE".into());
    };
    let options = DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    };
    let database = Database::open(path, options)?;
    let listener = Listener::bind(&address.parse()?).await?;
    let server = Server::new().service("DB", database);
    server.serve([listener], std::future::pending()).await;
    Ok(())
}
