//! What an AI binding is made of: providers, models, gateways.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// An AI binding: who answers, under which names, by which rules.
#[derive(Debug, Clone, PartialEq)]
pub struct AiOptions {
    /// Who runs models; the first is asked for models that nothing else claims. No two have one name.
    pub providers: Vec<ProviderOptions>,
    /// Which provider runs which model, and under what name there; the first rule that matches counts.
    pub models: Vec<ModelRule>,
    /// Gateways by id. Without any, every id has the defaults; with some, others do not exist.
    pub gateways: Vec<GatewayOptions>,
    /// Where gateways keep their logs; `None` keeps them in memory, for as long as the binding lives.
    pub log: Option<PathBuf>,
    /// Where programs that speak plain HTTP reach the binding, without a path: what `getUrl` begins with.
    pub public_url: Option<String>,
    /// Whether prompts and answers are put on spans. Off unless somebody means it.
    pub content_on_spans: bool,
    /// How long the body of a request may be, in bytes.
    pub max_request_bytes: usize,
    /// How long an answer may be that is not a stream, in bytes; and one event of a stream.
    pub max_answer_bytes: usize,
}

impl Default for AiOptions {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            models: Vec::new(),
            gateways: Vec::new(),
            log: None,
            public_url: None,
            content_on_spans: false,
            max_request_bytes: 16 << 20,
            max_answer_bytes: 32 << 20,
        }
    }
}

/// Somebody who runs models. Debug output has the names of headers, without their values.
#[derive(Clone, PartialEq)]
pub struct ProviderOptions {
    /// What it is called here: in model names (`openai/gpt-4o`), in requests to a gateway, in metrics.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// `gen_ai.provider.name` on spans; the name, where nothing is given.
    pub semantic_name: Option<String>,
    /// Its key, if it wants one.
    pub key: Option<Secret>,
    /// The header that carries the key. `Authorization` carries it as `Bearer KEY`, others as it is.
    pub key_header: HeaderName,
    /// Headers that every request to it has. Their values are secrets as well.
    pub headers: HeaderMap,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long it may take until its answer begins: the head, and the first byte of a stream.
    pub timeout: Duration,
    /// How long a stream may be silent.
    pub idle_timeout: Duration,
    /// Requests in flight; those beyond wait.
    pub max_in_flight: usize,
    /// Requests that may wait for one in flight to end; those beyond are refused.
    pub max_waiting: usize,
    /// After how many consecutive failures its circuit breaker opens; 0 means never.
    pub break_after: u32,
    /// For how long it stays open, before one request is sent as a trial.
    pub break_for: Duration,
    /// Certificate authorities in a PEM file, instead of those that the system trusts.
    pub certificate_authorities: Option<PathBuf>,
    /// Whether it understands `stream_options: {include_usage: true}`; asked for unless it is known not to.
    pub stream_usage: bool,
}

impl ProviderOptions {
    /// A provider with the defaults.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            semantic_name: None,
            key: None,
            key_header: http::header::AUTHORIZATION,
            headers: HeaderMap::new(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(60),
            max_in_flight: 256,
            max_waiting: 1024,
            break_after: 5,
            break_for: Duration::from_secs(10),
            certificate_authorities: None,
            stream_usage: true,
        }
    }
}

impl std::fmt::Debug for ProviderOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("ProviderOptions")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("semantic_name", &self.semantic_name)
            .field("key", &self.key)
            .field("key_header", &self.key_header)
            .field("headers", &headers)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_in_flight", &self.max_in_flight)
            .field("max_waiting", &self.max_waiting)
            .field("break_after", &self.break_after)
            .field("break_for", &self.break_for)
            .field("certificate_authorities", &self.certificate_authorities)
            .field("stream_usage", &self.stream_usage)
            .finish()
    }
}

/// Where a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A server that speaks OpenAI's HTTP below this URL: `http://127.0.0.1:11434/v1`.
    Http(http::Uri),
    /// The word counter of this crate, which needs nothing.
    Builtin,
}

/// Where a secret is. Debug output and errors never have the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file, without its last line break; read again when it changed.
    File(PathBuf),
    /// Here.
    Value(HeaderValue),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// Which provider runs a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRule {
    /// A model's name, with `*` and `?`: `@cf/meta/*`.
    pub pattern: String,
    /// The provider's name; the first provider, where nothing is given.
    pub provider: Option<String>,
    /// What the model is called there; the same, where nothing is given, but without the provider's name before it.
    pub model: Option<String>,
    /// What it costs.
    pub price: Option<Price>,
}

/// What a model costs, in US dollars a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Tokens that are read.
    pub input: f64,
    /// Tokens that are written.
    pub output: f64,
    /// Tokens that are read from the provider's cache; as the others, where nothing is given.
    pub cached_input: Option<f64>,
}

/// A gateway's rules. What a request says itself comes before them.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayOptions {
    /// Its id.
    pub id: String,
    /// For how long answers are cached; zero means not at all, unless a request asks for it.
    pub cache_ttl: Duration,
    /// How much is cached, in bytes of answers.
    pub max_cache_bytes: u64,
    /// Attempts at each provider, 1 to 5.
    pub max_attempts: u32,
    /// How long before the second attempt.
    pub retry_delay: Duration,
    /// How that grows.
    pub backoff: Backoff,
    /// How long a provider may take to begin its answer; the provider's own limit, where nothing is given.
    pub request_timeout: Option<Duration>,
    /// Requests in each window; 0 means as many as there are.
    pub rate_limit: u32,
    /// How long a window is.
    pub rate_window: Duration,
    /// Whether requests are logged.
    pub collect_log: bool,
    /// Whether prompts and answers are in the log. Off unless somebody means it.
    pub log_content: bool,
    /// How long log entries are kept.
    pub log_retention: Duration,
    /// How large the log may be, in bytes.
    pub max_log_bytes: u64,
}

impl GatewayOptions {
    /// A gateway with the defaults.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            cache_ttl: Duration::ZERO,
            max_cache_bytes: 64 << 20,
            max_attempts: 1,
            retry_delay: Duration::from_millis(500),
            backoff: Backoff::Exponential,
            request_timeout: None,
            rate_limit: 0,
            rate_window: Duration::from_secs(60),
            collect_log: true,
            log_content: false,
            log_retention: Duration::from_secs(7 * 24 * 3600),
            max_log_bytes: 256 << 20,
        }
    }
}

/// How the pause between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// It does not.
    Constant,
    /// By the first pause each time.
    Linear,
    /// It doubles.
    Exponential,
}
