//! A real embedding model, all-MiniLM-L6-v2, behind OpenAI's HTTP.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::venv;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/util/minilm");

/// How long the model may take to load.
const READY: Duration = Duration::from_secs(60);

/// A server of the model, which ends with the test.
pub struct MiniLm {
    port: String,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl MiniLm {
    /// The name of its model.
    pub const MODEL: &str = "all-MiniLM-L6-v2";

    /// Installs what the server needs; not under a test's time limit.
    ///
    /// # Panics
    /// When it cannot be installed: what has to be tested with real embeddings is never skipped.
    pub fn install() -> std::path::PathBuf {
        let python = venv::install("minilm-venv", &format!("{FOLDER}/requirements.txt"));
        python.unwrap_or_else(|problem| {
            panic!("this test runs all-MiniLM-L6-v2 and cannot install it: {problem}")
        })
    }

    /// Starts it, and waits until it serves.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        let mut child = Command::new(Self::install())
            .arg(format!("{FOLDER}/minilm.py"))
            .arg("serve")
            .arg(&file)
            // Sentences are short; threads would wait for one another.
            .env("OPENBLAS_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listening = async {
            loop {
                if let Ok(port) = std::fs::read_to_string(&file) {
                    return port;
                }
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "the model's server ended"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let port = tokio::time::timeout(READY, listening).await;
        Self {
            port: port.expect("the model's server does not begin"),
            _dir: dir,
            _child: child,
        }
    }

    /// Its endpoint, as OpenAI's clients have it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}
