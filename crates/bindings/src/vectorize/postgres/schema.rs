//! Finding an index in a database, or creating it.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::super::options::{IndexOptions, MetadataIndex, OpenError, PostgresOptions, Shape};
use super::connect::explain;
use super::names::{Names, SETTINGS};
use super::text::identifier;

/// What the settings' row has to say for us to understand the tables.
const FORMAT: i32 = 1;
/// More than that pgvector cannot have in a vector.
const MAX_DIMENSIONS: usize = 16_000;

/// An index as it was found.
pub(super) struct Opened {
    pub(super) names: Names,
    pub(super) shape: Shape,
    pub(super) metadata_indexes: Vec<MetadataIndex>,
    /// Metadata indexes that there were, and shall not be any more.
    pub(super) removed: Vec<MetadataIndex>,
    /// Whether pgvector goes on looking where a filter leaves too few.
    pub(super) iterative: bool,
}

fn store(error: tokio_postgres::Error) -> OpenError {
    let hint = match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "; let the database's owner grant this to the user of the URL"
        }
        _ => "",
    };
    OpenError::Store(format!("PostgreSQL refused: {}{hint}", explain(&error)))
}

/// Finds the index, or creates it.
pub(super) async fn open(
    client: &Client,
    place: &PostgresOptions,
    options: &IndexOptions,
) -> Result<Opened, OpenError> {
    super::url::check_table(&place.table).map_err(OpenError::Options)?;
    options.check_metadata_indexes()?;
    let (schema, table) = match place.table.split_once('.') {
        Some((schema, table)) => (schema.to_owned(), table.to_owned()),
        None => {
            let row = client
                .query_one("SELECT current_schema()::text", &[])
                .await
                .map_err(store)?;
            let schema: Option<String> = row.get(0);
            let schema = schema.ok_or_else(|| {
                let text = "the user's search path has no schema; write the table as SCHEMA.TABLE";
                OpenError::Options(text.into())
            })?;
            (schema, place.table.clone())
        }
    };
    let known = client
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema])
        .await
        .map_err(store)?;
    if known.is_none() {
        let text = format!(
            "there is no schema {schema} in the database; create it: CREATE SCHEMA {}",
            identifier(&schema)
        );
        return Err(OpenError::Missing(text));
    }
    let (extension, version) = extension(client, options.create, &place.table).await?;
    let names = Names::new(&schema, &table, &extension);
    // A schema's tables are created by one at a time.
    let creating = Names::new(&schema, "", "").lock();
    client
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({creating})"))
        .await
        .map_err(store)?;
    let opened = find_or_create(client, place, options, &names).await;
    let end = if opened.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    let (shape, metadata_indexes, removed) = opened?;
    ended.map_err(store)?;
    Ok(Opened {
        names,
        shape,
        metadata_indexes,
        removed,
        iterative: version >= (0, 8),
    })
}

/// The schema of pgvector, and its version.
async fn extension(
    client: &Client,
    create: bool,
    table: &str,
) -> Result<(String, (u32, u32)), OpenError> {
    const FIND: &str = "SELECT nspname::text, extversion FROM pg_extension \
        JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector'";
    let mut row = client.query_opt(FIND, &[]).await.map_err(store)?;
    if row.is_none() && !create {
        let text = format!(
            "there is no index {table} in the database, nor the extension pgvector; let it be created"
        );
        return Err(OpenError::Missing(text));
    }
    if row.is_none() {
        let made = client
            .batch_execute("CREATE EXTENSION IF NOT EXISTS vector")
            .await;
        match made {
            Ok(()) => {}
            // Somebody else did so at the same time.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            Err(error) => {
                let text = explain(&error);
                return Err(OpenError::Store(match error.code() {
                    Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => format!(
                        "the user may not create the extension pgvector; let a superuser run CREATE EXTENSION vector in this \
                         database: {text}"
                    ),
                    _ => format!(
                        "the extension pgvector cannot be created; install it on the server (Debian: \
                         postgresql-NN-pgvector), then try again: {text}"
                    ),
                }));
            }
        }
        row = client.query_opt(FIND, &[]).await.map_err(store)?;
    }
    let row = row.ok_or_else(|| OpenError::Store("the extension pgvector is not there".into()))?;
    let version: String = row.get(1);
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version_of >= (0, 5) {
        true => Ok((row.get(0), version_of)),
        false => Err(OpenError::Store(format!(
            "pgvector {version} is too old, 0.5 is needed; update it, then run ALTER EXTENSION vector UPDATE"
        ))),
    }
}

async fn find_or_create(
    client: &Client,
    place: &PostgresOptions,
    options: &IndexOptions,
    names: &Names,
) -> Result<(Shape, Vec<MetadataIndex>, Vec<MetadataIndex>), OpenError> {
    let table = &place.table;
    let exists = "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
        WHERE nspname = $1 AND relname = $2";
    let there = client
        .query_opt(exists, &[&names.schema, &names.plain])
        .await
        .map_err(store)?;
    let settings = client
        .query_opt(exists, &[&names.schema, &SETTINGS])
        .await
        .map_err(store)?;
    let mut row = None;
    if settings.is_some() {
        let sql = format!(
            "SELECT format, dimensions, metric, metadata_indexes::text FROM {} WHERE table_name = $1",
            names.settings
        );
        row = client
            .query_opt(&sql, &[&names.plain])
            .await
            .map_err(store)?;
    }
    let (shape, mut indexes) = match (there.is_some(), row) {
        (true, None) => {
            return Err(OpenError::Options(format!(
                "the table {table} exists, but is no Vectorize index; name another one"
            )));
        }
        (true, Some(row)) => {
            let format: i32 = row.get(0);
            if format != FORMAT {
                return Err(OpenError::Store(format!(
                    "the index {table} was written by another version: its format is {format}, {FORMAT} is known"
                )));
            }
            let (dimensions, metric): (i32, String) = (row.get(1), row.get(2));
            let dimensions = usize::try_from(dimensions).unwrap_or(0);
            let metric = metric.parse().map_err(|_| {
                OpenError::Store(format!("the index {table} has the unknown metric {metric}"))
            })?;
            let indexes: String = row.get(3);
            (Shape { dimensions, metric }, read_indexes(&indexes)?)
        }
        (false, row) if options.create => {
            let shape = shape_to_create(options)?;
            create(client, names, shape, row.is_some()).await?;
            (shape, Vec::new())
        }
        (false, _) => {
            return Err(OpenError::Missing(format!(
                "there is no index {table} in the database; let it be created"
            )));
        }
    };
    let wanted = (options.dimensions, options.metric);
    if wanted.0.is_some_and(|wanted| wanted != shape.dimensions) {
        return Err(OpenError::Options(format!(
            "the index {table} has {} dimensions, not {}",
            shape.dimensions,
            wanted.0.unwrap_or_default()
        )));
    }
    if let Some(metric) = wanted.1
        && metric != shape.metric
    {
        let text = format!(
            "the index {table} has the metric {}, not {metric}",
            shape.metric
        );
        return Err(OpenError::Options(text));
    }
    let wanted = &options.metadata_indexes;
    let mut removed = Vec::new();
    if !wanted.is_empty() && *wanted != indexes {
        removed.clone_from(&indexes);
        removed.retain(|index| !wanted.contains(index));
        indexes.clone_from(wanted);
        let sql = format!(
            "UPDATE {} SET metadata_indexes = $2::text::json WHERE table_name = $1",
            names.settings
        );
        let written = write_indexes(&indexes);
        client
            .execute(&sql, &[&names.plain, &written])
            .await
            .map_err(store)?;
    }
    Ok((shape, indexes, removed))
}

fn shape_to_create(options: &IndexOptions) -> Result<Shape, OpenError> {
    let max = options.limits.max_dimensions.min(MAX_DIMENSIONS);
    match (options.dimensions, options.metric) {
        (Some(dimensions), Some(metric)) if (1..=max).contains(&dimensions) => {
            Ok(Shape { dimensions, metric })
        }
        (Some(dimensions), Some(_)) => Err(OpenError::Options(format!(
            "an index has 1 to {max} dimensions, not {dimensions}"
        ))),
        _ => Err(OpenError::Options(
            "a new index needs its dimensions and its metric".into(),
        )),
    }
}

async fn create(
    client: &Client,
    names: &Names,
    shape: Shape,
    forget: bool,
) -> Result<(), OpenError> {
    let Names {
        table,
        settings,
        mutations,
        plain,
        ..
    } = names;
    let (vector, dimensions) = (names.vector(), shape.dimensions);
    let namespaces = identifier(&names.namespaces());
    // `metadata` is for replies, and keeps the order of keys and every digit; `facets` is for filters.
    let tables = format!(
        "CREATE TABLE IF NOT EXISTS {settings} (
            table_name text COLLATE \"C\" PRIMARY KEY, format int NOT NULL, dimensions int NOT NULL, metric text NOT NULL,
            metadata_indexes json NOT NULL DEFAULT '[]', vectors bigint NOT NULL DEFAULT 0,
            namespaces bigint NOT NULL DEFAULT 0, mutation text, mutated bigint);
         CREATE TABLE IF NOT EXISTS {mutations} (
            table_name text COLLATE \"C\" NOT NULL, mutation text COLLATE \"C\" NOT NULL,
            stored timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, mutation));
         CREATE INDEX IF NOT EXISTS binding_span_vectorize_mutations_stored ON {mutations} (table_name, stored);
         CREATE TABLE {table} (
            id text COLLATE \"C\" PRIMARY KEY, namespace text COLLATE \"C\", metadata json, facets jsonb,
            embedding {vector}({dimensions}) NOT NULL);
         CREATE INDEX {namespaces} ON {table} (namespace) WHERE namespace IS NOT NULL"
    );
    client.batch_execute(&tables).await.map_err(store)?;
    if forget {
        for of in [settings, mutations] {
            let sql = format!("DELETE FROM {of} WHERE table_name = $1");
            client.execute(&sql, &[plain]).await.map_err(store)?;
        }
    }
    let sql = format!(
        "INSERT INTO {settings} (table_name, format, dimensions, metric) VALUES ($1, $2, $3, $4)"
    );
    let dimensions = i32::try_from(dimensions).unwrap_or(i32::MAX);
    client
        .execute(&sql, &[plain, &FORMAT, &dimensions, &shape.metric.name()])
        .await
        .map_err(store)?;
    Ok(())
}

fn write_indexes(indexes: &[MetadataIndex]) -> String {
    let pairs: Vec<_> = indexes
        .iter()
        .map(|index| (&index.property, index.kind.name()))
        .collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}

fn read_indexes(text: &str) -> Result<Vec<MetadataIndex>, OpenError> {
    let broken = || OpenError::Store("the index's settings cannot be read".into());
    let pairs: Vec<(String, String)> = serde_json::from_str(text).map_err(|_| broken())?;
    let indexes = pairs.into_iter().map(|(property, kind)| {
        let kind = kind.parse().map_err(|_| broken())?;
        Ok(MetadataIndex { property, kind })
    });
    indexes.collect()
}
