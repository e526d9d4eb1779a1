//! What can be said about AI bindings: options, and the keys of their tables.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use host::secret;
use host::values::{self, Sensitive, Size, Switch};
use http::Uri;
use http::header::HeaderName;

use super::secrets;
use crate::ai::Backoff;

/// What every AI binding does, unless its table says otherwise.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "AI")]
pub(super) struct AiArgs {
    /// Serve models as the AI binding NAME: of a server that speaks OpenAI's HTTP, or builtin; may be repeated
    ///
    /// `AI=http://127.0.0.1:11434/v1` is Ollama's usual address. `AI=builtin` is a word counter that needs nothing.
    /// `AI` alone looks for servers at the usual addresses of this machine: Ollama, LM Studio, llama.cpp, vLLM,
    /// LiteLLM. Keys, several providers, models and gateways are configured in tables of the file. In the variable, several are
    /// separated by `;`.
    #[arg(
        long = "ai",
        value_name = "NAME[=URL|=builtin]",
        env = "BINDING_SPAN_AI",
        value_delimiter = ';'
    )]
    pub(super) ai: Vec<Sensitive>,

    /// Keep the logs of AI gateways in this SQLite file; by default in memory, until the end
    ///
    /// Prompts and answers are not among them unless a gateway's table has `log-content = true`. Several AI bindings
    /// need a `log` each, in their tables.
    #[arg(long = "ai-log", value_name = "FILE", env = "BINDING_SPAN_AI_LOG")]
    pub(super) log: Option<PathBuf>,

    /// Where programs reach AI bindings by plain HTTP: what `getUrl` of a gateway begins with
    ///
    /// A scheme, a host and a port, for instance http://localhost:7400. By default it is the first --listen on TCP
    /// without TLS that needs no name of a binding: with `,binding=NAME`, or any where one binding is all that is served.
    #[arg(long = "ai-public-url", value_name = "URL", env = "BINDING_SPAN_AI_PUBLIC_URL", value_parser = public_url, hide_short_help = true)]
    pub(super) public_url: Option<String>,
}

/// The keys of a table `[ai.NAME]`; those of a provider are for a binding that has one only.
#[derive(Debug, Args)]
pub(super) struct BindingArgs {
    #[command(flatten)]
    pub(super) provider: ProviderArgs,

    /// As --ai-log, for this binding.
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,

    /// As --ai-public-url.
    #[arg(long, value_name = "URL", value_parser = public_url)]
    pub(super) public_url: Option<String>,

    /// Whether prompts and answers are put on spans.
    #[arg(long, value_name = "true|false")]
    pub(super) content_on_spans: Option<Switch>,

    /// How long the body of a request may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    pub(super) max_request: Option<Size>,

    /// How long an answer may be that is not a stream, and one event of a stream.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    pub(super) max_answer: Option<Size>,
}

/// The keys of a table `[ai.NAME.provider.PROVIDER]`.
#[derive(Debug, Args)]
pub(super) struct ProviderArgs {
    /// Where it is: its requests go to paths below.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub(super) url: Option<Uri>,

    /// Whether it is the word counter that needs nothing, instead.
    #[arg(long, value_name = "true|false")]
    pub(super) builtin: Option<Switch>,

    /// Its name on spans (`gen_ai.provider.name`).
    #[arg(long, value_name = "NAME")]
    pub(super) semantic_name: Option<String>,

    /// The variable with its key.
    #[arg(long, value_name = "VARIABLE", value_parser = secret::variable)]
    pub(super) key_env: Option<Sensitive>,

    /// The file with its key.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<Sensitive>,

    /// The credential of the service manager with its key.
    #[arg(long, value_name = "NAME", value_parser = secret::credential)]
    pub(super) credential: Option<Sensitive>,

    /// The header that carries the key.
    #[arg(long, value_name = "HEADER", value_parser = secrets::header_name)]
    pub(super) key_header: Option<HeaderName>,

    /// Headers that each request to it has.
    #[arg(long, value_name = "\"NAME: VALUE\"", value_parser = secrets::is_header)]
    pub(super) headers: Vec<Sensitive>,

    /// A file with more of them, one a line.
    #[arg(long, value_name = "FILE")]
    pub(super) header_file: Option<Sensitive>,

    /// How long connecting may take.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) connect_timeout: Option<Duration>,

    /// How long it may take until its answer begins.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) timeout: Option<Duration>,

    /// How long a stream may be silent.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) idle_timeout: Option<Duration>,

    /// Requests to it in flight.
    #[arg(long, value_name = "N", value_parser = values::positive::<usize>)]
    pub(super) max_in_flight: Option<usize>,

    /// Requests that may wait for that.
    #[arg(long, value_name = "N", value_parser = values::count::<usize>)]
    pub(super) max_waiting: Option<usize>,

    /// Consecutive failures after which the circuit breaker opens; 0 disables it.
    #[arg(long, value_name = "N", value_parser = values::count::<u32>)]
    pub(super) break_after: Option<u32>,

    /// For how long the circuit breaker stays open.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) break_for: Option<Duration>,

    /// Certificate authorities (PEM), instead of those that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,

    /// Whether it understands `stream_options`.
    #[arg(long, value_name = "true|false")]
    pub(super) stream_usage: Option<Switch>,
}

/// The keys of a table `[ai.NAME.model.MODEL]`.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// Which provider runs it.
    #[arg(long, value_name = "PROVIDER")]
    pub(super) provider: Option<String>,

    /// What it is called there.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,

    /// US dollars for a million tokens that are read.
    #[arg(long, value_name = "DOLLARS", value_parser = price)]
    pub(super) input_price: Option<f64>,

    /// US dollars for a million tokens that are written.
    #[arg(long, value_name = "DOLLARS", value_parser = price)]
    pub(super) output_price: Option<f64>,

    /// US dollars for a million tokens that are read from the provider's cache.
    #[arg(long, value_name = "DOLLARS", value_parser = price)]
    pub(super) cached_input_price: Option<f64>,
}

/// The keys of a table `[ai.NAME.gateway.ID]`.
#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    /// For how long answers are cached.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(super) cache_ttl: Option<Duration>,

    /// How much is cached.
    #[arg(long, value_name = "SIZE")]
    pub(super) max_cache: Option<Size>,

    /// Attempts at each provider.
    #[arg(long, value_name = "N", value_parser = attempts)]
    pub(super) max_attempts: Option<u32>,

    /// How long before the second attempt.
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(super) retry_delay: Option<Duration>,

    /// How that grows.
    #[arg(long, value_name = "FORM", value_parser = backoff)]
    pub(super) backoff: Option<Backoff>,

    /// How long a provider may take to begin its answer.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) request_timeout: Option<Duration>,

    /// Requests in each window.
    #[arg(long, value_name = "N", value_parser = values::count::<u32>)]
    pub(super) rate_limit: Option<u32>,

    /// How long a window is.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) rate_window: Option<Duration>,

    /// Whether requests are logged.
    #[arg(long, value_name = "true|false")]
    pub(super) collect_log: Option<Switch>,

    /// Whether prompts and answers are logged.
    #[arg(long, value_name = "true|false")]
    pub(super) log_content: Option<Switch>,

    /// How long the log is kept.
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(super) log_retention: Option<Duration>,

    /// How large the log may be.
    #[arg(long, value_name = "SIZE", value_parser = values::some_bytes)]
    pub(super) max_log: Option<Size>,
}

/// Reads the URL of a provider. What is wrong is said without it: it may have a password in it.
pub(super) fn endpoint(text: &str) -> Result<Uri, String> {
    const FORM: &str = "write a URL such as http://127.0.0.1:11434/v1";
    let uri: Uri = text
        .parse()
        .map_err(|_| format!("this is no URL; {FORM}"))?;
    let authority = match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => authority,
        _ => return Err(format!("this is no URL of http or https; {FORM}")),
    };
    if authority.as_str().contains('@') {
        return Err(
            "a URL with a user or a password in it shows in logs; leave them out, and give the key by key-env, \
             key-file or credential in a table of the file"
                .into(),
        );
    }
    if text.contains(['?', '#']) {
        return Err(
            "paths are put behind this URL, so it ends before ? and #; give a key by key-env, key-file or credential \
             in a table of the file"
                .into(),
        );
    }
    Ok(uri)
}

/// Reads where programs reach the bindings.
fn public_url(text: &str) -> Result<String, String> {
    let uri = endpoint(text)?;
    match uri.path() {
        "" | "/" => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("write a scheme, a host and a port alone: http://callee.internal:7400".into()),
    }
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err(format!(
            "write US dollars for a million tokens, such as 0.15, not {text}"
        )),
    }
}

fn attempts(text: &str) -> Result<u32, String> {
    match values::positive(text)? {
        6.. => {
            Err("there are 5 attempts at most; several requests to the gateway make more".into())
        }
        count => Ok(count),
    }
}

fn backoff(text: &str) -> Result<Backoff, String> {
    match text {
        "constant" => Ok(Backoff::Constant),
        "linear" => Ok(Backoff::Linear),
        "exponential" => Ok(Backoff::Exponential),
        _ => Err("write constant, linear or exponential".into()),
    }
}
