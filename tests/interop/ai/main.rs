//! Real servers of models that are not ours, and real clients: llama.cpp's own server, which runs a model that the test
//! makes, and LiteLLM's proxy; OpenAI's libraries for Node.js and for Python.
//!
//! Both servers are installed from the package registries at versions that are pinned, and run without a network. Without
//! python3, pip, npm or a registry these tests fail and say so.

mod direct;
mod failures;
mod harness;
mod openai;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../rotel/mod.rs"]
mod rotel;
mod scene;
mod secrets;
mod spans;
mod through;
#[path = "../../util.rs"]
mod util;

use harness::setup;
