//! Vectors, and what is asked of them.

use serde_json::{Map, Value};

use super::filter::Filter;

/// Metadata of a vector: a JSON object.
pub type Metadata = Map<String, Value>;

/// A vector as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    /// Its id, unique in the index.
    pub id: String,
    /// Its values, all finite; as many as the index has dimensions.
    pub values: Vec<f32>,
    /// Its namespace, if it is in one.
    pub namespace: Option<String>,
    /// Its metadata, if it has any.
    pub metadata: Option<Metadata>,
}

/// What becomes of a vector whose id there is already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It stays; the new one is left out.
    Insert,
    /// It is replaced as a whole.
    Upsert,
}

/// A change that is stored, and survives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// Its id: a UUID of version 4.
    pub id: String,
    /// The ids of the vectors that it changed, in the order of the request.
    pub ids: Vec<String>,
}

/// What an index is, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Values of each vector.
    pub dimensions: usize,
    /// Its metric.
    pub metric: super::Metric,
    /// Vectors.
    pub vectors: u64,
    /// The newest change, and when it was, in milliseconds since 1970 UTC.
    pub newest: Option<(String, i64)>,
    /// The metadata indexes.
    pub metadata_indexes: Vec<super::MetadataIndex>,
}

/// What is to be near.
#[derive(Debug, Clone, PartialEq)]
pub enum Nearest {
    /// To these values.
    To(Vec<f32>),
    /// To the vector with this id, which is among the matches.
    ToId(String),
}

/// Which metadata matches have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataLevel {
    /// None.
    #[default]
    None,
    /// Properties that have a metadata index.
    Indexed,
    /// All.
    All,
}

/// A query, checked against the limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is to be near.
    pub nearest: Nearest,
    /// How many matches at most, from 1.
    pub top_k: usize,
    /// Only of this namespace. Without one, of all.
    pub namespace: Option<String>,
    /// Only those whose metadata it takes.
    pub filter: Option<Filter>,
    /// Whether matches have their values.
    pub values: bool,
    /// Which metadata they have.
    pub metadata: MetadataLevel,
}

/// A vector that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Its id.
    pub id: String,
    /// How near it is, in the terms of the index's [`Metric`](super::Metric).
    pub score: f32,
    /// Its namespace, if it is in one.
    pub namespace: Option<String>,
    /// Its values, if they were asked for.
    pub values: Option<Vec<f32>>,
    /// Its metadata, if it was asked for and there is some.
    pub metadata: Option<Metadata>,
}

/// How a query was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// All vectors in question were compared.
    Exact,
    /// By an approximate index.
    Index,
}

impl Search {
    /// Its name on spans and in metrics: `exact`, `index`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Index => "index",
        }
    }
}

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The nearest first; of those equally near by their ids.
    pub matches: Vec<Match>,
    /// Vectors that were compared, where that is known.
    pub scanned: Option<u64>,
    /// How.
    pub search: Search,
}
