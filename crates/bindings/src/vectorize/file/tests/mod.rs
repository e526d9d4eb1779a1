//! Stores on real files.

mod crash;
mod figures;
mod filters;
mod load;
mod opening;
mod upkeep;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use js_rpc::ClientId;
use serde_json::Value;
use tempfile::TempDir;

use super::FileStore;
use crate::vectorize::backend::Backend;
use crate::vectorize::error::VectorizeError;
use crate::vectorize::vector::Metadata;
use crate::vectorize::{
    Filter, IndexOptions, MetadataIndex, MetadataLevel, MetadataType, Metric, Mutation, Nearest,
    Query, Vector, Write,
};

pub(super) const ME: ClientId = ClientId::LOCAL;

pub(super) fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docs.sqlite");
    (folder, path)
}

/// Of an index that may be created, with vectors of three values.
pub(super) fn options() -> IndexOptions {
    IndexOptions {
        create: true,
        dimensions: Some(3),
        metric: Some(Metric::Euclidean),
        searchers: 2,
        ..IndexOptions::default()
    }
}

pub(super) fn open(path: &Path) -> Arc<FileStore> {
    FileStore::open(path, &options()).unwrap()
}

pub(super) fn vector(id: &str, values: [f32; 3]) -> Vector {
    Vector {
        id: id.to_owned(),
        values: values.to_vec(),
        namespace: None,
        metadata: None,
    }
}

pub(super) fn with(mut vector: Vector, namespace: &str, metadata: Value) -> Vector {
    vector.namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    vector.metadata = Some(object(metadata));
    vector
}

pub(super) fn object(value: Value) -> Metadata {
    value.as_object().unwrap().clone()
}

pub(super) fn near(values: [f32; 3], top_k: usize) -> Query {
    Query {
        nearest: Nearest::To(values.to_vec()),
        top_k,
        namespace: None,
        filter: None,
        values: false,
        metadata: MetadataLevel::None,
    }
}

pub(super) fn filtered(filter: Filter, top_k: usize) -> Query {
    Query {
        filter: Some(filter),
        ..near([0.0; 3], top_k)
    }
}

pub(super) fn index(property: &str, kind: MetadataType) -> MetadataIndex {
    MetadataIndex {
        property: property.to_owned(),
        kind,
    }
}

pub(super) async fn upsert(
    store: &FileStore,
    vectors: Vec<Vector>,
) -> Result<Mutation, VectorizeError> {
    store.write(ME, Write::Upsert, vectors).await
}

pub(super) async fn ids(store: &FileStore, query: Query) -> Vec<String> {
    let found = store.query(ME, query).await.unwrap();
    found.matches.into_iter().map(|found| found.id).collect()
}
