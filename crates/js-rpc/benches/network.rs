//! Our network under capnp-rpc against capnp-rpc's own, buffered: bare calls, in one run.
//!
//! A bare call is one call of a capability, with an argument and a result of a few bytes. The callee is a
//! process of its own; rounds of both are interleaved, and the medians' ratio is printed: over 1 means
//! that ours is faster.
//!
//! `cargo bench -p binding-span-js-rpc --bench network [-- --same-core] [--calls N] [--rounds N]`
//! With `--instructions ours|unguarded|plain N` it makes N calls of one kind in one process, both sides on
//! one thread, and exits: run it twice with different N under `valgrind --tool=callgrind` and take the
//! difference.

use std::cell::Cell;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use binding_span_schema::js_rpc_capnp::{external_pusher, js_rpc_target};
use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use js_rpc::NetworkLimits;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// Answers with the bytes that it is asked with.
struct Echo;

impl external_pusher::Server for Echo {}

impl js_rpc_target::Server for Echo {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), capnp::Error> {
        let operation = params.get()?.get_operation();
        let js_rpc_target::call_params::operation::CallWithArgs(value) = operation.which()? else {
            return Err(capnp::Error::failed("no arguments".into()));
        };
        let bytes = value?.get_v8_serialized()?;
        results.get().init_result().set_v8_serialized(bytes);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Unguarded,
    Plain,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "ours" => Self::Ours,
            "unguarded" => Self::Unguarded,
            "plain" => Self::Plain,
            other => panic!("{other} is not ours, unguarded or plain"),
        }
    }

    fn system(self, stream: UnixStream, side: Side, bootstrap: Option<Client>) -> RpcSystem<Side> {
        match self {
            Self::Plain => {
                let (read, write) = stream.into_split();
                let read = futures::io::BufReader::new(read.compat());
                let write = futures::io::BufWriter::new(write.compat_write());
                let network = twoparty::VatNetwork::new(read, write, side, Default::default());
                RpcSystem::new(Box::new(network), bootstrap)
            }
            _ => {
                let limits = NetworkLimits {
                    judge: self == Self::Ours,
                    ..NetworkLimits::default()
                };
                js_rpc::internals::system(stream, side, bootstrap, &limits)
            }
        }
    }
}

fn echo() -> Client {
    let target: js_rpc_target::Client = capnp_rpc::new_client(Echo);
    Client::new(target.into_client_hook())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).map(|i| &args[i + 1..]);
    let number = |flag: &str, default: usize| {
        after(flag).map_or(default, |rest| rest[0].parse().expect("a number"))
    };
    if args.iter().any(|a| a == "--same-core") {
        let mut first = rustix::thread::CpuSet::new();
        first.set(0);
        rustix::thread::sched_setaffinity(None, &first).expect("a core to pin to");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime");
    if let Some([kind, path, ..]) = after("--serve") {
        runtime.block_on(serve(Kind::of(kind), Path::new(path)));
    } else if let Some([kind, calls, ..]) = after("--instructions") {
        let calls = calls.parse().expect("a number");
        runtime.block_on(one_process(Kind::of(kind), calls));
    } else {
        runtime.block_on(compare(number("--calls", 20_000), number("--rounds", 9)));
    }
}

async fn serve(kind: Kind, path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    let mut stdout = std::io::stdout();
    stdout
        .write_all(b"r")
        .and_then(|()| stdout.flush())
        .expect("a parent");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(kind.system(stream, Side::Server, Some(echo())));
    }
}

async fn one_process(kind: Kind, count: usize) {
    let (near, far) = UnixStream::pair().expect("sockets");
    tokio::task::spawn_local(kind.system(far, Side::Server, Some(echo())));
    calls(kind, near, 1, count).await;
}

/// A callee, as a process.
struct Callee(Child);

impl Callee {
    fn start(kind: &str, path: &Path) -> Self {
        let exe = std::env::current_exe().expect("this program");
        let mut child = Command::new(exe)
            .args(["--serve", kind])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a callee");
        let stdout = child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut [0]).expect("a callee that is ready");
        Self(child)
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn compare(count: usize, rounds: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let kinds = ["plain", "unguarded", "ours"];
    let callees = kinds.map(|kind| Callee::start(kind, &dir.path().join(kind)));
    println!("in flight  plain us  unguarded us   ours us  plain/ours  plain/unguarded");
    for in_flight in [1, 4, 16, 64, 256] {
        let mut times = kinds.map(|_| Vec::new());
        for _ in 0..rounds {
            for (kind, times) in kinds.iter().zip(&mut times) {
                let path = dir.path().join(kind);
                let stream = UnixStream::connect(path).await.expect("the callee");
                let elapsed = calls(Kind::of(kind), stream, in_flight, count).await;
                times.push(elapsed.as_secs_f64() * 1e6 / count as f64);
            }
        }
        let [plain, unguarded, ours] = times.map(median);
        println!(
            "{in_flight:>9}  {plain:>8.1}  {unguarded:>12.1}  {ours:>8.1}  {:>9.2}x  {:>14.2}x",
            plain / ours,
            plain / unguarded
        );
    }
    drop(callees);
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Makes so many calls; how long they took.
async fn calls(kind: Kind, stream: UnixStream, in_flight: usize, count: usize) -> Duration {
    let mut system = kind.system(stream, Side::Client, None);
    let target: js_rpc_target::Client = system.bootstrap(Side::Server);
    let task = tokio::task::spawn_local(system);
    call(&target).await;
    let left = Cell::new(count);
    let began = Instant::now();
    let workers: FuturesUnordered<_> = (0..in_flight)
        .map(|_| async {
            while left.get() > 0 {
                left.set(left.get() - 1);
                call(&target).await;
            }
        })
        .collect();
    workers.collect::<()>().await;
    let elapsed = began.elapsed();
    task.abort();
    elapsed
}

async fn call(target: &js_rpc_target::Client) {
    let mut request = target.call_request();
    request.get().set_method_name("run");
    let value = request.get().init_operation().init_call_with_args();
    { value }.set_v8_serialized(&[0xff, 0x0f, b'I', 6]);
    let answer = request.send().promise.await.expect("an answer");
    let result = answer.get().and_then(|r| r.get_result()).expect("a result");
    assert_eq!(result.get_v8_serialized().expect("bytes").len(), 4);
}
