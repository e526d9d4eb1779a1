//! A worker process, as the database that started it sees it.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
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
    /// Asked for readability alone: the kernel would tell us each time the worker has read something.
    socket: AsyncFd<UnixStream>,
    frames: RefCell<Frames>,
    state: State,
    /// Whether the state says something of an earlier call.
    stale: Cell<bool>,
    child: RefCell<Child>,
    pub(super) pid: u32,
    pub(super) idle_since: Cell<Instant>,
    calls: Cell<u32>,
}

/// An order on its way to a worker.
#[derive(Debug)]
pub(super) struct Sending {
    head: Vec<u8>,
    body: Rc<Vec<u8>>,
    written: usize,
}

impl Sending {
    pub(super) const fn new(head: Vec<u8>, body: Rc<Vec<u8>>) -> Self {
        Self {
            head,
            body,
            written: 0,
        }
    }

    /// Whether all of it was sent.
    pub(super) fn is_done(&self) -> bool {
        self.written >= self.head.len() + self.body.len()
    }

    fn parts(&self) -> [IoSlice<'_>; 2] {
        let behind = self.written.saturating_sub(self.head.len());
        let parts = [self.head.get(self.written..), self.body.get(behind..)];
        parts.map(|part| IoSlice::new(part.unwrap_or_default()))
    }
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
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let state = State::new()?;
        let role = match opening.writes {
            true => "write",
            false => "read",
        };
        let child = Command::new(&program.program)
            // For those who list processes.
            .arg0(name_of_this())
            .args([ARGUMENT, opening.name(), role])
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
            socket: register(ours, Interest::READABLE)?,
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
        let head = head(&Order::Open(opening), 0);
        self.send(&mut Sending::new(head, Rc::default())).await?;
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

    /// Sends as much as the socket takes. Whether that was all.
    pub(super) fn try_send(&self, sending: &mut Sending) -> Result<bool, Lost> {
        let mut socket = self.socket.get_ref();
        while !sending.is_done() {
            match socket.write_vectored(&sending.parts()) {
                Ok(written) => sending.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits for the worker to take all of it.
    pub(super) async fn send(&self, sending: &mut Sending) -> Result<(), Lost> {
        if self.try_send(sending)? {
            return Ok(());
        }
        let socket = self.socket.get_ref().try_clone()?;
        let writable = register(socket, Interest::WRITABLE)?;
        loop {
            let mut ready = writable.writable().await?;
            if self.try_send(sending)? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Sends an order that is small, while a call runs: the worker reads it when it looks. Whether it could be sent.
    pub(super) fn interrupt(&self, order: &Order) -> bool {
        let head = head(order, 0);
        let mut socket = self.socket.get_ref();
        matches!(socket.write(&head), Ok(written) if written == head.len())
    }

    /// The next report.
    pub(super) async fn next(&self) -> Result<Frame<Report>, Lost> {
        loop {
            if let Some(frame) = self.frames.borrow_mut().take::<Report>()? {
                if matches!(&frame.head, Report::Answered(answered) if answered.wrote) {
                    self.stale.set(true);
                }
                return Ok(frame);
            }
            self.read_some().await?;
        }
    }

    async fn read_some(&self) -> Result<(), Lost> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut frames = self.frames.borrow_mut();
            let spare = frames.spare();
            let most = spare.len();
            match self.socket.get_ref().read(spare) {
                Ok(0) => return Err(Lost),
                Ok(read) => {
                    frames.advance(read);
                    if read < most {
                        // The socket is empty: it will be told when there is more.
                        ready.clear_ready();
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a part of a report is there: the worker has ended its call, and we are behind.
    pub(super) fn is_reporting(&self) -> bool {
        let mut ready = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
        let at_once = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.frames.borrow().has_begun()
            || rustix::event::poll(&mut ready, Some(&at_once)).is_ok_and(|ready| ready > 0)
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
    pub(super) async fn close(&self) {
        // It ends when there will be no more orders.
        let _ = self.socket.get_ref().shutdown(Shutdown::Write);
        self.wait().await;
    }

    /// Ends a process that is lost; returns how it ended.
    pub(super) async fn end(&self) -> String {
        self.kill();
        self.wait().await
    }

    async fn wait(&self) -> String {
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

/// Asks the runtime about one direction only, as its own sockets do not.
#[allow(unsafe_code)] // what is registered must stay the same descriptor
fn register(socket: UnixStream, interest: Interest) -> std::io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a stream of the standard library has the same descriptor for as long as it lives, and is not taken
    // out of the `AsyncFd` before that is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    registered.map_err(|error| error.into_parts().1)
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
