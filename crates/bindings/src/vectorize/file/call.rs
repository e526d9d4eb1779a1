//! A call that waits or runs: until when, and whether somebody waits for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::vectorize::error::{Code, VectorizeError};

const CANCELLED: u8 = 1;
const SETTLED: u8 = 2;

/// How many of SQLite's instructions run between two looks at the clock.
const INSTRUCTIONS: i32 = 1000;

/// A call, as those see it who wait for it and those who work on it.
#[derive(Debug)]
pub(super) struct Ticket {
    state: AtomicU8,
    deadline: Instant,
    limit: Duration,
}

impl Ticket {
    pub(super) fn new(limit: Duration) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            state: AtomicU8::new(0),
            // A limit beyond what the clock can tell is none.
            deadline: now
                .checked_add(limit)
                .unwrap_or(now + Duration::from_secs(1 << 30)),
            limit,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Nobody waits any more. False if it is too late: the call is being committed.
    pub(super) fn cancel(&self) -> bool {
        self.set(CANCELLED)
    }

    /// From now on the call cannot be cancelled. False if it was.
    pub(super) fn settle(&self) -> bool {
        self.set(SETTLED)
    }

    fn set(&self, state: u8) -> bool {
        self.state
            .compare_exchange(0, state, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether work on it is to end: nobody waits, or its time is up.
    pub(super) fn is_stopped(&self) -> bool {
        match self.state.load(Ordering::Acquire) {
            CANCELLED => true,
            SETTLED => false,
            _ => Instant::now() >= self.deadline,
        }
    }

    /// What somebody learns who still waits.
    pub(super) fn timeout(&self) -> VectorizeError {
        let text = format!(
            "the call took longer than {:?}; try again, ask for less, or send smaller batches",
            self.limit
        );
        VectorizeError::new(Code::Timeout, text)
    }
}

/// Interrupts what a connection runs for a call that is to end.
pub(super) struct Watch(Mutex<Option<Arc<Ticket>>>);

impl Watch {
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let watch = Arc::new(Self(Mutex::new(None)));
        let asked = Arc::clone(&watch);
        connection.progress_handler(INSTRUCTIONS, Some(move || asked.must_stop()))?;
        Ok(watch)
    }

    fn must_stop(&self) -> bool {
        let ticket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ticket.as_ref().is_some_and(|ticket| ticket.is_stopped())
    }

    /// Watches a call until the guard is dropped: what runs then, a rollback above all, is not interrupted.
    pub(super) fn during(&self, ticket: &Arc<Ticket>) -> Watched<'_> {
        self.set(Some(Arc::clone(ticket)));
        Watched(self)
    }

    fn set(&self, ticket: Option<Arc<Ticket>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ticket;
    }
}

/// A call that is watched.
pub(super) struct Watched<'a>(&'a Watch);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
