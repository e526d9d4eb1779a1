//! A gateway's rules, as parts: what a request asks for, which answers are kept, how often it may ask, what is tried
//! again. `engine` puts them together.
//!
//! The names, bounds and defaults are those of Cloudflare's AI Gateway, by its documentation. What differs is said
//! where it does.

mod answer;
mod attempts;
mod cache;
mod error;
mod limit;
mod metadata;
mod rules;
mod universal;

pub(in crate::ai) use answer::{Marks, check_gateway_id};
pub(in crate::ai) use attempts::{Next, Outcome};
pub(in crate::ai) use cache::{Cache, Kept, Key, Recording, kept_headers};
pub(in crate::ai) use error::{GatewayError, whole_seconds};
pub(in crate::ai) use limit::RateLimit;
pub(in crate::ai) use metadata::{Metadata, metadata};
pub(in crate::ai) use rules::{Rules, forwarded};
pub(in crate::ai) use universal::{Step, check_endpoint, steps, steps_of};
