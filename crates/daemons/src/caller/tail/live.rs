//! Following a running daemon, over its restarts.

use std::time::{Duration, SystemTime};

use js_rpc::Address;
use tail::{FeedLine, Notice};

use super::Stop;
use super::args::FollowArgs;
use super::connection::{Broken, Lines};
use super::show::Show;
use crate::exit::Failure;

/// How soon a lost connection is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where we are in a daemon's feed.
#[derive(Default)]
struct Place {
    instance: String,
    pid: u32,
    /// The place of the next event.
    next: u64,
    /// Events that come first and have no place.
    begun: u64,
    /// The place where the past ends.
    past: Option<u64>,
    /// The daemon said that it ends.
    goodbye: bool,
    /// When the last event happened.
    last: Option<SystemTime>,
}

impl Place {
    fn has_all_of_the_past(&self) -> bool {
        self.begun == 0 && self.past.is_some_and(|past| self.next >= past)
    }
}

/// Shows what happens in the daemon at an admin address, until there is a reason to stop.
pub(super) async fn follow(
    address: &Address,
    args: &FollowArgs,
    show: &mut Show,
) -> Result<(), Stop> {
    let mut place = Place::default();
    let first = Lines::get(address, &path(&place, args.since)).await;
    let mut lines = first.map_err(unavailable)?;
    loop {
        let broken = read(&mut lines, &mut place, address, args, show).await?;
        show.flush().await?;
        let ended = place.goodbye;
        if args.no_reconnect {
            return match ended {
                true => Ok(()),
                false => Err(unavailable(broken)),
            };
        }
        let why = match ended {
            true => "the daemon has ended in order".to_owned(),
            false => format!("the connection to {address} was lost: {broken}"),
        };
        show.say(&format!("{why}; waiting for it")).await?;
        lines = again(address, &place).await?;
    }
}

/// Connects again, as often as it takes.
async fn again(address: &Address, place: &Place) -> Result<Lines, Stop> {
    let (mut pause, longest) = RETRY;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
        match Lines::get(address, &path(place, None)).await {
            Ok(lines) => return Ok(lines),
            Err(broken) if broken.passes() => {}
            Err(broken) => return Err(unavailable(broken)),
        }
    }
}

fn unavailable(broken: Broken) -> Stop {
    Stop::Failed(Failure::Unavailable(broken.to_string()))
}

/// Where to begin: where we were, or somewhere in the past, or now.
fn path(place: &Place, since: Option<SystemTime>) -> String {
    match since {
        _ if !place.instance.is_empty() => format!("/tail?after={}.{}", place.instance, place.next),
        Some(since) => format!("/tail?since={}", humantime::format_rfc3339_millis(since)),
        None => "/tail".to_owned(),
    }
}

/// Shows what comes, to the end of the connection.
async fn read(
    lines: &mut Lines,
    place: &mut Place,
    address: &Address,
    args: &FollowArgs,
    show: &mut Show,
) -> Result<Broken, Stop> {
    loop {
        if args.no_follow && place.has_all_of_the_past() {
            return Err(Stop::Done);
        }
        let line = match lines.line() {
            Some(line) => line,
            None => {
                show.flush().await?;
                match lines.next().await {
                    Ok(line) => line,
                    Err(broken) => return Ok(broken),
                }
            }
        };
        match FeedLine::read(&line) {
            Ok(None) => {}
            Ok(Some(FeedLine::Event(event))) => {
                match place.begun {
                    0 => place.next = place.next.saturating_add(1),
                    _ => place.begun -= 1,
                }
                place.last = Some(event.timestamp);
                show.event(event).await?;
            }
            Ok(Some(FeedLine::Notice(notice))) => noticed(notice, place, address, show).await?,
            Err(error) => {
                return Ok(Broken::Lost(format!(
                    "it sends what cannot be read: {error}"
                )));
            }
        }
    }
}

async fn noticed(
    notice: Notice,
    place: &mut Place,
    address: &Address,
    show: &mut Show,
) -> Result<(), Stop> {
    match notice {
        Notice::Hello {
            program,
            version,
            pid,
            instance,
            place: next,
            begun,
            behind,
            ..
        } => {
            let missed = match (place.instance == instance, place.goodbye) {
                _ if place.instance.is_empty() => String::new(),
                (true, _) => "; nothing was missed unless it is said here".to_owned(),
                (false, true) => "; it was restarted, and nothing was missed".to_owned(),
                (false, false) => match place.last {
                    Some(last) => format!(
                        "; it was restarted, and what the last one (process {}) did after {} may have been \
                         missed",
                        place.pid,
                        humantime::format_rfc3339_millis(last)
                    ),
                    None => "; it was restarted, and what the last one did may have been missed"
                        .to_owned(),
                },
            };
            let line =
                format!("following {program} {version} (process {pid}) at {address}{missed}");
            *place = Place {
                instance,
                pid,
                next,
                begun,
                past: Some(next.saturating_add(behind)),
                goodbye: false,
                last: place.last,
            };
            show.say(&line).await
        }
        Notice::DroppedEvents { count } => {
            place.next = place.next.saturating_add(count);
            show.lost(count);
            Ok(())
        }
        Notice::Goodbye => {
            place.goodbye = true;
            Ok(())
        }
        _ => Ok(()),
    }
}
