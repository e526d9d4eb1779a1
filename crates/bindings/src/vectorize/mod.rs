//! A Vectorize index: vectors by similarity, the one that a Worker knows as `env.VECTORIZE`.
//!
//! [`Vectorize`] is a [`Service`](js_rpc::Service) with the binding's methods (`describe`, `insert`, `upsert`, `query`,
//! `queryById`, `getByIds`, `deleteByIds`), by JavaScript RPC and by the plain HTTP that a Worker's wrapped binding sends.
//! It keeps its vectors in a [`Store`]: one SQLite file, or a table of PostgreSQL with pgvector. Both answer alike.

#[allow(dead_code)]
mod backend;
mod error;
mod filter;
mod metadata;
mod options;
#[allow(dead_code)] // the service opens it
mod postgres;
#[allow(dead_code)] // a command of the daemon runs it
mod transfer;
mod vector;

pub use backend::Status;
pub use error::{Code, VectorizeError};
pub use filter::{Clause, Filter, Scalar, Test};
pub use options::{
    IndexOptions, Limits, MetadataIndex, MetadataType, Metric, OpenError, PostgresOptions, Shape,
    SslMode, Store,
};
pub use vector::{
    Found, Info, Match, Metadata, MetadataLevel, Mutation, Nearest, Query, Search, Vector, Write,
};
