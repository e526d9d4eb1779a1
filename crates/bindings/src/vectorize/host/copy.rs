//! Copying an index to another one, with progress, until somebody interrupts it.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use host::Failure;

use super::command::{open, unlimited};
use crate::vectorize::{IndexOptions, Progress, Store};

/// SIGINT's number.
pub(super) const INTERRUPT: u8 = 2;

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| Failure::Config(format!("there is no runtime to be had: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Whether somebody interrupted this process, from now on.
pub(super) fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let registered = signal_hook::flag::register(i32::from(INTERRUPT), Arc::clone(&flag));
    registered.map_err(|error| Failure::Config(format!("signals cannot be caught: {error}")))?;
    Ok(flag)
}

/// Copies all vectors, and compares them. How many there are.
pub(super) async fn copy(from: &Store, to: &Store, create: bool) -> Result<u64, Failure> {
    let interrupted = interrupted()?;
    let source = open(from, unlimited()).await?;
    let info = source
        .info()
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    let options = IndexOptions {
        create,
        dimensions: Some(info.dimensions),
        metric: Some(info.metric),
        metadata_indexes: info.metadata_indexes,
        ..unlimited()
    };
    let target = match open(to, options).await {
        Ok(target) => target,
        Err(failure) => {
            source.close().await;
            return Err(match failure {
                Failure::Config(text) if !create => {
                    Failure::Config(format!("{text}; --create makes it as FROM is"))
                }
                other => other,
            });
        }
    };
    let mut line = Line::new();
    let copied = {
        let mut progress = |progress| match progress {
            Progress::Copied(count, of) => line.show("copied", "vectors", count, of),
            Progress::Compared(count, of) => line.show("compared", "vectors", count, of),
        };
        let copying = source.copy_to(&target, &mut progress);
        tokio::select! {
            copied = copying => copied.map_err(|error| Failure::Callee(error.to_string())),
            () = wait(&interrupted) => Err(Failure::Signal(INTERRUPT)),
        }
    };
    line.end();
    if matches!(copied, Err(Failure::Signal(_))) {
        eprintln!("what is copied stays; the same command goes on from there");
    }
    target.close().await;
    source.close().await;
    copied
}

async fn wait(flag: &AtomicBool) {
    while !flag.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How far it is: on a terminal a line that is written again and again, elsewhere a line every few seconds.
pub(super) struct Line {
    terminal: bool,
    shown: Option<Instant>,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    pub(super) fn show(&mut self, done: &str, what: &str, count: u64, of: u64) {
        let pause = match self.terminal {
            true => Duration::from_millis(100),
            false => Duration::from_secs(5),
        };
        if count < of && self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = 100 * count / of.max(1);
        let text = format!("{done} {count} of {of} {what}, {percent}%");
        let mut out = std::io::stderr().lock();
        let _ = match self.terminal {
            true => write!(out, "\r\x1b[K{text}").and_then(|()| out.flush()),
            false => writeln!(out, "{text}"),
        };
    }

    /// Nothing more comes on it.
    pub(super) fn end(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            eprintln!();
        }
    }
}
