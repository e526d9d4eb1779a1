//! Feedback on a request that was answered.

use serde_json::Value;

use crate::ai::gateway::{GatewayError, Metadata, metadata};

/// Changes to an entry. The outer `None` leaves a member as it is, the inner one removes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::ai) struct Patch {
    /// 0 to 100.
    pub(in crate::ai) score: Option<Option<f64>>,
    /// -1 or 1.
    pub(in crate::ai) feedback: Option<Option<i8>>,
    /// Instead of what is there, all of it.
    pub(in crate::ai) metadata: Option<Option<Metadata>>,
}

impl Patch {
    /// `{score, feedback, metadata}`, of which each may be missing or null.
    ///
    /// # Errors
    /// The member that is none of them, or whose value is none, and what is accepted.
    pub(in crate::ai) fn from_json(given: &Value) -> Result<Self, GatewayError> {
        let Value::Object(members) = given else {
            return Err(GatewayError::invalid(
                "a log entry is changed by an object: give {score, feedback, metadata} or some of them",
            ));
        };
        let mut patch = Self::default();
        for (name, value) in members {
            match name.as_str() {
                "score" => patch.score = Some(score(value)?),
                "feedback" => patch.feedback = Some(feedback(value)?),
                "metadata" => {
                    let metadata = Some(value).filter(|value| !value.is_null());
                    patch.metadata = Some(
                        metadata
                            .map(|value| self::metadata(name, value))
                            .transpose()?,
                    );
                }
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(GatewayError::invalid(format!(
                        "{other:?} of a log entry cannot be changed; score, feedback and metadata can"
                    )));
                }
            }
        }
        Ok(patch)
    }
}

fn score(value: &Value) -> Result<Option<f64>, GatewayError> {
    match value {
        Value::Null => Ok(None),
        value => {
            let score = value.as_f64().filter(|score| (0.0..=100.0).contains(score));
            score
                .map(Some)
                .ok_or_else(|| GatewayError::invalid("score: give a number from 0 to 100, or null"))
        }
    }
}

fn feedback(value: &Value) -> Result<Option<i8>, GatewayError> {
    match value {
        Value::Null => Ok(None),
        // JavaScript has one kind of number.
        value => match value.as_f64() {
            Some(-1.0) => Ok(Some(-1)),
            Some(1.0) => Ok(Some(1)),
            _ => Err(GatewayError::invalid("feedback: give -1, 1 or null")),
        },
    }
}
