//! An AI binding: what a Worker knows as `env.AI`, with any server behind it that speaks OpenAI's HTTP.

mod account;
mod binding;
mod builtin;
mod discover;
#[allow(dead_code)] // until requests are served
mod models;
#[allow(dead_code, unused_imports)] // until the engine uses all of it
mod gateway;
mod options;
#[allow(dead_code)] // the same
mod upstream;

pub use account::{Account, Cached, Operation, Reading, Usage};
pub use binding::{AccountSink, Ai, OpenError, ProviderStatus};
pub use discover::{Candidate, Found, discover, usual_servers};
pub use options::{
    AiOptions, Backoff, Endpoint, GatewayOptions, ModelRule, Price, ProviderOptions, Secret,
};
pub use upstream::{UpstreamAnswer, UpstreamBody, UpstreamError, UpstreamRequest};
