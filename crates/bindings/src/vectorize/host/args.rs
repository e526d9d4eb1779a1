//! What can be said about Vectorize indexes: options, and the keys of their tables.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use host::secret;
use host::values::{self, Sensitive, Size, Switch};

use crate::vectorize::{IndexOptions, Limits, MetadataIndex, Metric, SslMode};

/// The options.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct VectorizeArgs {
    /// Serve a Vectorize index as NAME: a file, or a table of PostgreSQL; may be repeated
    ///
    /// PLACE is a file, or postgres://USER@HOST/DATABASE. Behind it there may be `,dimensions=N`, `,metric=M` (cosine,
    /// euclidean or dot-product), which a new index needs, and `,table=T`. The password is never in it: see
    /// docs/vectorize.md. In the variable, several are separated by `;`.
    #[arg(
        long = "vectorize",
        value_name = "NAME=PLACE",
        env = "BINDING_SPAN_VECTORIZE",
        hide_env_values = true,
        value_delimiter = ';'
    )]
    pub(super) vectorize: Vec<Sensitive>,

    /// Create Vectorize indexes that are not there
    #[arg(long = "vectorize-create", env = "BINDING_SPAN_VECTORIZE_CREATE", value_parser = FalseyValueParser::new())]
    pub(super) vectorize_create: bool,

    /// What holds for all of them.
    #[command(flatten)]
    pub(super) all: AllArgs,
}

/// What holds for every index, unless its table says otherwise.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Vectorize indexes")]
pub(super) struct AllArgs {
    /// How long a call may take on its index; 30s by default
    #[arg(id = "vectorize-timeout", long = "vectorize-timeout", value_name = "TIME", env = "BINDING_SPAN_VECTORIZE_TIMEOUT", value_parser = values::deadline, hide_short_help = true)]
    timeout: Option<Duration>,

    /// Vectors up to which a query is compared with all of them; 20000 by default
    ///
    /// Larger indexes are searched by an approximate index (HNSW).
    #[arg(id = "vectorize-exact-below", long = "vectorize-exact-below", value_name = "N", env = "BINDING_SPAN_VECTORIZE_EXACT_BELOW", value_parser = values::count::<u64>, hide_short_help = true)]
    exact_below: Option<u64>,

    /// Threads that search the index of a file; by default the machine's cores, at most 4
    #[arg(id = "vectorize-searchers", long = "vectorize-searchers", value_name = "N", env = "BINDING_SPAN_VECTORIZE_SEARCHERS", value_parser = values::positive::<usize>, hide_short_help = true)]
    searchers: Option<usize>,

    /// Calls that may wait for an index, of all clients; 1024 by default
    #[arg(id = "vectorize-queue", long = "vectorize-queue", value_name = "N", env = "BINDING_SPAN_VECTORIZE_QUEUE", value_parser = values::positive::<usize>, hide_short_help = true)]
    queue: Option<usize>,

    /// Vectors that an index may have; 5000000 by default, as the service
    #[arg(id = "vectorize-max-vectors", long = "vectorize-max-vectors", value_name = "N", env = "BINDING_SPAN_VECTORIZE_MAX_VECTORS", value_parser = values::positive::<u64>, hide_short_help = true)]
    max_vectors: Option<u64>,

    /// Memory that the vectors of a file and their index may take; 4GiB by default
    #[arg(id = "vectorize-max-memory", long = "vectorize-max-memory", value_name = "SIZE", env = "BINDING_SPAN_VECTORIZE_MAX_MEMORY", value_parser = values::some_bytes, hide_short_help = true)]
    max_memory: Option<Size>,

    /// Vectors of an insert or upsert; 1000 by default, as the service
    #[arg(id = "vectorize-max-batch", long = "vectorize-max-batch", value_name = "N", env = "BINDING_SPAN_VECTORIZE_MAX_BATCH", value_parser = values::positive::<usize>, hide_short_help = true)]
    max_batch: Option<usize>,

    /// How long the body of a plain HTTP request may be; 100MB by default, as the service
    #[arg(id = "vectorize-max-request", long = "vectorize-max-request", value_name = "SIZE", env = "BINDING_SPAN_VECTORIZE_MAX_REQUEST", value_parser = values::some_bytes, hide_short_help = true)]
    max_request: Option<Size>,
}

/// The keys of a table `[vectorize.NAME]`.
#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    /// The file.
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<PathBuf>,

    /// PostgreSQL's URL.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Sensitive>,

    /// The table there.
    #[arg(long, value_name = "TABLE")]
    pub(super) table: Option<String>,

    /// Whether to create the index when there is none.
    #[arg(long, value_name = "true|false")]
    pub(super) create: Option<Switch>,

    /// Its dimensions.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    pub(super) dimensions: Option<usize>,

    /// Its metric.
    #[arg(long, value_name = "METRIC")]
    pub(super) metric: Option<Metric>,

    /// Its metadata indexes.
    #[arg(long, value_name = "PROPERTY:TYPE", value_parser = metadata_index)]
    pub(super) metadata_indexes: Vec<MetadataIndex>,

    /// The variable with the password.
    #[arg(long, value_name = "VARIABLE", value_parser = secret::variable)]
    pub(super) password_env: Option<Sensitive>,

    /// The file with the password.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<Sensitive>,

    /// The credential that is the password.
    #[arg(long, value_name = "NAME", value_parser = secret::credential)]
    pub(super) credential: Option<Sensitive>,

    /// As libpq's sslmode.
    #[arg(long, value_name = "MODE", value_parser = ssl_mode)]
    pub(super) ssl_mode: Option<SslMode>,

    /// Certificate authorities.
    #[arg(long, value_name = "FILE")]
    pub(super) ssl_root_cert: Option<PathBuf>,

    /// Our certificate.
    #[arg(long, value_name = "FILE")]
    pub(super) ssl_cert: Option<PathBuf>,

    /// And its key.
    #[arg(long, value_name = "FILE")]
    pub(super) ssl_key: Option<PathBuf>,

    /// Connections at most.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    pub(super) max_connections: Option<usize>,

    /// How long connecting may take.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) connect_timeout: Option<Duration>,

    /// The shapes of replies by RPC.
    #[arg(long, value_name = "v1|v2")]
    pub(super) api_version: Option<ApiVersion>,

    /// As --vectorize-timeout, for this index.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    timeout: Option<Duration>,

    /// As --vectorize-exact-below.
    #[arg(long, value_name = "N", value_parser = values::count::<u64>)]
    exact_below: Option<u64>,

    /// As --vectorize-searchers.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    searchers: Option<usize>,

    /// As --vectorize-queue.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    queue: Option<usize>,

    /// As --vectorize-max-vectors.
    #[arg(long, value_name = "N", value_parser = values::positive::<u64>)]
    max_vectors: Option<u64>,

    /// As --vectorize-max-memory.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_memory: Option<Size>,

    /// As --vectorize-max-batch.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_batch: Option<usize>,

    /// As --vectorize-max-request.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_request: Option<Size>,

    /// Dimensions of an index that is created.
    #[arg(long, value_name = "N", value_parser = dimensions)]
    max_dimensions: Option<usize>,

    /// How long an id may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_id: Option<Size>,

    /// How long a namespace's name may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_namespace: Option<Size>,

    /// Namespaces of the index.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_namespaces: Option<usize>,

    /// How long a vector's metadata may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_metadata: Option<Size>,

    /// Matches of a query.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_top_k: Option<usize>,

    /// Matches of a query that returns values or all metadata.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_top_k_with_values: Option<usize>,

    /// Ids of getByIds.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_ids_to_get: Option<usize>,

    /// Ids of deleteByIds.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    max_ids_to_delete: Option<usize>,

    /// How long a filter may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    max_filter: Option<Size>,

    /// Metadata indexes.
    #[arg(long, value_name = "N", value_parser = values::count::<usize>)]
    max_metadata_indexes: Option<usize>,
}

/// The keys that an index in a file has no use for.
pub(super) const OF_POSTGRES: [&str; 10] = [
    "table",
    "password-env",
    "password-file",
    "credential",
    "ssl-mode",
    "ssl-root-cert",
    "ssl-cert",
    "ssl-key",
    "max-connections",
    "connect-timeout",
];

/// The service's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ApiVersion {
    /// The first, of 2023.
    V1,
    /// That of today.
    V2,
}

/// More would only be refused later, by whoever stores it.
fn dimensions(text: &str) -> Result<usize, String> {
    match values::positive(text)? {
        16_001.. => Err("no store takes more than 16000".into()),
        count => Ok(count),
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    SslMode::ALL
        .into_iter()
        .find(|mode| mode.name() == text)
        .ok_or_else(|| "write disable, prefer, require, verify-ca or verify-full".into())
}

/// Reads `PROPERTY:TYPE`.
fn metadata_index(text: &str) -> Result<MetadataIndex, String> {
    let form =
        "write PROPERTY:TYPE, for instance genre:string; types are string, number and boolean";
    let (property, kind) = text.rsplit_once(':').ok_or(form)?;
    let key = |key: &str| !key.is_empty() && !key.starts_with('$') && !key.contains('"');
    if !property.split('.').all(key) {
        return Err(format!(
            "{property:?} is no property: keys between the dots must not be empty, have \" or begin with $"
        ));
    }
    Ok(MetadataIndex {
        property: property.to_owned(),
        kind: kind.parse()?,
    })
}

impl AllArgs {
    /// Options of an index without a table of its own.
    pub(super) fn options(&self) -> IndexOptions {
        let plain = IndexOptions::default();
        let limits = &plain.limits;
        let bytes = |size: Option<Size>, default| size.map_or(default, Size::bytes);
        IndexOptions {
            timeout: self.timeout.unwrap_or(plain.timeout),
            exact_below: self.exact_below.unwrap_or(plain.exact_below),
            searchers: self.searchers.unwrap_or(plain.searchers),
            max_queued: self.queue.unwrap_or(plain.max_queued),
            limits: Limits {
                max_vectors: self.max_vectors.unwrap_or(limits.max_vectors),
                max_memory_bytes: self
                    .max_memory
                    .map_or(limits.max_memory_bytes, |size| size.0),
                max_batch: self.max_batch.unwrap_or(limits.max_batch),
                max_request_bytes: bytes(self.max_request, limits.max_request_bytes),
                ..limits.clone()
            },
            ..plain
        }
    }
}

impl IndexArgs {
    /// Those options, and what the table says.
    pub(super) fn options(&self, all: &AllArgs) -> IndexOptions {
        let own = AllArgs {
            timeout: self.timeout.or(all.timeout),
            exact_below: self.exact_below.or(all.exact_below),
            searchers: self.searchers.or(all.searchers),
            queue: self.queue.or(all.queue),
            max_vectors: self.max_vectors.or(all.max_vectors),
            max_memory: self.max_memory.or(all.max_memory),
            max_batch: self.max_batch.or(all.max_batch),
            max_request: self.max_request.or(all.max_request),
        };
        let mut options = own.options();
        let limits = &mut options.limits;
        let set = |limit: &mut usize, own: Option<usize>| *limit = own.unwrap_or(*limit);
        let bytes = |size: Option<Size>| size.map(Size::bytes);
        set(&mut limits.max_dimensions, self.max_dimensions);
        set(&mut limits.max_id_bytes, bytes(self.max_id));
        set(&mut limits.max_namespace_bytes, bytes(self.max_namespace));
        set(&mut limits.max_namespaces, self.max_namespaces);
        set(&mut limits.max_metadata_bytes, bytes(self.max_metadata));
        set(&mut limits.max_top_k, self.max_top_k);
        set(
            &mut limits.max_top_k_with_values,
            self.max_top_k_with_values,
        );
        set(&mut limits.max_ids_to_get, self.max_ids_to_get);
        set(&mut limits.max_ids_to_delete, self.max_ids_to_delete);
        set(&mut limits.max_filter_bytes, bytes(self.max_filter));
        set(&mut limits.max_metadata_indexes, self.max_metadata_indexes);
        options.dimensions = self.dimensions;
        options.metric = self.metric;
        options.metadata_indexes.clone_from(&self.metadata_indexes);
        options.first_version = self.api_version == Some(ApiVersion::V1);
        options
    }
}
