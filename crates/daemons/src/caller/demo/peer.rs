//! The second process: this same program, started with another command.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, callee, unexpected};
use crate::exit::Failure;

/// Bytes of tail events that are read; the demo makes some tens of thousands.
const MAX_TAIL: u64 = 16 * 1024 * 1024;

/// The callee's process.
pub(super) struct Peer {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it. It ends when we drop this, and also when we are killed.
    pub(super) fn spawn(folder: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Config(format!("cannot start a second process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("demo-callee")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the first process, which then ends this one.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    /// Its process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it can be connected to.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            let read = (&mut *output).take(64);
            let mut read = BufReader::with_capacity(1, read);
            let _ = tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await;
        }
        match line.trim_end() {
            callee::READY => Ok(()),
            _ => Err(unexpected("the second process did not start; see above")),
        }
    }

    /// Asks it to stop; its tail events.
    pub(super) async fn finish(&mut self) -> Result<Vec<u8>, Failure> {
        // The end of its input.
        drop(self.child.stdin.take());
        let mut lines = Vec::new();
        if let Some(output) = self.output.take() {
            let read = async { output.take(MAX_TAIL).read_to_end(&mut lines).await };
            let read = tokio::time::timeout(PATIENCE, read).await;
            read.map_err(|_| unexpected("the second process does not stop"))?
                .map_err(|error| unexpected(format_args!("no tail events: {error}")))?;
        }
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(lines),
            Ok(Ok(status)) => Err(unexpected(format_args!("the second process: {status}"))),
            _ => Err(unexpected("the second process does not stop")),
        }
    }

    /// Sees to it that it is gone.
    pub(super) async fn end(mut self) {
        if self.child.id().is_some() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.child.kill()).await;
        }
    }
}
