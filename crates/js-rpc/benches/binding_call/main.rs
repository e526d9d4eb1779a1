//! What a binding call costs, beside others that do the same job over the same kind of socket, in one run.
//!
//! A binding call is the whole thing: open a session, call, result, session closed; span opened,
//! renamed, tagged, closed. Beside it stand:
//! - a bare call: one call of a bootstrap capability over capnp-rpc with buffered sockets;
//! - a call on a stub that is held, which opens no session but has its own span;
//! - tonic's unary call, with what is said of the span as metadata of the response;
//! - tarpc's call with bincode, with what is said of the span as fields of the answer.
//!
//! All move an argument of one number and a result of three small properties. Where it says "span", a
//! name and two attributes are read by the caller and counted, at the same cost for everyone. Each callee
//! is a process of its own with one thread; rounds of all variants are interleaved, and medians of them
//! are printed. Then come the ratios of the binding call with a span to the two peers. Where a session
//! takes three calls, as to a workerd, the label says so.
//!
//! `cargo bench -p binding-span-js-rpc --bench binding_call [-- --same-core] [--calls N] [--rounds N]`
//! With `--instructions VARIANT N` it makes N calls of one variant in one process, both sides on one
//! thread, and exits: run it twice with different N under `valgrind --tool=callgrind` and take the
//! difference. With `--system-calls VARIANT N` the callee is a process of its own: for `strace -f -c`.
//! Both take `--in-flight N`. The names of the variants are in [`VARIANTS`].

mod bare;
mod ours;
mod tarpc;
mod tonic;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use binding_span::{Attribute, SpanClose, SpanRef, SpanSink};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::ours::On::{Binding, HeldStub};
use crate::ours::Opening::{OneMessage, ThreeCalls};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Job {
    Bare,
    Ours(ours::Job),
    Tonic,
    Tarpc,
}

struct Variant {
    /// For `--instructions` and `--system-calls`.
    name: &'static str,
    label: &'static str,
    job: Job,
}

const VARIANTS: [Variant; 11] = [
    Variant {
        name: "bare",
        label: "bare capnp-rpc call, buffered",
        job: Job::Bare,
    },
    Variant {
        name: "held",
        label: "call on a held stub, name + 2, no span wanted",
        job: ours(HeldStub, true, false),
    },
    Variant {
        name: "held-watched",
        label: "call on a held stub, name + 2, span",
        job: ours(HeldStub, true, true),
    },
    Variant {
        name: "absent",
        label: "binding call, nothing said, no span wanted",
        job: ours(Binding(OneMessage), false, false),
    },
    Variant {
        name: "enriched",
        label: "binding call, name + 2, no span wanted",
        job: ours(Binding(OneMessage), true, false),
    },
    Variant {
        name: "watched",
        label: "binding call, name + 2, span",
        job: ours(Binding(OneMessage), true, true),
    },
    Variant {
        name: "three-absent",
        label: "binding call, three calls, nothing said, no span wanted",
        job: ours(Binding(ThreeCalls), false, false),
    },
    Variant {
        name: "three-enriched",
        label: "binding call, three calls, name + 2, no span wanted",
        job: ours(Binding(ThreeCalls), true, false),
    },
    Variant {
        name: "three-watched",
        label: "binding call, three calls, name + 2, span",
        job: ours(Binding(ThreeCalls), true, true),
    },
    Variant {
        name: "tonic",
        label: "tonic, unary, name + 2, span",
        job: Job::Tonic,
    },
    Variant {
        name: "tarpc",
        label: "tarpc, bincode, name + 2, span",
        job: Job::Tarpc,
    },
];

const fn ours(on: ours::On, said: bool, watched: bool) -> Job {
    Job::Ours(ours::Job { on, said, watched })
}

impl Job {
    /// The callee, as `--serve` knows it.
    fn callee(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours(_) => "binding",
            Self::Tonic => "tonic",
            Self::Tarpc => "tarpc",
        }
    }

    fn has_span(self) -> bool {
        match self {
            Self::Bare => false,
            Self::Ours(job) => job.watched,
            Self::Tonic | Self::Tarpc => true,
        }
    }
}

/// The result of every call: three small properties.
#[derive(serde::Serialize)]
struct Answer {
    ok: bool,
    rows: u32,
    text: &'static str,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            ok: true,
            rows: 3,
            text: "three small properties",
        }
    }
}

/// What a callee of a peer's said of the span.
struct Said {
    name: String,
    attributes: Vec<Attribute>,
}

/// Counts spans: stands for a tail without its disk.
#[derive(Default)]
struct Counted {
    closed: AtomicU64,
    renamed: AtomicU64,
}

impl Counted {
    /// Counts a span of a peer's call.
    fn take(&self, said: &Said) {
        assert!(!said.name.is_empty() && said.attributes.len() == 2);
        self.renamed.fetch_add(1, Ordering::Relaxed);
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
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

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).map(|i| &args[i + 1..]);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .expect("a runtime")
    };
    if let Some([callee, path, ..]) = after("--serve") {
        return runtime().block_on(serve(callee, Path::new(path)));
    }
    let number = |flag: &str, default: usize| {
        after(flag).map_or(default, |rest| rest[0].parse().expect("a number"))
    };
    if args.iter().any(|a| a == "--same-core") {
        pin_to_first_core();
    }
    for mode in ["--instructions", "--system-calls"] {
        if let Some([variant, calls, ..]) = after(mode) {
            let job = named(variant);
            let load = Load {
                in_flight: number("--in-flight", 1),
                calls: calls.parse().expect("a number"),
            };
            runtime().block_on(async {
                let bench = match mode {
                    "--instructions" => Bench::alone(job.callee()).await,
                    _ => Bench::start(&[job.callee()]),
                };
                bench.round(job, load).await;
            });
            return;
        }
    }
    let (calls, rounds) = (number("--calls", 4_000), number("--rounds", 9));
    runtime().block_on(async {
        let bench = Bench::start(&["bare", "binding", "tonic", "tarpc"]);
        bench.report(calls, rounds).await;
        ours::bytes(&bench.path("binding")).await;
    });
}

fn named(name: &str) -> Job {
    let variant = VARIANTS.iter().find(|v| v.name == name);
    variant.map_or_else(
        || {
            let names = VARIANTS.map(|v| v.name).join(", ");
            panic!("no variant {name}: there are {names}")
        },
        |v| v.job,
    )
}

async fn serve(callee: &str, path: &Path) {
    let ready = || {
        let mut stdout = std::io::stdout();
        stdout
            .write_all(b"r")
            .and_then(|()| stdout.flush())
            .expect("a parent");
    };
    match callee {
        "bare" => bare::serve(path, ready).await,
        "binding" => ours::serve(path, ready).await,
        "tonic" => tonic::serve(path, ready).await,
        "tarpc" => tarpc::serve(path, ready).await,
        other => panic!("no callee {other}"),
    }
}

/// This process and the callees that it starts run on one core: the only latency that repeats on a
/// shared machine.
fn pin_to_first_core() {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).expect("a core to pin to");
}

/// The callees.
struct Bench {
    dir: tempfile::TempDir,
    children: Vec<Child>,
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
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            children: Vec::new(),
        }
    }

    /// Each callee is a process.
    fn start(callees: &[&str]) -> Self {
        let mut bench = Self::new();
        for callee in callees {
            let exe = std::env::current_exe().expect("this program");
            let mut child = Command::new(exe)
                .args(["--serve", callee])
                .arg(bench.path(callee))
                .stdout(Stdio::piped())
                .spawn()
                .expect("a callee");
            let mut ready = [0];
            let stdout = child.stdout.as_mut().expect("piped");
            stdout
                .read_exact(&mut ready)
                .expect("a callee that is ready");
            bench.children.push(child);
        }
        bench
    }

    /// Without processes: the callee runs in this one, on this thread.
    async fn alone(callee: &'static str) -> Self {
        let bench = Self::new();
        let path = bench.path(callee);
        let served = path.clone();
        tokio::task::spawn_local(async move { serve(callee, &served).await });
        while UnixStream::connect(&path).is_err() {
            tokio::task::yield_now().await;
        }
        bench
    }

    fn path(&self, callee: &str) -> PathBuf {
        self.dir.path().join(callee)
    }

    /// Microseconds a call.
    async fn round(&self, job: Job, load: Load) -> f64 {
        let path = self.path(job.callee());
        let sink = Arc::new(Counted::default());
        let elapsed = match job {
            Job::Bare => bare::round(&path, load).await,
            Job::Ours(job) => ours::round(&path, job, load, &sink).await,
            Job::Tonic => tonic::round(&path, load, &sink).await,
            Job::Tarpc => tarpc::round(&path, load, &sink).await,
        };
        let [spans, names] = [&sink.closed, &sink.renamed].map(|n| n.load(Ordering::Relaxed));
        let expected = if job.has_span() { load.made() } else { 0 };
        assert_eq!(names, expected, "one name a call");
        // With the span of the session in which a stub was obtained, once that is over.
        let over = u64::from(matches!(job, Job::Ours(job) if job.on == HeldStub && job.watched));
        assert!(
            (expected..=expected + over).contains(&spans),
            "one span a call"
        );
        elapsed.as_secs_f64() * 1e6 / load.calls as f64
    }

    async fn report(&self, calls: usize, rounds: usize) {
        let one_message = ours::opens_by_one_message(&self.path("binding")).await;
        if !one_message {
            println!("no session is opened by one message: only three calls are measured");
        }
        let opened = |on| ours(on, true, true);
        let best = opened(Binding(if one_message { OneMessage } else { ThreeCalls }));
        let measured = |job: &Job| match job {
            Job::Ours(job) => one_message || job.on != Binding(OneMessage),
            _ => true,
        };
        let variants: Vec<_> = VARIANTS.into_iter().filter(|v| measured(&v.job)).collect();
        for in_flight in [1, 64] {
            println!("\n{in_flight} in flight, {calls} calls a round, median of {rounds} rounds");
            let mut times = vec![Vec::new(); variants.len()];
            for _ in 0..rounds {
                for (variant, times) in variants.iter().zip(&mut times) {
                    times.push(self.round(variant.job, Load { in_flight, calls }).await);
                }
            }
            let median_of = |job| {
                let at = variants.iter().position(|v| v.job == job);
                median(&times[at.expect("a variant that was measured")])
            };
            let bare = median_of(Job::Bare);
            for Variant { label, job, .. } in &variants {
                let us = median_of(*job);
                println!("  {label:<56} {us:>8.1} us  {:>5.2}x", us / bare);
            }
            let how = if one_message { "" } else { ", three calls" };
            for (peer, job) in [("tonic", Job::Tonic), ("tarpc", Job::Tarpc)] {
                let label = format!("binding call{how}, name + 2, span, to {peer}");
                let ratio = median_of(best) / median_of(job);
                println!("  {label:<56} {:>8}     {ratio:>5.2}x", "");
            }
        }
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How many calls a round makes, and how many of them at once.
#[derive(Debug, Clone, Copy)]
struct Load {
    in_flight: usize,
    calls: usize,
}

impl Load {
    /// How long the calls take, after one that is not counted.
    async fn time<F: Future<Output = ()>>(self, call: impl Fn() -> F) -> Duration {
        call().await;
        let left = Cell::new(self.calls);
        let start = Instant::now();
        let workers: FuturesUnordered<_> = (0..self.in_flight)
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

    /// All calls, with the one that is not counted.
    fn made(self) -> u64 {
        self.calls as u64 + 1
    }
}
