//! A Python that has the servers and the client, pinned in `requirements.txt`, made once below the target folder.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use super::venv;

/// The Python programs of these tests are below it.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ai");

static PYTHON: LazyLock<Result<PathBuf, String>> =
    // Of what LiteLLM's proxy asks for, much is only for clouds: requirements.txt has the rest.
    LazyLock::new(|| venv::install("ai-venv", &format!("{FOLDER}/requirements.txt")));

/// A program of ours, to be run by that Python.
///
/// # Panics
/// When what it needs cannot be installed: what has to be tested against real servers is never skipped.
pub fn python(script: &str) -> Command {
    let python = PYTHON.as_ref();
    let python = python.unwrap_or_else(|problem| {
        panic!("these tests run LiteLLM's proxy and llama.cpp's server, and cannot install them: {problem}")
    });
    let mut command = Command::new(python);
    command.arg(format!("{FOLDER}/{script}"));
    command
}
