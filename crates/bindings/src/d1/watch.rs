//! Stopping a statement: its time is up, or nobody waits for it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

/// How many of SQLite's instructions run between two looks at the clock: some tens of microseconds.
const INSTRUCTIONS: i32 = 2000;

/// One connection's progress handler, and what it looks at.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    deadline: Option<Instant>,
    cancelled: Option<Arc<AtomicBool>>,
    stopped: Option<Stopped>,
}

/// Why a statement was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    TimeIsUp,
    Cancelled,
}

impl Watch {
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let asked = Arc::clone(&watch);
        connection.progress_handler(INSTRUCTIONS, Some(move || asked.must_stop()))?;
        Ok(watch)
    }

    /// Starts watching the next statement; `cancelled` only if it may be given up.
    pub(super) fn start(&self, deadline: Option<Instant>, cancelled: Option<&Arc<AtomicBool>>) {
        *self.watched() = Watched {
            deadline,
            cancelled: cancelled.cloned(),
            stopped: None,
        };
    }

    /// Stops watching, and says whether the statement was interrupted.
    pub(super) fn finish(&self) -> Option<Stopped> {
        std::mem::take(&mut *self.watched()).stopped
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn must_stop(&self) -> bool {
        let mut watched = self.watched();
        if watched
            .cancelled
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            watched.stopped = Some(Stopped::Cancelled);
        } else if watched
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            watched.stopped = Some(Stopped::TimeIsUp);
        }
        watched.stopped.is_some()
    }
}
