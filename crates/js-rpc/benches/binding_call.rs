//! What a binding call costs, against a bare capnp-rpc call over the same kind of socket, in one run.
//!
//! A binding call is the whole thing: open a session, call, result, session closed; span opened,
//! renamed, tagged, closed. A bare call is one call of a bootstrap capability over capnp-rpc with
//! buffered sockets. Both move the same argument and result. The callee is a process of its own;
//! rounds of all variants are interleaved, and medians of them are printed.
//!
//! `cargo bench -p binding-span-js-rpc --bench binding_call [-- --same-core] [--calls N] [--rounds N]`
//! With `--instructions VARIANT N` it makes N calls of one variant in one process, both sides on one
//! thread, and exits: run it twice with different N under `valgrind --tool=callgrind` and take the
//! difference. With `--system-calls VARIANT N` the callee is a process of its own: for `strace -f -c`.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use binding_span::{Attribute, SpanClose, SpanRef, SpanSink};
use binding_span_schema::js_rpc_capnp::{external_pusher, js_rpc_target};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, Enrichment, Listener, Server, Service,
    ServiceResult, async_trait, reply,
};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// The result of every call: three small properties.
fn answer() -> impl serde::Serialize {
    #[derive(serde::Serialize)]
    struct Answer {
        ok: bool,
        rows: u32,
        text: &'static str,
    }
    Answer {
        ok: true,
        rows: 3,
        text: "three small properties",
    }
}

struct Callee;

#[async_trait(?Send)]
impl Service for Callee {
    async fn call(&self, method: &str, _args: Args, cx: &Context) -> ServiceResult {
        if method == "enriched" {
            cx.enrich(
                Enrichment::new()
                    .name("d1.query")
                    .attribute("db.system.name", "sqlite")
                    .attribute("db.response.returned_rows", 3),
            );
        }
        reply(&answer())
    }
}

/// The bare callee: answers with bytes made beforehand.
struct Bare(Vec<u8>);

impl external_pusher::Server for Bare {}

impl js_rpc_target::Server for Bare {
    async fn call(
        self: Rc<Self>,
        params: js_rpc_target::CallParams,
        mut results: js_rpc_target::CallResults,
    ) -> Result<(), capnp::Error> {
        params.get()?;
        results.get().init_result().set_v8_serialized(&self.0);
        Ok(())
    }
}

/// Counts spans: stands for a tail without its disk.
#[derive(Default)]
struct Counted {
    closed: AtomicU64,
    renamed: AtomicU64,
}

impl SpanSink for Counted {
    fn rename(&self, _span: SpanRef, _name: &str) {
        self.renamed.fetch_add(1, Ordering::Relaxed);
    }

    fn attributes(&self, _span: SpanRef, _attributes: &[Attribute]) {}

    fn close(&self, _close: &SpanClose<'_>) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Variant {
    Bare,
    Absent,
    Enriched,
    Watched,
}

const VARIANTS: [(Variant, &str); 4] = [
    (Variant::Bare, "bare capnp-rpc call, buffered"),
    (
        Variant::Absent,
        "binding call, nothing said, no span wanted",
    ),
    (Variant::Enriched, "binding call, name + 2, no span wanted"),
    (Variant::Watched, "binding call, name + 2, span"),
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).map(|i| &args[i + 1..]);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .expect("a runtime")
    };
    if let Some([kind, path, ..]) = after("--serve") {
        return runtime().block_on(serve(kind, Path::new(path)));
    }
    let number = |flag: &str, default: usize| {
        after(flag).map_or(default, |rest| rest[0].parse().expect("a number"))
    };
    if args.iter().any(|a| a == "--same-core") {
        pin_to_first_core();
    }
    for mode in ["--instructions", "--system-calls"] {
        if let Some([variant, calls, ..]) = after(mode) {
            let calls = calls.parse().expect("a number");
            let in_flight = number("--in-flight", 1);
            let bench = match mode {
                "--instructions" => Bench::alone(),
                _ => Bench::start(),
            };
            runtime().block_on(bench.count(named(variant), in_flight, calls));
            return;
        }
    }
    let (calls, rounds) = (number("--calls", 4_000), number("--rounds", 9));
    runtime().block_on(async {
        let bench = Bench::start();
        bench.report(calls, rounds).await;
        bytes(&bench).await;
    });
}

fn named(variant: &str) -> Variant {
    let named = |(v, _): &(Variant, _)| format!("{v:?}").eq_ignore_ascii_case(variant);
    VARIANTS.into_iter().find(named).expect("a variant").0
}

/// This process and the callees that it starts run on one core: the only latency that repeats on a
/// shared machine.
fn pin_to_first_core() {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).expect("a core to pin to");
}

/// The two callees, each a process.
struct Bench {
    dir: tempfile::TempDir,
    children: Vec<Child>,
    sink: Arc<Counted>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Bench {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let children = ["bare", "binding"].map(|kind| {
            let exe = std::env::current_exe().expect("this program");
            let mut child = Command::new(exe)
                .args(["--serve", kind])
                .arg(dir.path().join(kind))
                .stdout(Stdio::piped())
                .spawn()
                .expect("a callee");
            let mut ready = [0];
            let stdout = child.stdout.as_mut().expect("piped");
            stdout
                .read_exact(&mut ready)
                .expect("a callee that is ready");
            child
        });
        Self {
            dir,
            children: children.into(),
            sink: Arc::default(),
        }
    }

    /// Without processes: the callees are to run in this one.
    fn alone() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            children: Vec::new(),
            sink: Arc::default(),
        }
    }

    /// Makes so many calls, for others to count what they take.
    async fn count(&self, variant: Variant, in_flight: usize, calls: usize) {
        if self.children.is_empty() {
            for kind in ["bare", "binding"] {
                let path = self.dir.path().join(kind);
                let served = path.clone();
                tokio::task::spawn_local(async move { serve(kind, &served).await });
                while UnixStream::connect(&path).is_err() {
                    tokio::task::yield_now().await;
                }
            }
        }
        self.round(variant, in_flight, calls).await;
    }

    fn address(&self, kind: &str) -> Address {
        Address::Unix(self.dir.path().join(kind))
    }

    /// Microseconds a call, with so many in flight.
    async fn round(&self, variant: Variant, in_flight: usize, calls: usize) -> f64 {
        let elapsed = match variant {
            Variant::Bare => self.bare(in_flight, calls).await,
            _ => self.binding(variant, in_flight, calls).await,
        };
        elapsed.as_secs_f64() * 1e6 / calls as f64
    }

    async fn bare(&self, in_flight: usize, calls: usize) -> Duration {
        let stream = tokio::net::UnixStream::connect(self.dir.path().join("bare"))
            .await
            .expect("the bare callee");
        let mut system = bare_system(stream, Side::Client, None);
        let target: js_rpc_target::Client = system.bootstrap(Side::Server);
        let task = tokio::task::spawn_local(system);
        let argument = js_value::encode_args(&[3.into()]).expect("a value");
        let call = || async {
            let mut request = target.call_request();
            request.get().set_method_name("run");
            let args = request.get().init_operation().init_call_with_args();
            { args }.set_v8_serialized(&argument);
            let answer = request.send().promise.await.expect("an answer");
            let result = answer.get().and_then(|r| r.get_result()).expect("a result");
            assert!(!result.get_v8_serialized().expect("bytes").is_empty());
        };
        call().await;
        let elapsed = many(call, in_flight, calls).await;
        task.abort();
        elapsed
    }

    async fn binding(&self, variant: Variant, in_flight: usize, calls: usize) -> Duration {
        let mut options = ConnectOptions::default();
        if variant == Variant::Watched {
            options.sinks = Arc::new([Arc::clone(&self.sink) as Arc<dyn SpanSink>]);
        }
        let connection = Connection::connect(&self.address("binding"), options)
            .await
            .expect("the callee");
        let binding = connection.binding("B");
        let method = match variant {
            Variant::Absent => "plain",
            _ => "enriched",
        };
        let call = || async {
            let reply = binding.call(method, (3,)).await.expect("an answer");
            assert!(reply.value().get("ok").is_some());
        };
        call().await;
        let before = self.sink.closed.load(Ordering::Relaxed);
        let elapsed = many(call, in_flight, calls).await;
        if variant == Variant::Watched {
            let closed = self.sink.closed.load(Ordering::Relaxed) - before;
            assert_eq!(closed as usize, calls, "one span a call");
        }
        elapsed
    }

    async fn report(&self, calls: usize, rounds: usize) {
        for in_flight in [1, 64] {
            println!("\n{in_flight} in flight, {calls} calls a round, median of {rounds} rounds");
            let mut times = VARIANTS.map(|_| Vec::new());
            for _ in 0..rounds {
                for (i, (variant, _)) in VARIANTS.into_iter().enumerate() {
                    times[i].push(self.round(variant, in_flight, calls).await);
                }
            }
            let bare = median(&times[0]);
            for (i, (_, name)) in VARIANTS.into_iter().enumerate() {
                let (us, ratio) = (median(&times[i]), median(&times[i]) / bare);
                println!("  {name:<46} {us:>8.1} us  {ratio:>5.2}x");
            }
        }
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

async fn many<F: Future<Output = ()>>(
    call: impl Fn() -> F,
    in_flight: usize,
    calls: usize,
) -> Duration {
    let left = Cell::new(calls);
    let start = Instant::now();
    let workers: FuturesUnordered<_> = (0..in_flight)
        .map(|_| async {
            while left.get() > 0 {
                left.set(left.get() - 1);
                call().await;
            }
        })
        .collect();
    workers.collect::<()>().await;
    start.elapsed()
}

fn bare_system(
    stream: tokio::net::UnixStream,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
) -> RpcSystem<Side> {
    let (read, write) = stream.into_split();
    let read = futures::io::BufReader::new(read.compat());
    let write = futures::io::BufWriter::new(write.compat_write());
    let network = twoparty::VatNetwork::new(read, write, side, Default::default());
    RpcSystem::new(Box::new(network), bootstrap)
}

async fn serve(kind: &str, path: &Path) {
    let ready = || {
        let mut stdout = std::io::stdout();
        stdout
            .write_all(b"r")
            .and_then(|()| stdout.flush())
            .expect("a parent");
    };
    if kind == "binding" {
        let listener = Listener::bind(&Address::Unix(path.into()))
            .await
            .expect("a socket");
        ready();
        let forever = std::future::pending();
        Server::new()
            .service("B", Callee)
            .serve([listener], forever)
            .await;
        return;
    }
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    ready();
    let bytes = js_value::encode(&js_value::to_value(&answer()).expect("a value")).expect("bytes");
    let target: js_rpc_target::Client = capnp_rpc::new_client(Bare(bytes));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let bootstrap = capnp::capability::Client::new(
            capnp::capability::FromClientHook::into_client_hook(target.clone()),
        );
        tokio::task::spawn_local(bare_system(stream, Side::Server, Some(bootstrap)));
    }
}

/// Bytes that the callee sends for one call, counted between two sockets.
async fn bytes(bench: &Bench) {
    println!("\nbytes from the callee a call");
    for (variant, method) in [
        ("nothing said", "plain"),
        ("name + 2 attributes", "enriched"),
    ] {
        let counted = Arc::new(AtomicU64::new(0));
        let through = relay(bench, Arc::clone(&counted));
        let connection = Connection::connect(&Address::Unix(through), ConnectOptions::default())
            .await
            .expect("the relay");
        let binding = connection.binding("B");
        let settle = || tokio::time::sleep(Duration::from_millis(50));
        binding.call(method, (3,)).await.expect("an answer");
        settle().await;
        let before = counted.load(Ordering::Relaxed);
        const CALLS: u64 = 100;
        for _ in 0..CALLS {
            binding.call(method, (3,)).await.expect("an answer");
        }
        settle().await;
        let sent = counted.load(Ordering::Relaxed) - before;
        println!("  {variant:<46} {:>8.1}", sent as f64 / CALLS as f64);
    }
}

/// A socket that passes everything on to the callee, and counts what comes back.
fn relay(bench: &Bench, counted: Arc<AtomicU64>) -> std::path::PathBuf {
    let path = bench
        .dir
        .path()
        .join(format!("relay-{}", fastrand::u32(..)));
    let listener = UnixListener::bind(&path).expect("a socket");
    let callee = bench.dir.path().join("binding");
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
