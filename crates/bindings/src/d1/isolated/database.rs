//! The handle that a service holds, and a call's way to a worker and back.

use std::cell::Cell;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::{Request, Response};
use binding_span::Enrichment;
use bytes::Bytes;
use js_rpc::{
    Args, ByteService, ByteStream, Context, Payload, Service, ServiceResult, async_trait,
    unknown_method,
};
use js_value::{DecodeLimits, JsError, Value};

use super::fair::Bounds;
use super::lane::Lane;
use super::process::{NoWorker, WorkerProgram};
use super::protocol::{Answered, Kind, Opening};
use super::slot::{Ended, Job, Known};
use super::state::Phase;
use super::status::{DatabaseStatus, Status};
use super::{encode, read};
use crate::d1::error::{QueryError, Written};
use crate::d1::http::{self, HttpCall};
use crate::d1::options::ReplyForm;
use crate::d1::reply::reply;
use crate::d1::spans::{self, Description};
use crate::d1::{DatabaseOptions, database};

/// How the workers of a database are started, and what they may take.
#[derive(Debug, Clone)]
pub struct Isolation {
    /// How workers are started.
    pub program: WorkerProgram,
    /// The most memory that SQLite may take in a worker, in bytes: 128 MiB. A statement that needs more fails. A
    /// worker may have 256 MiB besides, for requests and results.
    pub memory: u64,
    /// Bytes of calls that may wait for a worker of a kind, 64 MiB.
    pub max_queued_bytes: usize,
}

impl Default for Isolation {
    fn default() -> Self {
        Self {
            program: WorkerProgram::this(),
            memory: 128 << 20,
            max_queued_bytes: 64 << 20,
        }
    }
}

/// Why a database could not be opened: what, where, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct CannotOpen(#[from] NoWorker);

/// A SQLite file that is served as a D1 database, whose SQL runs in other processes.
///
/// For SQL that is not trusted: whatever a statement does, it takes no more memory, time and disk than it may, and
/// clients do not keep each other from the database. [`Database`](crate::d1::Database) is faster to start and needs no
/// processes; there, one statement can take all of the program's memory, and a thread for as long as it computes.
///
/// A handle: cloning it is cheap. It belongs to one thread, on a `tokio` runtime that can spawn local tasks, with I/O,
/// time and signals enabled. The thread must live as long as the workers do.
#[derive(Clone)]
pub struct IsolatedDatabase(Rc<Inner>);

struct Inner {
    name: String,
    options: DatabaseOptions,
    write: Rc<Lane>,
    read: Option<Rc<Lane>>,
    known: Rc<Known>,
    status: Arc<Status>,
}

/// Arguments up to here are read by this process too: it describes the call before it waits. A larger call is
/// described by its worker, before it runs.
const DESCRIBED_HERE: usize = 64 << 10;

/// What is to be seen of a call before a worker has it.
struct Seen {
    description: Option<Description>,
    reads: bool,
}

/// What came of a call.
enum Performed {
    Answered {
        body: Vec<u8>,
        /// Whether the answer is a failure.
        failed: bool,
        /// The bookmark.
        session: Option<String>,
    },
    /// Its arguments are not what D1 takes.
    Refused(JsError),
    Failed(QueryError),
}

impl IsolatedDatabase {
    /// Opens the file, in a process that is started for it.
    ///
    /// # Errors
    /// [`CannotOpen`] says what is wrong with the file and what to do.
    pub async fn open(
        path: impl AsRef<Path>,
        options: DatabaseOptions,
        isolation: Isolation,
    ) -> Result<Self, CannotOpen> {
        let path = path.as_ref();
        let name = options.name.clone();
        let name = name.unwrap_or_else(|| database::name_of(path));
        let status = Status::new(path);
        let bounds = Bounds {
            calls: options.max_queued,
            bytes: isolation.max_queued_bytes,
        };
        let lane = |writes, most| {
            let opening = Opening {
                path: path.to_owned(),
                writes,
                memory: isolation.memory,
                options: DatabaseOptions {
                    create: options.create && writes,
                    name: Some(name.clone()),
                    ..options.clone()
                },
            };
            let program = isolation.program.clone();
            Lane::new(program, opening, most, bounds, Arc::clone(&status))
        };
        let write = lane(true, 1);
        write.open().await?;
        status.set_failing(None);
        let read = (options.readers > 0).then(|| lane(false, options.readers));
        if let Some(read) = &read {
            read.open().await?;
        }
        let inner = Rc::new(Inner {
            name,
            options,
            write,
            read,
            known: Rc::default(),
            status,
        });
        tokio::task::spawn_local(look_after(Rc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The name that spans carry as `db.namespace`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it is doing, for other threads.
    pub fn status(&self) -> DatabaseStatus {
        DatabaseStatus(Arc::clone(&self.0.status))
    }

    /// Opens the file that is at the path now, if calls fail at present. This is tried each second anyway; whoever has put
    /// a file back hears so what came of it.
    ///
    /// # Errors
    /// Why calls still fail.
    pub async fn reopen(&self) -> Result<(), String> {
        let status = self.status();
        let patience = Instant::now() + 2 * LOOK;
        while let Some(why) = status.failing() {
            if Instant::now() > patience {
                return Err(why);
            }
            self.0.reopen();
            tokio::time::sleep(LOOK / 20).await;
        }
        Ok(())
    }

    /// Takes no more calls, finishes those that run, and closes the file.
    pub async fn close(&self) {
        let Inner { write, read, .. } = &*self.0;
        // The writer last: it leaves one file behind.
        if let Some(read) = read {
            read.close();
            read.closed().await;
        }
        write.close();
        write.closed().await;
    }

    async fn query(&self, arguments: Vec<u8>, cx: &Context) -> Result<Vec<u8>, JsError> {
        let DatabaseOptions {
            reply: form,
            integers,
            ..
        } = self.0.options;
        match self.perform(Kind::Method, arguments, cx).await {
            Performed::Answered { body, failed, .. } if failed && form == ReplyForm::New => {
                Err(thrown(&body))
            }
            Performed::Answered { body, .. } => Ok(body),
            Performed::Refused(error) => Err(error),
            Performed::Failed(error) => Ok(encode(&reply(Err(error), form, integers)?)),
        }
    }

    /// Answers a plain HTTP request of D1's, and enriches as for a call of `query`. It never fails: what is wrong is in the
    /// answer. For those who serve requests by other means than [`Service::fetch`].
    pub async fn answer_http(&self, request: Request<Bytes>, cx: &Context) -> Response<Bytes> {
        match HttpCall::of_whole(request, &self.0.options) {
            Ok((call, body)) => self.answer_http_call(call, body, cx).await,
            Err(refusal) => refusal.into(),
        }
    }

    async fn answer_http_call(&self, call: HttpCall, body: Bytes, cx: &Context) -> Response<Bytes> {
        match self.perform(Kind::Http(call), Vec::from(body), cx).await {
            Performed::Answered { body, session, .. } => http::answered(body, session.as_deref()),
            Performed::Refused(error) => http::not_understood(&error.message),
            Performed::Failed(error) => http::failed(&error),
        }
    }

    /// Runs a call, however it was made, and says what it is about before and what came of it after.
    async fn perform(&self, kind: Kind, arguments: Vec<u8>, cx: &Context) -> Performed {
        let seen = match self.look_into(&kind, &arguments) {
            Ok(seen) => seen,
            Err(error) => return Performed::Refused(error),
        };
        if let Some(description) = &seen.description {
            cx.enrich(description.before());
        }
        let mut span = cx.child_span("sqlite.transaction");
        span.attribute("db.system.name", "sqlite");
        let error = match self.run(kind, arguments, &seen, cx).await {
            Ok(Ended::Answered(answered, body)) => {
                let Answered {
                    failure,
                    tags,
                    session,
                    ..
                } = answered;
                let failed = failure.is_some();
                if let Some((kind, message)) = failure {
                    span.fail(&kind, &message);
                }
                drop(span);
                cx.enrich(tags.into());
                return Performed::Answered {
                    body,
                    failed,
                    session,
                };
            }
            Ok(Ended::Refused(error)) => return Performed::Refused(thrown(&error)),
            Ok(other) => self.error(other),
            Err(error) => error,
        };
        span.fail(error.error_type(), &error.to_string());
        drop(span);
        cx.enrich(spans::failure(&error));
        Performed::Failed(error)
    }

    fn look_into(&self, kind: &Kind, arguments: &[u8]) -> Result<Seen, JsError> {
        if arguments.len() > DESCRIBED_HERE {
            return Ok(Seen {
                description: None,
                reads: !mentions_a_write(arguments),
            });
        }
        let (request, _) = read(kind, arguments)?;
        Ok(Seen {
            description: Some(Description::of(&self.0.name, &request)),
            reads: request.looks_readonly(),
        })
    }

    /// Runs a call on the workers, as often as it gives way to others.
    async fn run(
        &self,
        kind: Kind,
        arguments: Vec<u8>,
        seen: &Seen,
        cx: &Context,
    ) -> Result<Ended, QueryError> {
        let deadline = Instant::now() + self.0.options.timeout;
        let mut lane = match &self.0.read {
            Some(read) if seen.reads => read,
            _ => &self.0.write,
        };
        let mut job = Job {
            client: cx.client(),
            kind,
            arguments: Rc::new(arguments),
            deadline,
            describe: seen.description.is_none(),
            known: Rc::clone(&self.0.known),
        };
        let described = Cell::new(!job.describe);
        let (mut again, mut retried) = (false, false);
        loop {
            let slot = match lane.try_start(&job) {
                Some(slot) => slot,
                None => {
                    let waiting = lane.start_in_turn(job.clone(), again);
                    let slot = tokio::time::timeout_at(deadline.into(), waiting).await;
                    slot.unwrap_or(Err(match again {
                        true => QueryError::GaveWay,
                        false => QueryError::QueuedTooLong,
                    }))?
                }
            };
            let ended = slot.end(|about| {
                described.set(true);
                cx.enrich(Enrichment::from(about));
            });
            match ended.await {
                Ended::NeedsWriter if !Rc::ptr_eq(lane, &self.0.write) => {
                    lane = &self.0.write;
                    again = false;
                }
                Ended::GaveWay => again = true,
                // To read once more changes nothing; what ends each process that runs it does not end a third.
                Ended::Lost { .. } if !Rc::ptr_eq(lane, &self.0.write) && !retried => {
                    retried = true;
                }
                ended => {
                    self.learn(&ended);
                    return Ok(ended);
                }
            }
            job.describe = !described.get();
        }
    }

    fn learn(&self, ended: &Ended) {
        if let Ended::Answered(answered, _) = ended {
            let Known {
                bookmark,
                last_row_id,
            } = &*self.0.known;
            bookmark.set(bookmark.get().max(answered.bookmark));
            if answered.wrote {
                last_row_id.set(answered.last_row_id);
            }
        }
    }

    /// Why there is no answer.
    fn error(&self, ended: Ended) -> QueryError {
        match ended {
            Ended::Lost { how, phase } => QueryError::WorkerLost {
                how: how.into(),
                written: match phase {
                    Phase::Running => Written::Nothing,
                    Phase::Committing => Written::Perhaps,
                    Phase::Committed => Written::All,
                },
            },
            Ended::TimeIsUp => QueryError::Timeout(self.0.options.timeout),
            _ => QueryError::Internal,
        }
    }
}

impl Inner {
    /// Replaces the workers by those that open what is at the path now.
    fn reopen(&self) {
        self.write.reopen();
        if let Some(read) = &self.read {
            read.reopen();
        }
    }
}

/// Notices that the file was removed or replaced also while nobody calls.
async fn look_after(database: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(database) = database.upgrade() else {
            return;
        };
        if database.status.is_moved() {
            database.reopen();
        }
    }
}

/// Between two looks at whether the file is where it was.
const LOOK: Duration = Duration::from_secs(1);

/// An error that a worker threw.
fn thrown(error: &[u8]) -> JsError {
    match js_value::decode(error, &DecodeLimits::default()) {
        Ok(Value::Error(error)) => *error,
        _ => JsError::type_error("query: the argument cannot be read"),
    }
}

/// Whether bytes that are not read here hold a word with which statements begin that write. To be wrong costs a way
/// to the other kind of worker.
fn mentions_a_write(arguments: &[u8]) -> bool {
    const WORDS: [&[u8]; 8] = [
        b"insert", b"update", b"delete", b"replace", b"create", b"alter", b"drop", b"pragma",
    ];
    let begins = |bytes: &[u8], word: &[u8]| {
        let start = bytes.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let head = arguments.get(..DESCRIBED_HERE).unwrap_or(arguments);
    (0..head.len()).any(|at| {
        head.get(at..)
            .is_some_and(|rest| WORDS.iter().any(|word| begins(rest, word)))
    })
}

#[async_trait(?Send)]
impl ByteService for IsolatedDatabase {
    async fn call(&self, method: &str, args: Vec<u8>, cx: &Context) -> Result<Vec<u8>, JsError> {
        match method {
            "query" => self.query(args, cx).await,
            other => unknown_method(other),
        }
    }
}

/// The binding as a Worker calls it: `query` is its only method; or as a Worker sends it plain HTTP.
#[async_trait(?Send)]
impl Service for IsolatedDatabase {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        let args = js_value::encode_args(&args.values);
        let args = args.map_err(|error| JsError::type_error(error.to_string()))?;
        let result = ByteService::call(self, method, args, cx).await?;
        let value = js_value::decode(&result, &DecodeLimits::default());
        let value = value.map_err(|error| JsError::error(error.to_string()))?;
        Ok(Payload::from(value))
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        let answer = match HttpCall::receive(request, &self.0.options).await {
            Ok((call, body)) => self.answer_http_call(call, body, cx).await,
            Err(refusal) => refusal.into(),
        };
        Ok(answer.map(ByteStream::from))
    }

    fn as_bytes(&self) -> Option<&dyn ByteService> {
        Some(self)
    }
}
