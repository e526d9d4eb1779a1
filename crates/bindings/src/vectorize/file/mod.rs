//! An index in one SQLite file, with a copy of the vectors in memory.
//!
//! One thread writes, some search. What is acknowledged is on the disk, and then in memory; a file that is opened again
//! is read whole. The file is opened once in a process, however many stores use it, and by one process at a time. Its
//! metadata indexes are those of the options; without any in the options, those that there are stay.

mod backup;
mod call;
mod change;
mod check;
mod core;
mod error;
mod index;
mod inspect;
mod lock;
mod open;
mod property;
mod queue;
mod reader;
mod refusal;
mod schema;
mod select;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use js_rpc::ClientId;
use tokio::sync::oneshot;

pub use backup::{BackupError, backup};
pub use check::{Report, check};
pub use inspect::inspect;

use self::call::Ticket;
use self::core::{Core, locked};
use self::reader::Read;
use self::writer::Job;
use super::backend::{Backend, Status};
use super::error::{Code, VectorizeError};
use super::options::{IndexOptions, MetadataIndex, OpenError};
use super::vector::{Found, Info, Mutation, Query, Vector, Write};

/// A store in a file. Dropping it without [`close`](Backend::close) closes it as well, and blocks meanwhile.
pub(super) struct FileStore {
    path: PathBuf,
    options: IndexOptions,
    /// None when it is closed.
    core: Mutex<Option<Arc<Core>>>,
}

impl FileStore {
    /// Opens a file, or creates it if the options allow it. Reads all of it; call it where that may block.
    pub(super) fn open(path: &Path, options: &IndexOptions) -> Result<Arc<Self>, OpenError> {
        let store = Self {
            path: path.to_owned(),
            options: options.clone(),
            core: Mutex::new(None),
        };
        store.enter()?;
        Ok(Arc::new(store))
    }

    fn enter(&self) -> Result<(), OpenError> {
        let core = open::core(&self.path, &self.options)?;
        *locked(&self.core) = Some(Arc::clone(&core));
        let wanted = &self.options.metadata_indexes;
        let there = locked(&core.indexes).clone();
        let is_there = |wanted: &MetadataIndex| there.iter().any(|there| there.index == *wanted);
        match wanted.is_empty() || (there.len() == wanted.len() && wanted.iter().all(is_there)) {
            true => Ok(()),
            // Another store has it open already, with other ones.
            false => self.index_metadata(&core),
        }
    }

    fn index_metadata(&self, core: &Core) -> Result<(), OpenError> {
        let (done, wait) = std::sync::mpsc::channel();
        let job = Job {
            ticket: Ticket::new(std::time::Duration::MAX),
            task: writer::Task::Index(self.options.metadata_indexes.clone()),
            limits: self.options.limits.clone(),
            reply: Box::new(move |result| drop(done.send(result))),
        };
        let asked = core.queue.write(ClientId::LOCAL, usize::MAX, job);
        let closed = |_| OpenError::Store(format!("{} is being closed", self.path.display()));
        asked.map_err(|error| OpenError::Store(error.text))?;
        let result = wait.recv().map_err(closed)?;
        result
            .map(drop)
            .map_err(|error| OpenError::Store(error.text))
    }

    fn core(&self) -> Result<Arc<Core>, VectorizeError> {
        let core = locked(&self.core).clone();
        let core = core.ok_or_else(|| VectorizeError::new(Code::Store, "the index is closed"))?;
        core.check_in_place()?;
        Ok(core)
    }

    async fn read<T>(
        &self,
        client: ClientId,
        task: impl FnOnce(oneshot::Sender<Result<T, VectorizeError>>) -> reader::Task,
    ) -> Result<T, VectorizeError> {
        let core = self.core()?;
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket::new(self.options.timeout);
        let read = Read {
            ticket: Arc::clone(&ticket),
            task: task(reply),
        };
        let number = core.queue.read(client, self.options.max_queued, read)?;
        let call = Call {
            core,
            ticket,
            client,
            number,
        };
        call.wait(answer).await
    }

    async fn change(
        &self,
        client: ClientId,
        task: writer::Task,
    ) -> Result<Mutation, VectorizeError> {
        let core = self.core()?;
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket::new(self.options.timeout);
        let job = Job {
            ticket: Arc::clone(&ticket),
            task,
            limits: self.options.limits.clone(),
            reply: Box::new(move |result| drop(reply.send(result))),
        };
        let number = core.queue.write(client, self.options.max_queued, job)?;
        let call = Call {
            core,
            ticket,
            client,
            number,
        };
        call.wait(answer).await
    }
}

/// Somebody who waits. When it is dropped nobody does.
struct Call {
    core: Arc<Core>,
    ticket: Arc<Ticket>,
    client: ClientId,
    number: u64,
}

impl Call {
    async fn wait<T>(
        &self,
        mut answer: oneshot::Receiver<Result<T, VectorizeError>>,
    ) -> Result<T, VectorizeError> {
        let late = tokio::time::sleep_until(self.ticket.deadline().into());
        let answered = tokio::select! {
            answered = &mut answer => answered,
            () = late => match self.ticket.cancel() {
                true => return Err(self.ticket.timeout()),
                // It is being committed: what comes of it is known shortly.
                false => answer.await,
            },
        };
        answered.unwrap_or_else(|_| {
            let text = "the index is being closed, or failed; try again";
            Err(VectorizeError::new(Code::Store, text))
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ticket.cancel();
        self.core.queue.remove(self.client, self.number);
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        if let Some(core) = locked(&self.core).take() {
            open::leave(&core);
        }
    }
}

#[async_trait]
impl Backend for FileStore {
    async fn info(&self) -> Result<Info, VectorizeError> {
        let core = self.core()?;
        let state = locked(&core.state).clone();
        let indexes = locked(&core.indexes).clone();
        Ok(Info {
            dimensions: core.shape.dimensions,
            metric: core.shape.metric,
            vectors: state.vectors,
            newest: state.mutation,
            metadata_indexes: indexes.into_iter().map(|of| of.index).collect(),
        })
    }

    async fn write(
        &self,
        client: ClientId,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError> {
        self.change(client, writer::Task::Store(write, vectors))
            .await
    }

    async fn delete(&self, client: ClientId, ids: Vec<String>) -> Result<Mutation, VectorizeError> {
        self.change(client, writer::Task::Delete(ids)).await
    }

    async fn get(&self, client: ClientId, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError> {
        self.read(client, |reply| reader::Task::Get(ids, reply))
            .await
    }

    async fn query(&self, client: ClientId, query: Query) -> Result<Found, VectorizeError> {
        self.read(client, |reply| reader::Task::Query(query, reply))
            .await
    }

    async fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, VectorizeError> {
        let after = after.map(str::to_owned);
        self.read(ClientId::LOCAL, |reply| {
            reader::Task::Page(after, count, reply)
        })
        .await
    }

    fn status(&self) -> Status {
        let Some(core) = locked(&self.core).clone() else {
            return Status {
                failing: Some("the index is closed".to_owned()),
                ..Status::default()
            };
        };
        Status {
            failing: core.failing(),
            vectors: core.vectors.len(),
            indexed: core.vectors.indexed(),
            memory_bytes: core.vectors.memory_bytes(),
            waiting: core.queue.len(),
            connections: 0,
        }
    }

    async fn reopen(&self) -> Result<(), String> {
        if locked(&self.core)
            .as_ref()
            .is_some_and(|core| core.failing().is_none())
        {
            return Ok(());
        }
        let options = self.options.clone();
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || open::core(&path, &options)).await;
        let core = opened
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let old = locked(&self.core).replace(core);
        leave(old).await;
        Ok(())
    }

    async fn close(&self) {
        let core = locked(&self.core).take();
        leave(core).await;
    }
}

async fn leave(core: Option<Arc<Core>>) {
    if let Some(core) = core {
        let _ = tokio::task::spawn_blocking(move || open::leave(&core)).await;
    }
}
