//! An AI binding: what a Worker knows as `env.AI`, with any server behind it that speaks OpenAI's HTTP.
//!
//! [`Ai`] is a [`Service`](js_rpc::Service): serve it with a [`Server`](js_rpc::Server), and it answers calls
//! (`run`, `models`, `gateway(id)`) and plain HTTP on the same listener. [`Ai::answer_http`] is for those who receive
//! requests otherwise.
//!
//! ```
//! # tokio::runtime::LocalRuntime::new().unwrap().block_on(async {
//! use bindings::ai::{Ai, AiOptions, Endpoint, GatewayOptions, ModelRule, ProviderOptions};
//! use js_rpc::{Client, ConnectOptions, Listener, Server};
//!
//! let options = AiOptions {
//!     // The first provider is asked for models that no rule claims.
//!     providers: vec![
//!         ProviderOptions::new("builtin", Endpoint::Builtin),
//!         ProviderOptions::new("ollama", Endpoint::Http("http://127.0.0.1:11434/v1".parse().unwrap())),
//!     ],
//!     models: vec![ModelRule {
//!         pattern: "@cf/meta/*".into(),
//!         provider: Some("ollama".into()),
//!         model: Some("llama3.2".into()),
//!         price: None,
//!     }],
//!     gateways: vec![GatewayOptions::new("default")],
//!     ..AiOptions::default()
//! };
//! let ai = Ai::open("AI", options, None).unwrap();
//! let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
//! let address = listener.address().clone();
//! tokio::task::spawn_local(Server::new().service("AI", ai).serve([listener], std::future::pending()));
//!
//! let client = Client::connect(address, ConnectOptions::default()).await.unwrap();
//! let inputs = serde_json::json!({"prompt": "to be or not"});
//! let reply = client.call("AI", "run", ("words", inputs)).await.unwrap();
//! let reply = reply.to_json().unwrap();
//! assert!(reply["response"].as_str().unwrap().contains("4 words"));
//! # });
//! ```
//!
//! # As at Cloudflare
//! Inputs, replies, streamed events and errors of `run`; a gateway's headers, options, cache, attempts, fallback and
//! log. Documented in the repository's `docs/workers-ai.md` and `docs/ai-gateway.md`, with what differs.
//!
//! # Not here
//! Images, audio, translation; `toMarkdown`, `autorag`, `aiSearch`; websockets. Each is refused by name.
//!
//! # What is said, and to whom
//! - The caller's span: `{operation} {model}`, or `ai_gateway.run` for whatever goes by a gateway, with OpenTelemetry's
//!   `gen_ai.*`. Model and provider are said before the provider is asked; tokens when the answer has ended. A failed
//!   answer has `error.type` and a message of our own: what the provider said is for the caller.
//! - `gateway(id)` opens a handle. Its session's span is `ai_gateway.open`, calls on it have spans of their own below
//!   that.
//! - An [`AccountSink`]: one [`Account`] for each provider that was asked, refused by the gateway, or spared by the
//!   cache, when its answer has ended or was given up.
//! - A gateway's log: the same, for `getLog`.
//!
//! Keys, prompts and answers are in none of these, unless [`AiOptions::content_on_spans`] or
//! [`GatewayOptions::log_content`] turns the latter two on.

mod account;
mod binding;
mod builtin;
mod content;
mod discover;
mod engine;
mod gateway;
#[cfg(feature = "host")]
pub(crate) mod host;
mod http;
mod logs;
mod models;
mod openai;
mod options;
mod refusal;
mod service;
mod spans;
mod upstream;
mod workers;

pub use account::{Account, Cached, Operation, Reading, Usage};
pub use binding::{AccountSink, Ai, OpenError, ProviderStatus};
pub use discover::{Candidate, Found, discover, usual_servers};
pub use options::{
    AiOptions, Backoff, Endpoint, GatewayOptions, ModelRule, Price, ProviderOptions, Secret,
};
pub(in crate::ai) use upstream::UpstreamError;
