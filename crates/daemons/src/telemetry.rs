//! Where spans and log lines go: tail events to a file or to the standard error stream, logs to the
//! latter.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Sinks, SpanSink};
use tail::{Feed, JsonLines, Recorder};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Failure;

/// Where tail events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailTo {
    /// The standard error stream, between the log lines.
    Stderr,
    /// Appended to this file.
    File(PathBuf),
}

impl FromStr for TailTo {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("write a file's path, or stderr"),
            "stderr" => Ok(Self::Stderr),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// The sinks of a program, and what has to be finished when it ends.
#[derive(Default)]
pub struct Telemetry {
    sinks: Vec<Arc<dyn SpanSink>>,
    lines: Option<Arc<JsonLines>>,
}

impl Telemetry {
    /// No sinks: nobody looks at spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes tail events as JSON lines, if somebody said where to.
    ///
    /// # Errors
    /// [`Failure::Config`] when the file cannot be opened.
    pub fn tail(self, to: Option<&TailTo>) -> Result<Self, Failure> {
        Ok(match to {
            None => self,
            Some(TailTo::Stderr) => self.lines(JsonLines::stderr()),
            Some(TailTo::File(path)) => {
                let lines = JsonLines::file(path).map_err(|error| {
                    Failure::Config(format!(
                        "cannot write tail events to {}: {error}; choose a file that this user may write",
                        path.display()
                    ))
                })?;
                self.lines(lines)
            }
        })
    }

    /// Writes tail events as JSON lines.
    #[must_use]
    pub fn lines(mut self, lines: JsonLines) -> Self {
        let (feed, lines) = (Feed::new(), Arc::new(lines));
        feed.subscribe(lines.clone());
        self.sinks.push(Arc::new(feed));
        self.lines = Some(lines);
        self
    }

    /// Keeps finished spans in memory.
    #[must_use]
    pub fn record(mut self, recorder: &Arc<Recorder>) -> Self {
        self.sinks.push(recorder.clone());
        self
    }

    /// What makers of spans report to.
    pub fn sinks(&self) -> Sinks {
        self.sinks.clone().into()
    }

    /// Writes what was reported and not written yet.
    pub fn finish(&self) {
        if let Some(lines) = &self.lines {
            lines.flush(FLUSH);
        }
    }
}

/// How long the end of a program waits for its tail: a file system that hangs must not hang us.
const FLUSH: Duration = Duration::from_secs(2);

/// What is logged unless `RUST_LOG` says otherwise. Spans are the tail's, not the log's.
pub(crate) const DAEMON_LOG: &str = "info,binding_span=warn";
/// The same for a single call: what it has to say is its result.
pub(crate) const COMMAND_LOG: &str = "warn";

/// Sends log lines to the standard error stream, filtered by `RUST_LOG` or else by `default`.
///
/// `RUST_LOG` is a level, or a list such as `warn,js_rpc=debug`. Directives for spans and fields are not
/// understood: they would bring an engine for regular expressions with them.
pub(crate) fn start_log(default: &str) {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let asked = Some(asked).filter(|text| !text.is_empty());
    let (filter, wrong) = match asked.map(|text| text.parse::<Targets>()) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (default_filter(default), Some(error)),
        None => (default_filter(default), None),
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        // It would panic when nobody reads the stream any more.
        .log_internal_errors(false)
        .with_filter(filter);
    // Tests run several programs' code in one process; the first one's log stays.
    let _ = tracing_subscriber::registry().with(log).try_init();
    if let Some(error) = wrong {
        tracing::warn!(%error, "RUST_LOG cannot be read and is ignored; write for instance warn,js_rpc=debug");
    }
}

fn default_filter(text: &str) -> Targets {
    text.parse().unwrap_or_default()
}
