//! The services that `callee` offers.
//!
//! - [`ai`]: models and AI gateways, those that a Worker knows as `env.AI`.
//! - [`d1`]: a D1 database, the one that a Worker knows as `env.DB`, on a real SQLite file.
//! - [`vectorize`]: a Vectorize index, the one that a Worker knows as `env.VECTORIZE`, on a SQLite file or PostgreSQL.
//!
//! Each service lives in its own module, works without a network, and names and tags the span of the call
//! that it answers. Sockets and addresses are not here. With the feature `host` each registers itself with a program
//! that serves it ([`kinds`]): options, tables of the configuration file, help, metrics. Without it nothing here knows of
//! command lines.

pub mod ai;
pub mod d1;
mod place;
pub mod vectorize;

/// The kinds of bindings that there are, each as its folder registers it.
#[cfg(feature = "host")]
pub fn kinds() -> &'static [&'static dyn host::Kind] {
    &[
        &d1::host::D1,
        &ai::host::AiKind,
        &vectorize::host::VectorizeKind,
    ]
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
