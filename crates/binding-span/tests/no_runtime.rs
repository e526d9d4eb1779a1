//! What people who depend on this crate get with it.

use std::process::Command;

/// The names of the packages that `cargo tree` shows below this crate, all features on.
fn dependencies() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--all-features", "--prefix=none"])
        .args(["--edges=normal", "--format={p}", "--package=binding-span"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split(' ').next().map(String::from);
    stdout.lines().filter_map(name).collect()
}

#[test]
fn neither_a_runtime_nor_sockets_nor_an_rpc_system_come_along() {
    let dependencies = dependencies();
    assert!(dependencies.iter().any(|name| name == "capnp"));
    for unwanted in [
        "tokio",
        "async-std",
        "smol",
        "mio",
        "capnp-rpc",
        "opentelemetry_sdk",
    ] {
        assert!(
            !dependencies.iter().any(|name| name == unwanted),
            "{unwanted}"
        );
    }
}
