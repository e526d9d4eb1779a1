//! The output streams, written by a thread of their own: whoever reads us may stop reading, and signals
//! must still end us.

use std::io::{ErrorKind, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Stop;
use crate::exit::Failure;

/// Pieces of text that wait to be written.
const WAITING: usize = 4;
/// How often it is looked whether all is written.
const LOOK: Duration = Duration::from_millis(2);
/// How long the rest may take when a signal ends us.
const REST: Duration = Duration::from_secs(1);

pub(super) enum Piece {
    Out(String),
    Err(String),
}

pub(super) struct Writer {
    pieces: Option<mpsc::Sender<Piece>>,
    thread: Option<JoinHandle<Stop>>,
}

impl Writer {
    pub(super) fn start() -> Result<Self, Failure> {
        let (pieces, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("output".into());
        let thread = thread.spawn(move || write(waiting));
        let cannot = |error| Failure::Output(format!("cannot start a thread for output: {error}"));
        Ok(Self {
            pieces: Some(pieces),
            thread: Some(thread.map_err(cannot)?),
        })
    }

    /// Has a text written, when there is room.
    pub(super) async fn write(&mut self, piece: Piece) -> Result<(), Stop> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        match sent {
            true => Ok(()),
            false => Err(self.finish().await),
        }
    }

    /// Waits until all is written; how that went.
    pub(super) async fn finish(&mut self) -> Stop {
        self.pieces = None;
        while self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            tokio::time::sleep(LOOK).await;
        }
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or(Stop::Done)
    }

    /// The same, but not for long.
    pub(super) async fn hurry(&mut self) {
        let _ = tokio::time::timeout(REST, self.finish()).await;
    }
}

fn write(mut pieces: mpsc::Receiver<Piece>) -> Stop {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    while let Some(piece) = pieces.blocking_recv() {
        let written = match &piece {
            Piece::Out(text) => out.write_all(text.as_bytes()).and_then(|()| out.flush()),
            // Nobody may be listening there.
            Piece::Err(text) => {
                let _ = err.write_all(text.as_bytes());
                Ok(())
            }
        };
        match written {
            Ok(()) => {}
            // A reader that went away had enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Stop::Done,
            Err(error) => {
                let says = format!("cannot write the spans: {error}");
                return Stop::Failed(Failure::Output(says));
            }
        }
    }
    Stop::Done
}
