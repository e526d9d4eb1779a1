//! The handle that a service holds.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::error::QueryError;
use super::open::{self, OpenError, Session};
use super::options::DatabaseOptions;
use super::outcome::QueryOutcome;
use super::request::QueryRequest;
use super::threads::{self, Job, Waiting, Worker};
use super::transaction::Shared;

/// A SQLite file that is served as a D1 database.
///
/// A handle: cloning it is cheap, and it can be used from any thread and any runtime. One thread of its own
/// writes, a few others read beside it ([`DatabaseOptions::readers`]). When the last handle is dropped the
/// threads finish what was sent and close the file; [`close`](Self::close) waits for that.
///
/// Calls that are waited for, one after the other, see each other's effects. A read that is sent while a
/// write is still running may see the state before it.
///
/// ```
/// use bindings::d1::{Cell, Database, DatabaseOptions, Query};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("shop.sqlite");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let options = DatabaseOptions { create: true, ..Default::default() };
/// let database = Database::open(&path, options)?;
/// let outcome = database.query(Query::new("select ?1 + 1 as n").bind(41).into()).await?;
/// assert_eq!(outcome.results[0].columns, ["n"]);
/// assert_eq!(outcome.results[0].rows, [[Cell::Integer(42)]]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    shared: Arc<Shared>,
    queues: Mutex<Option<Queues>>,
    /// Ends when the last thread has closed its connection.
    closed: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug, Clone)]
struct Queues {
    write: SyncSender<Job>,
    read: Option<SyncSender<Job>>,
}

impl Database {
    /// Opens the file and starts the threads. Blocks while it waits for a lock on the file.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file and what to do.
    pub fn open(path: impl AsRef<Path>, options: DatabaseOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let name = options.name.clone().unwrap_or_else(|| name_of(path));
        let writer = open::writer(path, &options)?;
        let readers = (0..options.readers)
            .map(|_| open::reader(path, &options))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared::new(options));
        let (alive, closed) = mpsc::channel(1);
        let queues =
            start(writer, readers, &shared, &alive).map_err(|error| OpenError::Thread {
                path: PathBuf::from(path),
                error,
            })?;
        let closed = tokio::sync::Mutex::new(closed);
        Ok(Self(Arc::new(Inner {
            name,
            shared,
            queues: Mutex::new(Some(queues)),
            closed,
        })))
    }

    /// The name that spans carry as `db.namespace`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn options(&self) -> &DatabaseOptions {
        &self.0.shared.options
    }

    /// Runs the statements of the call, in order, as one transaction.
    ///
    /// Dropping the future before it is done interrupts the call, which is rolled back; a call that is already
    /// being committed ends, and counts.
    ///
    /// # Errors
    /// The first statement that fails, in which case nothing of the call is in the database, or a limit that
    /// was exceeded.
    pub async fn query(&self, request: QueryRequest) -> Result<QueryOutcome, QueryError> {
        self.perform(request, false).await
    }

    /// The same for a reply that has the columns' names in each row, or not.
    pub(super) async fn perform(
        &self,
        request: QueryRequest,
        names_in_rows: bool,
    ) -> Result<QueryOutcome, QueryError> {
        request.check(&self.0.shared.options)?;
        let (reply, outcome) = oneshot::channel();
        let waiting = CancelOnDrop(Arc::default());
        let job = Job {
            request,
            names_in_rows,
            reply,
            deadline: Instant::now().checked_add(self.0.shared.options.timeout),
            waiting: Arc::clone(&waiting.0),
        };
        threads::submit(&self.queue_for(&job.request)?, job);
        let outcome = outcome.await;
        drop(waiting);
        outcome.unwrap_or(Err(QueryError::Closed))
    }

    /// Takes no more calls, finishes those that were sent, and closes the file.
    pub async fn close(&self) {
        self.queues().take();
        let mut closed = self.0.closed.lock().await;
        // Nothing is ever sent: this ends when the last thread is gone.
        while closed.recv().await.is_some() {}
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, Option<Queues>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue_for(&self, request: &QueryRequest) -> Result<SyncSender<Job>, QueryError> {
        let queues = self.queues();
        let queues = queues.as_ref().ok_or(QueryError::Closed)?;
        Ok(match &queues.read {
            Some(read) if request.looks_readonly() => read.clone(),
            _ => queues.write.clone(),
        })
    }
}

/// Tells the thread that nobody waits for the reply.
struct CancelOnDrop(Arc<Waiting>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn start(
    writer: Session,
    readers: Vec<Session>,
    shared: &Arc<Shared>,
    alive: &mpsc::Sender<()>,
) -> std::io::Result<Queues> {
    let capacity = shared.options.max_queued;
    let worker = |session, queue: &Arc<Mutex<_>>, writer: Option<&SyncSender<Job>>| Worker {
        session,
        shared: Arc::clone(shared),
        queue: Arc::clone(queue),
        writer: writer.cloned(),
        alive: alive.clone(),
    };
    let (write, jobs) = sync_channel(capacity);
    worker(writer, &Arc::new(Mutex::new(jobs)), None).start("d1-write")?;
    let (read, jobs) = sync_channel(capacity);
    let jobs = Arc::new(Mutex::new(jobs));
    let any = !readers.is_empty();
    for reader in readers {
        worker(reader, &jobs, Some(&write)).start("d1-read")?;
    }
    Ok(Queues {
        write,
        read: any.then_some(read),
    })
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
