//! A worker process: one connection to one database, which runs one call at a time for the database that started
//! it. The kernel bounds what it may take, and it can be killed.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use js_value::Value;
use rustix::process::{Resource, Rlimit, Signal};

use super::protocol::{Answered, Call, Frame, Frames, Opening, Order, Report, Tags, Why, head};
use super::state::{Phase, State};
use super::{Form, encode, read};
use crate::d1::bookmark::Bookmark;
use crate::d1::error::QueryError;
use crate::d1::open::{self, OpenError, Session};
use crate::d1::outcome::QueryOutcome;
use crate::d1::raw;
use crate::d1::request::QueryRequest;
use crate::d1::spans::{self, Description};
use crate::d1::statement::Stop;
use crate::d1::transaction::{self, Shared};
use crate::d1::watch::{Control, Stopped, Waiter};

/// The first argument of a program that is started as a worker.
pub const ARGUMENT: &str = "d1-worker";

/// Runs as a worker if the program was started as one: its first argument is [`ARGUMENT`]. To be called first of
/// all by a program that opens databases with [`IsolatedDatabase`](super::IsolatedDatabase); it is started again
/// for each worker.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == ARGUMENT);
    asked.then(|| match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{ARGUMENT}: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Why a worker ends before it was told to.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it runs SQL for the program that starts it, and is not to be started by hand: {0}")]
    NotAWorker(std::io::Error),
    #[error("cannot set its bounds: {0}")]
    Bounds(std::io::Error),
    #[error("the connection to its program was lost: {0}")]
    Connection(#[from] std::io::Error),
    #[error("its program sent what is no order")]
    Order(#[from] super::protocol::NotAFrame),
}

fn run() -> Result<(), Ended> {
    let (channel, state) = inherit().map_err(Ended::NotAWorker)?;
    let channel = Arc::new(channel);
    outlive_signals().map_err(Ended::Bounds)?;
    let Some(Frame {
        head: Order::Open(opening),
        ..
    }) = channel.next()?
    else {
        return Ok(());
    };
    bound(&opening).map_err(|error| Ended::Bounds(error.into()))?;
    match Worker::open(&opening, &channel, state) {
        Ok(worker) => {
            channel.send(&Report::Opened, &[])?;
            worker.work()
        }
        Err(error) => Ok(channel.send(&Report::NotOpened(error.to_string()), &[])?),
    }
}

/// The socket to the program that started this one, and the file that tells it what is going on: the standard
/// input and output.
fn inherit() -> std::io::Result<(Channel, State)> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(socket);
    // Fails for anything but a socket.
    socket.peer_addr()?;
    let state = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok((Channel::new(socket), State::of(state)))
}

/// A terminal and a service manager send their signals to every process of a service. A worker ends with the
/// program that started it, or when that says so.
fn outlive_signals() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A file that is as large as it may be fails to be written, instead of ending the process.
    let sigxfsz = Signal::XFSZ.as_raw();
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, sigxfsz] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// What requests, replies and the program itself may take besides SQLite.
const OWN_MEMORY: u64 = 256 << 20;

fn bound(opening: &Opening) -> rustix::io::Result<()> {
    raw::limit_memory(opening.memory);
    let options = &opening.options;
    let largest = options
        .max_database_bytes
        .max(options.max_log_bytes)
        .max(options.max_temporary_bytes);
    let limits = [
        (Resource::Data, opening.memory.saturating_add(OWN_MEMORY)),
        // Twice: SQLite's own bounds, which say more, come first.
        (Resource::Fsize, largest.saturating_mul(2)),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        let limit = rustix::process::getrlimit(resource);
        let most = limit.maximum.map_or(most, |maximum| most.min(maximum));
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(())
}

/// The socket, read and written by one thread, which SQLite's progress handler is part of.
struct Channel {
    socket: UnixStream,
    read: Mutex<Frames>,
}

impl Channel {
    fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            read: Mutex::default(),
        }
    }

    /// Waits for the next frame; `None` when there will be no more.
    fn next(&self) -> Result<Option<Frame<Order>>, Ended> {
        let mut frames = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(frame) = frames.take()? {
                return Ok(Some(frame));
            }
            match read_some(&self.socket, frames.spare())? {
                0 => return Ok(None),
                read => frames.advance(read),
            }
        }
    }

    /// What the database wants of the call that runs, if anything. It sends nothing else meanwhile.
    fn order(&self, call: u32) -> Option<Why> {
        // One that followed the call at once was read with it.
        let buffered = {
            let mut frames = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            frames.take()
        };
        match buffered {
            Ok(None) => {}
            Ok(Some(frame)) => return Self::wanted(&frame, call),
            Err(_) => return Some(Why::Cancelled),
        }
        let mut ready = [rustix::event::PollFd::new(
            &self.socket,
            rustix::event::PollFlags::IN,
        )];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match rustix::event::poll(&mut ready, Some(&now)) {
            Ok(0) | Err(_) => None,
            Ok(_) => match self.next() {
                Ok(Some(frame)) => Self::wanted(&frame, call),
                // The database is gone, or what it says makes no sense.
                _ => Some(Why::Cancelled),
            },
        }
    }

    fn wanted(frame: &Frame<Order>, call: u32) -> Option<Why> {
        match frame.head {
            Order::Stop { call: number, why } => (number == call).then_some(why),
            _ => Some(Why::Cancelled),
        }
    }

    fn send(&self, report: &Report, body: &[u8]) -> std::io::Result<()> {
        let mut frame = head(report, body.len());
        let mut socket = &self.socket;
        match body.len() {
            0..=65_536 => {
                frame.extend_from_slice(body);
                socket.write_all(&frame)
            }
            _ => {
                socket.write_all(&frame)?;
                socket.write_all(body)
            }
        }
    }
}

fn read_some(mut socket: &UnixStream, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match socket.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A connection at work.
struct Worker {
    session: Session,
    shared: Shared,
    name: String,
    channel: Arc<Channel>,
    state: Arc<State>,
}

/// The database, as the one who waits for a call.
struct Caller {
    channel: Arc<Channel>,
    state: Arc<State>,
    call: u32,
}

impl Caller {
    fn told(&self) -> Option<Stopped> {
        self.channel.order(self.call).map(|why| match why {
            Why::Cancelled => Stopped::Cancelled,
            Why::GiveWay => Stopped::GaveWay,
        })
    }
}

impl Waiter for Caller {
    fn stop(&self) -> Option<Stopped> {
        self.told()
    }

    fn commit(&self) -> Result<(), Stopped> {
        match self.told() {
            Some(stopped) => Err(stopped),
            None => {
                self.state.set(Phase::Committing);
                Ok(())
            }
        }
    }

    fn committed(&self) {
        self.state.set(Phase::Committed);
    }
}

impl Worker {
    fn open(opening: &Opening, channel: &Arc<Channel>, state: State) -> Result<Self, OpenError> {
        let options = opening.options.clone();
        let session = match opening.writes {
            true => open::writer(&opening.path, &options)?,
            false => open::reader(&opening.path, &options)?,
        };
        Ok(Self {
            session,
            shared: Shared::new(options),
            name: opening.name().to_owned(),
            channel: Arc::clone(channel),
            state: Arc::new(state),
        })
    }

    /// Runs calls until there will be no more.
    fn work(self) -> Result<(), Ended> {
        while let Some(frame) = self.channel.next()? {
            match frame.head {
                Order::Call(call) => {
                    if self.serve(call, frame.body)? {
                        break;
                    }
                }
                // The call has ended meanwhile.
                Order::Stop { .. } => {}
                Order::Open(_) => return Err(Ended::Order(super::protocol::NotAFrame)),
            }
        }
        if self.session.writes {
            self.session.leave_one_file();
        }
        self.session.close();
        Ok(())
    }

    /// Runs a call and reports what came of it. Whether that was the last one.
    fn serve(&self, call: Call, arguments: Vec<u8>) -> Result<bool, Ended> {
        let deadline = Instant::now().checked_add(call.time_left);
        let number = call.number;
        let (request, form) = match read(&call.kind, &arguments) {
            Ok(read) => read,
            Err(error) => {
                let body = encode(&Value::from(error));
                self.channel
                    .send(&Report::Refused { call: number }, &body)?;
                return Ok(false);
            }
        };
        drop(arguments);
        if !self.session.writes && !request.looks_readonly() {
            self.channel
                .send(&Report::NeedsWriter { call: number }, &[])?;
            return Ok(false);
        }
        if call.describe {
            let about = Description::of(&self.name, &request).before();
            let about = Tags::from(about);
            let report = Report::Describes {
                call: number,
                about,
            };
            self.channel.send(&report, &[])?;
        }
        self.shared.clock.advance(Bookmark::of(call.bookmark));
        let row_id = &self.shared.last_row_id;
        row_id.store(call.last_row_id, Ordering::Relaxed);
        let control = Control {
            deadline,
            waiter: Arc::new(Caller {
                channel: Arc::clone(&self.channel),
                state: Arc::clone(&self.state),
                call: number,
            }),
            names_in_rows: form.names_in_rows(),
        };
        let result = self.check(&request).map_err(Stop::Failed);
        let result =
            result.and_then(|()| transaction::run(&self.session, &self.shared, &request, &control));
        drop(request);
        let result = match result {
            Ok(outcome) => Ok(outcome),
            Err(Stop::NeedsWriter) => {
                self.channel
                    .send(&Report::NeedsWriter { call: number }, &[])?;
                return Ok(false);
            }
            Err(Stop::Failed(QueryError::GaveWay)) => {
                self.channel.send(&Report::GaveWay { call: number }, &[])?;
                return Ok(false);
            }
            Err(Stop::Failed(error)) => Err(error),
        };
        self.answer(number, result, &form, row_id)
    }

    fn check(&self, request: &QueryRequest) -> Result<(), QueryError> {
        request.check(&self.shared.options)
    }

    fn answer(
        &self,
        call: u32,
        result: Result<QueryOutcome, QueryError>,
        form: &Form,
        row_id: &AtomicI64,
    ) -> Result<bool, Ended> {
        // What is open is of no use any more: another file is at the path, or a transaction cannot be ended.
        let last = matches!(result, Err(QueryError::Moved(_) | QueryError::Internal));
        let session = result.as_ref().ok();
        let session = session.map(|outcome| outcome.bookmark.to_string());
        let failure = result.as_ref().err();
        let failure = failure.map(|error| (error.error_type().to_owned(), error.to_string()));
        let answered = Answered {
            call,
            failure,
            tags: spans::outcome(&result).into(),
            session,
            bookmark: self.shared.clock.tick().number(),
            last_row_id: row_id.load(Ordering::Relaxed),
            wrote: self.session.writes,
            last,
        };
        let body = form.write(result, &self.shared.options);
        self.channel.send(&Report::Answered(answered), &body)?;
        Ok(last)
    }
}
