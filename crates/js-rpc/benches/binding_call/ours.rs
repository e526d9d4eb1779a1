//! Our own calls: of a binding, and of a stub that is held.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binding_span::SpanSink;
use js_rpc::{
    Address, Args, CallBuilder, ConnectOptions, Connection, Context, Enrichment, Listener, Server,
    Service, ServiceResult, Stub, async_trait, reply,
};

use crate::{Answer, Counted, Load};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum On {
    /// A stub that was obtained before.
    HeldStub,
    /// A binding: each call has a session of its own.
    Binding(Opening),
}

/// How a session is opened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Opening {
    /// By the call itself, which our own callees understand.
    OneMessage,
    /// By three calls, as to a workerd.
    ThreeCalls,
}

impl Opening {
    fn options(self) -> ConnectOptions {
        let mut options = ConnectOptions::default();
        match self {
            Self::OneMessage => {}
            Self::ThreeCalls => three_calls(&mut options),
        }
        options
    }
}

fn three_calls(options: &mut ConnectOptions) {
    options.limits.one_message = false;
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    pub on: On,
    /// Whether the callee says a name and two attributes.
    pub said: bool,
    /// Whether anybody wants the span.
    pub watched: bool,
}

struct Callee;

#[async_trait(?Send)]
impl Service for Callee {
    async fn call(&self, method: &str, _args: Args, cx: &Context) -> ServiceResult {
        if method == "hold" {
            return reply(&Stub::new(Self));
        }
        if method == "enriched" {
            cx.enrich(
                Enrichment::new()
                    .name("d1.query")
                    .attribute("db.system.name", "sqlite")
                    .attribute("db.response.returned_rows", 3),
            );
        }
        reply(&Answer::default())
    }
}

pub async fn serve(path: &Path, ready: impl FnOnce()) {
    let listener = Listener::bind(&Address::Unix(path.into()))
        .await
        .expect("a socket");
    ready();
    let forever = std::future::pending();
    Server::new()
        .service("B", Callee)
        .serve([listener], forever)
        .await;
}

async fn connect(path: &Path, options: ConnectOptions) -> Connection {
    let address = Address::Unix(path.into());
    let connection = Connection::connect(&address, options).await;
    connection.expect("the callee")
}

async fn answered(call: CallBuilder) {
    let reply = call.await.expect("an answer");
    assert!(reply.value().get("ok").is_some());
}

pub async fn round(path: &Path, job: Job, load: Load, sink: &Arc<Counted>) -> Duration {
    let mut options = match job.on {
        On::HeldStub => ConnectOptions::default(),
        On::Binding(opening) => opening.options(),
    };
    if job.watched {
        options.sinks = Arc::new([Arc::clone(sink) as Arc<dyn SpanSink>]);
    }
    let binding = connect(path, options).await.binding("B");
    let method = if job.said { "enriched" } else { "plain" };
    match job.on {
        On::HeldStub => {
            let held = binding.call("hold", ()).await.expect("a stub");
            let stub = held.stub(0).unwrap();
            load.time(|| answered(stub.call(method, (3,)))).await
        }
        On::Binding(_) => load.time(|| answered(binding.call(method, (3,)))).await,
    }
}

/// Whether a session is opened by one message, judged by the messages that a binding call sends: 11 with
/// three calls, and no more than call, finish and release with one.
pub async fn opens_by_one_message(path: &Path) -> bool {
    const CALLS: u64 = 100;
    let options = Opening::OneMessage.options();
    let stats = options.limits.network.stats.clone();
    let binding = connect(path, options).await.binding("B");
    answered(binding.call("plain", (3,))).await;
    let before = stats.frames_out();
    for _ in 0..CALLS {
        answered(binding.call("plain", (3,))).await;
    }
    stats.frames_out() - before < 5 * CALLS
}

/// Bytes that the callee sends for one call, counted between two sockets.
pub async fn bytes(path: &Path) {
    println!("\nbytes from the callee a call");
    for (said, method) in [
        ("nothing said", "plain"),
        ("name + 2 attributes", "enriched"),
    ] {
        let counted = Arc::new(AtomicU64::new(0));
        let through = relay(path, Arc::clone(&counted));
        let binding = connect(&through, ConnectOptions::default())
            .await
            .binding("B");
        let settle = || tokio::time::sleep(Duration::from_millis(50));
        answered(binding.call(method, (3,))).await;
        settle().await;
        let before = counted.load(Ordering::Relaxed);
        const CALLS: u64 = 100;
        for _ in 0..CALLS {
            answered(binding.call(method, (3,))).await;
        }
        settle().await;
        let sent = counted.load(Ordering::Relaxed) - before;
        println!("  {said:<56} {:>8.1}", sent as f64 / CALLS as f64);
    }
}

/// A socket that passes everything on to the callee, and counts what comes back.
fn relay(callee: &Path, counted: Arc<AtomicU64>) -> PathBuf {
    let path = callee.with_file_name(format!("relay-{}", fastrand::u32(..)));
    let listener = UnixListener::bind(&path).expect("a socket");
    let callee = callee.to_owned();
    std::thread::spawn(move || {
        let (near, _) = listener.accept().expect("a connection");
        let far = UnixStream::connect(callee).expect("the callee");
        let copy = |mut from: UnixStream, mut to: UnixStream, count: Option<Arc<AtomicU64>>| {
            std::thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    if let Some(count) = &count {
                        count.fetch_add(n as u64, Ordering::Relaxed);
                    }
                    if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
            })
        };
        let (near2, far2) = (
            near.try_clone().expect("a handle"),
            far.try_clone().expect("a handle"),
        );
        copy(near, far, None);
        copy(far2, near2, Some(counted));
    });
    path
}
