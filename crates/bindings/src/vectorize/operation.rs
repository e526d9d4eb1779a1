//! What can be asked of an index.

/// An operation of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// What the index is.
    Describe,
    /// The vectors that are near to given values.
    Query,
    /// The vectors that are near to one of the index.
    QueryById,
    /// New vectors.
    Insert,
    /// New or other vectors.
    Upsert,
    /// Vectors by their ids.
    GetByIds,
    /// Vectors that shall go.
    DeleteByIds,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Describe,
        Self::Query,
        Self::QueryById,
        Self::Insert,
        Self::Upsert,
        Self::GetByIds,
        Self::DeleteByIds,
    ];

    /// The method's name: `queryById`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Query => "query",
            Self::QueryById => "queryById",
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::GetByIds => "getByIds",
            Self::DeleteByIds => "deleteByIds",
        }
    }

    /// The operation whose method has this name.
    pub(super) fn of_method(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.method() == name)
    }

    /// Its name on spans and in metrics: `query_by_id`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Query => "query",
            Self::QueryById => "query_by_id",
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::GetByIds => "get_by_ids",
            Self::DeleteByIds => "delete_by_ids",
        }
    }

    /// The name of its call's span: `vectorize.query_by_id`.
    pub fn span(self) -> &'static str {
        match self {
            Self::Describe => "vectorize.describe",
            Self::Query => "vectorize.query",
            Self::QueryById => "vectorize.query_by_id",
            Self::Insert => "vectorize.insert",
            Self::Upsert => "vectorize.upsert",
            Self::GetByIds => "vectorize.get_by_ids",
            Self::DeleteByIds => "vectorize.delete_by_ids",
        }
    }

    /// What messages of its errors begin with, as workerd's wrapper of plain HTTP has them: `VECTOR_QUERY_ERROR`.
    pub(super) fn error(self) -> &'static str {
        match self {
            Self::Describe => "INDEX_GET_ERROR",
            Self::Query | Self::QueryById => "VECTOR_QUERY_ERROR",
            Self::Insert => "VECTOR_INSERT_ERROR",
            Self::Upsert => "VECTOR_UPSERT_ERROR",
            Self::GetByIds => "VECTOR_GET_ERROR",
            Self::DeleteByIds => "VECTOR_DELETE_ERROR",
        }
    }
}
