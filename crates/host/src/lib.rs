//! What programs that serve bindings have in common with the bindings that register themselves with them.
//!
//! - [`kind`]: a kind of binding, and bindings of it as they are configured, open and watched.
//! - [`config`]: command line, variables and one TOML file, all by one definition.
//! - [`values`]: what options and keys take.
//! - [`secret`]: keys and passwords, by variable, file or credential.
//! - [`metrics`]: what is counted.
//! - [`failure`]: why a program ends, and what is wrong with a configuration.

pub mod config;
pub mod failure;
pub mod kind;
pub mod metrics;
pub mod secret;
pub mod values;

pub use failure::{Failure, Findings};
pub use kind::{Configured, Help, Kind, Meter, Offered, Opening};
pub use tail::escape;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
