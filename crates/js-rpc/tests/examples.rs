//! The examples do what they say: as a demonstration, and as two programs that find each other.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The example as it was built with this test; built now if the test was built alone.
fn example(name: &str) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop(); // deps
    path.pop();
    let path = path.join("examples").join(name);
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        assert!(build.args(["--example", name]).status().unwrap().success());
    }
    Command::new(path)
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_gateway_alone_shows_its_callers_span() {
    let output = example("ai_gateway").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "HELLO BINDING SPAN",
        "jsRpcSession → ai_gateway.run",
        "gen_ai.request.model = \"llama-4\"",
        "gen_ai.usage.input_tokens = 3",
        "gen_ai.usage.output_tokens = 3",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn the_caller_calls_the_gateway_under_its_own_span() {
    let dir = common::socket_dir();
    let address = common::unix(&dir, "ai").to_string();
    let mut gateway = example("ai_gateway");
    let mut gateway = Running(
        gateway
            .arg(&address)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut ready = String::new();
    let stderr = gateway.0.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut ready).unwrap();
    assert_eq!(ready, format!("serving AI on {address}\n"));

    let output = example("caller")
        .args([&address, "two words"])
        // Built together with the programs, the subscriber knows colours.
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "TWO WORDS\n");
    let log = String::from_utf8(output.stderr).unwrap();
    for part in [
        "request{id=7}:jsRpcSession{",
        "name=\"ai_gateway.run\"",
        "output_tokens=2",
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    drop(gateway);

    let output = example("caller").arg(&address).output().unwrap();
    assert!(!output.status.success());
}
