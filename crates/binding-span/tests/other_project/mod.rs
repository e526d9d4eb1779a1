//! Runs cargo on projects that stand outside of the workspace, with a build folder below its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's `target`, wherever it is.
pub fn target_dir() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR")); // target/tmp
    tmp.parent().expect("it is in the target folder").into()
}

/// Where those projects are built: one folder, since they have most dependencies in common.
pub fn build_dir() -> PathBuf {
    target_dir().join("other-projects")
}

/// `cargo VERB` for the project in `folder`, which is relative to this crate.
pub fn cargo(verb: &str, folder: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut command = Command::new(env!("CARGO"));
    command.arg(verb).arg("--locked");
    command
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"));
    command.arg("--target-dir").arg(build_dir());
    // Coverage, sanitizers and the like are for the outer project.
    for variable in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs the project's tests and shows what they print if one fails.
#[allow(
    dead_code,
    reason = "not every test that shares this module runs tests"
)]
pub fn test(folder: &str) {
    let output = cargo("test", folder).output().expect("cargo runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "in {folder} (if its Cargo.lock is stale: `cargo update --workspace` there):\n{stdout}\n{stderr}"
    );
}
