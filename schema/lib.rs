//! The wire contract of binding-span: the generated types of the four schema files, where the files
//! are, and their ids. Nothing else lives here; conversions to types for people are in
//! `binding-span`, and the protocol is in `binding-span-js-rpc`.
//!
//! To use `BindingSpanEnrichment` in a schema of your own, give your build script this crate as a
//! build dependency and let it find the files:
//!
//! ```no_run
//! capnpc::CompilerCommand::new()
//!     .import_path(binding_span_schema::IMPORT_PATH)
//!     .crate_provides("binding_span_schema", binding_span_schema::FILE_IDS)
//!     .file("schema/inventory.capnp")
//!     .run()
//!     .unwrap();
//! ```
//!
//! Your schema then says `import "/binding_span.capnp"` and your generated code uses the types of
//! this crate. List it under `[dependencies]` as well.

/// The directory that holds the `.capnp` files: an import path for the Cap'n Proto compiler.
pub const IMPORT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema");

/// The ids of the files that this crate provides generated code for.
pub const FILE_IDS: [u64; 4] = [
    0xa75a_1a7e_409c_953c, // binding_span.capnp
    0x83e8_1a7f_49e3_d60a, // js_rpc.capnp
    0xef5a_a961_25cb_1f31, // tail_stream.capnp
    0xf20c_35fd_ace3_1152, // call.capnp
];

/// `schema/binding_span.capnp`: enrichment, attribute, tag value, span context.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod binding_span_capnp {
    include!(concat!(env!("OUT_DIR"), "/binding_span_capnp.rs"));
}

/// `schema/js_rpc.capnp`: values, calls, results, sessions, bootstrap.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod js_rpc_capnp {
    include!(concat!(env!("OUT_DIR"), "/js_rpc_capnp.rs"));
}

/// `schema/call.capnp`: one message a call, between peers of this project.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod call_capnp {
    include!(concat!(env!("OUT_DIR"), "/call_capnp.rs"));
}

/// `schema/tail_stream.capnp`: tail events and their target.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod tail_stream_capnp {
    include!(concat!(env!("OUT_DIR"), "/tail_stream_capnp.rs"));
}
