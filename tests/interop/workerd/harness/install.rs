//! The pinned workerd, put into the build folder by npm. The packages hold the binary itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::npm;

/// Where package.json and its lock file are.
const PINNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/workerd");

/// The binary, which the first test that asks for it installs.
///
/// # Panics
/// When it cannot be installed: what has to be tested against workerd is never skipped.
pub fn workerd() -> &'static Path {
    // Also that it cannot be: not every test tries again.
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = BINARY.get_or_init(install);
    installed.as_ref().unwrap_or_else(|reason| {
        panic!("these tests run the released workerd, and it cannot be installed: {reason}")
    })
}

fn install() -> Result<PathBuf, String> {
    let package = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "workerd-linux-64",
        ("linux", "aarch64") => "workerd-linux-arm64",
        (os, arch) => {
            return Err(format!(
                "package-lock.json pins no package for {os} on {arch}"
            ));
        }
    };
    let binary = format!("@cloudflare/{package}/bin/workerd");
    let home = npm::install(PINNED, "workerd", &binary)?;
    Ok(home.join("node_modules").join(binary))
}
