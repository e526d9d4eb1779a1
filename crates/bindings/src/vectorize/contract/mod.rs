//! What all stores do alike: each test is run on the model, on a file and on PostgreSQL.

mod approximate;
mod filters;
mod limits;
mod metadata;
mod opening;
mod queries;
mod random;
mod scores;
mod transfer;
mod writes;

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use tempfile::TempDir;

use super::backend::Backend;
use super::error::{Code, VectorizeError};
use super::file::FileStore;
use super::filter::Filter;
use super::index::Vectorize;
use super::model::{Disk, Model};
use super::options::{
    IndexOptions, Limits, MetadataIndex, MetadataType, Metric, OpenError, PostgresOptions,
};
use super::postgres::PostgresStore;
use super::postgres::tests::server::Server;
use super::vector::{Match, Metadata, MetadataLevel, Nearest, Query, Vector, Write};

/// A test of each of these functions on each store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use super::super::{Kind, Place};

            #[tokio::test]
            async fn model() {
                super::$name(Place::new(Kind::Model)).await;
            }

            #[tokio::test]
            async fn file() {
                super::$name(Place::new(Kind::File)).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$name(Place::new(Kind::Postgres)).await;
            }
        })*
    };
}
use contract;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    File,
    Postgres,
}

/// Where an index is, or will be.
struct Place {
    kind: Kind,
    disk: Disk,
    folder: TempDir,
    number: u32,
}

impl Place {
    fn new(kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            kind,
            disk: Disk::default(),
            folder: tempfile::tempdir().unwrap(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    async fn try_open(&self, options: &IndexOptions) -> Result<Opened, OpenError> {
        static DATABASE: LazyLock<String> = LazyLock::new(|| Server::shared().database("contract"));
        let store: Arc<dyn Backend> = match self.kind {
            Kind::Model => Model::open(&self.disk, options)?,
            Kind::File => FileStore::open(&self.folder.path().join("docs.sqlite"), options)?,
            Kind::Postgres => {
                let url = Server::shared().url(&DATABASE);
                let mut place = PostgresOptions::new(url, format!("docs_{}", self.number));
                place.max_connections = 2;
                PostgresStore::open(&place, options).await?
            }
        };
        let index =
            Vectorize::with_backend("docs", Arc::clone(&store), options.clone(), None).await;
        let index = index.map_err(|error| OpenError::Store(error.text))?;
        Ok(Opened { store, index })
    }

    async fn open(&self, options: &IndexOptions) -> Opened {
        self.try_open(options).await.unwrap()
    }
}

/// An index that is open.
struct Opened {
    store: Arc<dyn Backend>,
    index: Vectorize,
}

impl Deref for Opened {
    type Target = Vectorize;

    fn deref(&self) -> &Vectorize {
        &self.index
    }
}

impl Opened {
    async fn upsert(&self, vectors: impl IntoIterator<Item = Vector>) -> Vec<String> {
        let vectors = vectors.into_iter().collect();
        self.write(Write::Upsert, vectors).await.unwrap().ids
    }

    async fn insert(&self, vectors: impl IntoIterator<Item = Vector>) -> Vec<String> {
        let vectors = vectors.into_iter().collect();
        self.write(Write::Insert, vectors).await.unwrap().ids
    }

    async fn remove(&self, ids: &[&str]) -> Vec<String> {
        self.delete(owned(ids)).await.unwrap().ids
    }

    async fn at(&self, ids: &[&str]) -> Vec<Vector> {
        self.get(owned(ids)).await.unwrap()
    }

    async fn matches(&self, query: Query) -> Vec<Match> {
        self.query(query).await.unwrap().matches
    }

    async fn found(&self, query: Query) -> Vec<String> {
        let matches = self.matches(query).await.into_iter();
        matches.map(|found| found.id).collect()
    }

    async fn count(&self) -> u64 {
        self.info().await.unwrap().vectors
    }
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn options(dimensions: usize, metric: Metric) -> IndexOptions {
    IndexOptions {
        create: true,
        dimensions: Some(dimensions),
        metric: Some(metric),
        searchers: 1,
        ..IndexOptions::default()
    }
}

fn vector(id: impl Into<String>, values: &[f32]) -> Vector {
    Vector {
        id: id.into(),
        values: values.to_vec(),
        namespace: None,
        metadata: None,
    }
}

impl Vector {
    fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    fn having(mut self, metadata: Value) -> Self {
        self.metadata = Some(object(metadata));
        self
    }
}

fn object(value: Value) -> Metadata {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
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

fn filter(json: &Value) -> Filter {
    Filter::parse(json, &Limits::default()).unwrap()
}

fn index(property: &str, kind: MetadataType) -> MetadataIndex {
    MetadataIndex {
        property: property.to_owned(),
        kind,
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, VectorizeError>) -> Code {
    result.unwrap_err().code
}

/// Bit by bit: `==` does not tell -0 from 0.
fn assert_same(ours: &[Vector], theirs: &[Vector]) {
    assert_eq!(ours, theirs);
    for (our, their) in ours.iter().zip(theirs) {
        let bits = |of: &Vector| of.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(our), bits(their), "{}", our.id);
        let text = |of: &Vector| serde_json::to_string(&of.metadata).unwrap();
        assert_eq!(text(our), text(their), "{}", our.id);
    }
}
