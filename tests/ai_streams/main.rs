//! What a streamed answer of a model costs on its way through `callee`, and through `caller serve` and `callee`,
//! against the same server asked directly, in one run.
//!
//! The server is a stand-in, a process of its own that sends as fast as it is read. Each round asks every way once, in
//! another order; the rest are medians. `cargo bench -p binding-span-daemons --bench ai_streams`; `-- --rounds N`, and
//! `-- --only WAY` asks one way only, for a profile.

mod ask;
mod scene;
mod upstream;
#[path = "../util.rs"]
mod util;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ask::{Asker, Body};
use scene::{memory, processor_seconds, start_callee, start_caller};
use util::{Daemon, World};

/// Those who are asked. The first is the server itself.
const WAYS: [&str; 5] = [
    "the server itself",
    "callee, HTTP",
    "caller and callee, HTTP",
    "callee, AI.run",
    "caller and callee, AI.run",
];

/// Events of a long stream, with the two at its end that have no text.
const EVENTS: usize = 20_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime");
    if args.iter().any(|arg| arg == "--upstream") {
        runtime.block_on(async {
            let listener = upstream::listen().expect("a port");
            println!("{}", listener.local_addr().expect("a port"));
            upstream::serve(listener, Default::default()).await;
        });
        return;
    }
    let rounds = after("--rounds").map_or(7, |rounds| rounds.parse().expect("a number"));
    let only = after("--only").map(String::as_str);
    runtime.block_on(async {
        let scene = Scene::start();
        let mut askers = scene.askers(only).await;
        first_byte(&mut askers, 100 * rounds).await;
        whole(&scene, &mut askers, 100 * rounds).await;
        for gathered in [1, 64] {
            long(&scene, &mut askers, rounds, gathered).await;
        }
        drop(askers);
        if only.is_none() {
            many(&scene).await;
            unread().await;
        }
    });
}

/// The programs.
struct Scene {
    server: Server,
    callee: Daemon,
    caller: Daemon,
    world: World,
    /// Where the server, the callee and the caller take plain HTTP.
    http: [String; 3],
}

/// The stand-in, killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn start() -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut server = Command::new(this)
            .arg("--upstream")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut at = String::new();
        let stdout = server.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut at);
        read.expect("its address");
        let at = at.trim().to_owned();
        let world = World::new();
        let (callee, callee_http) = start_callee(&world, &at);
        let (caller, caller_http) = start_caller(&world);
        Self {
            server: Server(server),
            callee,
            caller,
            http: [at, callee_http, caller_http],
            world,
        }
    }

    async fn askers(&self, only: Option<&str>) -> Vec<(&'static str, Asker)> {
        let mut askers = Vec::new();
        for way in WAYS {
            if only.is_none_or(|only| only == way) {
                askers.push((way, self.asker(way).await));
            }
        }
        askers
    }

    async fn asker(&self, way: &str) -> Asker {
        match WAYS.iter().position(|known| *known == way) {
            Some(n @ 0..=2) => Asker::http(&self.http[n]).await,
            Some(3) => Asker::rpc(&self.world.unix("callee.sock")).await,
            _ => Asker::rpc(&self.world.unix("caller.sock")).await,
        }
    }

    /// What the processes are.
    fn processes(&self) -> [u32; 3] {
        [self.server.0.id(), self.callee.id(), self.caller.id()]
    }

    /// The time that the three have had on a processor.
    fn busy(&self) -> [f64; 3] {
        self.processes().map(processor_seconds)
    }
}

type Askers = Vec<(&'static str, Asker)>;

/// The order of a round, another one each time.
fn order(round: usize, of: usize) -> impl Iterator<Item = usize> {
    (0..of).map(move |n| match round % 2 {
        0 => (round / 2 + n) % of,
        _ => (round / 2 + of - n) % of,
    })
}

fn median(values: &mut [f64]) -> f64 {
    at(values, 50)
}

fn at(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// By how much each value is more than that of the first way in the same round, at the median.
fn over(values: &[Vec<f64>], way: usize, by: impl Fn(f64, f64) -> f64) -> f64 {
    let pairs = values[way].iter().zip(&values[0]);
    median(
        &mut pairs
            .map(|(own, first)| by(*own, *first))
            .collect::<Vec<_>>(),
    )
}

async fn first_byte(askers: &mut Askers, rounds: usize) {
    println!(
        "first byte of a stream of 8 events, us       median       p95   more than the server itself"
    );
    let model = upstream::model(8, 8, Duration::ZERO);
    let mut took = vec![Vec::new(); askers.len()];
    for round in 0..rounds + 20 {
        for way in order(round, askers.len()) {
            let first = askers[way].1.stream(&model).await.first;
            // The first rounds warm up.
            if round >= 20 {
                took[way].push(first.as_secs_f64() * 1e6);
            }
        }
    }
    for (way, (name, _)) in askers.iter().enumerate() {
        let more = over(&took, way, |own, first| own - first);
        let own = &mut took[way].clone();
        let (median, p95) = (median(own), at(own, 95));
        println!("  {name:<40} {median:>8.0} {p95:>9.0} {more:>+9.0}");
    }
}

async fn whole(scene: &Scene, askers: &mut Askers, rounds: usize) {
    println!(
        "an answer in one piece, us                   median       p95      more   on a processor: callee    caller"
    );
    let mut took = vec![Vec::new(); askers.len()];
    let mut busy = vec![[0.0; 3]; askers.len()];
    for round in 0..rounds + 20 {
        for way in order(round, askers.len()) {
            let before = scene.busy();
            let whole = askers[way].1.whole().await.whole;
            if round >= 20 {
                took[way].push(whole.as_secs_f64() * 1e6);
                add(&mut busy[way], before, scene.busy());
            }
        }
    }
    for (way, (name, _)) in askers.iter().enumerate() {
        let more = over(&took, way, |own, first| own - first);
        let own = &mut took[way].clone();
        let (median, p95) = (median(own), at(own, 95));
        let [_, callee, caller] = busy[way].map(|seconds| seconds / rounds as f64 * 1e6);
        println!("  {name:<40} {median:>8.0} {p95:>9.0} {more:>+9.0} {callee:>24.0} {caller:>9.0}");
    }
}

fn add(sum: &mut [f64; 3], before: [f64; 3], after: [f64; 3]) {
    for n in 0..3 {
        sum[n] += after[n] - before[n];
    }
}

async fn long(scene: &Scene, askers: &mut Askers, rounds: usize, gathered: usize) {
    let bytes = upstream::piece().len();
    println!(
        "{EVENTS} events of {bytes} bytes, {gathered} in a write     MB/s  events/s     ratio   us an event: server    callee    caller"
    );
    let model = upstream::model(EVENTS, gathered, Duration::ZERO);
    let mut took = vec![Vec::new(); askers.len()];
    let mut bytes = vec![0; askers.len()];
    let mut busy = vec![[0.0; 3]; askers.len()];
    for round in 0..=rounds {
        for way in order(round, askers.len()) {
            let before = scene.busy();
            let one = askers[way].1.stream(&model).await;
            bytes[way] = one.bytes;
            if round > 0 {
                took[way].push(one.whole.as_secs_f64());
                add(&mut busy[way], before, scene.busy());
            }
        }
    }
    for (way, (name, _)) in askers.iter().enumerate() {
        let ratio = over(&took, way, |own, first| first / own);
        let median = median(&mut took[way].clone());
        let (mb, events) = (bytes[way] as f64 / median / 1e6, EVENTS as f64 / median);
        let [server, callee, caller] =
            busy[way].map(|seconds| seconds / (rounds * EVENTS) as f64 * 1e6);
        println!(
            "  {name:<40} {mb:>8.1} {events:>9.0} {ratio:>8.2}x {server:>20.2} {callee:>9.2} {caller:>9.2}"
        );
    }
}

/// Streams at once.
const STREAMS: usize = 200;

/// So many streams at the speed of models: what they take, and how long an event is under way.
async fn many(scene: &Scene) {
    println!(
        "{STREAMS} streams at once, 50 events a second each   events/s   us an event: server    callee    caller"
    );
    let model = upstream::model(250, 1, Duration::from_millis(20));
    for way in WAYS {
        let mut askers = Vec::new();
        for _ in 0..STREAMS {
            askers.push(scene.asker(way).await);
        }
        let before = scene.busy();
        let began = std::time::Instant::now();
        let streams = askers.iter_mut().map(|asker| asker.stream(&model));
        futures::future::join_all(streams).await;
        let events = (STREAMS * 250) as f64;
        let rate = events / began.elapsed().as_secs_f64();
        let mut busy = [0.0; 3];
        add(&mut busy, before, scene.busy());
        let [server, callee, caller] = busy.map(|seconds| seconds / events * 1e6);
        println!("  {way:<40} {rate:>12.0} {server:>20.2} {callee:>9.2} {caller:>9.2}");
    }
}

/// So many streams that nobody reads, of a server as fast as its reader.
async fn unread() {
    println!(
        "{STREAMS} streams that nobody reads, KiB a stream   callee   caller   peak: callee   caller"
    );
    for (way, gathered) in WAYS[1..].iter().flat_map(|way| [(way, 1), (way, 64)]) {
        let scene = Scene::start();
        // What everything needs that is done for the first time.
        let few = upstream::model(100, 1, Duration::ZERO);
        scene.asker(way).await.stream(&few).await;
        let [_, callee, caller] = scene.processes();
        let before = [callee, caller].map(|pid| memory(pid).0);
        let model = upstream::model(100_000_000, gathered, Duration::ZERO);
        let mut held: Vec<(Asker, Body)> = Vec::new();
        for _ in 0..STREAMS {
            let mut asker = scene.asker(way).await;
            let body = asker.begin(&model).await;
            held.push((asker, body));
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = [callee, caller].map(memory);
        let a_stream =
            |bytes: u64, before: u64| bytes.saturating_sub(before) as f64 / 1024.0 / STREAMS as f64;
        let held_now = [0, 1].map(|n| a_stream(after[n].0, before[n]));
        let peak = [0, 1].map(|n| a_stream(after[n].1, before[n]));
        let label = format!("{way}, {gathered} in a write");
        println!(
            "  {label:<40} {:>8.1} {:>8.1} {:>14.1} {:>8.1}",
            held_now[0], held_now[1], peak[0], peak[1]
        );
        drop(held);
    }
}
