//! A Vectorize index: vectors by similarity, the one that a Worker knows as `env.VECTORIZE`.
//!
//! [`Vectorize`] is a [`Service`](js_rpc::Service) with the binding's methods (`describe`, `insert`, `upsert`, `query`,
//! `queryById`, `getByIds`, `deleteByIds`), by JavaScript RPC and by the plain HTTP that a Worker's wrapped binding sends.
//! It keeps its vectors in a [`Store`]: one SQLite file, or a table of PostgreSQL with pgvector. Both answer alike.

mod backend;
mod error;
mod filter;
mod http;
mod index;
mod operation;
mod options;
mod read;
mod reply;
mod request;
mod search;
mod service;
mod spans;
mod vector;

use std::sync::Arc;

use backend::Backend;

pub use backend::Status;
pub use error::{Code, VectorizeError};
pub use filter::{Clause, Filter, Scalar, Test};
pub use index::{Operated, OperationSink, Vectorize};
pub use operation::Operation;
pub use options::{
    IndexOptions, Limits, MetadataIndex, MetadataType, Metric, OpenError, PostgresOptions, Shape,
    SslMode, Store,
};
#[doc(hidden)] // for the benchmark
pub use search::{Nearby, Vectors};
pub use vector::{
    Found, Info, Match, Metadata, MetadataLevel, Mutation, Nearest, Query, Search, Vector, Write,
};

/// Opens a store.
async fn open_store(store: &Store, options: &IndexOptions) -> Result<Arc<dyn Backend>, OpenError> {
    let _ = options;
    match store {
        Store::File(_) | Store::Postgres(_) => Err(OpenError::Store("it is not there yet".into())),
    }
}
