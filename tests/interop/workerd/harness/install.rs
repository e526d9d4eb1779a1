//! The pinned workerd, put into the build folder by npm.
//!
//! The lock file names the versions and their checksums and no download addresses, so a registry of
//! your own serves as well. The packages hold the binary itself and no install script is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where package.json and its lock file are.
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/workerd");

/// The binary, which the first test that asks for it installs.
///
/// # Panics
/// When it cannot be installed: what has to be tested against workerd is never skipped.
pub fn workerd() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        install(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap_or_else(|reason| {
            panic!("these tests run the released workerd, and it cannot be installed: {reason}")
        })
    })
}

fn install(build: &Path) -> Result<PathBuf, String> {
    let package = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "workerd-linux-64",
        ("linux", "aarch64") => "workerd-linux-arm64",
        (os, arch) => {
            return Err(format!(
                "package-lock.json pins no package for {os} on {arch}"
            ));
        }
    };
    let lock = std::fs::read(format!("{PINNED}/package-lock.json")).map_err(|e| e.to_string())?;
    let home = build.join("workerd");
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    // Several test programs may run at once, and npm replaces the whole folder.
    let turn = std::fs::File::create(home.join("turn")).map_err(|e| e.to_string())?;
    turn.lock().map_err(|e| e.to_string())?;
    let binary = home.join(format!("node_modules/@cloudflare/{package}/bin/workerd"));
    let stamp = home.join("installed.json");
    if binary.exists() && std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(binary);
    }
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(format!("{PINNED}/{file}"), home.join(file)).map_err(|e| e.to_string())?;
    }
    npm(&home)?;
    if !binary.exists() {
        return Err(format!(
            "npm installed no {}; can the registry serve @cloudflare/{package}?",
            binary.display()
        ));
    }
    std::fs::write(&stamp, lock).map_err(|e| e.to_string())?;
    Ok(binary)
}

fn npm(home: &Path) -> Result<(), String> {
    let output = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
        ])
        .arg(home)
        .output()
        .map_err(|e| format!("npm does not run ({e}); install Node.js, which brings it"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "npm ci failed; it needs the npm registry, or a cache that has the packages:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
