//! Replies, in the shapes of the service's second version and of its first.

use serde_json::{Map, Number, Value, json};

use super::vector::{Found, Info, Match, Mutation, Vector};

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Info(Info),
    Found(Found),
    Mutation(Mutation),
    Vectors(Vec<Vector>),
}

impl Reply {
    /// The reply as JSON. `name` is the index's, which the first version has.
    pub(super) fn to_json(&self, name: &str, first_version: bool) -> Value {
        match (self, first_version) {
            (Self::Info(info), false) => json!({
                "vectorCount": info.vectors,
                "dimensions": info.dimensions,
                "processedUpToDatetime": info.newest.as_ref().map(|(_, ms)| iso(*ms)),
                "processedUpToMutation": info.newest.as_ref().map(|(id, _)| id),
            }),
            (Self::Info(info), true) => json!({
                "id": name,
                "name": name,
                "config": {"dimensions": info.dimensions, "metric": info.metric.name()},
                "vectorsCount": info.vectors,
            }),
            (Self::Mutation(mutation), false) => json!({"mutationId": mutation.id}),
            (Self::Mutation(mutation), true) => {
                json!({"ids": mutation.ids, "count": mutation.ids.len()})
            }
            (Self::Found(found), _) => json!({
                "count": found.matches.len(),
                "matches": found.matches.iter().map(of_match).collect::<Vec<_>>(),
            }),
            (Self::Vectors(vectors), _) => vectors.iter().map(of_vector).collect(),
        }
    }
}

fn of_match(found: &Match) -> Value {
    let mut members = Map::new();
    members.insert("id".to_owned(), found.id.clone().into());
    members.insert("score".to_owned(), score(found.score));
    if let Some(namespace) = &found.namespace {
        members.insert("namespace".to_owned(), namespace.clone().into());
    }
    if let Some(values) = &found.values {
        members.insert("values".to_owned(), of_values(values));
    }
    if let Some(metadata) = &found.metadata {
        members.insert("metadata".to_owned(), metadata.clone().into());
    }
    Value::Object(members)
}

fn of_vector(vector: &Vector) -> Value {
    let mut members = Map::new();
    members.insert("id".to_owned(), vector.id.clone().into());
    if let Some(namespace) = &vector.namespace {
        members.insert("namespace".to_owned(), namespace.clone().into());
    }
    members.insert("values".to_owned(), of_values(&vector.values));
    if let Some(metadata) = &vector.metadata {
        members.insert("metadata".to_owned(), metadata.clone().into());
    }
    Value::Object(members)
}

/// Values as the service gives them: what float32 has, exactly.
fn of_values(values: &[f32]) -> Value {
    let number = |value: &f32| number(f64::from(*value));
    values.iter().map(number).collect()
}

/// A score in as few digits as float32 needs.
fn score(score: f32) -> Value {
    number(score.to_string().parse().unwrap_or(f64::from(score)))
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A time in milliseconds since 1970 UTC, as JavaScript writes it.
fn iso(ms: i64) -> String {
    use time::format_description::well_known::{Iso8601, iso8601};
    const FORM: iso8601::EncodedConfig = iso8601::Config::DEFAULT
        .set_time_precision(iso8601::TimePrecision::Second {
            decimal_digits: std::num::NonZeroU8::new(3),
        })
        .encode();
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = time
        .ok()
        .and_then(|time| time.format(&Iso8601::<FORM>).ok());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_and_scores_are_short() {
        assert_eq!(
            of_values(&[0.1, 2.0]).to_string(),
            "[0.10000000149011612,2.0]"
        );
        assert_eq!(score(0.1).to_string(), "0.1");
        assert_eq!(score(-1000.0).to_string(), "-1000.0");
    }

    #[test]
    fn times_are_as_javascript_writes_them() {
        assert_eq!(iso(1_732_000_000_123), "2024-11-19T07:06:40.123Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }
}
