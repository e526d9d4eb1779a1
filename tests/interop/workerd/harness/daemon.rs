//! The two programs, as processes that a test starts and that end with it.

use std::process::Stdio;
use std::time::Duration;

use js_rpc::Address;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running `callee` or `caller serve`, on a unix socket in a folder of its own.
pub struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// Starts `callee` with a new database DB.
    pub async fn callee() -> Self {
        Self::callee_with(&[]).await
    }

    /// The same, with more options.
    pub async fn callee_with(more: &[&str]) -> Self {
        let args = [&["--d1", "DB=./db.sqlite", "--d1-create"], more].concat();
        Self::start(env!("CARGO_BIN_EXE_callee"), &args).await
    }

    /// Starts `caller serve`, whose tail goes to a file.
    pub async fn caller(args: &[&str]) -> Self {
        let args = [&["serve", "--tail", "./tail.jsonl"], args].concat();
        Self::start(env!("CARGO_BIN_EXE_caller"), &args).await
    }

    async fn start(program: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .current_dir(dir.path())
            .args(args)
            .arg("--listen")
            .arg(format!("unix:{}/socket", dir.path().display()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = stderr.next_line().await.unwrap() {
                eprintln!("{line}");
                if line.contains("listening on") {
                    return;
                }
            }
            panic!("{program} ended before it listened");
        };
        let ready = tokio::time::timeout(Duration::from_secs(60), ready).await;
        ready.expect("it does not listen");
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                eprintln!("{line}");
            }
        });
        Self { dir, child }
    }

    /// Where it listens.
    pub fn address(&self) -> Address {
        Address::Unix(self.dir.path().join("socket"))
    }

    /// A file in its working folder.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The most memory that it has had so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let digits: String = peak.unwrap().chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}
