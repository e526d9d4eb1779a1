//! The threads that own the connections. SQLite blocks, so nothing of it runs where calls are received.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::QueryError;
use super::open::Session;
use super::outcome::QueryOutcome;
use super::request::QueryRequest;
use super::statement::Stop;
use super::transaction::{self, Shared};
use super::watch::{Control, Stopped, Waiter};

/// A call on its way.
pub(super) struct Job {
    pub(super) request: QueryRequest,
    /// Whether the reply has the columns' names in each row.
    pub(super) names_in_rows: bool,
    pub(super) reply: oneshot::Sender<Result<QueryOutcome, QueryError>>,
    /// Until when it may run.
    pub(super) deadline: Option<Instant>,
    pub(super) waiting: Arc<Waiting>,
}

/// Whether somebody waits for a call's reply.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicU8);

const CANCELLED: u8 = 1;
const COMMITTING: u8 = 2;

impl Waiting {
    /// Nobody does any more; a call that is not being committed yet is rolled back.
    pub(super) fn cancel(&self) {
        let _ = self.set(CANCELLED);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CANCELLED
    }

    fn set(&self, state: u8) -> Result<(), Stopped> {
        let set = self
            .0
            .compare_exchange(0, state, Ordering::Relaxed, Ordering::Relaxed);
        set.map(drop).map_err(|_| Stopped::Cancelled)
    }
}

impl Waiter for Waiting {
    fn stop(&self) -> Option<Stopped> {
        self.is_cancelled().then_some(Stopped::Cancelled)
    }

    fn commit(&self) -> Result<(), Stopped> {
        self.set(COMMITTING)
    }
}

impl Job {
    fn answer(self, result: Result<QueryOutcome, QueryError>) {
        // Nobody waits: there is nobody to tell, either.
        let _ = self.reply.send(result);
    }
}

/// Puts the call into the queue, or answers that the queue is full.
pub(super) fn submit(queue: &SyncSender<Job>, job: Job) {
    match queue.try_send(job) {
        Ok(()) => {}
        Err(TrySendError::Full(job)) => job.answer(Err(QueryError::Overloaded)),
        Err(TrySendError::Disconnected(job)) => job.answer(Err(QueryError::Closed)),
    }
}

/// A connection at work. It ends when every sender of its queue is gone and the queue is empty.
pub(super) struct Worker {
    pub(super) session: Session,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Arc<Mutex<Receiver<Job>>>,
    /// Where a call goes that turns out to write; the writer itself has none.
    pub(super) writer: Option<SyncSender<Job>>,
    /// Dropped when the connection is closed, which is how `close` knows.
    pub(super) alive: tokio::sync::mpsc::Sender<()>,
}

impl Worker {
    pub(super) fn start(self, name: &str) -> std::io::Result<()> {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || self.work())
            .map(drop)
    }

    fn work(self) {
        while let Some(job) = self.next() {
            self.serve(job);
        }
        if self.writer.is_none() {
            self.session.leave_one_file();
        }
        let Self { session, alive, .. } = self;
        // In this order: the file is closed when `alive` says so.
        session.close();
        drop(alive);
    }

    fn next(&self) -> Option<Job> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv()
            .ok()
    }

    fn serve(&self, job: Job) {
        if job.waiting.is_cancelled() {
            return;
        }
        let control = Control {
            deadline: job.deadline,
            waiter: Arc::clone(&job.waiting) as _,
            names_in_rows: job.names_in_rows,
        };
        let run = || transaction::run(&self.session, &self.shared, &job.request, &control);
        // A panic is a bug, and costs its call only.
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            transaction::roll_back(&self.session);
            Err(Stop::Failed(QueryError::Internal))
        });
        match (result, &self.writer) {
            (Ok(outcome), _) => job.answer(Ok(outcome)),
            (Err(Stop::Failed(error)), _) => job.answer(Err(error)),
            (Err(Stop::NeedsWriter), Some(writer)) => submit(writer, job),
            (Err(Stop::NeedsWriter), None) => job.answer(Err(QueryError::Internal)),
        }
    }
}
