//! Why there is no answer, with what is said of the request all the same.

use http::HeaderMap;

use super::super::gateway::GatewayError;
use super::super::upstream::UpstreamError;
use super::super::workers::AiError;

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(in crate::ai) struct Failure {
    pub(in crate::ai) why: Why,
    /// What an HTTP response says beside it: the gateway's marks, when to come back.
    pub(in crate::ai) headers: Box<HeaderMap>,
    /// Whether the caller's span says already what went wrong.
    pub(in crate::ai) stated: bool,
}

#[derive(Debug, Clone)]
pub(in crate::ai) enum Why {
    /// The provider did not answer.
    Upstream(UpstreamError),
    /// The gateway did not ask.
    Gateway(GatewayError),
    /// It cannot be asked for, or the provider refused it, in Workers AI's terms.
    Ai(AiError),
}

impl From<Why> for Failure {
    fn from(why: Why) -> Self {
        Self {
            why,
            headers: Box::default(),
            stated: false,
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Why::Gateway(error).into()
    }
}

impl From<AiError> for Failure {
    fn from(error: AiError) -> Self {
        Why::Ai(error).into()
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Why::Upstream(error).into()
    }
}
