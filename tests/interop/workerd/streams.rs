//! Streams in values, between a real Worker and us: a matrix of shapes, directions and routes. What two Workers do
//! with each other without us is part of it, as the measure.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use futures::StreamExt;
use js_rpc::{
    Args, ByteStream, ConnectOptions, Context, External, JsError, Payload, Proxy, Server, Service,
    ServiceResult, StreamError, Value as JsValue, async_trait, reply, unknown_method,
};
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::{Builder, Daemon, Ours, Workerd, within};

/// Bytes that differ wherever one looks, as in `workers/streams.js`.
fn pattern(from: usize, length: usize) -> Bytes {
    let byte = |i: usize| (i ^ (i >> 8) ^ (i >> 16)) as u8;
    (from..from + length).map(byte).collect::<Vec<u8>>().into()
}

fn patterned(length: usize, chunk: usize) -> ByteStream {
    let starts = (0..length).step_by(chunk);
    let chunks = starts.map(move |at| Ok::<_, StreamError>(pattern(at, chunk.min(length - at))));
    ByteStream::new(futures::stream::iter(chunks))
}

/// Reads all of it and looks at the first byte of each chunk.
async fn check(mut stream: ByteStream) -> Result<usize, StreamError> {
    let mut length = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        assert_eq!(bytes.first(), pattern(length, 1).first(), "at {length}");
        length += bytes.len();
    }
    Ok(length)
}

fn readable(stream: ByteStream) -> Payload {
    Payload {
        value: JsValue::ReadableStream(0),
        externals: vec![External::Readable(stream)],
    }
}

fn thrown(error: StreamError) -> JsError {
    JsError::error(error.to_string())
}

/// What the class `Streams` of `workers/streams.js` is in JavaScript.
#[derive(Default)]
pub struct Streams {
    canceled: Rc<Notify>,
    opened: RefCell<Option<tokio::task::JoinHandle<Result<usize, StreamError>>>>,
    /// How far a reader was behind the writer of `endless` when it went.
    produced: Rc<Cell<usize>>,
}

impl Streams {
    fn readable(args: &Args) -> ByteStream {
        match &args.externals[0] {
            External::Readable(stream) => stream.clone(),
            other => panic!("a stream, and not {other:?}"),
        }
    }
}

#[async_trait(?Send)]
impl Service for Streams {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "make" => {
                let (length, chunk): (usize, usize) = args.parse()?;
                Ok(readable(patterned(length, chunk)))
            }
            "read" => reply(&check(Self::readable(&args)).await.map_err(thrown)?),
            "first" => {
                let mut stream = Self::readable(&args);
                let first = stream.next().await.ok_or(StreamError::Canceled);
                let first = first.and_then(|first| first).map_err(thrown)?;
                reply(&!first.is_empty())
            }
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                externals: args.externals,
            }),
            "endless" => {
                let (sink, stream) = ByteStream::pipe();
                let (canceled, produced) = (Rc::clone(&self.canceled), Rc::clone(&self.produced));
                tokio::task::spawn_local(async move {
                    let mut at = 0;
                    while sink.write(pattern(at, 10_000)).await.is_ok() {
                        at += 10_000;
                        produced.set(at);
                    }
                    canceled.notify_one();
                });
                Ok(readable(stream))
            }
            "canceled" => {
                self.canceled.notified().await;
                reply(&true)
            }
            "breaks" => {
                let items = [Ok(pattern(0, 1000)), Err("on purpose")];
                Ok(readable(ByteStream::new(futures::stream::iter(items))))
            }
            "fill" => {
                let External::Writable(sink) = &args.externals[0] else {
                    return Err(JsError::type_error("nothing to write to"));
                };
                let mut at = 0;
                for length in [1, 10, 100_000, 300_000] {
                    sink.write(pattern(at, length)).await.map_err(thrown)?;
                    at += length;
                }
                sink.end().await.map_err(thrown)?;
                reply(&at)
            }
            "open" => {
                let (sink, stream) = ByteStream::pipe();
                let reading = tokio::task::spawn_local(check(stream));
                self.opened.replace(Some(reading));
                Ok(Payload {
                    value: JsValue::WritableStream(0),
                    externals: vec![External::Writable(sink)],
                })
            }
            "opened" => {
                let opened = self
                    .opened
                    .take()
                    .ok_or_else(|| JsError::error("nothing"))?;
                let length = opened.await.map_err(|e| JsError::error(e.to_string()))?;
                reply(&length.map_err(thrown)?)
            }
            _ => unknown_method(method),
        }
    }
}

/// A workerd whose Worker reaches everything, and what stands behind it.
struct World {
    workerd: Workerd,
    _behind: Workerd,
    _ours: [Ours; 3],
}

async fn start() -> World {
    // The Worker behind our caller calls nobody.
    let nobody = Ours::serve(Server::new()).await;
    let behind = Builder::new("streams")
        .external("rust", nobody.address())
        .external("rust-through-caller", nobody.address())
        .external("worker-through-caller", nobody.address())
        .start()
        .await;
    let callee = Ours::serve(Server::new().service("SVC", Streams::default())).await;
    let options = ConnectOptions::default;
    let to_rust = Proxy::new(callee.address().clone(), "SVC", options());
    let to_worker = Proxy::new(behind.debug_port(), "main#Streams", options());
    let caller = Server::new()
        .proxy("SVC", to_rust)
        .proxy("WORKER", to_worker);
    let caller = Ours::serve(caller).await;
    let workerd = Builder::new("streams")
        .external("rust", callee.address())
        .external("rust-through-caller", caller.address())
        .external("worker-through-caller", caller.address())
        .start()
        .await;
    World {
        workerd,
        _behind: behind,
        _ours: [nobody, callee, caller],
    }
}

const ROUTES: [&str; 4] = ["WORKER", "RUST", "RUST_PASSED_ON", "WORKER_PASSED_ON"];

#[tokio::test(flavor = "local")]
async fn streams_of_every_shape_pass_by_every_route() {
    within(async {
        let world = start().await;
        for case in [
            "results",
            "arguments",
            "there_and_back",
            "responses",
            "requests",
            "headers_and_blobs",
            "canceled_by_the_reader",
            "canceled_by_the_callee",
            "broken_by_the_callee",
            "broken_by_the_writer",
            "written_by_the_callee",
            "written_to_the_callee",
        ] {
            for route in ROUTES {
                println!("{case} {route}");
                let outcome = world.workerd.run(&format!("{case}/{route}")).await;
                assert!(
                    outcome.is_null() || outcome == json!(true),
                    "{case} {route}"
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_large_stream_passes_through_the_caller_in_little_memory() {
    within(async {
        let callee = Ours::serve(Server::new().service("SVC", Streams::default())).await;
        let bind = format!("SVC={}#SVC", callee.address());
        let caller = Daemon::caller(&["--bind", &bind]).await;
        let workerd = Builder::new("streams")
            .external("rust", callee.address())
            .external("rust-through-caller", &caller.address())
            .external("worker-through-caller", &caller.address())
            .start()
            .await;
        workerd.run("results/RUST_PASSED_ON").await;
        let before = caller.peak_kib();
        let began = std::time::Instant::now();
        workerd.run("large/RUST_PASSED_ON").await;
        let took = began.elapsed();
        let grown = caller.peak_kib().saturating_sub(before);
        println!("64 MiB each way in {took:.1?}; the caller's peak grew by {grown} KiB, from {before} KiB");
        assert!(grown < 8 << 10, "{grown} KiB for a stream of 64 MiB");
        for name in ["jsrpc.stream.bytes_sent", "jsrpc.stream.bytes_received"] {
            let all = format!("{{\"name\":\"{name}\",\"value\":67108864}}");
            let written = || std::fs::read_to_string(caller.file("tail.jsonl")).unwrap();
            // Spans are written some time after they ended.
            while !written().contains(&all) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_bytes_of_a_stream_are_what_a_call_prints() {
    within(async {
        let callee = Ours::serve(Server::new().service("SVC", Streams::default())).await;
        let connect = callee.address().to_string();
        let call = |method: &str, args: &[&str]| {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_caller"));
            command.args(["call", "--connect", &connect, "--no-tree", method]);
            command.args(args);
            command.kill_on_drop(true).output()
        };
        let made = call("SVC.make", &["300000", "10000"]).await.unwrap();
        assert!(made.status.success(), "{made:?}");
        assert!(
            made.stdout == pattern(0, 300_000),
            "{} bytes",
            made.stdout.len()
        );
        let broken = call("SVC.breaks", &[]).await.unwrap();
        assert_eq!(broken.status.code(), Some(69), "{broken:?}");
        assert!(broken.stdout == pattern(0, 1000));
        let error = String::from_utf8_lossy(&broken.stderr);
        assert!(error.contains("the stream broke off"), "{error}");
    })
    .await;
}
