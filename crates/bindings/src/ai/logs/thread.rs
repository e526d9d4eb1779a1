//! The thread that owns the file.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::entry::{Entry, LogEntry};
use super::patch::Patch;
use super::store::Store;
use super::{Counts, LogError};

/// How often is looked for what is too old.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// The pause after entries were removed from a full log.
const PAUSE: Duration = Duration::from_millis(100);
/// Entries that are written at once.
const BATCH: usize = 128;
/// How often is written that entries are lost.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the thread is asked for.
pub(super) enum Job {
    Add(Box<Entry>),
    Get {
        gateway: String,
        id: String,
        reply: oneshot::Sender<Result<LogEntry, LogError>>,
    },
    Patch {
        gateway: String,
        id: String,
        patch: Patch,
        reply: oneshot::Sender<Result<(), LogError>>,
    },
    #[cfg(test)]
    Prune(oneshot::Sender<Result<(), LogError>>),
    #[cfg(test)]
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// It ends when the log is closed, or every sender is gone and the queue is empty.
pub(super) fn start(store: Store, jobs: Receiver<Job>, counts: Arc<Counts>) -> std::io::Result<()> {
    let writer = Writer {
        store,
        counts,
        pruned: Instant::now(),
        more: true,
        warned: None,
    };
    thread::Builder::new()
        .name("ai-log".to_owned())
        .spawn(move || writer.work(&jobs))
        .map(drop)
}

struct Writer {
    store: Store,
    counts: Arc<Counts>,
    pruned: Instant,
    /// Whether more is to be removed, after what was removed last.
    more: bool,
    warned: Option<Instant>,
}

impl Writer {
    fn work(mut self, jobs: &Receiver<Job>) {
        let closed = loop {
            let idle = match self.more {
                true => Duration::ZERO,
                false => PRUNE_EVERY.saturating_sub(self.pruned.elapsed()),
            };
            let mut next = match jobs.recv_timeout(idle) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            if let Some(Job::Add(first)) = next {
                next = self.add(first, jobs);
            }
            match next {
                Some(Job::Close(reply)) => break Some(reply),
                Some(job) => self.answer(job),
                None => {}
            }
            if self.is_time_to_prune() {
                let _ = self.prune();
            }
        };
        self.store.close();
        if let Some(reply) = closed {
            let _ = reply.send(());
        }
    }

    fn is_time_to_prune(&self) -> bool {
        let passed = self.pruned.elapsed();
        self.more || passed >= PRUNE_EVERY || (passed >= PAUSE && self.store.is_full())
    }

    /// Writes an entry and those that wait behind it; the first job that is something else comes back.
    fn add(&mut self, first: Box<Entry>, jobs: &Receiver<Job>) -> Option<Job> {
        let mut entries = vec![first];
        let mut next = None;
        while entries.len() < BATCH {
            match jobs.try_recv() {
                Ok(Job::Add(entry)) => entries.push(entry),
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let added = self.store.add(&entries);
        if added.is_err() {
            self.counts.lose(entries.len());
        }
        self.tell(&added);
        next
    }

    /// Nobody may wait any more for an answer; there is nobody to tell, either.
    fn answer(&mut self, job: Job) {
        match job {
            Job::Get { gateway, id, reply } => {
                let found = self.store.get(&gateway, &id);
                self.tell(&found);
                let _ = reply.send(found);
            }
            Job::Patch {
                gateway,
                id,
                patch,
                reply,
            } => {
                let patched = self.store.patch(&gateway, &id, &patch);
                self.tell(&patched);
                let _ = reply.send(patched);
            }
            #[cfg(test)]
            Job::Prune(reply) => {
                let mut pruned = self.prune();
                while self.more {
                    pruned = self.prune();
                }
                let _ = reply.send(pruned);
            }
            #[cfg(test)]
            Job::Flush(reply) => {
                let _ = reply.send(());
            }
            Job::Close(reply) => {
                let _ = reply.send(());
            }
            Job::Add(entry) => drop(entry),
        }
    }

    fn prune(&mut self) -> Result<(), LogError> {
        let pruned = self.store.prune();
        self.pruned = Instant::now();
        self.more = matches!(pruned, Ok(true));
        self.tell(&pruned);
        pruned.map(drop)
    }

    /// Warns, if the log failed and not who asked.
    fn tell<T>(&mut self, result: &Result<T, LogError>) {
        let Err(error @ LogError::Storage(_)) = result else {
            return;
        };
        if self.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        let lost = self.counts.lost.load(Ordering::Relaxed);
        tracing::warn!(%error, lost, "entries of the AI gateways' log are lost");
    }
}
