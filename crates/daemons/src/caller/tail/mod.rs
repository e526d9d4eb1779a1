//! `caller tail`: follows the spans of a running daemon, or of a file that one writes.
//!
//! Which spans are shown, and how they look, is the library's (`tail::Selection`, `tail::SpanLines`); here
//! is where events come from, and when it ends.

mod args;
mod connection;
mod file;
mod live;
mod show;
mod terminal;
mod writer;

use std::time::Duration;

use self::show::Show;
use crate::exit::Failure;
use crate::signals::Signals;

pub use args::FollowArgs;
pub(crate) use args::USAGE;
pub(super) use connection::reason;

/// Why following ends.
enum Stop {
    /// All that was asked for was shown, or nobody reads it any more.
    Done,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) async fn from_command_line(args: FollowArgs) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let mut show = Show::new(&args)?;
    let shown = async {
        let stop = tokio::select! {
            stop = follow(&args, &mut show) => stop,
            () = elapsed(args.limit) => overdue(&args, &show),
        };
        match (stop, show.finish().await) {
            (Stop::Failed(failure), _) | (Stop::Done, Stop::Failed(failure)) => Err(failure),
            (Stop::Done, Stop::Done) => Ok(()),
        }
    };
    let number = tokio::select! {
        done = shown => return done,
        number = signals.next() => number,
    };
    show.hurry().await;
    Err(Failure::Signal(number))
}

async fn follow(args: &FollowArgs, show: &mut Show) -> Stop {
    let followed = match (&args.connect, &args.file) {
        (Some(address), _) => live::follow(address, args, show).await,
        (None, Some(path)) => file::follow(path, args, show).await,
        (None, None) => Ok(()),
    };
    followed.err().unwrap_or(Stop::Done)
}

async fn elapsed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The time is over; whether that is how it should end.
fn overdue(args: &FollowArgs, show: &Show) -> Stop {
    let within = humantime::format_duration(args.limit.unwrap_or_default());
    match show.counted() {
        (ended, Some(count)) if ended < count => Stop::Failed(Failure::Deadline(format!(
            "{ended} of {count} spans ended within {within}"
        ))),
        _ => Stop::Done,
    }
}
