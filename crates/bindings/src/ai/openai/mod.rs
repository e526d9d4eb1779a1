//! OpenAI's HTTP, as answers are observed while they pass: what they say of themselves, event by event or whole.
//!
//! Nothing here sends or holds anything: it reads what others carry.

mod cost;
mod events;
mod reading;
mod usage_chunk;

pub(in crate::ai) use cost::cost;
pub(in crate::ai) use events::{Event, Events, TooLong, again, event};
pub(in crate::ai) use usage_chunk::{ask_for_usage, is_usage_only};
