//! Indexes, which are made beside the calls: those on metadata, and the approximate one on vectors.

use std::time::{Duration, Instant};

use tokio_postgres::{CancelToken, Client};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::options::{MetadataIndex, Shape};
use super::connect::{Connected, Connector, explain};
use super::filter::indexed;
use super::names::Names;
use super::text::identifier;

/// pgvector's HNSW indexes have no more.
pub(super) const MAX_INDEXED_DIMENSIONS: usize = 2000;
/// While somebody else makes an index. Waiting in a statement would keep a snapshot, for which making it waits in turn.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection of its own, whose statement is cancelled when this is dropped.
pub(super) struct Alone {
    client: Client,
    reading: tokio::task::JoinHandle<()>,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
    busy: bool,
}

impl Alone {
    /// Without a limit of time for its statements.
    pub(super) async fn connect(connector: &Connector) -> Result<Self, String> {
        let (client, reading): Connected = connector.connect().await?;
        let alone = Self {
            cancel: client.cancel_token(),
            tls: connector.tls(),
            client,
            reading,
            busy: true,
        };
        alone
            .run("SET statement_timeout = 0; SET lock_timeout = 0")
            .await?;
        Ok(alone)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Nothing is to be cancelled.
    pub(super) fn finish(mut self) {
        self.busy = false;
    }

    async fn run(&self, sql: &str) -> Result<(), String> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| explain(&error))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.reading.abort();
        if self.busy
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
            runtime.spawn(async move { cancel.cancel_query(tls).await });
        }
    }
}

/// Makes the metadata indexes that are missing, and removes others.
pub(super) async fn metadata(
    alone: &Alone,
    names: &Names,
    removed: &[MetadataIndex],
    indexes: &[MetadataIndex],
    wait: Duration,
) -> Result<(), String> {
    for index in removed {
        lock(alone, names, Some(wait)).await?;
        let dropped = drop_index(alone, names, &names.metadata(index)).await;
        unlock(alone, names).await?;
        dropped?;
    }
    for index in indexes {
        let on = format!("({})", indexed(&index.property, index.kind));
        make(alone, names, &names.metadata(index), &on, Some(wait)).await?;
    }
    Ok(())
}

/// Makes the approximate index.
pub(super) async fn hnsw(alone: &Alone, names: &Names, shape: Shape) -> Result<(), String> {
    let on = format!("USING hnsw (embedding {})", names.operators(shape.metric));
    make(alone, names, &names.hnsw(shape), &on, None).await
}

/// Makes an index, unless it is there and valid. One that a crash left behind is made anew.
async fn make(
    alone: &Alone,
    names: &Names,
    name: &str,
    on: &str,
    wait: Option<Duration>,
) -> Result<(), String> {
    if valid(&alone.client, names, name).await? == Some(true) {
        return Ok(());
    }
    lock(alone, names, wait).await?;
    let made = make_locked(alone, names, name, on).await;
    unlock(alone, names).await?;
    made
}

/// Waits until nobody else makes an index of this table.
async fn lock(alone: &Alone, names: &Names, wait: Option<Duration>) -> Result<(), String> {
    let began = Instant::now();
    let sql = format!("SELECT pg_try_advisory_lock({})", names.lock());
    loop {
        let row = alone.client.query_one(&sql, &[]).await;
        if row.map_err(|error| explain(&error))?.get(0) {
            return Ok(());
        }
        if wait.is_some_and(|wait| began.elapsed() >= wait) {
            return Err(format!(
                "another process is making an index of {}; try again when it has ended",
                names.table
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn unlock(alone: &Alone, names: &Names) -> Result<(), String> {
    let lock = names.lock();
    alone
        .run(&format!("SELECT pg_advisory_unlock({lock})"))
        .await
}

async fn drop_index(alone: &Alone, names: &Names, name: &str) -> Result<(), String> {
    let (schema, name) = (identifier(&names.schema), identifier(name));
    alone
        .run(&format!(
            "DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}"
        ))
        .await
}

async fn make_locked(alone: &Alone, names: &Names, name: &str, on: &str) -> Result<(), String> {
    let quoted = identifier(name);
    match valid(&alone.client, names, name).await? {
        Some(true) => return Ok(()),
        Some(false) => drop_index(alone, names, name).await?,
        None => {}
    }
    let on = match on.strip_prefix("USING") {
        Some(_) => on.to_owned(),
        None => format!("USING btree {on}"),
    };
    let table = &names.table;
    alone
        .run(&format!(
            "CREATE INDEX CONCURRENTLY {quoted} ON {table} {on}"
        ))
        .await?;
    // Estimates for the expressions of a new index.
    alone.run(&format!("ANALYZE {table}")).await
}

/// Whether an index is there, and can be used.
pub(super) async fn valid(
    client: &Client,
    names: &Names,
    name: &str,
) -> Result<Option<bool>, String> {
    let sql = "SELECT indisvalid AND indisready FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
        JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1 AND relname = $2";
    let row = client.query_opt(sql, &[&names.schema, &name]).await;
    Ok(row.map_err(|error| explain(&error))?.map(|row| row.get(0)))
}
