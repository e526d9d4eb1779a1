//! Python packages that a test runs, pinned by a list, in a virtual environment in the build folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::npm::setup;

/// Makes the environment `name` with the packages that `requirements` lists, and no others; its Python.
pub fn install(name: &str, requirements: &str) -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = venv.join("bin/python");
    let wanted = std::fs::read(requirements).map_err(|e| format!("{requirements}: {e}"))?;
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
        // Nothing but what is written there: packages ask for more than a test needs.
        command.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        command.args(["--no-deps", "--only-binary", ":all:", "-r", requirements]);
        command
    })?;
    std::fs::write(&installed, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

fn run(needs: &str, make: impl Fn() -> Command) -> Result<(), String> {
    setup::download(|_| make()).map_err(|problem| format!("it takes {needs}:\n{problem}"))
}
