//! The callee: a warehouse that says what it has.

use std::collections::HashMap;
use std::rc::Rc;

use binding_span::{CallScope, Enrichment, enrich}; // +
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty::VatNetwork};
use futures::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::inventory_capnp::inventory::{self, LookupParams, LookupResults};

/// What is on the shelves, by stock-keeping unit.
pub struct Warehouse(HashMap<String, Item>);

#[derive(Clone, Copy)]
struct Item {
    count: u32,
    shelf: u32,
}

impl Warehouse {
    /// A warehouse with three things in it.
    pub fn example() -> Self {
        let item = |(sku, count, shelf): (&str, _, _)| (sku.to_owned(), Item { count, shelf });
        Self(
            [("nut", 41, 7), ("bolt", 12, 7), ("washer", 0, 9)]
                .map(item)
                .into(),
        )
    }

    /// Deep below the method, where nobody knows of a call.
    async fn find(&self, sku: &str) -> Option<Item> {
        let item = *self.0.get(sku)?;
        enrich(Enrichment::new().name("inventory.lookup")); // +
        Some(item)
    }
}

impl inventory::Server for Warehouse {
    async fn lookup(
        self: Rc<Self>,
        params: LookupParams,
        mut results: LookupResults,
    ) -> Result<(), capnp::Error> {
        let sku = params.get()?.get_sku()?.to_str()?;
        let call = CallScope::detached(); // +
        let found = call.scope(self.find(sku)).await; // +
        if let Some(item) = found {
            results.get().set_count(item.count);
            call.enrich(Enrichment::new().attribute("inventory.shelf", item.shelf)); // +
        }
        binding_span::write(&call.drain(), || results.get().init_enrichment()); // +
        Ok(())
    }
}

/// Serves everybody who connects, until accepting fails.
pub async fn serve(listener: TcpListener, warehouse: Warehouse) -> std::io::Result<()> {
    let inventory: inventory::Client = capnp_rpc::new_client(warehouse);
    loop {
        let (stream, _) = listener.accept().await?;
        let (reader, writer) = stream.compat().split();
        let network = VatNetwork::new(reader, writer, Side::Server, Default::default());
        let service = Some(inventory.clone().client);
        tokio::task::spawn_local(RpcSystem::new(Box::new(network), service));
    }
}
