//! Following a file of tail events, also when it is put aside or moved.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tail::{Event, MAX_LINE, Since};

use super::Stop;
use super::args::FollowArgs;
use super::show::Show;
use crate::exit::Failure;

/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(100);
/// How soon it is looked again while files are moved, and how often before one counts as gone.
const AGAIN: Duration = Duration::from_millis(5);
const PATIENCE: u32 = 20;
/// Bytes that are read at a time.
const CHUNK: u64 = 256 * 1024;
/// Older files among which one that was put aside is looked for.
const OLDER: u32 = 1000;

/// A file and what was read of it.
struct Reading {
    file: File,
    id: (u64, u64),
    /// The part of a line whose end has not come.
    part: Vec<u8>,
    /// A line that is too long is left out to its end.
    skip: bool,
}

/// Shows what a file has and what comes to it, until there is a reason to stop.
pub(super) async fn follow(path: &Path, args: &FollowArgs, show: &mut Show) -> Result<(), Stop> {
    let mut since = Since::new(args.since);
    let mut reading = begin(path, args.since).await?;
    let mut missed = 0;
    loop {
        // Before reading to the end: what is written until the file is put aside is read as well.
        let next = reading.next(path, missed);
        let read = reading.read_on(&mut since, show).await;
        read.map_err(|ended| match ended {
            Ended::Stop(stop) => stop,
            Ended::Io(error) => cannot_read(path, &error),
        })?;
        match next {
            Next::File(file) => (reading, missed) = (file, 0),
            Next::Moving => {
                missed += 1;
                tokio::time::sleep(AGAIN).await;
            }
            Next::None => {
                show.flush().await?;
                if args.no_follow {
                    return Ok(());
                }
                missed = 0;
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Opens the file to begin with; once more if files were moved meanwhile, which would leave some out.
async fn begin(path: &Path, since: Option<SystemTime>) -> Result<Reading, Stop> {
    let mut tries = 0;
    loop {
        let first = first(path, since);
        let opened = Reading::open(&first);
        let settled = |reading: &Reading| self::first(path, since) == first && reading.is(&first);
        tries += 1;
        match opened {
            Ok(reading) if settled(&reading) || tries >= PATIENCE => return Ok(reading),
            Err(error) if tries >= PATIENCE || error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot_read(&first, &error));
            }
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Where to begin: of the files that were put aside, the oldest that was written to since.
fn first(path: &Path, since: Option<SystemTime>) -> PathBuf {
    let Some(since) = since else {
        return path.to_owned();
    };
    let written = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
    (1..=OLDER)
        .map(|n| older(path, n))
        .take_while(|path| written(path).is_ok_and(|time| time >= since))
        .last()
        .unwrap_or_else(|| path.to_owned())
}

/// `tail.jsonl` and 2 make `tail.jsonl.2`.
fn older(path: &Path, n: u32) -> PathBuf {
    PathBuf::from(format!("{}.{n}", path.display()))
}

fn cannot_read(path: &Path, error: &io::Error) -> Stop {
    let says = format!("cannot read tail events from {}: {error}", path.display());
    Stop::Failed(Failure::Config(says))
}

/// What comes after a file.
enum Next {
    /// Nothing, so far.
    None,
    /// This one.
    File(Reading),
    /// Files are being moved.
    Moving,
}

enum Ended {
    Stop(Stop),
    Io(io::Error),
}

impl Reading {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        Ok(Self {
            file,
            id: (meta.dev(), meta.ino()),
            part: Vec::new(),
            skip: false,
        })
    }

    /// Which file comes after this one: the one that was begun when this one was put aside. It has been
    /// looked for in vain so many times.
    fn next(&self, path: &Path, missed: u32) -> Next {
        if self.is(path) {
            return Next::None;
        }
        for n in 1..=OLDER {
            let own = older(path, n);
            if !self.is(&own) {
                continue;
            }
            let later = match n {
                1 => path.to_owned(),
                n => older(path, n - 1),
            };
            return match Self::open(&later) {
                // While it was opened nothing moved on: it is the next one.
                Ok(later) if self.is(&own) => Next::File(later),
                _ => Next::Moving,
            };
        }
        if missed < PATIENCE {
            return Next::Moving;
        }
        // It was moved elsewhere, or removed.
        Self::open(path).map_or(Next::None, Next::File)
    }

    fn is(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    async fn read_on(&mut self, since: &mut Since, show: &mut Show) -> Result<(), Ended> {
        let at = self.file.stream_position().map_err(Ended::Io)?;
        if self.file.metadata().map_err(Ended::Io)?.len() < at {
            // It was cut off to be written anew.
            self.file.seek(SeekFrom::Start(0)).map_err(Ended::Io)?;
            self.part.clear();
        }
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            let read = (&mut self.file).take(CHUNK).read_to_end(&mut chunk);
            if read.map_err(Ended::Io)? == 0 {
                return Ok(());
            }
            for piece in chunk.split_inclusive(|&b| b == b'\n') {
                self.part.extend_from_slice(piece);
                let whole = piece.ends_with(b"\n");
                self.skip |= self.part.len() > MAX_LINE;
                if !whole && self.skip {
                    self.part.clear();
                }
                if whole {
                    let line = std::mem::take(&mut self.part);
                    if std::mem::take(&mut self.skip) {
                        show.left_out();
                    } else {
                        self.line(&line, since, show).await.map_err(Ended::Stop)?;
                    }
                }
            }
            // Signals have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// What is not an event is left out, as everywhere where such lines are read, and counted.
    async fn line(&self, line: &[u8], since: &mut Since, show: &mut Show) -> Result<(), Stop> {
        let event = std::str::from_utf8(line).ok().map(str::trim);
        let Some(Ok(event)) = event.map(Event::from_line) else {
            if event != Some("") {
                show.left_out();
            }
            return Ok(());
        };
        for event in since.event(Arc::new(event)) {
            show.event(Event::clone(&event)).await?;
        }
        Ok(())
    }
}
