//! SIGTERM and SIGINT: the first ends a program in order, the second at once.

use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Failure;

/// The two signals that end a program, from now on ours to handle.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

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
        let install = |kind| {
            signal(kind)
                .map_err(|error| Failure::Unavailable(format!("cannot handle signals: {error}")))
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for either; its number.
    pub async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    }
}

/// The end of a daemon, from a thread of its own: whatever the others do, even if a method never gives
/// its thread back, it comes in time.
pub struct Shutdown {
    first: oneshot::Receiver<()>,
    /// Held until the listeners are gone.
    listening: oneshot::Sender<()>,
}

/// How long a second signal leaves to the sockets' files, which are removed after the first one.
const REMOVAL: Duration = Duration::from_millis(250);

impl Shutdown {
    /// Takes the signals over, for a daemon that is called `program` and ends within `drain` and
    /// [`GRACE`] of the first one.
    ///
    /// # Errors
    /// When the system refuses the signals or the thread.
    pub fn install(program: &'static str, drain: Duration) -> Result<Self, Failure> {
        let (first, is_first) = oneshot::channel();
        let (listening, is_listening) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
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
                match Signals::install() {
                    Ok(signals) => {
                        let _ = ready.send(Ok(()));
                        let limit = drain.saturating_add(GRACE);
                        end(signals, first, is_listening, program, limit).await;
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
            listening,
        })
    }

    /// Completes at the first signal.
    pub async fn requested(self) {
        if self.first.await.is_err() {
            std::future::pending::<()>().await;
        }
        tracing::info!("finishing the calls in flight; a second signal ends at once");
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
            std::process::exit(128 + i32::from(number));
        }
        Err(_) => {
            let within = humantime::format_duration(limit);
            // Not waited for either: whoever reads this may be what everything waits for.
            std::thread::spawn(move || {
                let line = format!("{program}: ended at once: it was not done within {within}");
                let _ = writeln!(std::io::stderr(), "{line}");
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            std::process::exit(OVERDUE);
        }
    }
}
