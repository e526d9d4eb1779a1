//! What a store does. Requests are checked before they come here, against [`Limits`](super::Limits) and the index's shape.

use async_trait::async_trait;
use js_rpc::ClientId;

use super::error::VectorizeError;
use super::vector::{Found, Info, Mutation, Query, Vector, Write};

/// A store of one index. What it acknowledges is durable, and seen by calls that begin afterwards. A future that is
/// dropped cancels its call, if it was not stored already.
#[async_trait]
pub(super) trait Backend: Send + Sync {
    /// What the index is. Its shape never changes.
    async fn info(&self) -> Result<Info, VectorizeError>;

    /// Stores all of a batch, whose ids are unique, or nothing of it.
    async fn write(
        &self,
        client: ClientId,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError>;

    /// Deletes those that there are, all at once.
    async fn delete(&self, client: ClientId, ids: Vec<String>) -> Result<Mutation, VectorizeError>;

    /// Those that there are, in the order of `ids`.
    async fn get(&self, client: ClientId, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError>;

    /// The nearest vectors.
    async fn query(&self, client: ClientId, query: Query) -> Result<Found, VectorizeError>;

    /// At most `count` vectors whose ids are after `after` in the order of their UTF-8 bytes, in that order.
    async fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, VectorizeError>;

    /// How it is doing.
    fn status(&self) -> Status;

    /// Opens a store again that failed, if it can.
    async fn reopen(&self) -> Result<(), String>;

    /// Finishes what it is doing, writes what speeds up the next start, and lets go of the store.
    async fn close(&self);
}

/// How a store is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Why it cannot be used at present.
    pub failing: Option<String>,
    /// Vectors that there are.
    pub vectors: u64,
    /// Vectors that are in the approximate index.
    pub indexed: u64,
    /// Bytes that the vectors and the index take in memory.
    pub memory_bytes: u64,
    /// Calls that wait.
    pub waiting: usize,
    /// Connections to a server that are open.
    pub connections: usize,
}
