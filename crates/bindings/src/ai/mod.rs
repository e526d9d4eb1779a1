//! An AI binding: what a Worker knows as `env.AI`, with any server behind it that speaks OpenAI's HTTP.

mod account;
mod binding;
#[allow(dead_code)] // until a provider is it
mod builtin;
#[allow(dead_code, unused_imports)] // until answers are observed
mod openai;
mod options;
mod upstream;
#[allow(dead_code, unused_imports)] // until models are run
mod workers;

pub use account::{Account, Cached, Operation, Reading, Usage};
pub use binding::{AccountSink, Ai, OpenError, ProviderStatus};
pub use options::{
    AiOptions, Backoff, Endpoint, GatewayOptions, ModelRule, Price, ProviderOptions, Secret,
};
pub use upstream::{UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};
