//! An AI binding: what a Worker knows as `env.AI`, with any server behind it that speaks OpenAI's HTTP.

mod account;
mod binding;
#[allow(dead_code, unused_imports)] // until the engine uses all of it
mod gateway;
#[allow(dead_code, unused_imports)] // until the engine uses all of it
mod logs;
mod options;
mod upstream;

pub use account::{Account, Cached, Operation, Reading, Usage};
pub use binding::{AccountSink, Ai, OpenError, ProviderStatus};
pub use options::{
    AiOptions, Backoff, Endpoint, GatewayOptions, ModelRule, Price, ProviderOptions, Secret,
};
pub use upstream::{UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};
