//! The index: its store, its limits and what its calls say, behind one handle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use binding_span::CallScope;
use js_rpc::ClientId;

use super::backend::{Backend, Status};
use super::error::{Code, VectorizeError};
use super::operation::Operation;
use super::options::{IndexOptions, OpenError, Shape, Store};
use super::reply::Reply;
use super::request::Request;
use super::spans;
use super::vector::{Found, Info, Mutation, Query, Search, Vector, Write};

/// Hears of every operation when it has ended. It is called on the thread that serves the call, and must not wait.
pub trait OperationSink: Send + Sync + 'static {
    /// An operation has ended, whatever came of it.
    fn ended(&self, operation: &Operated);
}

/// An operation that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operated {
    /// What was asked for.
    pub operation: Operation,
    /// Why it failed, if it did.
    pub error: Option<Code>,
    /// Whether its caller went away before it had ended. What was stored until then stays.
    pub canceled: bool,
    /// How long it took, its wait included.
    pub took: Duration,
    /// Vectors that were stored, deleted or returned.
    pub vectors: u64,
    /// How a query was answered.
    pub search: Option<Search>,
    /// Vectors that were compared, where that is known.
    pub scanned: Option<u64>,
}

/// A Vectorize index. Clones are the same one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use bindings::vectorize::{IndexOptions, MetadataLevel, Metric, Nearest, Query, Store, Vector, Vectorize, Write};
///
/// let folder = tempfile::tempdir().unwrap();
/// let options = IndexOptions {
///     create: true,
///     dimensions: Some(2),
///     metric: Some(Metric::Cosine),
///     ..IndexOptions::default()
/// };
/// let store = Store::File(folder.path().join("docs.sqlite"));
/// let index = Vectorize::open("docs", store, options, None).await.unwrap();
/// let vector = |id: &str, values: [f32; 2]| Vector {
///     id: id.to_owned(),
///     values: values.to_vec(),
///     namespace: None,
///     metadata: None,
/// };
/// let vectors = vec![vector("east", [1.0, 0.0]), vector("north", [0.0, 1.0])];
/// index.write(Write::Upsert, vectors).await.unwrap();
/// let query = Query {
///     nearest: Nearest::To(vec![0.9, 0.1]),
///     top_k: 1,
///     namespace: None,
///     filter: None,
///     values: false,
///     metadata: MetadataLevel::None,
/// };
/// assert_eq!(index.query(query).await.unwrap().matches[0].id, "east");
/// index.close().await;
/// # });
/// ```
#[derive(Clone)]
pub struct Vectorize(Arc<Inner>);

struct Inner {
    name: String,
    options: IndexOptions,
    shape: Shape,
    store: Arc<dyn Backend>,
    sink: Option<Arc<dyn OperationSink>>,
}

impl Vectorize {
    /// Opens an index, or creates it.
    ///
    /// # Errors
    /// When the store cannot be opened, or the options contradict it.
    pub async fn open(
        name: impl Into<String>,
        store: Store,
        options: IndexOptions,
        sink: Option<Arc<dyn OperationSink>>,
    ) -> Result<Self, OpenError> {
        let store = super::open_store(&store, &options).await?;
        let opened = Self::with_backend(name, store, options, sink).await;
        opened.map_err(|error| OpenError::Store(error.to_string()))
    }

    pub(super) async fn with_backend(
        name: impl Into<String>,
        store: Arc<dyn Backend>,
        options: IndexOptions,
        sink: Option<Arc<dyn OperationSink>>,
    ) -> Result<Self, VectorizeError> {
        let info = store.info().await?;
        let shape = Shape {
            dimensions: info.dimensions,
            metric: info.metric,
        };
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            options,
            shape,
            store,
            sink,
        })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it was opened with.
    pub fn options(&self) -> &IndexOptions {
        &self.0.options
    }

    /// What does not change in it.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// How its store is doing.
    pub fn status(&self) -> Status {
        self.0.store.status()
    }

    /// What it is, and how far it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn info(&self) -> Result<Info, VectorizeError> {
        match self.ask(Request::Describe).await? {
            Reply::Info(info) => Ok(info),
            _ => Err(mismatch()),
        }
    }

    /// Stores all of a batch, or nothing of it.
    ///
    /// # Errors
    /// When a vector is not one of this index, a limit is exceeded or the store fails.
    pub async fn write(
        &self,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError> {
        match self.ask(Request::Write(write, vectors)).await? {
            Reply::Mutation(mutation) => Ok(mutation),
            _ => Err(mismatch()),
        }
    }

    /// Deletes the vectors with these ids, those that there are.
    ///
    /// # Errors
    /// When a limit is exceeded or the store fails.
    pub async fn delete(&self, ids: Vec<String>) -> Result<Mutation, VectorizeError> {
        match self.ask(Request::Delete(ids)).await? {
            Reply::Mutation(mutation) => Ok(mutation),
            _ => Err(mismatch()),
        }
    }

    /// The vectors with these ids, those that there are, in this order.
    ///
    /// # Errors
    /// When a limit is exceeded or the store fails.
    pub async fn get(&self, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError> {
        match self.ask(Request::Get(ids)).await? {
            Reply::Vectors(vectors) => Ok(vectors),
            _ => Err(mismatch()),
        }
    }

    /// The nearest vectors.
    ///
    /// # Errors
    /// When the query is not one for this index, a limit is exceeded or the store fails.
    pub async fn query(&self, query: Query) -> Result<Found, VectorizeError> {
        match self.ask(Request::Query(query)).await? {
            Reply::Found(found) => Ok(found),
            _ => Err(mismatch()),
        }
    }

    /// Opens a store again that failed.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn reopen(&self) -> Result<(), String> {
        self.0.store.reopen().await
    }

    /// Finishes what it is doing, and lets go of the store.
    pub async fn close(&self) {
        self.0.store.close().await;
    }

    /// Its store.
    pub(super) fn store(&self) -> &dyn Backend {
        &*self.0.store
    }

    /// A request of this process.
    async fn ask(&self, request: Request) -> Result<Reply, VectorizeError> {
        let operation = request.operation();
        let call = CallScope::detached();
        self.perform(operation, ClientId::LOCAL, &call, async { Ok(request) })
            .await
    }

    /// Answers a request that is yet to be read, and puts it on the span: what it is before it is read, what it asks for
    /// before it runs, and what came of it.
    pub(super) async fn perform(
        &self,
        operation: Operation,
        client: ClientId,
        call: &CallScope,
        request: impl Future<Output = Result<Request, VectorizeError>>,
    ) -> Result<Reply, VectorizeError> {
        let mut unfinished = Unfinished {
            sink: self.0.sink.as_deref(),
            operation,
            began: Instant::now(),
        };
        let begun = |operation| spans::begun(operation, &self.0.name, self.0.shape);
        call.enrich(begun(operation));
        let request = request.await;
        // By plain HTTP the body has whether a query is by an id.
        let known = request.as_ref().map_or(operation, Request::operation);
        if known != operation {
            call.enrich(begun(known));
        }
        let operation = known;
        unfinished.operation = operation;
        let result = match request {
            Ok(request) => self.run(operation, client, call, request).await,
            Err(error) => Err(error),
        };
        call.enrich(match &result {
            Ok(reply) => spans::answered(reply),
            Err(error) => spans::failed(operation, error),
        });
        unfinished.ended(&result);
        result
    }

    async fn run(
        &self,
        operation: Operation,
        client: ClientId,
        call: &CallScope,
        request: Request,
    ) -> Result<Reply, VectorizeError> {
        let Inner {
            shape,
            options,
            store,
            ..
        } = &*self.0;
        call.enrich(spans::asked(&request, &options.limits));
        request.check(shape.dimensions, options)?;
        let mut span = call.child_span(match &request {
            Request::Query(_) => "vectorize.search",
            Request::Write(..) | Request::Delete(_) => "vectorize.write",
            Request::Describe | Request::Get(_) => "vectorize.read",
        });
        let result = match request {
            Request::Describe => store.info().await.map(Reply::Info),
            Request::Query(query) => {
                let found = store.query(client, query).await;
                found.map(|found| Reply::Found(without_negative_zeros(found)))
            }
            Request::Write(write, vectors) => {
                let written = store.write(client, write, vectors).await;
                written.map(Reply::Mutation)
            }
            Request::Get(ids) => store.get(client, ids).await.map(Reply::Vectors),
            Request::Delete(ids) => store.delete(client, ids).await.map(Reply::Mutation),
        };
        if let Err(error) = &result {
            span.fail(error.code.name(), &spans::stated(operation, error));
        }
        result
    }
}

/// A reply that does not go with its request: no store gives one.
fn mismatch() -> VectorizeError {
    VectorizeError::new(Code::Store, "the store answered something else")
}

/// A negated dot product can be a negative zero, which no reply shows.
fn without_negative_zeros(mut found: Found) -> Found {
    for one in &mut found.matches {
        one.score += 0.0;
    }
    found
}

/// An operation that has not ended yet. Its future may be dropped, and then it was canceled.
struct Unfinished<'a> {
    sink: Option<&'a dyn OperationSink>,
    operation: Operation,
    began: Instant,
}

impl Unfinished<'_> {
    fn ended(mut self, result: &Result<Reply, VectorizeError>) {
        if let Some(sink) = self.sink.take() {
            let mut operated = self.operated();
            operated.set(result);
            sink.ended(&operated);
        }
    }

    fn operated(&self) -> Operated {
        Operated {
            operation: self.operation,
            error: None,
            canceled: false,
            took: self.began.elapsed(),
            vectors: 0,
            search: None,
            scanned: None,
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            let canceled = true;
            sink.ended(&Operated {
                canceled,
                ..self.operated()
            });
        }
    }
}

impl Operated {
    fn set(&mut self, result: &Result<Reply, VectorizeError>) {
        match result {
            Ok(Reply::Info(_)) => {}
            Ok(Reply::Found(found)) => {
                self.vectors = found.matches.len() as u64;
                self.search = Some(found.search);
                self.scanned = found.scanned;
            }
            Ok(Reply::Mutation(mutation)) => self.vectors = mutation.ids.len() as u64,
            Ok(Reply::Vectors(vectors)) => self.vectors = vectors.len() as u64,
            Err(error) => self.error = Some(error.code),
        }
    }
}
