//! The caller: one call, under a span of its own.

use binding_span::{ApplyEnrichment, read_result}; // +
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty::VatNetwork};
use futures::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::inventory_capnp::inventory;

/// Connects to a warehouse.
pub async fn connect(address: &str) -> std::io::Result<inventory::Client> {
    let (reader, writer) = TcpStream::connect(address).await?.compat().split();
    let network = VatNetwork::new(reader, writer, Side::Client, Default::default());
    let mut system = RpcSystem::new(Box::new(network), None);
    let inventory = system.bootstrap(Side::Server);
    tokio::task::spawn_local(system);
    Ok(inventory)
}

/// How many pieces of `sku` there are.
pub async fn lookup(inventory: &inventory::Client, sku: &str) -> capnp::Result<u32> {
    let span = tracing::info_span!("inventory", otel.kind = "client", sku);
    let mut request = inventory.lookup_request();
    request.get().set_sku(sku);
    let response = request.send().promise.await?;
    let results = response.get()?;
    let count = results.get_count();
    let said = read_result(results.get_enrichment(), Default::default()); // +
    eprintln!("{sku}: {}", span.apply_enrichment(&said)); // +
    Ok(count)
}
