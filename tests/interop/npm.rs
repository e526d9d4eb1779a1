//! Packages of npm that a test runs, pinned by a lock file, put into the build folder.
//!
//! The lock file names the versions and their checksums and no download addresses, so a registry of
//! your own serves as well. No install script is run.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "setup.rs"]
pub mod setup;

/// Installs what the lock file in `pinned` says in the folder `name` of the build; the folder. `needed` must be there
/// then.
pub fn install(pinned: &str, name: &str, needed: &str) -> Result<PathBuf, String> {
    let lock = std::fs::read(format!("{pinned}/package-lock.json")).map_err(|e| e.to_string())?;
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    // Several test programs may run at once, and npm replaces the whole folder.
    let turn = std::fs::File::create(home.join("turn")).map_err(|e| e.to_string())?;
    turn.lock().map_err(|e| e.to_string())?;
    let needed = home.join("node_modules").join(needed);
    let stamp = home.join("installed.json");
    if needed.exists() && std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(home);
    }
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(format!("{pinned}/{file}"), home.join(file)).map_err(|e| e.to_string())?;
    }
    npm(&home)?;
    if !needed.exists() {
        return Err(format!(
            "npm installed no {}; can the registry serve its package?",
            needed.display()
        ));
    }
    std::fs::write(&stamp, lock).map_err(|e| e.to_string())?;
    Ok(home)
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
