//! The pinned workerd, put into the build folder by npm.
//!
//! The lock file names the versions and their checksums and no download addresses, so a registry of
//! your own serves as well. The packages hold the binary itself and no install script is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

#[path = "../../setup.rs"]
mod setup;

/// Where package.json and its lock file are.
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/workerd");

/// The binary, which the first test that asks for it installs.
///
/// # Panics
/// When it cannot be installed: what has to be tested against workerd is never skipped.
pub fn workerd() -> &'static Path {
    // Also that it cannot be: not every test tries again.
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = BINARY.get_or_init(|| install(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    installed.as_ref().unwrap_or_else(|reason| {
        panic!("these tests run the released workerd, and it cannot be installed: {reason}")
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
    let downloaded = setup::download(|attempt| {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.arg("--prefix").arg(home);
        // The user's own cache may have the packages, and may not be writable.
        if attempt > 0 {
            npm.arg("--cache").arg(home.join("cache"));
        }
        npm
    });
    downloaded.map_err(|problem| {
        format!(
            "npm ci failed; it needs npm (which comes with Node.js), and the npm registry or a cache that \
             has the packages:\n{problem}"
        )
    })
}
