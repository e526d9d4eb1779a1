//! The logs of gateways: one entry a request, in SQLite.
//!
//! SQLite blocks, so it has a thread of its own. Who adds an entry never waits: when the thread cannot keep up, or the
//! file cannot be written, entries are lost and counted, and requests are served all the same. Who reads an entry or
//! changes it goes through the same queue, and so finds what was added before.

mod entry;
mod file;
mod patch;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

pub(in crate::ai) use entry::{Entry, Head, LogEntry};
pub(in crate::ai) use patch::Patch;

use super::binding::OpenError;
use super::gateway::GatewayError;
use super::options::GatewayOptions;
use store::Store;
use thread::Job;

/// Entries and requests that wait for the thread.
const QUEUE: usize = 512;
/// How long one who waits for the queue lets it work.
const PAUSE: Duration = Duration::from_millis(5);

/// The logs of a binding's gateways. Clones are the same ones.
#[derive(Clone)]
pub(in crate::ai) struct Logs {
    queue: SyncSender<Job>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    lost: AtomicU64,
}

impl Counts {
    fn lose(&self, entries: usize) {
        self.lost.fetch_add(entries as u64, Ordering::Relaxed);
    }
}

/// For how long entries are kept, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) struct Keeping {
    /// How long each is kept.
    pub(in crate::ai) retention: Duration,
    /// Bytes of all of them.
    pub(in crate::ai) max_bytes: u64,
}

impl From<&GatewayOptions> for Keeping {
    fn from(options: &GatewayOptions) -> Self {
        Self {
            retention: options.log_retention,
            max_bytes: options.max_log_bytes,
        }
    }
}

/// What is kept of each gateway. Gateways that are not named here share one allowance.
#[derive(Debug, Clone)]
pub(in crate::ai) struct Keepings {
    named: HashMap<String, Keeping>,
    others: Keeping,
}

impl Keepings {
    /// As the gateways' options say; the others as the defaults do.
    pub(in crate::ai) fn new(gateways: &[GatewayOptions]) -> Self {
        let named = gateways
            .iter()
            .map(|options| (options.id.clone(), options.into()));
        Self {
            named: named.collect(),
            others: (&GatewayOptions::new("")).into(),
        }
    }
}

/// Why an entry cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::ai) enum LogError {
    /// There is none of that id in this gateway's log.
    #[error("Not Found")]
    NotFound,
    /// Too many others wait for the log.
    #[error(
        "the gateway's log has as many requests waiting as it may have; ask again a little later"
    )]
    Busy,
    /// It was closed.
    #[error("the gateway's log is closed")]
    Closed,
    /// SQLite failed.
    #[error("the gateway's log cannot be used: {0}")]
    Storage(String),
}

impl From<LogError> for GatewayError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NotFound => Self::log_not_found(),
            LogError::Busy => Self {
                status: http::StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(Duration::from_secs(1)),
                ..Self::internal(error.to_string())
            },
            LogError::Closed => Self::internal(error.to_string()),
            // Why is the operator's, and in a warning.
            LogError::Storage(_) => Self::internal("the gateway's log cannot be used"),
        }
    }
}

impl Logs {
    /// Opens the file, or a log in memory, and starts its thread.
    ///
    /// # Errors
    /// When the path leads to something else than a log of ours, a newer one, or one that cannot be used.
    pub(in crate::ai) fn open(path: Option<&Path>, keepings: Keepings) -> Result<Self, OpenError> {
        let place = path.map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string());
        let failed = |reason: String| OpenError::Log {
            path: place.clone(),
            reason,
        };
        let store = Store::open(path, keepings).map_err(failed)?;
        Self::start(store).map_err(|error| failed(format!("a thread cannot be started: {error}")))
    }

    fn start(store: Store) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        thread::start(store, jobs, Arc::clone(&counts))?;
        Ok(Self { queue, counts })
    }

    /// An id for an entry: a ULID, which sorts by time and cannot be guessed.
    pub(in crate::ai) fn new_id() -> String {
        let mut random = [0; 10];
        // Where the system has no randomness, an id that can be guessed is better than no answer.
        if SystemRandom::new().fill(&mut random).is_err() {
            fastrand::fill(&mut random);
        }
        ulid(entry::millis(SystemTime::now()), random)
    }

    /// Adds an entry, without waiting. It may be lost; [`dropped`](Self::dropped) counts those.
    pub(in crate::ai) fn add(&self, entry: Entry) {
        if self
            .queue
            .try_send(Job::Add(Box::new(entry.bounded())))
            .is_err()
        {
            self.counts.lose(1);
        }
    }

    /// An entry of a gateway's log.
    ///
    /// # Errors
    /// When there is none, or the log cannot be read.
    pub(in crate::ai) async fn get(&self, gateway: &str, id: &str) -> Result<LogEntry, LogError> {
        let (gateway, id) = (gateway.to_owned(), id.to_owned());
        self.ask(|reply| Job::Get { gateway, id, reply }).await
    }

    /// Changes an entry of a gateway's log.
    ///
    /// # Errors
    /// When there is none, or the log cannot be written.
    pub(in crate::ai) async fn patch(
        &self,
        gateway: &str,
        id: &str,
        patch: Patch,
    ) -> Result<(), LogError> {
        let (gateway, id) = (gateway.to_owned(), id.to_owned());
        self.ask(|reply| Job::Patch {
            gateway,
            id,
            patch,
            reply,
        })
        .await
    }

    /// Removes now what is too old or too much; the thread does so by itself from time to time.
    ///
    /// # Errors
    /// When the log cannot be written.
    #[cfg(test)]
    pub(in crate::ai) async fn prune(&self) -> Result<(), LogError> {
        self.ask(Job::Prune).await
    }

    /// Waits until everything that was added before is written.
    #[cfg(test)]
    pub(in crate::ai) async fn flush(&self) {
        self.wait(Job::Flush).await;
    }

    /// The same, and closes the file. What is added later is lost.
    pub(in crate::ai) async fn close(&self) {
        self.wait(Job::Close).await;
    }

    /// How many entries were lost: the queue was full, or the file could not be written.
    pub(in crate::ai) fn dropped(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Job,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(job(reply)) {
            Ok(()) => answer.await.unwrap_or(Err(LogError::Closed)),
            Err(TrySendError::Full(_)) => Err(LogError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Closed),
        }
    }

    /// Unlike the others, this one is worth waiting for a place in the queue.
    async fn wait(&self, job: fn(oneshot::Sender<()>) -> Job) {
        let (reply, answer) = oneshot::channel();
        let mut job = job(reply);
        loop {
            match self.queue.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) => job = again,
                Err(TrySendError::Disconnected(_)) => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
        let _ = answer.await;
    }
}

/// 48 bits of milliseconds and 80 of randomness, in Crockford's base 32.
fn ulid(ms: u64, random: [u8; 10]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let random = random
        .iter()
        .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    let number = u128::from(ms & ((1 << 48) - 1)) << 80 | random;
    (0..26)
        .rev()
        .map(|digit| char::from(DIGITS[(number >> (digit * 5) & 31) as usize]))
        .collect()
}
