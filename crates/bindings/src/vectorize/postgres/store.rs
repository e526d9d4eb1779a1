//! Connections for calls: who gets one, how long a call may take, what is tried again, and what is known of the index.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures::FutureExt;
use futures::future::BoxFuture;
use js_rpc::ClientId;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::CancelToken;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::error::{Code, VectorizeError};
use super::super::options::{Limits, MetadataIndex, Shape};
use super::admission::Admission;
use super::connect::Connector;
use super::failure::{Failure, timeout};
use super::names::Names;

/// How often others may be in the way of a call.
const ATTEMPTS: u32 = 6;

/// What calls share.
pub(super) struct Shared {
    pub(super) connector: Connector,
    pub(super) pool: Pool,
    pub(super) admission: Arc<Admission>,
    pub(super) names: Names,
    pub(super) shape: Shape,
    pub(super) metadata_indexes: Vec<MetadataIndex>,
    pub(super) limits: Limits,
    pub(super) exact_below: u64,
    pub(super) iterative: bool,
    pub(super) timeout: Duration,
    /// Vectors, as far as is known.
    pub(super) vectors: AtomicU64,
    /// Whether the approximate index can be used.
    pub(super) indexed: AtomicBool,
    pub(super) failing: Mutex<Option<String>>,
    /// There may be reason to make the approximate index.
    pub(super) grown: tokio::sync::Notify,
}

/// A connection in use. Dropped before it is idle again, its statement is cancelled and it is closed.
pub(super) struct Lease {
    object: Option<Object>,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
}

impl Lease {
    pub(super) fn client(&self) -> &Object {
        self.object
            .as_ref()
            .expect("it is taken when this is dropped only")
    }

    /// Gives it back.
    fn done(lease: Arc<Self>) {
        if let Ok(mut lease) = Arc::try_unwrap(lease) {
            drop(lease.object.take());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        drop(Object::take(object));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
            runtime.spawn(async move { cancel.cancel_query(tls).await });
        }
    }
}

/// What a call does with a connection, perhaps several times.
pub(super) type Work<'w, T> =
    dyn Fn(Arc<Lease>) -> BoxFuture<'w, Result<T, Failure>> + Send + Sync + 'w;

/// A change on its way.
pub(super) struct Pending {
    /// Its id.
    pub(super) mutation: String,
    /// Whether it is being committed.
    pub(super) committing: AtomicBool,
    /// Ids that it changed, once that is known.
    pub(super) changed: Mutex<Vec<String>>,
}

impl Shared {
    async fn lease(&self) -> Result<Lease, Failure> {
        match self.pool.get().await {
            Ok(object) => Ok(Lease {
                cancel: object.cancel_token(),
                tls: self.connector.tls(),
                object: Some(object),
            }),
            Err(error) => {
                let text = self.connector.take_failure();
                Err(Failure::Unreachable(
                    text.unwrap_or_else(|| error.to_string()),
                ))
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, Option<String>> {
        self.failing.lock().unwrap_or_else(|held| held.into_inner())
    }

    /// Once on a connection. It is kept if it is of use afterwards.
    async fn once<T>(&self, work: &Work<'_, T>) -> Result<T, Failure> {
        let lease = Arc::new(self.lease().await?);
        match work(lease.clone()).await {
            Ok(value) => {
                Lease::done(lease);
                *self.failing() = None;
                Ok(value)
            }
            Err(failure @ (Failure::Away(_) | Failure::Unknown(_))) => {
                drop(lease);
                // What broke one has broken the idle ones, most likely.
                self.pool.retain(|_, _| false);
                Err(failure)
            }
            // Its cached statements may be what is wrong.
            Err(failure @ Failure::Other(_)) => {
                drop(lease);
                Err(failure)
            }
            Err(failure) => {
                if lease.client().batch_execute("ROLLBACK").await.is_ok() {
                    Lease::done(lease);
                }
                Err(failure)
            }
        }
    }

    fn answer(&self, failure: Failure) -> VectorizeError {
        let away = matches!(
            failure,
            Failure::Unreachable(_) | Failure::Away(_) | Failure::Unknown(_)
        );
        let error = failure.answer();
        if away {
            *self.failing() = Some(error.text.clone());
        }
        error
    }

    /// Whether to try again after the nth attempt. Short pauses of random length keep those apart who were in each
    /// other's way.
    async fn again(attempt: u32, failure: &Failure) -> bool {
        match failure {
            // The connection was an old one.
            Failure::Away(_) => attempt == 1,
            Failure::Conflict(_) if attempt < ATTEMPTS => {
                sleep(Duration::from_millis(fastrand::u64(1..20 << attempt))).await;
                true
            }
            _ => false,
        }
    }

    /// Reads, which can be tried again without harm.
    pub(super) async fn read<T>(
        &self,
        client: ClientId,
        work: &Work<'_, T>,
    ) -> Result<T, VectorizeError> {
        let reading = async {
            let _permit = self.admission.admit(client).await?;
            let mut attempt = 1;
            loop {
                match self.once(work).await {
                    Ok(value) => return Ok(value),
                    Err(failure) if Self::again(attempt, &failure).await => attempt += 1,
                    Err(failure) => return Err(failure),
                }
            }
        };
        match timeout_at(Instant::now() + self.timeout, reading).await {
            Ok(read) => read.map_err(|failure| self.answer(failure)),
            Err(_) => Err(timeout()),
        }
    }

    /// Writes. What breaks during a commit is looked up afterwards.
    pub(super) async fn write(
        &self,
        client: ClientId,
        pending: &Pending,
        work: &Work<'_, ()>,
    ) -> Result<(), VectorizeError> {
        let writing = async {
            let _permit = self.admission.admit(client).await?;
            let mut attempt = 1;
            loop {
                let failure = match self.once(work).await {
                    Ok(()) => return Ok(()),
                    Err(Failure::Unknown(text)) => {
                        match self.was_stored(&pending.mutation).await? {
                            true => return Ok(()),
                            false => Failure::Away(text),
                        }
                    }
                    Err(failure) => failure,
                };
                pending.committing.store(false, Ordering::Relaxed);
                match Self::again(attempt, &failure).await {
                    true => attempt += 1,
                    false => return Err(failure),
                }
            }
        };
        match timeout_at(Instant::now() + self.timeout, writing).await {
            Ok(written) => written.map_err(|failure| self.answer(failure)),
            Err(_) if pending.committing.load(Ordering::Relaxed) => {
                let text = format!("no answer within {:?}", self.timeout);
                Err(self.answer(Failure::Unknown(text)))
            }
            Err(_) => Err(timeout()),
        }
    }

    /// Whether a mutation was committed, as soon as the server is there again. The transaction that made it has the
    /// settings' row locked until it is over, one way or the other.
    async fn was_stored(&self, mutation: &str) -> Result<bool, Failure> {
        let Names {
            settings,
            mutations,
            plain,
            ..
        } = &self.names;
        let lock = format!("SELECT 1 FROM {settings} WHERE table_name = $1 FOR UPDATE");
        let find = format!("SELECT 1 FROM {mutations} WHERE table_name = $1 AND mutation = $2");
        loop {
            let found = self
                .once(&|lease: Arc<Lease>| {
                    let (lock, find) = (&lock, &find);
                    async move {
                        let client = lease.client();
                        client.batch_execute("BEGIN").await?;
                        client.query_opt(lock, &[plain]).await?;
                        let row = client.query_opt(find, &[plain, &mutation]).await?;
                        client.batch_execute("COMMIT").await?;
                        Ok(row.is_some())
                    }
                    .boxed()
                })
                .await;
            match found {
                Ok(found) => return Ok(found),
                Err(Failure::Unreachable(text) | Failure::Away(text) | Failure::Conflict(text)) => {
                    *self.failing() = Some(format!("PostgreSQL cannot be reached: {text}"));
                    sleep(Duration::from_millis(100)).await;
                }
                Err(Failure::Timeout) => {}
                Err(failure) => return Err(Failure::Unknown(failure.answer().text)),
            }
        }
    }
}

/// The index's row is not there any more.
pub(super) fn gone(names: &Names) -> VectorizeError {
    let text = format!("the index {} is not in the database any more", names.plain);
    VectorizeError::new(Code::Store, text)
}
