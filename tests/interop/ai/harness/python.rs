//! A Python that has the servers and the client, pinned in `requirements.txt`, made once below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::npm::setup;

/// The Python programs of these tests are below it.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ai");

static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(install);

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

fn install() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ai-venv");
    let python = venv.join("bin/python");
    let requirements = format!("{FOLDER}/requirements.txt");
    let wanted = std::fs::read(&requirements).map_err(|e| format!("{requirements}: {e}"))?;
    // Several test programs may run at once.
    let turn = std::fs::File::create(venv.with_extension("turn")).map_err(|e| e.to_string())?;
    turn.lock().map_err(|e| e.to_string())?;
    let installed = venv.join("installed.txt");
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run("python3 with venv (Debian: python3-venv)", || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(&venv);
        command
    })?;
    run("pip and a Python package registry", || {
        let mut command = Command::new(&python);
        // Nothing but what is written there: of what LiteLLM's proxy asks for, much is only for clouds.
        command.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        command.args(["--no-deps", "--only-binary", ":all:", "-r", &requirements]);
        command
    })?;
    std::fs::write(&installed, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

fn run(needs: &str, make: impl Fn() -> Command) -> Result<(), String> {
    setup::download(|_| make()).map_err(|problem| format!("it takes {needs}:\n{problem}"))
}
