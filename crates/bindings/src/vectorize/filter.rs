//! Filters on metadata.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::error::{Code, VectorizeError};
use super::options::Limits;
use super::request::key_problem;
use super::vector::Metadata;

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

/// Characters of a key, all parts together.
const MAX_KEY: usize = 512;

const NULL_RANGE: &str =
    "nothing is before or after null; compare with a text, a number or a boolean";

impl Filter {
    /// Reads a filter's JSON.
    ///
    /// # Errors
    /// What is wrong with it, by the key that it stands at.
    pub fn parse(json: &Value, limits: &Limits) -> Result<Self, VectorizeError> {
        let Value::Object(object) = json else {
            return wrong("the filter is not an object; write {\"property\": value}");
        };
        if object.is_empty() {
            return wrong("the filter is empty; leave it out, or name a property");
        }
        let bytes = serde_json::to_vec(json).map_or(0, |json| json.len());
        if bytes >= limits.max_filter_bytes {
            return wrong(&format!(
                "the filter is too long; it must be less than {} bytes of JSON, got {bytes} bytes",
                limits.max_filter_bytes
            ));
        }
        let mut clauses = Vec::new();
        for (key, value) in object {
            let path = path(key)?;
            match value {
                Value::Object(tests) => {
                    for test in tests_of(key, tests)? {
                        let path = path.clone();
                        clauses.push(Clause { path, test });
                    }
                }
                value => clauses.push(Clause {
                    path,
                    test: Test::Equal(scalar(key, value)?),
                }),
            }
        }
        Ok(Self { clauses })
    }

    /// Whether it could have been read: one that was built in Rust can have what stores do not understand.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), VectorizeError> {
        if self.clauses.is_empty() {
            return wrong("the filter is empty; leave it out, or name a property");
        }
        let mut bytes: usize = self.keys().iter().map(String::len).sum();
        for clause in &self.clauses {
            let key = clause.path.join(".");
            if path(&key)? != clause.path {
                return at(&key, "a part of the path is missing, or has a dot in it");
            }
            let scalars = clause.test.scalars();
            for scalar in scalars {
                match scalar {
                    Scalar::String(text) if text.contains('\0') => {
                        return at(&key, "a text has a NUL character in it");
                    }
                    Scalar::Number(number) if !number.is_finite() => {
                        return at(&key, "a number is not finite");
                    }
                    Scalar::Null if clause.test.is_range() => return at(&key, NULL_RANGE),
                    Scalar::String(text) => bytes += text.len(),
                    _ => {}
                }
            }
            bytes += scalars.len();
        }
        match bytes >= limits.max_filter_bytes {
            true => wrong(&format!(
                "the filter is too long; it must be less than {} bytes of JSON",
                limits.max_filter_bytes
            )),
            false => Ok(()),
        }
    }

    /// The properties that it asks about, as they were written, each once.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for clause in &self.clauses {
            let key = clause.path.join(".");
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Whether it takes a vector with this metadata. Stores have ways of their own, which agree with this.
    pub fn takes(&self, metadata: Option<&Metadata>) -> bool {
        self.clauses.iter().all(|clause| clause.takes(metadata))
    }
}

impl Test {
    /// What the property is compared with.
    fn scalars(&self) -> &[Scalar] {
        match self {
            Self::Equal(scalar)
            | Self::NotEqual(scalar)
            | Self::Less(scalar)
            | Self::LessOrEqual(scalar)
            | Self::Greater(scalar)
            | Self::GreaterOrEqual(scalar) => std::slice::from_ref(scalar),
            Self::In(scalars) | Self::NotIn(scalars) => scalars,
        }
    }

    fn is_range(&self) -> bool {
        matches!(
            self,
            Self::Less(_) | Self::LessOrEqual(_) | Self::Greater(_) | Self::GreaterOrEqual(_)
        )
    }
}

impl Clause {
    fn takes(&self, metadata: Option<&Metadata>) -> bool {
        let value = self.value(metadata);
        let equals = |scalar: &Scalar| value.as_ref() == Some(scalar);
        let compares = |scalar: &Scalar, takes: fn(Ordering) -> bool| {
            let ordering = value.as_ref().and_then(|value| value.compare(scalar));
            ordering.is_some_and(takes)
        };
        match &self.test {
            Test::Equal(scalar) => equals(scalar),
            Test::NotEqual(scalar) => !equals(scalar),
            Test::Less(scalar) => compares(scalar, Ordering::is_lt),
            Test::LessOrEqual(scalar) => compares(scalar, Ordering::is_le),
            Test::Greater(scalar) => compares(scalar, Ordering::is_gt),
            Test::GreaterOrEqual(scalar) => compares(scalar, Ordering::is_ge),
            Test::In(scalars) => scalars.iter().any(equals),
            Test::NotIn(scalars) => !scalars.iter().any(equals),
        }
    }

    /// The property's value; `None` for one that is like no value.
    fn value(&self, metadata: Option<&Metadata>) -> Option<Scalar> {
        let mut parts = self.path.iter();
        let Some(mut value) = parts.next().and_then(|first| metadata?.get(first)) else {
            return Some(Scalar::Null);
        };
        for part in parts {
            let Some(inner) = value.as_object().and_then(|object| object.get(part)) else {
                return Some(Scalar::Null);
            };
            value = inner;
        }
        Some(match value {
            Value::Null => Scalar::Null,
            Value::Bool(value) => Scalar::Boolean(*value),
            Value::Number(number) => Scalar::Number(number.as_f64()?),
            Value::String(text) => Scalar::String(text.clone()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }
}

impl Scalar {
    /// Which one is first, of those of one type. Nothing is before or after `null`.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::String(this), Self::String(other)) => {
                Some(this.as_bytes().cmp(other.as_bytes()))
            }
            (Self::Number(this), Self::Number(other)) => this.partial_cmp(other),
            (Self::Boolean(this), Self::Boolean(other)) => Some(this.cmp(other)),
            _ => None,
        }
    }
}

fn wrong<T>(text: &str) -> Result<T, VectorizeError> {
    Err(VectorizeError::new(Code::Filter, text))
}

/// What is wrong at a key, which is shown, since it names a property.
fn at<T>(key: &str, text: &str) -> Result<T, VectorizeError> {
    let key: String = key.escape_debug().take(100).collect();
    wrong(&format!("filter \"{key}\": {text}"))
}

fn path(key: &str) -> Result<Vec<String>, VectorizeError> {
    if key.chars().count() > MAX_KEY {
        return at(key, "a key has at most 512 characters");
    }
    let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
    match parts.iter().find_map(|part| key_problem(part)) {
        Some(problem) => at(key, problem),
        None => Ok(parts),
    }
}

fn tests_of(key: &str, tests: &Map<String, Value>) -> Result<Vec<Test>, VectorizeError> {
    if tests.is_empty() {
        return at(
            key,
            "there is no operator; write a value, or {\"$eq\": value}",
        );
    }
    let mut read = Vec::with_capacity(tests.len());
    for (operator, value) in tests {
        let one = || scalar(key, value);
        let comparable = || match scalar(key, value)? {
            Scalar::Null => at(key, NULL_RANGE),
            scalar => Ok(scalar),
        };
        read.push(match operator.as_str() {
            "$eq" => Test::Equal(one()?),
            "$ne" => Test::NotEqual(one()?),
            "$lt" => Test::Less(comparable()?),
            "$lte" => Test::LessOrEqual(comparable()?),
            "$gt" => Test::Greater(comparable()?),
            "$gte" => Test::GreaterOrEqual(comparable()?),
            "$in" => Test::In(scalars(key, value)?),
            "$nin" => Test::NotIn(scalars(key, value)?),
            other => {
                let shown: String = other.escape_debug().take(40).collect();
                return at(
                    key,
                    &format!(
                        "there is no operator {shown}; there are $eq, $ne, $lt, $lte, $gt, $gte, $in, $nin"
                    ),
                );
            }
        });
    }
    match read.len() > 1 && !read.iter().all(Test::is_range) {
        true => at(key, "only $lt, $lte, $gt and $gte can be combined"),
        false => Ok(read),
    }
}

fn scalars(key: &str, value: &Value) -> Result<Vec<Scalar>, VectorizeError> {
    let Value::Array(list) = value else {
        return at(key, "$in and $nin take a list");
    };
    list.iter().map(|value| scalar(key, value)).collect()
}

fn scalar(key: &str, value: &Value) -> Result<Scalar, VectorizeError> {
    Ok(match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Boolean(*value),
        Value::String(text) if text.contains('\0') => {
            return at(key, "a text has a NUL character in it");
        }
        Value::String(text) => Scalar::String(text.clone()),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.is_finite() => Scalar::Number(number),
            _ => return at(key, "a number is beyond what float64 has"),
        },
        Value::Array(_) | Value::Object(_) => {
            return at(
                key,
                "a property is compared with a text, a number, a boolean or null",
            );
        }
    })
}
