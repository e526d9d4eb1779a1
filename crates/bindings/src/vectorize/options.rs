//! What an index is opened with.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The cosine of the angle: 1 for the same direction, -1 for opposite ones. The largest score is the nearest.
    Cosine,
    /// The Euclidean distance, from 0. The smallest score is the nearest.
    Euclidean,
    /// The dot product, negated: as the service has it, the smallest score is the nearest.
    DotProduct,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Euclidean, Self::DotProduct];

    /// Its name: `cosine`, `euclidean`, `dot-product`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::DotProduct => "dot-product",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|metric| metric.name() == text);
        found.ok_or_else(|| "write cosine, euclidean or dot-product".to_owned())
    }
}

/// What does not change in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Values of each vector, from 1.
    pub dimensions: usize,
    /// How near two vectors are.
    pub metric: Metric,
}

/// The type of a metadata property that is indexed. Values of other types are not in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataType {
    /// Texts, by their first 64 bytes.
    String,
    /// Numbers, as float64.
    Number,
    /// Booleans.
    Boolean,
}

impl MetadataType {
    /// Its name: `string`, `number`, `boolean`.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl FromStr for MetadataType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "string" => Ok(Self::String),
            "number" => Ok(Self::Number),
            "boolean" => Ok(Self::Boolean),
            _ => Err("write string, number or boolean".into()),
        }
    }
}

/// A metadata index: filters on its property are answered by the store's own index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataIndex {
    /// The property; dots separate those of nested objects: `author.name`.
    pub property: String,
    /// The type of its values.
    pub kind: MetadataType,
}

/// Where vectors are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// One SQLite file, and a copy of the vectors in memory.
    File(PathBuf),
    /// A table of PostgreSQL with pgvector.
    Postgres(PostgresOptions),
}

/// How a connection to PostgreSQL is encrypted, as libpq's `sslmode` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Not at all.
    Disable,
    /// If the server can; nothing is verified.
    #[default]
    Prefer,
    /// Always; nothing is verified, unless there are certificate authorities: then as `VerifyCa`.
    Require,
    /// Always; the server's certificate is verified.
    VerifyCa,
    /// Always; the server's certificate and its name are verified.
    VerifyFull,
}

impl SslMode {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Disable,
        Self::Prefer,
        Self::Require,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// Its name: `verify-full`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A server of PostgreSQL and a table there.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgres://user@host:port/database?...` without a password and without `ssl*` parameters.
    pub url: String,
    /// The table; with a schema in front of a dot if it is not on the search path.
    pub table: String,
    /// The password, if there is one.
    pub password: Option<String>,
    /// A file with the password, read again for each connection. It wins over `password`.
    pub password_file: Option<PathBuf>,
    /// How the connection is encrypted.
    pub ssl_mode: SslMode,
    /// Certificate authorities in PEM, instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// Our own certificate and its key in PEM.
    pub ssl_identity: Option<(PathBuf, PathBuf)>,
    /// Connections at most; 8 by default.
    pub max_connections: usize,
    /// How long connecting may take; 5 s by default.
    pub connect_timeout: Duration,
}

impl PostgresOptions {
    /// A table of a server, by the defaults.
    pub fn new(url: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            table: table.into(),
            password: None,
            password_file: None,
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            ssl_identity: None,
            max_connections: 8,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Without the password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &self.url)
            .field("table", &self.table)
            .field("ssl_mode", &self.ssl_mode)
            .finish_non_exhaustive()
    }
}

/// What requests may ask for, and how much an index may hold. The defaults are the service's documented or observed
/// limits of November 2026, unless a field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Dimensions of an index that is created; 1536.
    pub max_dimensions: usize,
    /// Bytes of a vector's id; 64.
    pub max_id_bytes: usize,
    /// Bytes of a namespace's name; 64.
    pub max_namespace_bytes: usize,
    /// Namespaces of an index; 50,000.
    pub max_namespaces: usize,
    /// Bytes of a vector's metadata, as compact JSON; 10 KiB.
    pub max_metadata_bytes: usize,
    /// Matches of a query; 100.
    pub max_top_k: usize,
    /// Matches of a query that returns values or all metadata; 50.
    pub max_top_k_with_values: usize,
    /// Vectors of an insert or upsert; 1000.
    pub max_batch: usize,
    /// Ids of `getByIds`; 20.
    pub max_ids_to_get: usize,
    /// Ids of `deleteByIds`; 100.
    pub max_ids_to_delete: usize,
    /// Vectors of an index; 5,000,000.
    pub max_vectors: u64,
    /// Bytes of a request's body; 100 MB.
    pub max_request_bytes: usize,
    /// Bytes of a filter, as compact JSON; 2048.
    pub max_filter_bytes: usize,
    /// Metadata indexes; 10.
    pub max_metadata_indexes: usize,
    /// Memory that the copy of the vectors and the index of a [`Store::File`] may take, in bytes; 4 GiB (ours).
    pub max_memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_dimensions: 1536,
            max_id_bytes: 64,
            max_namespace_bytes: 64,
            max_namespaces: 50_000,
            max_metadata_bytes: 10 * 1024,
            max_top_k: 100,
            max_top_k_with_values: 50,
            max_batch: 1000,
            max_ids_to_get: 20,
            max_ids_to_delete: 100,
            max_vectors: 5_000_000,
            max_request_bytes: 100_000_000,
            max_filter_bytes: 2048,
            max_metadata_indexes: 10,
            max_memory_bytes: 4 << 30,
        }
    }
}

/// How an index is opened, and what its calls may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOptions {
    /// Whether to create the index if there is none. Then `dimensions` and `metric` are needed.
    pub create: bool,
    /// Its dimensions; of one that exists they must be the same, if they are given.
    pub dimensions: Option<usize>,
    /// Its metric; likewise.
    pub metric: Option<Metric>,
    /// Metadata indexes that there shall be: those that are missing are created, for all vectors that there are, and all
    /// others are removed. Without any here, those that there are stay.
    pub metadata_indexes: Vec<MetadataIndex>,
    /// What requests may ask for.
    pub limits: Limits,
    /// Whether replies of RPC calls have the shapes of the service's first version. Plain HTTP has it in its path.
    pub first_version: bool,
    /// From how many vectors on queries may go by an approximate index; fewer are compared with all of them.
    pub exact_below: u64,
    /// How long a call may take; 30 s.
    pub timeout: Duration,
    /// Calls that may wait, of all clients; 1024.
    pub max_queued: usize,
    /// Threads that search a [`Store::File`]; by default the machine's cores, at most 4.
    pub searchers: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            create: false,
            dimensions: None,
            metric: None,
            metadata_indexes: Vec::new(),
            limits: Limits::default(),
            first_version: false,
            exact_below: 20_000,
            timeout: Duration::from_secs(30),
            max_queued: 1024,
            searchers: cores.min(4),
        }
    }
}

impl IndexOptions {
    /// Whether the metadata indexes can be.
    pub(super) fn check_metadata_indexes(&self) -> Result<(), OpenError> {
        let (indexes, max) = (&self.metadata_indexes, self.limits.max_metadata_indexes);
        if indexes.len() > max {
            return Err(OpenError::Options(format!(
                "{} metadata indexes are too many; at most {max} are allowed",
                indexes.len()
            )));
        }
        let mut seen = HashSet::new();
        for property in indexes.iter().map(|index| index.property.as_str()) {
            let part = |part: &str| {
                !part.is_empty() && !part.starts_with('$') && !part.contains(['"', '\0'])
            };
            if !property.split('.').all(part) {
                return Err(OpenError::Options(format!(
                    "the metadata index {property:?} cannot be: keys between the dots must not be empty, have \" or NUL in them \
                     or begin with $"
                )));
            }
            if !seen.insert(property) {
                return Err(OpenError::Options(format!(
                    "there are two metadata indexes on {property:?}; give one"
                )));
            }
        }
        Ok(())
    }
}

/// Why an index cannot be opened. The text never has a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An option is invalid, or contradicts the index: which one, and why.
    #[error("{0}")]
    Options(String),
    /// There is no index, and none shall be created.
    #[error("{0}")]
    Missing(String),
    /// The store cannot be opened: what, where and why.
    #[error("{0}")]
    Store(String),
}
