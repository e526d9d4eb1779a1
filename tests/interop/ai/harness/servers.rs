//! The servers: processes that all tests of this program share, started by the first that asks, ended by the end of
//! this program, however it ends: each reads its standard input, which we hold.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::python::{FOLDER, python};
use super::{http, read};

/// How long a server may take to begin. LiteLLM takes 10 s of a processor.
const READY: Duration = Duration::from_secs(240);

const PAUSE: Duration = Duration::from_millis(50);

/// A folder for what the servers write, of this process.
static FOLDER_OF_RUN: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ai-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

/// llama.cpp's server, twice: once for chats and once for embeddings, with a model of random weights.
pub struct LlamaCpp {
    /// `http://HOST:PORT/v1` of the one for chats.
    pub chat: String,
    /// The same of the one for embeddings.
    pub embeddings: String,
    child: Child,
}

impl LlamaCpp {
    /// The name of its model.
    pub const MODEL: &str = "tiny";

    /// The one that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<LlamaCpp> = LazyLock::new(|| LlamaCpp::start("llama"));
        &SHARED
    }

    /// One that asks for a key which nobody here has.
    pub fn locked() -> &'static Self {
        static LOCKED: LazyLock<LlamaCpp> =
            LazyLock::new(|| LlamaCpp::spawn("locked", &["sk-nobody-has-it"]));
        &LOCKED
    }

    /// One of a test's own, which that may kill. `name` is for its files.
    pub fn start(name: &str) -> Self {
        Self::spawn(name, &[])
    }

    fn spawn(name: &str, keys: &[&str]) -> Self {
        let model = FOLDER_OF_RUN.join(format!("{name}.gguf"));
        let made = python("llama/make_model.py").arg(&model).output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let log = FOLDER_OF_RUN.join(format!("{name}.log"));
        let mut child = python("llama/serve.py")
            .arg(&model)
            .args(keys)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("it printed {line:?}, and:\n{}", read(&log)));
        let base = |of: &str| format!("{}/v1", listening[of].as_str().unwrap());
        Self {
            chat: base("chat"),
            embeddings: base("embeddings"),
            child,
        }
    }

    /// Ends it at once, in the midst of what it does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// LiteLLM's proxy, with the models in `litellm/config.yaml`, among them those of [`LlamaCpp`].
pub struct LiteLlm {
    /// `http://HOST:PORT/v1`
    pub base: String,
    _child: Child,
}

impl LiteLlm {
    /// The key that it takes.
    pub const KEY: &str = "sk-of-the-tests-0123456789abcdef0123456789";

    /// The one that all tests share.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<LiteLlm> = LazyLock::new(|| {
            // Whoever takes its port first is left alone: it starts again, with another.
            let started = (0..3).find_map(|_| LiteLlm::start(free_port()));
            started.unwrap_or_else(|| panic!("it ended:\n{}", read(&log())))
        });
        &SHARED
    }

    fn start(port: u16) -> Option<Self> {
        let llama = LlamaCpp::shared();
        let output = std::fs::File::create(log()).unwrap();
        let mut child = python("litellm/serve.py")
            .arg(format!("{FOLDER}/litellm/config.yaml"))
            .arg(port.to_string())
            .current_dir(&*FOLDER_OF_RUN)
            .env("LITELLM_MASTER_KEY", Self::KEY)
            .env("LITELLM_TELEMETRY", "False")
            // Prices from the package, not from the network.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("TINY_CHAT", &llama.chat)
            .env("TINY_EMBEDDINGS", &llama.embeddings)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let limit = Instant::now() + READY;
        while http::get(&format!("{base}/health/liveliness"))
            .is_none_or(|answer| answer.status != 200)
        {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(
                Instant::now() < limit,
                "it does not begin:\n{}",
                read(&log())
            );
            std::thread::sleep(PAUSE);
        }
        Some(Self {
            base: format!("{base}/v1"),
            _child: child,
        })
    }
}

fn log() -> PathBuf {
    FOLDER_OF_RUN.join("litellm.log")
}

/// A port that nobody has right now, and that nobody is given who does not care which: those begin at 32768.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
