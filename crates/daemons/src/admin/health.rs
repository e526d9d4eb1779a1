//! Whether a daemon takes calls, and whether it still handles them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// How long the thread that handles calls may take to answer, and be alive.
pub(crate) const ALIVE: Duration = Duration::from_secs(1);

/// What a daemon is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It opens what it needs.
    Starting,
    /// It takes calls.
    Ready,
    /// It finishes the calls that it has, and takes no more.
    Draining,
}

/// The health of a daemon, as others may ask for it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    phase: Arc<AtomicU8>,
    pulse: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Health {
    /// Of a daemon that is starting. The thread on which this is called is the one that is asked whether
    /// it is alive: it answers when it has its turn, as everything else on it does.
    pub(crate) fn new() -> Self {
        let (pulse, mut beats) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        tokio::task::spawn_local(async move {
            while let Some(beat) = beats.recv().await {
                // Whoever asked may have given up.
                let _ = beat.send(());
            }
        });
        Self {
            phase: Arc::new(AtomicU8::new(Phase::Starting as u8)),
            pulse,
        }
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Completes with how long the thread took to answer; `None` if it did not in time.
    pub(crate) fn beat(&self) -> impl Future<Output = Option<Duration>> + use<> {
        let (beat, answer) = oneshot::channel();
        let asked = self.pulse.send(beat);
        let since = Instant::now();
        async move {
            asked.ok()?;
            let answered = tokio::time::timeout(ALIVE, answer).await;
            matches!(answered, Ok(Ok(()))).then(|| since.elapsed())
        }
    }
}
