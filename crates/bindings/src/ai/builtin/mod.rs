//! The word counter, which needs nothing.

use super::upstream::{UpstreamAnswer, UpstreamError, UpstreamRequest};

/// Answers a request.
pub(in crate::ai) fn answer(_request: &UpstreamRequest) -> Result<UpstreamAnswer, UpstreamError> {
    Err(UpstreamError::Connect {
        name: "builtin".to_owned(),
        reason: "it is not there".to_owned(),
    })
}
