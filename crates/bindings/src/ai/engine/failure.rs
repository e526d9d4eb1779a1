//! Why there is no answer, and the headers that are sent all the same.

use http::HeaderMap;

use super::super::gateway::GatewayError;
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
    /// In a gateway's terms, which are OpenAI clients' as well.
    Gateway(GatewayError),
    /// In Workers AI's terms.
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
