//! What these tests stand on: real servers, real clients, and HTTP of the tests' own.

mod client;
pub mod http;
#[path = "../../npm.rs"]
mod npm;
mod python;
mod servers;
#[path = "../../venv.rs"]
mod venv;

pub use client::Client;
pub use npm::setup;
pub use servers::{LiteLlm, LlamaCpp};

/// A file as text, as much of it as there is.
fn read(path: &std::path::Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
