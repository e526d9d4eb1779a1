//! What goes wrong with a request, in the service's terms.

/// The service's codes, as far as they are known; those of ours begin at 41000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 40006: a query vector of the wrong dimensions, or with values that are no finite numbers.
    QueryVector,
    /// 40007: too many ids or vectors, or a body that is too long, which plain HTTP answers with the status 413.
    TooMany,
    /// 40008: an id or a namespace that is empty or too long.
    Id,
    /// 40012: a vector of the wrong dimensions, or with values that are no finite numbers.
    Vector,
    /// 40023: a body of an insert or upsert that cannot be read.
    Body,
    /// 40025: too many matches asked for.
    TopK,
    /// 40026: a body of another request that cannot be read.
    Request,
    /// 40041: too many requests at once.
    Overloaded,
    /// 41000: metadata that is too long or has a key that cannot be.
    Metadata,
    /// 41001: a filter that cannot be.
    Filter,
    /// 41002: there is no vector with the id that a query is to be near to.
    NoSuchVector,
    /// 41003: the index is full.
    Full,
    /// 41004: the same id twice in one batch.
    DuplicateId,
    /// 41005: the call took too long.
    Timeout,
    /// 41006: the store failed or is away.
    Store,
}

impl Code {
    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::QueryVector => 40006,
            Self::TooMany => 40007,
            Self::Id => 40008,
            Self::Vector => 40012,
            Self::Body => 40023,
            Self::TopK => 40025,
            Self::Request => 40026,
            Self::Overloaded => 40041,
            Self::Metadata => 41000,
            Self::Filter => 41001,
            Self::NoSuchVector => 41002,
            Self::Full => 41003,
            Self::DuplicateId => 41004,
            Self::Timeout => 41005,
            Self::Store => 41006,
        }
    }

    /// Its name on spans and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueryVector => "invalid_query_vector",
            Self::TooMany => "too_many",
            Self::Id => "invalid_id",
            Self::Vector => "invalid_vector",
            Self::Body => "invalid_vectors",
            Self::TopK => "top_k_too_large",
            Self::Request => "invalid_request",
            Self::Overloaded => "overloaded",
            Self::Metadata => "invalid_metadata",
            Self::Filter => "invalid_filter",
            Self::NoSuchVector => "no_such_vector",
            Self::Full => "full",
            Self::DuplicateId => "duplicate_id",
            Self::Timeout => "timeout",
            Self::Store => "store",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::Overloaded => 429,
            Self::Full => 507,
            Self::Timeout => 504,
            Self::Store => 503,
            _ => 400,
        }
    }
}

/// Why a request failed. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct VectorizeError {
    /// What kind of error.
    pub code: Code,
    /// What is wrong, where, and what to do. It has no values, texts or metadata of vectors.
    pub text: String,
}

impl VectorizeError {
    /// An error with this text.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}
