//! Filters on metadata.

/// A value that metadata is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Nothing, or `null`.
    Null,
    /// A text.
    String(String),
    /// A number, finite.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

/// What is asked of one property. Values of different types are different, and neither is before the other. Texts
/// are ordered by their UTF-8 bytes, and false is before true. A property that is an object or a list is like none of
/// the values.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `$eq`; [`Scalar::Null`] is like a property that is not there.
    Equal(Scalar),
    /// `$ne`: whatever is not equal, a property that is not there included.
    NotEqual(Scalar),
    /// `$lt`.
    Less(Scalar),
    /// `$lte`.
    LessOrEqual(Scalar),
    /// `$gt`.
    Greater(Scalar),
    /// `$gte`.
    GreaterOrEqual(Scalar),
    /// `$in`: equal to one of them.
    In(Vec<Scalar>),
    /// `$nin`: equal to none of them.
    NotIn(Vec<Scalar>),
}

/// A property and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// The property: `["author", "name"]` for `author.name`. No part is empty, has `.` or `"` in it or begins with `$`.
    pub path: Vec<String>,
    /// What is asked of it.
    pub test: Test,
}

/// A filter: all clauses must hold. It has one at least.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The clauses.
    pub clauses: Vec<Clause>,
}
