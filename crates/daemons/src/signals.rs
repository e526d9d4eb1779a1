//! SIGTERM and SIGINT: the first ends a program in order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// The two signals that end a program, from now on ours to handle.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

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

    /// Completes at the first signal. A second one, later, ends the program at once.
    pub async fn shutdown(mut self) {
        self.next().await;
        tracing::info!("finishing the calls in flight; a second signal ends at once");
        tokio::task::spawn_local(async move {
            let number = self.next().await;
            std::process::exit(128 + i32::from(number));
        });
    }
}
