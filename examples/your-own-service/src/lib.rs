//! An inventory service over Cap'n Proto RPC, both sides of it.

mod client;
mod server;

#[allow(clippy::all)]
pub mod inventory_capnp {
    //! The generated types of `schema/inventory.capnp`.
    include!(concat!(env!("OUT_DIR"), "/inventory_capnp.rs"));
}

pub use client::{connect, lookup};
pub use server::{Warehouse, serve};
