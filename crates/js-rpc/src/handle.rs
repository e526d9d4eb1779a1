//! A handle on a connection for applications that are not single-threaded: `Send`, `Sync`, `Clone`.
//!
//! Cap'n Proto objects belong to one thread. Here that is a thread of its own, which the handles talk
//! to over a channel; the caller's span, scope and subscriber travel along.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::IntoFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use binding_span::{SpanContext, StatedError};
use js_value::Value;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tracing::instrument::{Instrument, WithSubscriber};

use crate::object::{Args, ByteSink, ByteStream, ConvertError, External, IntoArgs, Payload, Reply};
use crate::{Address, CallBuilder, CallError, ConnectOptions, LazyConnection, Stub};

/// A connection to a callee for any thread and any runtime. Clones share the connection; it is closed
/// when the last clone and the last [`RemoteStub`] is dropped, and made again, for the next call, after
/// it was lost.
///
/// ```no_run
/// use js_rpc::{Client, ConnectOptions};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("unix:/run/callee.sock".parse()?, ConnectOptions::default()).await?;
/// let sum: i64 = client.call("MATH", "add", (1, 2)).await?.parse()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
}

type Job = Box<dyn FnOnce(&Rc<Thread>) + Send>;

impl Client {
    /// Starts the connection's thread and connects.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] says where to and why not.
    pub async fn connect(address: Address, options: ConnectOptions) -> Result<Self, CallError> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (connected, is_connected) = oneshot::channel();
        let failed = |reason: String| CallError::cannot_connect(&address, &reason);
        let there = address.clone();
        std::thread::Builder::new()
            .name("js-rpc".into())
            .spawn(move || run(there, options, queue, connected))
            .map_err(|error| failed(format!("cannot start a thread: {error}")))?;
        let gone = || failed("the connection's thread ended".into());
        is_connected.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { jobs })
    }

    /// Calls a method of a binding, below the current `tracing` span.
    ///
    /// # Errors
    /// As for [`CallBuilder`].
    pub async fn call(
        &self,
        binding: &str,
        method: &str,
        args: impl IntoArgs,
    ) -> Result<RemoteReply, CallError> {
        self.call_with(binding, method, args, CallOptions::default())
            .await
    }

    /// Calls a method with a deadline, or below a span that is not the current one.
    ///
    /// # Errors
    /// As for [`CallBuilder`].
    pub async fn call_with(
        &self,
        binding: &str,
        method: &str,
        args: impl IntoArgs,
        options: CallOptions,
    ) -> Result<RemoteReply, CallError> {
        let args = SendArgs::of(args)?;
        let (binding, method) = (binding.to_owned(), method.to_owned());
        let call = move |thread: &Thread| {
            let binding = thread.connection.binding(&binding);
            Ok(binding.call(&method, args.into_args()))
        };
        self.run(call, options).await
    }

    /// Has a binding answer an HTTP request, as [`Binding::fetch`](crate::Binding::fetch).
    ///
    /// # Errors
    /// As there.
    pub async fn fetch(
        &self,
        binding: &str,
        request: http::Request<ByteStream>,
    ) -> Result<http::Response<ByteStream>, CallError> {
        let binding = binding.to_owned();
        let (answer, answered) = oneshot::channel();
        let here = Here::now(CallOptions::default());
        let job: Job = Box::new(move |thread| {
            let binding = thread.connection.binding(&binding);
            let Here {
                dispatch,
                span,
                scope,
                ..
            } = here;
            let task = async move {
                let mut answer = answer;
                // Whose child its span is shows when it is first polled.
                let fetch = scope.scope(binding.fetch(request).instrument(span));
                let outcome = tokio::select! {
                    outcome = fetch => outcome,
                    () = answer.closed() => return,
                };
                let _ = answer.send(outcome);
            };
            tokio::task::spawn_local(task.with_subscriber(dispatch));
        });
        let gone = || CallError::Disconnected("the connection's thread ended".into());
        self.jobs.send(job).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Runs a call on the connection's thread; dropping the future cancels it.
    async fn run<F>(&self, call: F, options: CallOptions) -> Result<RemoteReply, CallError>
    where
        F: FnOnce(&Thread) -> Result<CallBuilder, CallError> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let here = Here::now(options);
        let jobs = self.jobs.clone();
        let job: Job = Box::new(move |thread| {
            let thread = Rc::clone(thread);
            let dispatch = here.dispatch.clone();
            let task = async move {
                let mut reply = reply;
                let outcome = tokio::select! {
                    outcome = here.run(call, &thread) => outcome,
                    () = reply.closed() => return,
                };
                let _ = reply.send(outcome.map(|reply| thread.hand_out(reply, &jobs)));
            };
            tokio::task::spawn_local(task.with_subscriber(dispatch));
        });
        let gone = || CallError::Disconnected("the connection's thread ended".into());
        self.jobs.send(job).map_err(|_| gone())?;
        replied.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// How a call of a [`Client`] differs from the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// How long it may take; [`RpcLimits::call`](crate::RpcLimits) by default.
    pub deadline: Option<Duration>,
    /// The span that the call's is a child of; the current `tracing` span by default.
    pub parent: Option<SpanContext>,
}

/// Arguments that can go to another thread.
struct SendArgs {
    values: Vec<Value>,
    streams: Vec<SendStream>,
}

enum SendStream {
    Readable(ByteStream),
    Writable(ByteSink),
}

impl SendArgs {
    fn of(args: impl IntoArgs) -> Result<Self, CallError> {
        let args = args
            .into_args()
            .map_err(|error| CallError::Arguments(error.to_string()))?;
        let streams = args.externals.into_iter();
        let streams = streams.map(|external| match external {
            External::Readable(stream) => Ok(SendStream::Readable(stream)),
            External::Writable(sink) => Ok(SendStream::Writable(sink)),
            External::Stub(_) => Err(CallError::Arguments(
                "a stub belongs to one thread and cannot be passed through a Client; use a \
                 Connection"
                    .into(),
            )),
        });
        Ok(Self {
            values: args.values,
            streams: streams.collect::<Result<_, _>>()?,
        })
    }

    fn into_args(self) -> Args {
        let externals = self.streams.into_iter().map(|stream| match stream {
            SendStream::Readable(stream) => External::Readable(stream),
            SendStream::Writable(sink) => External::Writable(sink),
        });
        Args {
            values: self.values,
            externals: externals.collect(),
        }
    }
}

/// What of the calling thread travels with a call.
struct Here {
    dispatch: tracing::Dispatch,
    span: tracing::Span,
    scope: binding_span::CallScope,
    options: CallOptions,
}

impl Here {
    fn now(options: CallOptions) -> Self {
        Self {
            dispatch: tracing::dispatcher::get_default(Clone::clone),
            span: tracing::Span::current(),
            scope: binding_span::current(),
            options,
        }
    }

    async fn run<F>(self, call: F, thread: &Thread) -> Result<Reply, CallError>
    where
        F: FnOnce(&Thread) -> Result<CallBuilder, CallError>,
    {
        let mut builder = call(thread)?;
        if let Some(limit) = self.options.deadline {
            builder = builder.deadline(limit);
        }
        if let Some(parent) = self.options.parent {
            builder = builder.parent(parent);
        }
        let pending = self
            .scope
            .in_scope(|| self.span.in_scope(|| builder.into_future()));
        pending.await
    }
}

/// What lives on the connection's thread.
struct Thread {
    connection: LazyConnection,
    /// The stubs that handles refer to by number.
    held: RefCell<HashMap<u64, Stub>>,
    next: std::cell::Cell<u64>,
}

impl Thread {
    fn new(address: Address, options: ConnectOptions) -> Self {
        Self {
            connection: LazyConnection::new(address, options),
            held: RefCell::default(),
            next: std::cell::Cell::default(),
        }
    }

    /// A reply for another thread: its stubs stay here, and handles on them go.
    fn hand_out(&self, mut reply: Reply, jobs: &mpsc::UnboundedSender<Job>) -> RemoteReply {
        let stated = reply.stated.take();
        let payload = reply.into_payload();
        let hold = |stub| {
            let id = self.next.get();
            self.next.set(id + 1);
            self.held.borrow_mut().insert(id, stub);
            RemoteStub(Arc::new(Held {
                id,
                client: Client { jobs: jobs.clone() },
            }))
        };
        let externals = payload.externals.into_iter();
        let externals = externals.map(|external| match external {
            External::Stub(stub) => RemoteExternal::Stub(hold(stub)),
            External::Readable(stream) => RemoteExternal::Readable(stream),
            External::Writable(sink) => RemoteExternal::Writable(sink),
        });
        RemoteReply {
            value: payload.value,
            externals: externals.collect(),
            stated,
        }
    }
}

fn run(
    address: Address,
    options: ConnectOptions,
    mut queue: mpsc::UnboundedReceiver<Job>,
    connected: oneshot::Sender<Result<(), CallError>>,
) {
    let failed = |error: std::io::Error| {
        CallError::cannot_connect(&address, &format!("cannot start a runtime: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(connected.send(Err(failed(error)))),
    };
    runtime.block_on(async {
        let thread = Rc::new(Thread::new(address, options));
        let outcome = thread.connection.connect().await.map(drop);
        let go_on = outcome.is_ok();
        let _ = connected.send(outcome);
        while go_on && let Some(job) = queue.recv().await {
            job(&thread);
        }
        close(&thread).await;
    });
}

/// Lets the connection say goodbye before the runtime is gone.
async fn close(thread: &Thread) {
    thread.held.borrow_mut().clear();
    thread.connection.clone().close().await;
}

/// The result of a call, for any thread.
#[derive(Debug, Clone)]
pub struct RemoteReply {
    value: Value,
    externals: Vec<RemoteExternal>,
    stated: Option<Box<StatedError>>,
}

/// What a value refers to by number and cannot contain, for any thread.
#[derive(Debug, Clone)]
pub enum RemoteExternal {
    /// An object that can be called.
    Stub(RemoteStub),
    /// Bytes to read.
    Readable(ByteStream),
    /// Where to write bytes to.
    Writable(ByteSink),
}

impl RemoteReply {
    /// The value; `Value::Stub(n)` in it is `stub(n)`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The stub of `Value::Stub(n)`.
    pub fn stub(&self, n: u32) -> Option<&RemoteStub> {
        match self.externals.get(n as usize)? {
            RemoteExternal::Stub(stub) => Some(stub),
            _ => None,
        }
    }

    /// What the value refers to, in order of appearance.
    pub fn externals(&self) -> &[RemoteExternal] {
        &self.externals
    }

    /// What the callee says went wrong, as for [`Reply::stated_error`](crate::Reply::stated_error).
    pub fn stated_error(&self) -> Option<&StatedError> {
        self.stated.as_deref()
    }

    /// The result as a type of yours, without stubs in it.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, ConvertError> {
        Payload::from(self.value).parse()
    }

    /// The value as JSON, in the mapping that `js_value` documents.
    pub fn to_json(&self) -> Result<serde_json::Value, ConvertError> {
        Payload::from(self.value.clone()).to_json()
    }
}

/// A handle on an object of the callee's. Clones are the same object; dropping the last one lets go of
/// it.
#[derive(Debug, Clone)]
pub struct RemoteStub(Arc<Held>);

struct Held {
    id: u64,
    client: Client,
}

impl RemoteStub {
    /// Calls a method of the object, below the span of the session that it came through.
    ///
    /// # Errors
    /// As for [`CallBuilder`].
    pub async fn call(&self, method: &str, args: impl IntoArgs) -> Result<RemoteReply, CallError> {
        let args = SendArgs::of(args)?;
        let (id, method) = (self.0.id, method.to_owned());
        let call = move |thread: &Thread| {
            let stub = thread.held.borrow().get(&id).cloned();
            let stub = stub.ok_or_else(|| CallError::Disconnected("the stub is gone".into()))?;
            Ok(stub.call(&method, args.into_args()))
        };
        self.0.client.run(call, CallOptions::default()).await
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let id = self.id;
        let release: Job = Box::new(move |thread| {
            let stub = thread.held.borrow_mut().remove(&id);
            drop(stub);
        });
        // Without the thread there is nothing to let go of.
        let _ = self.client.jobs.send(release);
    }
}
