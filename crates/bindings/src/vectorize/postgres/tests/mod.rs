//! The store against a real PostgreSQL.

#[path = "../../../../tests/common/postgres.rs"]
pub(in crate::vectorize) mod server;

mod approximate;
mod basics;
mod commits;
mod connections;
mod crashes;
mod encrypted;
mod figures;
mod filters;

use std::sync::Arc;

use serde_json::Value;

use super::super::options::{IndexOptions, Metric, PostgresOptions};
use super::super::vector::{MetadataLevel, Nearest, Query, Vector};
use super::PostgresStore;
use server::Server;

fn options(dimensions: usize, metric: Metric) -> IndexOptions {
    IndexOptions {
        create: true,
        dimensions: Some(dimensions),
        metric: Some(metric),
        ..IndexOptions::default()
    }
}

/// A table of a database of its own on the shared server.
async fn store(database: &str, options: &IndexOptions) -> Arc<PostgresStore> {
    let server = Server::shared();
    server.database(database);
    let place = PostgresOptions::new(server.url(database), "docs");
    PostgresStore::open(&place, options).await.unwrap()
}

fn vector(id: impl Into<String>, values: &[f32]) -> Vector {
    Vector {
        id: id.into(),
        values: values.to_vec(),
        namespace: None,
        metadata: None,
    }
}

fn with(mut vector: Vector, namespace: Option<&str>, metadata: Value) -> Vector {
    vector.namespace = namespace.map(str::to_owned);
    vector.metadata = metadata.as_object().cloned();
    vector
}

fn near(values: &[f32], top_k: usize) -> Query {
    Query {
        nearest: Nearest::To(values.to_vec()),
        top_k,
        namespace: None,
        filter: None,
        values: false,
        metadata: MetadataLevel::None,
    }
}
