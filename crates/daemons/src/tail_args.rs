//! The settings of a daemon's tail: its file, and what is kept for live readers.

use clap::{Args, ValueEnum};
use tail::{Renames, Rotation};

use crate::cli::{self, Size};
use crate::config::Places;
use crate::exit::Failure;
use crate::telemetry::TailTo;

/// Where tail events are written.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// Append tail events, as JSON lines, to a file or to stderr
    #[arg(long, value_name = "FILE|stderr", env = "BINDING_SPAN_TAIL")]
    tail: Option<TailTo>,

    /// Put that file aside when it has SIZE bytes, as FILE.1, FILE.2 and so on; never by default
    ///
    /// Between two lines; no event is lost or written twice. Where logrotate does it, leave it out: a file
    /// that was moved is noticed within a second.
    #[arg(long, value_name = "SIZE", env = "BINDING_SPAN_TAIL_ROTATE", value_parser = size)]
    tail_rotate: Option<Size>,

    /// How many files that were put aside are kept
    #[arg(long, value_name = "N", default_value_t = 5, env = "BINDING_SPAN_TAIL_KEEP", value_parser = cli::positive::<u32>)]
    tail_keep: u32,

    /// How a span's new name is written: as spanUpdate, as the attribute span.name, as both, or late
    ///
    /// Late: a span opens when its name is final, but for live readers, who get both. A workerd that does not
    /// know spanUpdate, as of August 2026, reads the attribute alone.
    #[arg(
        long,
        value_name = "both|span-update|attribute|late",
        value_enum,
        default_value_t = RenameArg::Both,
        env = "BINDING_SPAN_TAIL_RENAME",
        hide_possible_values = true,
        hide_short_help = true
    )]
    tail_rename: RenameArg,

    /// Bytes of recent events that are kept for `caller tail`, where there is an admin port; 0 for none
    ///
    /// At most 65,536 events. They are what --since can show, and what a reader may be behind before it
    /// loses some. With none there is no live tail, and events are made for the other readers only.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "16MiB",
        env = "BINDING_SPAN_TAIL_HISTORY",
        hide_short_help = true
    )]
    tail_history: Size,

    /// How many may read the live tail at a time
    ///
    /// Each costs what it takes to write its events.
    #[arg(long, value_name = "N", default_value_t = 16, env = "BINDING_SPAN_TAIL_READERS", value_parser = cli::positive::<usize>, hide_short_help = true)]
    tail_readers: usize,
}

/// How a rename is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RenameArg {
    /// As `spanUpdate` and as attribute: for any reader.
    #[default]
    Both,
    /// As the event `spanUpdate`, as workerd does.
    SpanUpdate,
    /// As the attribute `span.name`, as the enrichment proposal has it.
    Attribute,
    /// Not at all: a span opens when its name is final. Live readers get both.
    Late,
}

impl RenameArg {
    /// What the feed is to write.
    pub(crate) fn renames(self) -> Renames {
        match self {
            Self::Both | Self::Late => Renames::Both,
            Self::SpanUpdate => Renames::SpanUpdate,
            Self::Attribute => Renames::Attribute,
        }
    }
}

/// What is kept for live readers, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveLimits {
    /// Bytes of events; none at 0.
    pub history: usize,
    /// Readers at a time.
    pub readers: usize,
}

/// The smallest file that is put aside: a few events.
const SMALLEST: u64 = 4096;

fn size(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(bytes) if bytes < SMALLEST => {
            Err("it would be full at once; write 4KiB or more, for instance 64MiB".into())
        }
        size => Ok(size),
    }
}

impl TailArgs {
    /// What is kept for live readers.
    pub(crate) fn live(&self) -> LiveLimits {
        LiveLimits {
            history: self.tail_history.bytes(),
            readers: self.tail_readers,
        }
    }

    /// How a rename is written.
    pub(crate) fn rename(&self) -> RenameArg {
        self.tail_rename
    }

    /// Where events go.
    ///
    /// # Errors
    /// [`Failure::Usage`] when what is not a file is to be put aside; [`Failure::Config`] if a file says so.
    pub(crate) fn to(self, places: &Places) -> Result<Option<TailTo>, Failure> {
        self.target()
            .map_err(|failure| places.blame(&[], Some("tail-rotate"), failure))
    }

    fn target(self) -> Result<Option<TailTo>, Failure> {
        let Some(Size(size)) = self.tail_rotate else {
            return Ok(self.tail);
        };
        let keep = self.tail_keep;
        match self.tail {
            Some(TailTo::File(path)) => Ok(Some(TailTo::Rotated(path, Rotation { size, keep }))),
            Some(_) => Err(Failure::Usage(
                "--tail-rotate is for a file; leave it out, or write --tail FILE".into(),
            )),
            None => Err(Failure::Usage(
                "--tail-rotate says when a file is full, and there is none; write --tail FILE"
                    .into(),
            )),
        }
    }
}
