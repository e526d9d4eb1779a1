//! A worker process, as the database that started it sees it.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::protocol::{Frame, Frames, NotAFrame, Opening, Order, Report, head};
use super::state::{Phase, State};
use super::worker::ARGUMENT;

/// How workers are started.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    program: PathBuf,
}

impl WorkerProgram {
    /// The program that runs, which calls [`run_if_asked`](super::run_if_asked) first of all. It is found even if
    /// its file was replaced meanwhile.
    pub fn this() -> Self {
        Self::at("/proc/self/exe")
    }

    /// Another program, which does.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

/// Why there is no worker.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NoWorker {
    #[error("cannot start a worker process: {0}")]
    NotStarted(String),
    #[error("{0}")]
    NotOpened(String),
    #[error("a worker process {0} before it had opened the file")]
    Ended(String),
}

impl From<std::io::Error> for NoWorker {
    fn from(error: std::io::Error) -> Self {
        Self::NotStarted(error.to_string())
    }
}

/// A process that runs calls, one at a time.
#[derive(Debug)]
pub(super) struct Process {
    socket: UnixStream,
    frames: RefCell<Frames>,
    state: State,
    /// Whether the state says something of an earlier call.
    stale: Cell<bool>,
    child: RefCell<Child>,
    pub(super) pid: u32,
    pub(super) idle_since: Cell<Instant>,
    calls: Cell<u32>,
}

/// The worker cannot be talked to any more.
#[derive(Debug)]
pub(super) struct Lost;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl From<NotAFrame> for Lost {
    fn from(_: NotAFrame) -> Self {
        Self
    }
}

impl Process {
    /// Starts a worker and waits until it has opened the file.
    pub(super) async fn start(program: &WorkerProgram, opening: Opening) -> Result<Self, NoWorker> {
        let process = Self::spawn(program, &opening)?;
        let opened = process.open(opening).await;
        match opened {
            Ok(Report::Opened) => Ok(process),
            Ok(Report::NotOpened(why)) => Err(NoWorker::NotOpened(why)),
            Ok(_) | Err(Lost) => Err(NoWorker::Ended(process.end().await)),
        }
    }

    fn spawn(program: &WorkerProgram, opening: &Opening) -> std::io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let state = State::new()?;
        let role = match opening.writes {
            true => "write",
            false => "read",
        };
        let child = Command::new(&program.program)
            // For those who list processes.
            .arg0(name_of_this())
            .args([ARGUMENT, &opening.name, role])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(state.share()?))
            .env_clear()
            .envs(
                std::env::vars_os()
                    .filter(|(name, _)| name == "SQLITE_TMPDIR" || name == "RUST_BACKTRACE"),
            )
            // Memory that an allocator reserves at once would count against the bound.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            socket: UnixStream::from_std(ours)?,
            frames: RefCell::default(),
            state,
            stale: Cell::new(false),
            pid: child.id().unwrap_or(0),
            child: RefCell::new(child),
            idle_since: Cell::new(Instant::now()),
            calls: Cell::new(0),
        })
    }

    async fn open(&self, opening: Opening) -> Result<Report, Lost> {
        self.send(&Order::Open(opening), &[]).await?;
        Ok(self.next().await?.head)
    }

    /// The number of the next call.
    pub(super) fn number(&self) -> u32 {
        let number = self.calls.get().wrapping_add(1);
        self.calls.set(number);
        if self.stale.replace(false) {
            self.state.set(Phase::Running);
        }
        number
    }

    /// Waits for the worker to take all of it.
    pub(super) async fn send(&self, order: &impl Serialize, body: &[u8]) -> Result<(), Lost> {
        let head = head(order, body.len());
        let mut parts = [IoSlice::new(&head), IoSlice::new(body)];
        let mut left = &mut parts[..];
        while left.iter().any(|part| !part.is_empty()) {
            match self.socket.try_write_vectored(left) {
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends an order that is small, while a call runs: the worker reads it when it looks. Whether it could be sent.
    pub(super) fn interrupt(&self, order: &Order) -> bool {
        let head = head(order, 0);
        matches!(self.socket.try_write(&head), Ok(written) if written == head.len())
    }

    /// The next report.
    pub(super) async fn next(&self) -> Result<Frame<Report>, Lost> {
        loop {
            let want = {
                let mut frames = self.frames.borrow_mut();
                if let Some(frame) = frames.take()? {
                    if matches!(frame.head, Report::Answered(_)) {
                        self.stale.set(true);
                    }
                    return Ok(frame);
                }
                frames.lacks().clamp(16 << 10, 1 << 20)
            };
            self.read_some(want).await?;
        }
    }

    async fn read_some(&self, want: usize) -> Result<(), Lost> {
        loop {
            let read = {
                let mut frames = self.frames.borrow_mut();
                let buffer = frames.buffer();
                buffer.reserve(want);
                self.socket.try_read_buf(buffer)
            };
            match read {
                Ok(0) => return Err(Lost),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.socket.readable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a part of a report is there: the worker has ended its call, and we are behind.
    pub(super) fn is_reporting(&self) -> bool {
        !self.frames.borrow_mut().buffer().is_empty()
    }

    /// How far a call that writes is, whether the worker lives or not.
    pub(super) fn phase(&self) -> Phase {
        self.state.get()
    }

    /// Ends the process at once.
    pub(super) fn kill(&self) {
        // One that has ended already need not be.
        let _ = self.child.borrow_mut().start_kill();
    }

    /// Lets the worker close the file, and waits for that.
    pub(super) async fn close(self) {
        let Self { socket, child, .. } = self;
        drop(socket);
        let mut child = child.into_inner();
        let _ = child.wait().await;
    }

    /// Waits for a process that is lost to end; returns how it did.
    pub(super) async fn end(&self) -> String {
        self.kill();
        // Nobody else waits for it.
        let status = std::future::poll_fn(|cx| {
            let mut child = self.child.borrow_mut();
            let mut wait = std::pin::pin!(child.wait());
            wait.as_mut().poll(cx)
        });
        match status.await {
            Ok(status) => describe(status),
            Err(error) => format!("ended ({error})"),
        }
    }
}

fn name_of_this() -> OsString {
    let program = std::env::current_exe().ok();
    let name = program.as_ref().and_then(|program| program.file_name());
    name.map_or_else(|| ARGUMENT.into(), OsString::from)
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
