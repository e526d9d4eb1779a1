//! What programs that serve bindings have in common with the bindings that register themselves with them.
//!
//! - [`config`]: command line, variables and one TOML file, all by one definition.
//! - [`values`]: what options and keys take.
//! - [`failure`]: why a program ends, and what is wrong with a configuration.

pub mod config;
pub mod failure;
pub mod values;

pub use failure::{Failure, Findings};
