//! An AI binding: what a Worker knows as `env.AI`, with any server behind it that speaks OpenAI's HTTP.

mod account;
mod binding;
mod builtin;
mod content;
mod discover;
mod engine;
mod gateway;
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
pub use upstream::{UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};
