//! What a program says: log lines, and what is said whatever the filter is, such as that it is ready.
//!
//! Both go to the standard error stream, as text or as JSON. What peers say is in them, so nothing reaches
//! the stream that a terminal would act on or that would look like another line: see `writer`.
//! Spans are the tail's, not the log's.
//!
//! A daemon's lines are written by a thread of their own (`queue`): nobody waits for whoever reads them, or
//! does not. A command's are written at once, between the other things that it says.

mod panics;
mod queue;
#[cfg(test)]
mod tests;
mod words;
mod writer;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use self::queue::{Lost, Queue};
use self::words::Words;
use self::writer::Escaping;
use crate::config::Places;
use crate::exit::Failure;
use crate::metrics::{Metrics, catalog};

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
    out: Out,
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

    /// The same, for a filter that may be as a file says.
    ///
    /// # Errors
    /// [`Failure::Config`] when it cannot be read, with its place in the file.
    pub(crate) fn check_at(&self, places: &Places) -> Result<(), Failure> {
        let checked = self.check();
        checked.map_err(|failure| places.blame(&[], Some("log"), failure))
    }

    /// Whether other things are logged than `before`.
    pub(crate) fn differs(&self, before: &Self) -> bool {
        self.filter != before.filter
    }

    /// Starts the log of a daemon that is called `program`. Panics are in it, too.
    ///
    /// # Errors
    /// [`Failure::Config`] when the filter cannot be read, [`Failure::Unavailable`] when there can be no
    /// thread.
    pub(crate) fn start(&self, program: &'static str) -> Result<(), Failure> {
        let format = self.log_format.unwrap_or_default();
        let tell = move |lost| Words::missing(program, lost).line(format);
        let queue = Queue::start(io::stderr(), tell).map_err(|error| {
            Failure::Unavailable(format!("cannot start a thread for the log: {error}"))
        })?;
        // First, so that even a filter that is wrong is said in the format that was asked for.
        start(format, parse(DAEMON).unwrap_or_default(), Out::Later(queue));
        panics::log(program);
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
    start(LogFormat::Text, targets.unwrap_or_default(), Out::Now);
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG cannot be read and is ignored: {error}; {FORM}");
    }
}

fn start(format: LogFormat, targets: Targets, out: Out) {
    LOG.get_or_init(|| {
        let (filter, handle) = reload::Layer::new(targets);
        let colours = format == LogFormat::Text && io::stderr().is_terminal();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(colours)
            // It would panic when nobody reads the stream any more.
            .log_internal_errors(false);
        let to = out.clone();
        let layer = match format {
            LogFormat::Text => layer
                .with_writer(move || Escaping::text(to.clone(), colours))
                .boxed(),
            LogFormat::Json => layer
                .json()
                .flatten_event(true)
                .with_writer(move || Escaping::json(to.clone()))
                .boxed(),
        };
        // Tests run several programs' code in one process; the first one's log stays.
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init();
        Log {
            format,
            out,
            set: Box::new(move |targets| handle.reload(targets).is_ok()),
        }
    });
}

/// Where lines go.
#[derive(Clone)]
enum Out {
    /// To the standard error stream.
    Now,
    /// There as well, by the thread that writes.
    Later(Queue),
}

impl Write for Out {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self {
            // One piece is one line, however often it has to be written on.
            Self::Now => io::stderr().write_all(piece).map(|()| piece.len()),
            Self::Later(queue) => queue.write(piece),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says something that no filter hides: that a daemon is ready, or why it ends.
pub(crate) fn say(program: &str, level: tracing::Level, text: &str) {
    words(&Words {
        program,
        level,
        text,
        backtrace: None,
    });
}

fn words(words: &Words<'_>) {
    let (format, mut out) = match LOG.get() {
        Some(log) => (log.format, log.out.clone()),
        None => (LogFormat::Text, Out::Now),
    };
    // Nobody may be listening there any more.
    let _ = out.write_all(&words.line(format));
}

fn queue() -> Option<&'static Queue> {
    match &LOG.get()?.out {
        Out::Later(queue) => Some(queue),
        Out::Now => None,
    }
}

/// Writes what was said and is still here, for no longer than this.
pub(crate) fn end(within: Duration) {
    if let Some(queue) = queue() {
        queue.end(within);
    }
}

/// Counts what the log loses.
pub(crate) fn count_into(metrics: &Metrics) {
    type Read = fn(Lost) -> u64;
    let lost = || queue().map(Queue::lost).unwrap_or_default();
    let reasons: [(&'static str, Read); 2] = [
        ("slow", |lost| lost.slow),
        ("write_failed", |lost| lost.failed),
    ];
    for (reason, read) in reasons {
        metrics.add(&catalog::LOG_LOST, &[("reason", reason)], move || {
            read(lost())
        });
    }
    metrics.add(&catalog::LOG_QUEUED, &[], || {
        queue().map_or(0, Queue::queued) as u64
    });
}
