//! The names of an index's tables and indexes.

use ring::digest::{SHA256, digest};

use super::super::options::{MetadataIndex, Metric, Shape};
use super::text::identifier;

/// The table that has a row for each index in its schema.
pub(super) const SETTINGS: &str = "binding_span_vectorize";
/// The table that has the newest mutations.
pub(super) const MUTATIONS: &str = "binding_span_vectorize_mutations";

/// Where an index is, and where pgvector is. All but `plain` are quoted for SQL.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) schema: String,
    pub(super) plain: String,
    pub(super) table: String,
    pub(super) settings: String,
    pub(super) mutations: String,
    /// The schema that pgvector is in.
    pub(super) extension: String,
}

impl Names {
    pub(super) fn new(schema: &str, table: &str, extension: &str) -> Self {
        let within = |name: &str| format!("{}.{}", identifier(schema), identifier(name));
        Self {
            schema: schema.to_owned(),
            plain: table.to_owned(),
            table: within(table),
            settings: within(SETTINGS),
            mutations: within(MUTATIONS),
            extension: identifier(extension),
        }
    }

    /// The type of vectors.
    pub(super) fn vector(&self) -> String {
        format!("{}.vector", self.extension)
    }

    /// The distance of a column of vectors from a parameter, in pgvector's terms.
    pub(super) fn distance(&self, metric: Metric, column: &str, to: &str) -> String {
        let operator = match metric {
            Metric::Cosine => "<=>",
            Metric::Euclidean => "<->",
            Metric::DotProduct => "<#>",
        };
        let extension = &self.extension;
        format!("{column} OPERATOR({extension}.{operator}) {to}")
    }

    /// What an HNSW index of this metric is made with.
    pub(super) fn operators(&self, metric: Metric) -> String {
        let class = match metric {
            Metric::Cosine => "vector_cosine_ops",
            Metric::Euclidean => "vector_l2_ops",
            Metric::DotProduct => "vector_ip_ops",
        };
        format!("{}.{class}", self.extension)
    }

    pub(super) fn hnsw(&self, shape: Shape) -> String {
        self.derived(&format!("hnsw {}", shape.metric))
    }

    pub(super) fn namespaces(&self) -> String {
        self.derived("namespaces")
    }

    pub(super) fn metadata(&self, index: &MetadataIndex) -> String {
        self.derived(&format!(
            "metadata {} {}",
            index.kind.name(),
            index.property
        ))
    }

    /// A name of an index. A table's own may be too long to have anything added.
    fn derived(&self, what: &str) -> String {
        let hash = digest(&SHA256, format!("{}\0{what}", self.plain).as_bytes());
        let hash = hash.as_ref().iter().take(8);
        let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
        format!("binding_span_{hash}")
    }

    /// A number for advisory locks: the same for all who open this index.
    pub(super) fn lock(&self) -> i64 {
        let name = format!("binding-span vectorize {}\0{}", self.schema, self.plain);
        let hash = digest(&SHA256, name.as_bytes());
        let (first, _) = hash
            .as_ref()
            .split_first_chunk()
            .expect("a hash has 32 bytes");
        i64::from_be_bytes(*first)
    }
}
