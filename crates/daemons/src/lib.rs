//! The programs `callee`, `caller` and `bspan`, as a library that their `main` functions and tests run.
//!
//! Each program parses its command line, wires the libraries together, and exits with a code that says
//! what happened. What a binding is, how a call is made and what a span looks like is in the libraries.
//!
//! - [`callee`]: serves bindings and stays.
//! - [`caller`]: passes calls on and owns their spans (`serve`), makes one call (`call`), shows what all
//!   of this is for (`demo`).
//! - [`bspan`]: both of them under one name, which no shell has as a builtin.

pub mod admin;
pub mod bspan;
pub mod callee;
pub mod caller;
pub mod dev_registry;
pub mod door;
pub mod exit;
#[doc(hidden)]
pub mod internals;
pub mod kinds;
pub mod limits;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod otel;
pub mod reload;
pub mod signals;
pub mod systemd;
pub mod tail_args;
pub mod tail_from;
pub mod tail_to;
pub mod telemetry;

mod cli;
mod generate;
mod http;
mod live_tail;
mod runtime;

use host::config;
