//! A store on PostgreSQL with pgvector: a table for the vectors of an index, a row for what it is.

mod admission;
mod build;
mod connect;
mod failure;
mod filter;
mod names;
mod query;
mod schema;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod text;
mod tls;
mod url;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use js_rpc::ClientId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Status};
use super::error::{Code, VectorizeError};
use super::options::{IndexOptions, OpenError, PostgresOptions};
use super::vector::{Found, Info, Mutation, Query, Vector, Write};
use admission::Admission;
use build::{Alone, MAX_INDEXED_DIMENSIONS};
use connect::{Connector, pool};
use failure::Failure;
use store::{Lease, Pending, Shared, gone};
use text::encode;
use write::Batch;

/// How long making metadata indexes may take when an index is opened.
const BUILD: Duration = Duration::from_secs(600);

/// How often what is known of the index is looked up again: what others do with it shows late.
const REFRESH: Duration = Duration::from_secs(15);
/// The same while the server cannot be reached.
const REFRESH_AWAY: Duration = Duration::from_secs(1);

/// An index in PostgreSQL.
pub(super) struct PostgresStore {
    shared: Arc<Shared>,
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl PostgresStore {
    /// Finds the index or creates it, makes metadata indexes that are missing, and removes those that are not wanted.
    /// While another process makes an index of this table, it waits up to the time of a call.
    pub(super) async fn open(
        place: &PostgresOptions,
        options: &IndexOptions,
    ) -> Result<Arc<Self>, OpenError> {
        let (own, limit) = (place.clone(), options.timeout);
        // Certificates are read.
        let connector = tokio::task::spawn_blocking(move || Connector::new(&own, limit));
        let connector = connector
            .await
            .map_err(|error| OpenError::Store(error.to_string()))??;
        let alone = Alone::connect(&connector)
            .await
            .map_err(|text| OpenError::Store(format!("PostgreSQL cannot be reached: {text}")))?;
        let opened = schema::open(alone.client(), place, options).await?;
        let (removed, wanted) = (&opened.removed, &opened.metadata_indexes);
        let made = build::metadata(&alone, &opened.names, removed, wanted, options.timeout);
        timeout(BUILD.max(options.timeout), made)
            .await
            .unwrap_or_else(|_| {
                Err("it took more than ten minutes; is an old transaction open?".into())
            })
            .map_err(|text| {
                OpenError::Store(format!("PostgreSQL refused a metadata index: {text}"))
            })?;
        alone.finish();
        let shared = Arc::new(Shared {
            pool: pool(&connector)?,
            admission: Admission::new(place.max_connections.max(1), options.max_queued),
            connector,
            names: opened.names,
            shape: opened.shape,
            metadata_indexes: opened.metadata_indexes,
            limits: options.limits.clone(),
            exact_below: options.exact_below,
            iterative: opened.iterative,
            timeout: options.timeout,
            vectors: AtomicU64::new(0),
            indexed: AtomicBool::new(false),
            failing: Mutex::new(None),
            grown: Notify::new(),
        });
        let refreshed = shared.refresh().await;
        refreshed.map_err(|error| OpenError::Store(error.text))?;
        let watching = tokio::spawn(watch(shared.clone()));
        Ok(Arc::new(Self {
            shared,
            watching: Mutex::new(Some(watching)),
        }))
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        let mut watching = self
            .watching
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        watching.take()
    }

    async fn change(
        &self,
        client: ClientId,
        order: Vec<String>,
        work: Change,
    ) -> Result<Mutation, VectorizeError> {
        let pending = Pending {
            mutation: uuid::Uuid::new_v4().to_string(),
            committing: AtomicBool::new(false),
            changed: Mutex::default(),
        };
        let (shared, work, sent) = (&self.shared, &work, &pending);
        shared
            .write(client, sent, &|lease: Arc<Lease>| {
                async move {
                    match work {
                        Change::Write(write, batch) => {
                            shared.store(&lease, *write, batch, sent).await
                        }
                        Change::Delete(ids) => shared.remove(&lease, ids, sent).await,
                    }
                }
                .boxed()
            })
            .await?;
        let changed = pending
            .changed
            .into_inner()
            .unwrap_or_else(|held| held.into_inner());
        let mut changed: HashSet<_> = changed.into_iter().collect();
        let ids = order.into_iter().filter(|id| changed.remove(id)).collect();
        Ok(Mutation {
            id: pending.mutation,
            ids,
        })
    }
}

enum Change {
    Write(Write, Batch),
    Delete(Vec<String>),
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(watching) = self.stop() {
            watching.abort();
        }
    }
}

impl Shared {
    /// Looks up what is known of the index.
    async fn refresh(&self) -> Result<(), VectorizeError> {
        let hnsw = self.names.hnsw(self.shape);
        self.info().await?;
        let valid = self
            .read(ClientId::LOCAL, &|lease: Arc<Lease>| {
                let hnsw = &hnsw;
                async move {
                    let valid = build::valid(lease.client(), &self.names, hnsw).await;
                    valid.map_err(Failure::Other)
                }
                .boxed()
            })
            .await?;
        self.indexed.store(valid == Some(true), Ordering::Relaxed);
        Ok(())
    }

    async fn info(&self) -> Result<Option<(String, i64)>, VectorizeError> {
        let sql = format!(
            "SELECT vectors, mutation, mutated FROM {} WHERE table_name = $1",
            self.names.settings
        );
        let sql = &sql;
        let row = self
            .read(ClientId::LOCAL, &|lease: Arc<Lease>| {
                async move {
                    let statement = lease.client().prepare_cached(sql).await?;
                    let row = lease
                        .client()
                        .query_opt(&statement, &[&self.names.plain])
                        .await?;
                    row.ok_or_else(|| gone(&self.names).into())
                }
                .boxed()
            })
            .await?;
        let vectors = row.get::<_, i64>(0).max(0).unsigned_abs();
        self.vectors.store(vectors, Ordering::Relaxed);
        Ok(Option::zip(row.get(1), row.get(2)))
    }

    /// Makes the approximate index if it is time.
    async fn build(&self) -> Result<(), String> {
        let wanted = self.vectors.load(Ordering::Relaxed) >= self.exact_below.max(1)
            && self.shape.dimensions <= MAX_INDEXED_DIMENSIONS
            && !self.indexed.load(Ordering::Relaxed);
        if !wanted {
            return Ok(());
        }
        let alone = Alone::connect(&self.connector).await?;
        build::hnsw(&alone, &self.names, self.shape).await?;
        alone.finish();
        self.indexed.store(true, Ordering::Relaxed);
        tracing::info!(
            table = self.names.plain,
            "the vectors are in an HNSW index now"
        );
        Ok(())
    }
}

/// Keeps what is known of the index up to date, and makes the approximate index.
async fn watch(shared: Arc<Shared>) {
    loop {
        if let Err(problem) = shared.build().await {
            tracing::warn!(
                table = shared.names.plain,
                problem,
                "the HNSW index cannot be made; queries are exact"
            );
            sleep(REFRESH_AWAY).await;
        }
        let away = shared.failing.lock().is_ok_and(|failing| failing.is_some());
        let pause = if away { REFRESH_AWAY } else { REFRESH };
        let _ = timeout(pause, shared.grown.notified()).await;
        let _ = shared.refresh().await;
    }
}

#[async_trait]
impl Backend for PostgresStore {
    async fn info(&self) -> Result<Info, VectorizeError> {
        let shared = &self.shared;
        let newest = shared.info().await?;
        Ok(Info {
            dimensions: shared.shape.dimensions,
            metric: shared.shape.metric,
            vectors: shared.vectors.load(Ordering::Relaxed),
            newest,
            metadata_indexes: shared.metadata_indexes.clone(),
        })
    }

    async fn write(
        &self,
        client: ClientId,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError> {
        let convert = move || {
            let order = vectors.iter().map(|vector| vector.id.clone()).collect();
            (order, Batch::new(vectors))
        };
        let converted = js_rpc::offload(convert).await;
        let (order, batch) = converted
            .ok_or_else(|| VectorizeError::new(Code::Store, "the vectors could not be written"))?;
        self.change(client, order, Change::Write(write, batch))
            .await
    }

    async fn delete(&self, client: ClientId, ids: Vec<String>) -> Result<Mutation, VectorizeError> {
        let encoded = ids.iter().map(|id| encode(id).into_owned()).collect();
        self.change(client, ids, Change::Delete(encoded)).await
    }

    async fn get(&self, client: ClientId, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError> {
        let shared = &self.shared;
        let encoded: Vec<_> = ids.iter().map(|id| encode(id).into_owned()).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE id = ANY($1)",
            query::COLUMNS,
            shared.names.table
        );
        let (encoded, sql) = (&encoded, &sql);
        let found = shared
            .read(client, &|lease: Arc<Lease>| {
                async move {
                    let statement = lease.client().prepare_cached(sql).await?;
                    let rows = lease.client().query(&statement, &[encoded]).await?;
                    rows.iter()
                        .map(query::vector)
                        .collect::<Result<Vec<_>, _>>()
                }
                .boxed()
            })
            .await?;
        let found: HashMap<_, _> = found
            .into_iter()
            .map(|vector| (vector.id.clone(), vector))
            .collect();
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    async fn query(&self, client: ClientId, query: Query) -> Result<Found, VectorizeError> {
        let (shared, query) = (&self.shared, &query);
        shared
            .read(client, &|lease: Arc<Lease>| {
                async move { shared.find(&lease, query).await }.boxed()
            })
            .await
    }

    async fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, VectorizeError> {
        let shared = &self.shared;
        let after = after.map(|id| encode(id).into_owned());
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {} FROM {}{} ORDER BY id LIMIT $1",
            query::COLUMNS,
            shared.names.table,
            after.as_ref().map_or("", |_| " WHERE id > $2"),
        );
        let (after, sql) = (&after, &sql);
        shared
            .read(ClientId::LOCAL, &|lease: Arc<Lease>| {
                async move {
                    let statement = lease.client().prepare_cached(sql).await?;
                    let rows = match after {
                        Some(after) => lease.client().query(&statement, &[&count, after]).await?,
                        None => lease.client().query(&statement, &[&count]).await?,
                    };
                    rows.iter().map(query::vector).collect()
                }
                .boxed()
            })
            .await
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        let vectors = shared.vectors.load(Ordering::Relaxed);
        let indexed = shared.indexed.load(Ordering::Relaxed);
        Status {
            failing: shared
                .failing
                .lock()
                .unwrap_or_else(|held| held.into_inner())
                .clone(),
            vectors,
            indexed: if indexed { vectors } else { 0 },
            memory_bytes: 0,
            waiting: shared.admission.waiting(),
            connections: shared.pool.status().size,
        }
    }

    async fn reopen(&self) -> Result<(), String> {
        self.shared.refresh().await.map_err(|error| error.text)
    }

    async fn close(&self) {
        if let Some(watching) = self.stop() {
            watching.abort();
            let _ = watching.await;
        }
        self.shared.pool.close();
    }
}
