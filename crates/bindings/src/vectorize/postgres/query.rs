//! Queries and other reads.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use pgvector::Vector as Embedding;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::error::{Code, VectorizeError};
use super::super::metadata::indexed;
use super::super::options::Metric;
use super::super::vector::{Found, Match, Metadata, MetadataLevel, Nearest, Query, Search, Vector};
use super::failure::Failure;
use super::filter::{Parameters, condition};
use super::store::{Lease, Shared};
use super::text::{decode, encode};

/// pgvector looks at no more at a time.
const MAX_EF_SEARCH: usize = 1000;
/// And at no fewer: recall@10 of 0.99 and more takes that many.
const MIN_EF_SEARCH: usize = 200;

/// Columns of a whole vector, as [`vector`] reads them.
pub(super) const COLUMNS: &str = "id, embedding, namespace, metadata::text";

/// A row of [`COLUMNS`].
pub(super) fn vector(row: &Row) -> Result<Vector, Failure> {
    Ok(Vector {
        id: decode(row.try_get(0)?),
        values: row.try_get::<_, Embedding>(1)?.to_vec(),
        namespace: row.try_get::<_, Option<String>>(2)?.map(decode),
        metadata: metadata(row.try_get(3)?)?,
    })
}

fn metadata(text: Option<String>) -> Result<Option<Metadata>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let read = serde_json::from_str(&text);
    read.map(Some)
        .map_err(|_| Failure::Other("the metadata of a vector is no JSON object".into()))
}

/// Nothing where it is not a number, or infinite.
fn finite(distance: &str) -> String {
    let infinite = "'Infinity'::float8";
    format!("nullif(nullif(nullif({distance}, 'NaN'::float8), {infinite}), -{infinite})")
}

/// How a query is to be answered.
#[derive(Clone, Copy)]
enum Way {
    /// All candidates are compared.
    All,
    /// So many at most. If there are more, the answer is of no use.
    Few(u64),
}

impl Shared {
    pub(super) async fn find(&self, lease: &Lease, query: &Query) -> Result<Found, Failure> {
        let to = match &query.nearest {
            Nearest::To(values) => values.clone(),
            Nearest::ToId(id) => self.values_of(lease, id).await?,
        };
        let filtered = query.namespace.is_some() || query.filter.is_some();
        let zero = self.shape.metric == Metric::Cosine && to.iter().all(|value| *value == 0.0);
        let many = self.vectors.load(Ordering::Relaxed) >= self.exact_below;
        if zero || !many || !self.indexed.load(Ordering::Relaxed) {
            return self.exact(lease, query, &to, Way::All).await;
        }
        if filtered {
            let limit = self.exact_below.max(1);
            let few = self.exact(lease, query, &to, Way::Few(limit)).await?;
            if few.scanned.is_some_and(|scanned| scanned < limit) {
                return Ok(few);
            }
        }
        let found = self.by_index(lease, query, &to).await?;
        let complete = found.matches.len() >= query.top_k;
        // Vectors of length zero are not in an index by cosine; their score is 0.
        let above = self.shape.metric != Metric::Cosine
            || found.matches.last().is_some_and(|last| last.score > 0.0);
        match complete && above {
            true => Ok(found),
            false => self.exact(lease, query, &to, Way::All).await,
        }
    }

    async fn values_of(&self, lease: &Lease, id: &str) -> Result<Vec<f32>, Failure> {
        let client = lease.client();
        let sql = format!("SELECT embedding FROM {} WHERE id = $1", self.names.table);
        let statement = client.prepare_cached(&sql).await?;
        match client.query_opt(&statement, &[&encode(id)]).await? {
            Some(row) => Ok(row.try_get::<_, Embedding>(0)?.to_vec()),
            None => {
                let text = format!("vector not found: there is none with the id {id:?}");
                Err(VectorizeError::new(Code::NoSuchVector, text).into())
            }
        }
    }

    /// `WHERE` and what follows, or nothing.
    fn candidates(&self, query: &Query, parameters: &mut Parameters) -> String {
        let mut conditions = Vec::new();
        if let Some(namespace) = &query.namespace {
            let name = parameters.add(encode(namespace).into_owned(), Type::TEXT);
            conditions.push(format!("namespace = {name}"));
        }
        if let Some(filter) = &query.filter {
            conditions.push(condition(filter, parameters));
        }
        match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        }
    }

    /// A score from one of pgvector's distances of a column of vectors from a parameter. pgvector adds float32, which very
    /// large and very small values leave: then it is computed anew. All that a cosine shows of that may be a 0.
    fn score(&self, distance: &str, column: &str, to: &str) -> String {
        let (within, beyond) = match self.shape.metric {
            Metric::Cosine => (
                format!("nullif(nullif(1 - ({distance}), 'NaN'::float8), 0)"),
                "greatest(least(coalesce(sum(a * b) / nullif(sqrt(sum(a * a)) * sqrt(sum(b * b)), 0), 0), 1), -1)",
            ),
            Metric::Euclidean => (finite(distance), "sqrt(sum((a - b) * (a - b)))"),
            Metric::DotProduct => (finite(distance), "-sum(a * b)"),
        };
        let (least, most) = (f32::MIN, f32::MAX);
        // Without a negative zero.
        format!(
            "(greatest(least(coalesce({within}, (SELECT {beyond} FROM (SELECT a::float8, b::float8 \
             FROM unnest({column}::real[], {to}::real[]) AS of(a, b)) AS pairs)), {most:e}), {least:e}) + 0)::real"
        )
    }

    fn parameter(&self, to: &[f32], parameters: &mut Parameters) -> String {
        let to = parameters.add(to.to_vec(), Type::FLOAT4_ARRAY);
        format!("{to}::{}({})", self.names.vector(), self.shape.dimensions)
    }

    fn direction(&self) -> &'static str {
        match self.shape.metric {
            Metric::Cosine => "DESC",
            Metric::Euclidean | Metric::DotProduct => "ASC",
        }
    }

    /// What matches have beyond id and score. Always three columns.
    fn extras(query: &Query) -> String {
        let values = if query.values {
            "t.embedding"
        } else {
            "NULL::text"
        };
        let metadata = match query.metadata {
            MetadataLevel::None => "NULL::text",
            MetadataLevel::Indexed | MetadataLevel::All => "t.metadata::text",
        };
        format!("t.namespace, {values}, {metadata}")
    }

    /// The order is by the score as it is answered, which no index has.
    pub(super) fn exact_sql(
        &self,
        query: &Query,
        to: &[f32],
        limit: Option<u64>,
    ) -> (String, Parameters) {
        let mut parameters = Parameters::default();
        let zero = self.shape.metric == Metric::Cosine && to.iter().all(|value| *value == 0.0);
        let score = if zero {
            "0::real".to_owned()
        } else {
            let to = self.parameter(to, &mut parameters);
            let distance = self.names.distance(self.shape.metric, "embedding", &to);
            self.score(&distance, "embedding", &to)
        };
        let candidates = self.candidates(query, &mut parameters);
        let limit = limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
        let (table, k, direction) = (&self.names.table, query.top_k, self.direction());
        let extras = Self::extras(query);
        let sql = format!(
            "WITH found AS MATERIALIZED (SELECT id, {score} AS score FROM {table}{candidates}{limit}), \
             best AS MATERIALIZED (SELECT id, score FROM found ORDER BY score {direction}, id LIMIT {k}) \
             SELECT best.id, best.score, (SELECT count(*) FROM found), {extras} \
             FROM (SELECT) AS one LEFT JOIN (best JOIN {table} t ON t.id = best.id) ON true \
             ORDER BY best.score {direction}, best.id"
        );
        (sql, parameters)
    }

    async fn exact(
        &self,
        lease: &Lease,
        query: &Query,
        to: &[f32],
        way: Way,
    ) -> Result<Found, Failure> {
        let limit = match way {
            Way::All => None,
            Way::Few(limit) => Some(limit),
        };
        let (sql, parameters) = self.exact_sql(query, to, limit);
        let rows = lease
            .client()
            .query_typed(&sql, &parameters.typed())
            .await?;
        let mut scanned = 0;
        let mut matches = Vec::with_capacity(rows.len());
        for row in &rows {
            scanned = row.try_get::<_, i64>(2)?.max(0).unsigned_abs();
            matches.extend(self.read_match(row, query)?);
        }
        Ok(Found {
            matches,
            scanned: Some(scanned),
            search: Search::Exact,
        })
    }

    /// By the approximate index, and nothing else.
    pub(super) fn index_sql(&self, query: &Query, to: &[f32]) -> (String, Parameters) {
        let mut parameters = Parameters::default();
        let to = self.parameter(to, &mut parameters);
        let distance = self.names.distance(self.shape.metric, "embedding", &to);
        let candidates = self.candidates(query, &mut parameters);
        let (table, k) = (&self.names.table, query.top_k);
        let (score, extras) = (
            self.score("near.distance", "t.embedding", &to),
            Self::extras(query),
        );
        let sql = format!(
            "WITH near AS MATERIALIZED (SELECT id, {distance} AS distance FROM {table}{candidates} \
             ORDER BY {distance} LIMIT {k}) \
             SELECT near.id, {score}, NULL::bigint, {extras} FROM near JOIN {table} t ON t.id = near.id"
        );
        (sql, parameters)
    }

    /// What makes the planner take the index, for one transaction.
    pub(super) fn index_settings(&self, top_k: usize) -> String {
        let ef = (2 * top_k).clamp(MIN_EF_SEARCH, MAX_EF_SEARCH);
        let mut settings = format!(
            "BEGIN READ ONLY; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
             SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = {ef}"
        );
        if self.iterative {
            let _ = write!(settings, "; SET LOCAL hnsw.iterative_scan = strict_order");
        }
        settings
    }

    async fn by_index(&self, lease: &Lease, query: &Query, to: &[f32]) -> Result<Found, Failure> {
        let client = lease.client();
        client
            .batch_execute(&self.index_settings(query.top_k))
            .await?;
        let (sql, parameters) = self.index_sql(query, to);
        let rows = client.query_typed(&sql, &parameters.typed()).await?;
        client.batch_execute("COMMIT").await?;
        let mut matches = Vec::with_capacity(rows.len());
        for row in &rows {
            matches.extend(self.read_match(row, query)?);
        }
        let ascending = self.shape.metric != Metric::Cosine;
        matches.sort_by(|a, b| {
            let scores = a.score.total_cmp(&b.score);
            let scores = if ascending { scores } else { scores.reverse() };
            scores.then_with(|| a.id.as_bytes().cmp(b.id.as_bytes()))
        });
        Ok(Found {
            matches,
            scanned: None,
            search: Search::Index,
        })
    }

    /// Nothing, of the one row that there is without a match.
    fn read_match(&self, row: &Row, query: &Query) -> Result<Option<Match>, Failure> {
        let Some(id) = row.try_get::<_, Option<String>>(0)? else {
            return Ok(None);
        };
        let mut of = None;
        if query.metadata != MetadataLevel::None {
            of = metadata(row.try_get(5)?)?;
        }
        if query.metadata == MetadataLevel::Indexed {
            of = of.and_then(|of| indexed(&of, &self.metadata_indexes));
        }
        let mut values = None;
        if query.values {
            values = Some(row.try_get::<_, Embedding>(4)?.to_vec());
        }
        Ok(Some(Match {
            id: decode(id),
            score: row.try_get(1)?,
            namespace: row.try_get::<_, Option<String>>(3)?.map(decode),
            values,
            metadata: of,
        }))
    }
}
