//! Where spans and log lines go: tail events to a file, to the standard error stream or to a peer, logs to
//! the standard error stream.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{Sinks, SpanSink};
use js_rpc::{Address, Trust};
use tail::{EventSink, Feed, JsonLines, QueueLimits, Recorder};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Failure;
use crate::tail_to::TailSender;

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

/// A peer that takes tail events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPeer {
    /// Where it is: a workerd's debug port, or another caller.
    pub address: Address,
    /// The service there, or `service#Entrypoint`.
    pub service: String,
}

impl FromStr for TailPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write ADDR#SERVICE, for instance unix:/run/workerd.sock#tail";
        let (address, service) = text.split_once('#').ok_or(shape)?;
        if service.is_empty() {
            return Err(shape.to_owned());
        }
        let address = address.parse();
        Ok(Self {
            address: address.map_err(|error: js_rpc::InvalidAddress| error.to_string())?,
            service: service.to_owned(),
        })
    }
}

/// The sinks of a program, and what has to be finished when it ends.
#[derive(Default)]
pub struct Telemetry {
    sinks: Vec<Arc<dyn SpanSink>>,
    feed: Option<Arc<Feed>>,
    events: Vec<Arc<dyn EventSink>>,
    lines: Option<Arc<JsonLines>>,
    sender: Option<TailSender>,
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
        let lines = Arc::new(lines);
        self.read(lines.clone());
        self.lines = Some(lines);
        self
    }

    /// Sends tail events to a peer, if somebody said to which.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when there can be no thread for it.
    pub fn tail_to(mut self, peer: Option<&TailPeer>, trust: &Trust) -> Result<Self, Failure> {
        let Some(TailPeer { address, service }) = peer.cloned() else {
            return Ok(self);
        };
        let sender =
            TailSender::start_with(address, service, trust.clone(), QueueLimits::default());
        let sender = sender.map_err(|error| {
            Failure::Unavailable(format!("cannot start a thread for tail events: {error}"))
        })?;
        self.read(sender.sink());
        self.sender = Some(sender);
        Ok(self)
    }

    /// Adds a reader of tail events.
    fn read(&mut self, reader: Arc<dyn EventSink>) {
        let feed = self.feed.get_or_insert_with(|| {
            let feed = Arc::new(Feed::new());
            self.sinks.push(feed.clone());
            feed
        });
        feed.subscribe(reader.clone());
        self.events.push(reader);
    }

    /// What takes the tail events of other processes: everything that reads our own.
    pub fn readers(&self) -> Vec<Arc<dyn EventSink>> {
        self.events.clone()
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
        if let Some(sender) = &self.sender {
            sender.flush(FLUSH);
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
