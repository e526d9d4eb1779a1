//! What a program says: log lines, and what is said whatever the filter is, such as that it is ready.
//!
//! Both go to the standard error stream, as text or as JSON. What peers say is in them, so nothing reaches
//! the stream that a terminal would act on or that would look like another line: see `writer`.
//! Spans are the tail's, not the log's.

mod writer;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use serde_json::json;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Failure;
use writer::Escaping;

/// What is logged, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// What is logged: a level, or a list such as warn,js_rpc=debug
    ///
    /// The default is info, without what callees say of spans: that is the tail's. Directives for spans
    /// and fields are not understood.
    #[arg(long = "log", value_name = "FILTER", env = "RUST_LOG")]
    pub(crate) filter: Option<String>,

    /// How log lines are written: text, or json, one object a line; text by default
    #[arg(
        long,
        value_name = "text|json",
        env = "BINDING_SPAN_LOG_FORMAT",
        hide_possible_values = true
    )]
    pub(crate) log_format: Option<LogFormat>,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// What a daemon logs unless it is told otherwise.
const DAEMON: &str = "info,binding_span=warn";
/// The same for a single call: what it has to say is its result.
const COMMAND: &str = "warn";

/// The log of this process: there is one. The first to start it decides.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    format: LogFormat,
    /// Sets another filter; false when there is nothing that could take it.
    set: Box<dyn Fn(Targets) -> bool + Send + Sync>,
}

impl LogArgs {
    /// What is to be logged, or what is wrong with how that was said.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot be read. What stands in `RUST_LOG` may be meant for another
    /// program that reads more of it, so of that the second part of the result says that it is ignored.
    fn targets(&self) -> Result<(Targets, Option<String>), Failure> {
        let said = self.filter.as_deref().filter(|text| !text.is_empty());
        let Some(text) = said else {
            return Ok((parse(DAEMON).unwrap_or_default(), None));
        };
        match parse(text) {
            Ok(targets) => Ok((targets, None)),
            Err(error) if is_from_environment(text) => {
                let warning = format!("RUST_LOG cannot be read and is ignored: {error}; {FORM}");
                Ok((parse(DAEMON).unwrap_or_default(), Some(warning)))
            }
            Err(error) => Err(Failure::Config(format!("--log {text:?}: {error}; {FORM}"))),
        }
    }

    /// Whether the filter can be used.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot be read.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.targets().map(drop)
    }

    /// Whether other things are logged than `before`.
    pub(crate) fn differs(&self, before: &Self) -> bool {
        self.filter != before.filter
    }

    /// Starts a daemon's log.
    ///
    /// # Errors
    /// [`Failure::Config`] when the filter cannot be read.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        let format = self.log_format.unwrap_or_default();
        // First, so that even a filter that is wrong is said in the format that was asked for.
        start(format, parse(DAEMON).unwrap_or_default());
        self.change()
    }

    /// Logs what this says from now on. The format stays: it is what readers were told.
    ///
    /// # Errors
    /// [`Failure::Config`] when the filter cannot be read; then it stays, too.
    pub(crate) fn change(&self) -> Result<(), Failure> {
        let (targets, warning) = self.targets()?;
        if let Some(log) = LOG.get() {
            (log.set)(targets);
        }
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

const FORM: &str = "write for instance warn,js_rpc=debug";

fn parse(text: &str) -> Result<Targets, tracing_subscriber::filter::ParseError> {
    text.parse()
}

fn is_from_environment(text: &str) -> bool {
    std::env::var("RUST_LOG").is_ok_and(|said| said == text)
}

/// Starts the log of a program that is no daemon: text, filtered by `RUST_LOG`.
pub(crate) fn start_for_command() {
    let said = std::env::var("RUST_LOG").unwrap_or_default();
    let (targets, wrong) = match parse(&said) {
        _ if said.is_empty() => (parse(COMMAND), None),
        Ok(targets) => (Ok(targets), None),
        Err(error) => (parse(COMMAND), Some(error)),
    };
    start(LogFormat::Text, targets.unwrap_or_default());
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG cannot be read and is ignored: {error}; {FORM}");
    }
}

fn start(format: LogFormat, targets: Targets) {
    LOG.get_or_init(|| {
        let (filter, handle) = reload::Layer::new(targets);
        let colours = format == LogFormat::Text && io::stderr().is_terminal();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(colours)
            // It would panic when nobody reads the stream any more.
            .log_internal_errors(false);
        let layer = match format {
            LogFormat::Text => layer
                .with_writer(move || Escaping::text(io::stderr(), colours))
                .boxed(),
            LogFormat::Json => layer
                .json()
                .flatten_event(true)
                .with_writer(|| Escaping::json(io::stderr()))
                .boxed(),
        };
        // Tests run several programs' code in one process; the first one's log stays.
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init();
        Log {
            format,
            set: Box::new(move |targets| handle.reload(targets).is_ok()),
        }
    });
}

/// Says something that no filter hides: that a daemon is ready, or why it ends.
pub(crate) fn say(program: &str, level: tracing::Level, text: &str) {
    // Nobody may be listening there any more.
    let _ = match LOG.get().map(|log| log.format) {
        Some(LogFormat::Json) => {
            let line = json!({
                "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
                "level": level.as_str(),
                "message": text,
                "target": program,
            });
            writeln!(Escaping::json(io::stderr()), "{line}")
        }
        _ => writeln!(io::stderr(), "{program}: {}", tail::escape(text)),
    };
}
