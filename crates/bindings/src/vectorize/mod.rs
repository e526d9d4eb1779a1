//! A Vectorize index: vectors by similarity, the one that a Worker knows as `env.VECTORIZE`.
//!
//! [`Vectorize`] is a [`Service`](js_rpc::Service) with the binding's methods (`describe`, `insert`, `upsert`, `query`,
//! `queryById`, `getByIds`, `deleteByIds`), by JavaScript RPC and by the plain HTTP that a Worker's wrapped binding sends.
//! It keeps its vectors in a [`Store`]: one SQLite file, or a table of PostgreSQL with pgvector. Both answer alike.

mod backend;
#[cfg(test)]
mod contract;
mod error;
mod file;
mod filter;
#[cfg(feature = "host")]
pub(crate) mod host;
mod http;
mod index;
mod metadata;
#[cfg(test)]
mod model;
mod operation;
mod options;
mod postgres;
mod read;
mod reply;
mod request;
mod search;
mod service;
mod spans;
mod transfer;
mod vector;

use std::sync::Arc;

use backend::Backend;
use file::FileStore;
use postgres::PostgresStore;

pub use backend::Status;
pub use error::{Code, VectorizeError};
pub use file::{BackupError, Report, backup, check, inspect};
pub use filter::{Clause, Filter, Scalar, Test};
pub use index::{Operated, OperationSink, Vectorize};
pub use operation::Operation;
pub use options::{
    IndexOptions, Limits, MetadataIndex, MetadataType, Metric, OpenError, PostgresOptions, Shape,
    SslMode, Store,
};
#[doc(hidden)] // for the benchmark
pub use search::{Nearby, Vectors};
pub use transfer::Progress;
pub use vector::{
    Found, Info, Match, Metadata, MetadataLevel, Mutation, Nearest, Query, Search, Vector, Write,
};

/// Opens a store, or creates it.
async fn open_store(store: &Store, options: &IndexOptions) -> Result<Arc<dyn Backend>, OpenError> {
    Ok(match store {
        Store::File(path) => {
            let (path, options) = (path.clone(), options.clone());
            // All vectors are read.
            let open = tokio::task::spawn_blocking(move || FileStore::open(&path, &options));
            open.await
                .map_err(|error| OpenError::Store(error.to_string()))??
        }
        Store::Postgres(server) => PostgresStore::open(server, options).await?,
    })
}
