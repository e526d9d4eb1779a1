//! The thread that writes.
//!
//! Batches that wait are committed together, since a commit takes as long for many as for one; each is whole or not at
//! all. Memory is changed after the commit, and before anything is acknowledged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OptionalExtension};

use super::call::{Ticket, Watch};
use super::change::{Change, Space};
use super::core::{Core, locked};
use super::error::Failure;
use super::index;
use super::schema::State;
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::options::{Limits, MetadataIndex};
use crate::vectorize::vector::{Mutation, Vector, Write};

/// Batches that are committed together, at most.
const GROUP: usize = 64;
/// How long batches are added to those that are to be committed.
const GATHER: Duration = Duration::from_millis(20);

/// What is to be written.
pub(super) enum Task {
    Store(Write, Vec<Vector>),
    Delete(Vec<String>),
    /// The metadata indexes that there shall be.
    Index(Vec<MetadataIndex>),
}

/// A batch on its way.
pub(super) struct Job {
    pub(super) ticket: Arc<Ticket>,
    pub(super) task: Task,
    pub(super) limits: Limits,
    pub(super) reply: Box<dyn FnOnce(Result<Mutation, VectorizeError>) + Send>,
}

/// A batch that is written, and not yet committed.
struct Written {
    job: Job,
    mutation: Mutation,
    change: Change,
}

pub(super) struct Writer {
    pub(super) core: Arc<Core>,
    pub(super) connection: Connection,
    pub(super) watch: Arc<Watch>,
    pub(super) state: State,
    pub(super) space: Space,
}

impl Writer {
    pub(super) fn work(mut self) {
        while let Some(job) = self.core.queue.next_write() {
            // A panic is a bug. What was committed, and is not in memory, is read again when the index is opened again.
            if catch_unwind(AssertUnwindSafe(|| self.serve(job))).is_err() {
                let _ = self.connection.execute_batch("ROLLBACK");
                self.core
                    .fail("an internal error; open the index again".to_owned());
            }
        }
        self.close();
    }

    /// A file that was removed or replaced is left as it is: SQLite would remove the log at its path, which may be
    /// another file's by now.
    fn close(self) {
        if self.core.place.is_unmoved() {
            let _ = self
                .connection
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            drop(self.connection);
        } else {
            std::mem::forget(self.connection);
        }
    }

    fn serve(&mut self, first: Job) {
        let begun = self.core.check_in_place().and_then(|()| {
            let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
            begun.map_err(|error| VectorizeError::new(Code::Store, super::error::explain(&error)))
        });
        if let Err(error) = begun {
            (first.reply)(Err(error));
            return;
        }
        let (state, space) = (self.state.clone(), self.space.clone());
        let written = self.gather(first);
        match self.commit(&written) {
            Ok(()) => {
                for written in written {
                    (written.job.reply)(Ok(written.mutation));
                }
            }
            Err(error) => {
                (self.state, self.space) = (state, space);
                for written in written {
                    (written.job.reply)(Err(error.clone()));
                }
            }
        }
    }

    /// Writes a batch and those that wait behind it.
    fn gather(&mut self, first: Job) -> Vec<Written> {
        let since = Instant::now();
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match self.batch(&job) {
                Ok((mutation, change)) => group.push(Written {
                    job,
                    mutation,
                    change,
                }),
                Err(error) => {
                    (job.reply)(Err(error));
                    // SQLite has rolled back all of it, as it does when the disk is full.
                    if self.connection.is_autocommit() {
                        return group;
                    }
                }
            }
            let more = group.len() < GROUP && since.elapsed() < GATHER;
            next = more.then(|| self.core.queue.write_at_once()).flatten();
        }
        group
    }

    /// A batch, whole or not at all.
    fn batch(&mut self, job: &Job) -> Result<(Mutation, Change), VectorizeError> {
        if job.ticket.is_stopped() {
            return Err(job.ticket.timeout());
        }
        let (state, space) = (self.state.clone(), self.space.clone());
        let watch = Arc::clone(&self.watch);
        let watched = watch.during(&job.ticket);
        let result = self.savepoint(job);
        drop(watched);
        if result.is_err() {
            (self.state, self.space) = (state, space);
            if !self.connection.is_autocommit() {
                let undone = self
                    .connection
                    .execute_batch("ROLLBACK TO batch; RELEASE batch");
                if undone.is_err() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
            }
        }
        result.map_err(|failure| failure.of_call(&job.ticket))
    }

    fn savepoint(&mut self, job: &Job) -> Result<(Mutation, Change), Failure> {
        self.connection.execute_batch("SAVEPOINT batch")?;
        let written = self.write(job)?;
        self.state.write(&self.connection)?;
        // Others of the group are not undone for one that nobody waits for any more.
        if !job.ticket.settle() {
            return Err(job.ticket.timeout().into());
        }
        self.connection.execute_batch("RELEASE batch")?;
        Ok(written)
    }

    fn write(&mut self, job: &Job) -> Result<(Mutation, Change), Failure> {
        let id = uuid::Uuid::new_v4().to_string();
        self.state.changed += 1;
        let mut change = Change::new(self.state.changed);
        let ids = match &job.task {
            Task::Index(indexes) => {
                index::configure(&self.connection, indexes)?;
                Vec::new()
            }
            task => {
                let mut writing = super::change::Writing {
                    connection: &self.connection,
                    vectors: &self.core.vectors,
                    dimensions: self.core.shape.dimensions,
                    indexes: super::schema::indexes(&self.connection)?,
                    state: &mut self.state,
                    space: &mut self.space,
                    change: &mut change,
                    limits: &job.limits,
                    ticket: &job.ticket,
                };
                let ids = match task {
                    Task::Store(write, vectors) => writing.store(*write, vectors)?,
                    Task::Delete(ids) => writing.delete(ids)?,
                    Task::Index(_) => Vec::new(),
                };
                self.state.mutation = Some((id.clone(), now()));
                ids
            }
        };
        Ok((Mutation { id, ids }, change))
    }

    fn commit(&mut self, group: &[Written]) -> Result<(), VectorizeError> {
        let quiet = self.core.commit.write();
        let _quiet = quiet.unwrap_or_else(PoisonError::into_inner);
        let rolled_back = self.connection.is_autocommit();
        let committed = match rolled_back {
            true => Err("the disk is full, or failed; nothing of it was stored".to_owned()),
            false => {
                let committed = self.connection.execute_batch("COMMIT");
                committed.map_err(|error| super::error::explain(&error))
            }
        };
        if let Err(why) = committed {
            if !self.connection.is_autocommit() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            self.check_undone(group);
            return Err(VectorizeError::new(Code::Store, why));
        }
        for written in group {
            let change = &written.change;
            self.core.apply(change.number, &change.put, &change.removed);
            self.space.give_back(&change.removed);
        }
        *locked(&self.core.state) = self.state.clone();
        if group
            .iter()
            .any(|written| matches!(written.job.task, Task::Index(_)))
            && let Ok(indexes) = super::schema::indexes(&self.connection)
        {
            *locked(&self.core.indexes) = indexes;
        }
        Ok(())
    }

    /// A commit that failed may have been one all the same. Then memory is not what the file is.
    fn check_undone(&self, group: &[Written]) {
        let first = group.iter().map(|written| written.change.number).min();
        let stored = self
            .connection
            .query_row("SELECT changed FROM state WHERE one = 1", (), |row| {
                row.get::<_, i64>(0)
            })
            .optional();
        let undone = match (stored, first) {
            (Ok(Some(stored)), Some(first)) => stored < first,
            (Ok(Some(_)), None) => true,
            _ => false,
        };
        if !undone {
            let why = "a change could not be committed for sure; open the index again";
            self.core.fail(why.to_owned());
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
