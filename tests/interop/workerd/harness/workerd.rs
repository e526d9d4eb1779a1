//! A workerd of the test's own: configuration from this folder, sockets in a folder of its own, what it
//! prints read line by line, killed when the test ends.

use std::process::Stdio;
use std::time::Duration;

use js_rpc::Address;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::recording::Recording;
use super::{http, install};

const CONFIGS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/interop/workerd/workers"
);

/// How workerd is to be started.
pub struct Builder {
    dir: tempfile::TempDir,
    command: Command,
}

/// A running workerd.
pub struct Workerd {
    dir: tempfile::TempDir,
    lines: mpsc::UnboundedReceiver<String>,
    recording: Recording,
    _child: Child,
}

impl Builder {
    /// Runs `workers/NAME.capnp`, whose socket is called `http`, with the debug port.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(install::workerd());
        let socket = |name: &str| format!("unix:{}/{name}.sock", dir.path().display());
        command
            .arg("serve")
            .arg(format!("{CONFIGS}/{config}.capnp"))
            .args(["--control-fd=1", "--socket-addr"])
            .arg(format!("http={}", socket("http")))
            .arg(format!("--debug-port={}", socket("debug")));
        Self { dir, command }
    }

    /// The address that its debug port will have.
    pub fn debug_port(&self) -> Address {
        Address::Unix(self.dir.path().join("debug.sock"))
    }

    /// Where the configuration's external service `name` is.
    pub fn external(mut self, name: &str, address: &Address) -> Self {
        self.command
            .arg(format!("--external-addr={name}={address}"));
        self
    }

    /// Where the configuration's disk service `name` is.
    pub fn directory(mut self, name: &str, path: &std::path::Path) -> Self {
        let path = path.display();
        self.command.arg(format!("--directory-path={name}={path}"));
        self
    }

    /// With `--experimental`, which the D1 binding needs.
    pub fn experimental(mut self) -> Self {
        self.command.arg("--experimental");
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(mut self) -> Workerd {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut workerd = Workerd {
            dir: self.dir,
            lines,
            recording: Recording::default(),
            _child: child,
        };
        for _socket in ["http", "debug-port"] {
            let line = workerd.next_line().await.expect("workerd did not start");
            assert!(line.contains("\"listen\""), "{line}");
        }
        workerd
    }
}

impl Workerd {
    /// The address of its debug port.
    pub fn debug_port(&self) -> Address {
        self.socket("debug")
    }

    /// The address of its HTTP socket.
    pub fn http(&self) -> Address {
        self.socket("http")
    }

    fn socket(&self, name: &str) -> Address {
        Address::Unix(self.dir.path().join(format!("{name}.sock")))
    }

    /// Runs a case of its Worker: a path that answers with JSON.
    ///
    /// # Panics
    /// With the Worker's own words, when the case fails.
    pub async fn run(&self, case: &str) -> Value {
        let (status, body) = http::get(&self.http(), &format!("/{case}")).await;
        assert_eq!(status, 200, "{case}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{case}: {error}: {body}"))
    }

    /// The next line that it prints; `None` when it ended.
    async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// What its tail Worker printed, as soon as `enough` says that it is complete.
    ///
    /// # Panics
    /// With what there is, when nothing new comes for some seconds.
    pub async fn tail(&mut self, enough: impl Fn(&Recording) -> bool) -> &Recording {
        while !enough(&self.recording) {
            let line = tokio::time::timeout(Duration::from_secs(60), self.next_line()).await;
            match line {
                Ok(Some(line)) => self.recording.add(&line),
                Ok(None) => panic!("workerd ended; its tail: {}", self.recording),
                Err(_) => panic!("the tail stays incomplete: {}", self.recording),
            }
        }
        &self.recording
    }
}
