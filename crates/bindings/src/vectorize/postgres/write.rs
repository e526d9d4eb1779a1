//! Changes: a transaction each, with a row of what was changed last.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use pgvector::Vector as Embedding;
use tokio_postgres::Client;

use super::super::error::{Code, VectorizeError};
use super::super::vector::{Vector, Write};
use super::failure::Failure;
use super::store::{Lease, Pending, Shared, gone};
use super::text::{decode, encode, encode_all};

/// How long mutations are remembered, for those who lost their connection during a commit.
const REMEMBERED: &str = "1 hour";
/// Old mutations are forgotten by one of so many changes.
const FORGET_EVERY: u32 = 64;

/// A batch as the statement's parameters.
pub(super) struct Batch {
    ids: Vec<String>,
    namespaces: Vec<Option<String>>,
    metadata: Vec<Option<String>>,
    facets: Vec<Option<String>>,
    embeddings: Vec<Embedding>,
    /// Each namespace once.
    distinct: Vec<String>,
}

impl Batch {
    pub(super) fn new(vectors: Vec<Vector>) -> Self {
        let count = vectors.len();
        let mut batch = Self {
            ids: Vec::with_capacity(count),
            namespaces: Vec::with_capacity(count),
            metadata: Vec::with_capacity(count),
            facets: Vec::with_capacity(count),
            embeddings: Vec::with_capacity(count),
            distinct: Vec::new(),
        };
        let mut distinct = HashSet::new();
        for vector in vectors {
            batch.ids.push(encode(&vector.id).into_owned());
            let namespace = vector.namespace.map(|name| encode(&name).into_owned());
            distinct.extend(namespace.clone());
            batch.namespaces.push(namespace);
            let facets = vector
                .metadata
                .as_ref()
                .map(|of| encode_all(of).to_string());
            batch.facets.push(facets);
            let metadata = vector
                .metadata
                .map(|of| serde_json::Value::Object(of).to_string());
            batch.metadata.push(metadata);
            batch.embeddings.push(vector.values.into());
        }
        batch.distinct = distinct.into_iter().collect();
        batch
    }
}

/// What a transaction changed.
#[derive(Default)]
struct Changed {
    ids: Vec<String>,
    /// Vectors that there are more, or less.
    vectors: i64,
    /// Namespaces that there are more, at most.
    namespaces: i64,
}

impl Shared {
    pub(super) async fn store(
        &self,
        lease: &Lease,
        write: Write,
        batch: &Batch,
        pending: &Pending,
    ) -> Result<(), Failure> {
        let client = lease.client();
        client.batch_execute("BEGIN").await?;
        let mut changed = Changed::default();
        if !batch.distinct.is_empty() {
            let sql = format!(
                "SELECT count(*) FROM unnest($1::text[]) AS new(name) \
                 WHERE NOT EXISTS (SELECT FROM {} WHERE namespace = new.name COLLATE \"C\")",
                self.names.table
            );
            let statement = client.prepare_cached(&sql).await?;
            changed.namespaces = client
                .query_one(&statement, &[&batch.distinct])
                .await?
                .get(0);
        }
        let (table, vector) = (&self.names.table, self.names.vector());
        let conflict = match write {
            Write::Insert => "DO NOTHING",
            Write::Upsert => {
                "DO UPDATE SET namespace = excluded.namespace, metadata = excluded.metadata, \
                 facets = excluded.facets, embedding = excluded.embedding"
            }
        };
        // Rows are locked in the order of their ids. Only a row that is new has no xmax.
        let sql = format!(
            "INSERT INTO {table} AS t (id, namespace, metadata, facets, embedding) \
             SELECT id, namespace, metadata::json, facets::jsonb, embedding \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::{vector}[]) \
             AS new(id, namespace, metadata, facets, embedding) ORDER BY id COLLATE \"C\" \
             ON CONFLICT (id) {conflict} RETURNING id, xmax = 0"
        );
        let statement = client.prepare_cached(&sql).await?;
        let Batch {
            ids,
            namespaces,
            metadata,
            facets,
            embeddings,
            ..
        } = batch;
        let rows = client
            .query(&statement, &[ids, namespaces, metadata, facets, embeddings])
            .await?;
        for row in rows {
            changed.ids.push(decode(row.get(0)));
            changed.vectors += i64::from(row.get::<_, bool>(1));
        }
        self.commit(client, changed, pending).await
    }

    pub(super) async fn remove(
        &self,
        lease: &Lease,
        ids: &[String],
        pending: &Pending,
    ) -> Result<(), Failure> {
        let client = lease.client();
        client.batch_execute("BEGIN").await?;
        let table = &self.names.table;
        let sql = format!(
            "DELETE FROM {table} WHERE id IN \
             (SELECT id FROM {table} WHERE id = ANY($1) ORDER BY id FOR UPDATE) RETURNING id"
        );
        let statement = client.prepare_cached(&sql).await?;
        let mut changed = Changed::default();
        for row in client.query(&statement, &[&ids]).await? {
            changed.ids.push(decode(row.get(0)));
            changed.vectors -= 1;
        }
        self.commit(client, changed, pending).await
    }

    /// The settings' row is locked at last, so that changes wait for each other's commit only.
    async fn commit(
        &self,
        client: &deadpool_postgres::Object,
        changed: Changed,
        pending: &Pending,
    ) -> Result<(), Failure> {
        let super::names::Names {
            settings,
            mutations,
            plain,
            ..
        } = &self.names;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let sql = format!(
            "WITH logged AS (INSERT INTO {mutations} (table_name, mutation) VALUES ($1, $4)) \
             UPDATE {settings} SET vectors = vectors + $2, namespaces = namespaces + $3, mutation = $4, \
             mutated = greatest(mutated, $5) WHERE table_name = $1 RETURNING vectors, namespaces"
        );
        let statement = client.prepare_cached(&sql).await?;
        let Changed {
            ids,
            vectors,
            namespaces,
        } = changed;
        let row = client
            .query_opt(
                &statement,
                &[plain, &vectors, &namespaces, &pending.mutation, &now],
            )
            .await?;
        let row = row.ok_or_else(|| gone(&self.names))?;
        let total = row.get::<_, i64>(0).max(0).unsigned_abs();
        if vectors > 0 && total > self.limits.max_vectors {
            let text = format!(
                "the index is full; max vector count is {}",
                self.limits.max_vectors
            );
            return Err(VectorizeError::new(Code::Full, text).into());
        }
        let max = i64::try_from(self.limits.max_namespaces).unwrap_or(i64::MAX);
        if namespaces > 0 && row.get::<_, i64>(1) > max {
            self.count_namespaces(client, max).await?;
        }
        if fastrand::u32(..FORGET_EVERY) == 0 {
            let sql = format!(
                "DELETE FROM {mutations} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {mutations} WHERE table_name = $1 \
                 AND stored < now() - interval '{REMEMBERED}' LIMIT 10000 FOR UPDATE SKIP LOCKED))"
            );
            client.execute(&sql, &[plain]).await?;
        }
        *pending
            .changed
            .lock()
            .unwrap_or_else(|held| held.into_inner()) = ids;
        pending.committing.store(true, Ordering::Relaxed);
        if let Err(error) = client.batch_execute("COMMIT").await {
            // 40003 is the server's word for that it does not know.
            let answered = error.code().is_some_and(|code| code.code() != "40003");
            return Err(match Failure::from(error) {
                Failure::Away(text) => Failure::Unknown(text),
                Failure::Other(text) if !answered => Failure::Unknown(text),
                // The server's answer: it was rolled back.
                failure => failure,
            });
        }
        self.vectors.store(total, Ordering::Relaxed);
        if vectors > 0 && total >= self.exact_below && !self.indexed.load(Ordering::Relaxed) {
            self.grown.notify_one();
        }
        Ok(())
    }

    /// Those that are left may be fewer than were counted when they came.
    async fn count_namespaces(&self, client: &Client, max: i64) -> Result<(), Failure> {
        let super::names::Names {
            settings,
            table,
            plain,
            ..
        } = &self.names;
        // From each name to the next by the index.
        let sql = format!(
            "WITH RECURSIVE names AS (\
             (SELECT namespace FROM {table} WHERE namespace IS NOT NULL ORDER BY namespace LIMIT 1) UNION ALL \
             SELECT (SELECT t.namespace FROM {table} t WHERE t.namespace > names.namespace ORDER BY t.namespace LIMIT 1) \
             FROM names WHERE names.namespace IS NOT NULL) \
             UPDATE {settings} SET namespaces = (SELECT count(namespace) FROM names) \
             WHERE table_name = $1 RETURNING namespaces"
        );
        let count: i64 = client.query_one(&sql, &[plain]).await?.get(0);
        match count > max {
            false => Ok(()),
            true => {
                let text =
                    format!("the index has too many namespaces; max namespace count is {max}");
                Err(VectorizeError::new(Code::Full, text).into())
            }
        }
    }
}
