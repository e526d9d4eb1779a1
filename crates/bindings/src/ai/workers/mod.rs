//! Workers AI's `run(model, inputs)` in OpenAI's terms, there and back.
//!
//! [`request()`] makes a request of the inputs, [`reply()`] and [`Stream`] make Workers AI's shapes of the answer, and
//! [`AiError`] has its codes. Nothing here sends anything.
//!
//! # What is served
//! Text generation and embeddings: what maps to OpenAI's HTTP without inventing anything. What is not, such as
//! images and audio, is refused by name before anybody is asked.
//!
//! # What differs from Workers AI
//! - `reply` has `finish_reason`, and tool calls have `id`: a Worker that sends them back needs it.
//! - JSON mode may be streamed, as text; Workers AI refuses that (5023).
//! - `max_tokens` has no default here: the provider's own counts.
//! - `p`, the padding of streamed events, is left out.

mod error;
mod inputs;
mod messages;
mod models;
mod reply;
mod stream;
mod unserved;

pub(in crate::ai) use error::AiError;
pub(in crate::ai) use inputs::{Asked, Task, request};
pub(in crate::ai) use models::{Listed, Search, models};
pub(in crate::ai) use reply::reply;
pub(in crate::ai) use stream::Stream;

#[cfg(test)]
mod tests;
