//! One open file: what its threads share.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use js_rpc::ClientId;
use roaring::RoaringBitmap;

use super::lock::FileLock;
use super::queue::Queue;
use super::reader::Read;
use super::schema::{Indexed, State};
use super::writer::Job;
use crate::place::Place;
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::options::Shape;
use crate::vectorize::search::Vectors;

/// An open file.
pub(super) struct Core {
    pub(super) place: Place,
    pub(super) shape: Shape,
    pub(super) vectors: Vectors,
    /// Rows that there are in memory.
    pub(super) rows: RwLock<RoaringBitmap>,
    /// The newest change that is in memory.
    pub(super) applied: AtomicI64,
    /// Held while a change is committed and brought into memory. Who reads it sees both alike.
    pub(super) commit: RwLock<()>,
    pub(super) state: Mutex<State>,
    pub(super) indexes: Mutex<Vec<Indexed>>,
    /// Why it is not used any more.
    pub(super) failed: Mutex<Option<String>>,
    pub(super) queue: Queue<ClientId, Read, Job>,
    /// Stores that use it.
    pub(super) users: AtomicUsize,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held, and not read. Declared last: it is let go of when all else is.
    pub(super) _lock: Arc<FileLock>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(super) fn path(&self) -> PathBuf {
        self.place.path().to_owned()
    }

    /// Why it cannot be used, if it cannot.
    pub(super) fn failing(&self) -> Option<String> {
        let failed = locked(&self.failed).clone();
        failed.or_else(|| {
            (!self.place.is_unmoved()).then(|| {
                format!(
                    "{} was removed or replaced while it was open; put it back, or open the index again",
                    self.place.path().display()
                )
            })
        })
    }

    pub(super) fn check_in_place(&self) -> Result<(), VectorizeError> {
        match self.failing() {
            None => Ok(()),
            Some(why) => Err(VectorizeError::new(Code::Store, why)),
        }
    }

    /// From now on nothing is done with it.
    pub(super) fn fail(&self, why: String) {
        tracing::warn!(path = %self.place.path().display(), why, "a Vectorize index failed");
        locked(&self.failed).get_or_insert(why);
    }

    pub(super) fn all_rows(&self) -> Rc<RoaringBitmap> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        Rc::new(rows.clone())
    }

    /// Brings a committed change into memory.
    pub(super) fn apply(&self, changed: i64, put: &[(u32, u64, Vec<f32>)], removed: &[u32]) {
        let borrowed: Vec<_> = put
            .iter()
            .map(|(row, changed, values)| (*row, *changed, values.as_slice()))
            .collect();
        self.vectors.put(&borrowed);
        self.vectors.remove(removed);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.extend(put.iter().map(|(row, ..)| *row));
        for row in removed {
            rows.remove(*row);
        }
        drop(rows);
        self.applied.store(changed, Ordering::Release);
    }

    /// Does what waits, and ends the threads.
    pub(super) fn shut_down(&self) {
        self.queue.close();
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
        if self.failing().is_none()
            && let Err(error) = self.vectors.save()
        {
            tracing::warn!(path = %self.place.path().display(), %error, "the index of a Vectorize index's vectors could not be saved; the next start makes it again");
        }
    }
}
