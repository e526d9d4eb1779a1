//! SIGTERM and SIGINT: the first ends a program in order, the second at once, unless it comes within a second: then it
//! is the first one again, of a wrapper that signals both its child and the group (`timeout` of coreutils). SIGHUP: a
//! daemon reads its configuration again. One without a configuration, in a terminal that closes, ends by it as by
//! SIGTERM.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use crate::exit::Failure;
use crate::{log, systemd};

/// The two signals that end a program, from now on ours to handle.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Where it ends the program as well.
    hangup: Option<Signal>,
    /// When the first one came.
    first: Option<Instant>,
}

/// For how long after the first signal further ones are the same.
const SAME: Duration = Duration::from_secs(1);

/// What a daemon may need beyond its drain: for closing connections and databases, and the last of the
/// telemetry.
pub const GRACE: Duration = Duration::from_secs(5);

/// The exit code of a daemon that its signals' thread had to end, for want of an end of its own: that of
/// a deadline.
const OVERDUE: i32 = 124;

impl Signals {
    /// Takes the signals over from the system, which would end the program.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self, Failure> {
        let install = |kind| signal(kind).map_err(|error| cannot(&error));
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: None,
            first: None,
        })
    }

    /// Takes SIGHUP as well.
    fn hangup(&mut self) -> Result<(), Failure> {
        let hangup = signal(SignalKind::hangup());
        self.hangup = Some(hangup.map_err(|error| cannot(&error))?);
        Ok(())
    }

    /// Waits for either; its number. Those that follow the first one within a second are not told.
    pub async fn next(&mut self) -> u8 {
        loop {
            let kind = tokio::select! {
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                () = next_of(&mut self.hangup) => SignalKind::hangup(),
            };
            if self.first.is_some_and(|first| first.elapsed() < SAME) {
                continue;
            }
            self.first.get_or_insert_with(Instant::now);
            return u8::try_from(kind.as_raw_value()).unwrap_or_default();
        }
    }
}

async fn next_of(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// The end of a daemon, from a thread of its own: whatever the others do, even if a method never gives
/// its thread back, it comes in time.
pub struct Shutdown {
    first: oneshot::Receiver<()>,
    hangups: Hangups,
    drain: Duration,
    /// Held until the listeners are gone.
    listening: oneshot::Sender<()>,
}

/// What a SIGHUP means to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// To read its configuration again.
    Reload,
    /// The end: the terminal that it was started in is gone.
    End,
}

impl Hangup {
    /// What it means to a daemon that has a file or not. Who started it in a terminal and without a file closes that
    /// terminal to be rid of it, unless the signal was to be ignored (`nohup`).
    pub(crate) fn of(has_file: bool) -> Self {
        let terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        match terminal && !has_file && !is_ignored() {
            true => Self::End,
            false => Self::Reload,
        }
    }
}

/// Whether this process was started to ignore SIGHUP.
fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

/// The SIGHUPs of a daemon. Several that come while one is looked after are one.
#[derive(Clone, Default)]
pub struct Hangups(Arc<Notify>);

impl Hangups {
    /// Waits for one.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// How long a second signal leaves to the sockets' files, which are removed after the first one.
const REMOVAL: Duration = Duration::from_millis(250);

/// How long the last words of a process may take that ends at once.
const LAST: Duration = Duration::from_millis(100);

/// Lets a write fail that would make a file longer than this process may (`ulimit -f`, `LimitFSIZE=`),
/// instead of ending the process with a signal.
fn survive_file_limits() -> std::io::Result<()> {
    let too_long = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when nobody listens to it.
    signal(too_long).map(drop)
}

impl Shutdown {
    /// Takes the signals over, for a daemon that is called `program` and ends within `drain` and
    /// [`GRACE`] of the first one; SIGHUP as `hangup` says.
    ///
    /// # Errors
    /// When the system refuses the signals or the thread.
    pub fn install(
        program: &'static str,
        drain: Duration,
        hangup: Hangup,
    ) -> Result<Self, Failure> {
        let (first, is_first) = oneshot::channel();
        let (listening, is_listening) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let hangups = Hangups::default();
        let hung_up = hangups.clone();
        let watch = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = ready.send(Err(cannot(&error)));
                    return;
                }
            };
            runtime.block_on(async {
                let installed = Signals::install().and_then(|mut signals| {
                    survive_file_limits().map_err(|error| cannot(&error))?;
                    let mut hangups = None;
                    match hangup {
                        Hangup::End => signals.hangup()?,
                        Hangup::Reload => {
                            let reloads = signal(SignalKind::hangup());
                            hangups = Some(reloads.map_err(|error| cannot(&error))?);
                        }
                    }
                    Ok((signals, hangups))
                });
                match installed {
                    Ok((signals, hangup)) => {
                        let _ = ready.send(Ok(()));
                        let limit = drain.saturating_add(GRACE);
                        tokio::select! {
                            () = end(signals, first, is_listening, program, limit) => {}
                            () = pass_on(hangup, &hung_up) => {}
                        }
                    }
                    Err(failure) => {
                        let _ = ready.send(Err(failure));
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(watch).map_err(|error| cannot(&error))?;
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(Failure::Unavailable("cannot handle signals".into())))?;
        Ok(Self {
            first: is_first,
            hangups,
            drain,
            listening,
        })
    }

    /// The SIGHUPs, from now on ours to handle: they end nothing.
    pub fn hangups(&self) -> Hangups {
        self.hangups.clone()
    }

    /// Completes at the first signal.
    pub async fn requested(self) {
        if self.first.await.is_err() {
            std::future::pending::<()>().await;
        }
        systemd::stopping(self.drain);
        tracing::info!(
            "finishing the calls in flight; another signal, a second from now or later, ends at once"
        );
        tokio::task::spawn_local(async {
            // The listeners, and with them the sockets' files, have their turn first.
            tokio::task::yield_now().await;
            drop(self.listening);
        });
    }
}

fn cannot(error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("cannot handle signals: {error}"))
}

async fn pass_on(hangup: Option<Signal>, to: &Hangups) {
    if let Some(mut hangup) = hangup {
        while hangup.recv().await.is_some() {
            to.0.notify_one();
        }
    }
    std::future::pending().await
}

/// Waits for the first signal, and ends the process at the second or when its time is over.
async fn end(
    mut signals: Signals,
    first: oneshot::Sender<()>,
    listening: oneshot::Receiver<()>,
    program: &'static str,
    limit: Duration,
) {
    signals.next().await;
    let _ = first.send(());
    match tokio::time::timeout(limit, signals.next()).await {
        Ok(number) => {
            let _ = tokio::time::timeout(REMOVAL, listening).await;
            log::end(LAST);
            std::process::exit(128 + i32::from(number));
        }
        Err(_) => {
            let within = humantime::format_duration(limit);
            let line = format!("ended at once: it was not done within {within}");
            log::say(program, tracing::Level::ERROR, &line);
            log::end(LAST);
            std::process::exit(OVERDUE);
        }
    }
}
