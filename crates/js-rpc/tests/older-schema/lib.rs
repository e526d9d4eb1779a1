//! The generated types of `older.capnp`, for peers that know nothing of enrichment.

#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod older_capnp {
    include!(concat!(env!("OUT_DIR"), "/older_capnp.rs"));
}
