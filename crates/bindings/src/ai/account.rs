//! What is known of one request to a model: for the caller's span, for metrics, for a gateway's log.

use std::time::Duration;

/// What a request asks for; the conventions' `gen_ai.operation.name`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `chat/completions`, and what is like it: OpenAI's `responses`, Anthropic's `messages`.
    Chat,
    /// `completions`.
    TextCompletion,
    /// `embeddings`.
    Embeddings,
    /// Something else of a provider's, which is passed on and not read.
    #[default]
    Other,
}

impl Operation {
    /// The conventions' name, if they have one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("chat"),
            Self::TextCompletion => Some("text_completion"),
            Self::Embeddings => Some("embeddings"),
            Self::Other => None,
        }
    }

    /// What the last segments of a path ask for.
    pub fn of_path(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let path = path.trim_matches('/');
        if path.ends_with("chat/completions")
            || path.ends_with("responses")
            || path.ends_with("messages")
        {
            Self::Chat
        } else if path.ends_with("completions") {
            Self::TextCompletion
        } else if path.ends_with("embeddings") {
            Self::Embeddings
        } else {
            Self::Other
        }
    }
}

/// Tokens of a request, as its provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read, those from a cache included.
    pub input: Option<u64>,
    /// Written, those for reasoning included.
    pub output: Option<u64>,
    /// Of those read: from the provider's cache.
    pub cached_input: Option<u64>,
    /// Of those written: for reasoning.
    pub reasoning: Option<u64>,
}

/// What an answer says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The provider's id for it.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Why each choice ended.
    pub finish_reasons: Vec<String>,
    /// What it took.
    pub usage: Usage,
}

/// Whether an answer came from a gateway's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// It did.
    Hit,
    /// It was looked for, and was not there.
    Miss,
}

/// One request to a model, from before it is sent until its answer has ended.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// What is asked for.
    pub operation: Operation,
    /// The provider's name here.
    pub provider: String,
    /// `gen_ai.provider.name`.
    pub semantic_provider: String,
    /// The model as it was asked for.
    pub model: String,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// The gateway, if there is one.
    pub gateway: Option<String>,
    /// What the answer says.
    pub reading: Reading,
    /// The status of the provider's answer.
    pub status: Option<u16>,
    /// What went wrong, as a name of low cardinality; `error.type`.
    pub error_type: Option<String>,
    /// Whether the cache answered, where it was asked.
    pub cached: Option<Cached>,
    /// Attempts at this provider.
    pub attempts: u32,
    /// Attempts at those that were asked before it.
    pub attempts_before: u32,
    /// Which of the gateway's requests was answered, from 0: more than 0 is a fallback.
    pub step: u32,
    /// The gateway's log entry.
    pub log_id: Option<String>,
    /// What it cost, in US dollars, where prices are known.
    pub cost: Option<f64>,
    /// Whether that is what the request itself says, and not what the configured prices make.
    pub custom_cost: bool,
    /// From when it was sent until the first byte of the answer's body.
    pub first_chunk: Option<Duration>,
    /// From when it was sent until the answer's head.
    pub latency: Option<Duration>,
    /// All of it.
    pub duration: Duration,
}
