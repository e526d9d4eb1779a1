//! rotel is killed and started again while a daemon is under load: calls do not notice, the export goes on by
//! itself, and every span is in one count.
//!
//! What a receiver printed can be more than what was acknowledged, since an acknowledgement may be lost, and
//! less, since one that is killed has not printed all that it took. The tests say both bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use js_rpc::{CallError, Client, ConnectOptions};

use crate::rotel::Rotel;
use crate::util::{LIMIT, World, request};
use crate::{metrics, start_callee};

/// Spans of a batch; they are delivered one batch at a time.
const BATCH: u64 = 128;
/// How long a batch is tried.
const TRIED: Duration = Duration::from_secs(5);
/// A call that waits for a receiver waits longer than this.
const SLOWEST: Duration = Duration::from_secs(4);
/// Calls at the same time.
const LANES: usize = 2;
/// What a call of the database makes in the callee: its own span, and the statement's.
const SPANS_OF_A_CALL: u64 = 2;

#[test]
fn rotel_killed_and_started_again_under_load_costs_what_is_counted_by_grpc() {
    killed_and_started_again("grpc", Rotel::grpc);
}

#[test]
fn rotel_killed_and_started_again_under_load_costs_what_is_counted_by_http() {
    killed_and_started_again("http/protobuf", Rotel::http);
}

fn killed_and_started_again(protocol: &str, endpoint: fn(&Rotel) -> String) {
    let world = World::new();
    world.database();
    let mut first = Rotel::start(&world);
    let (batch, tried) = (BATCH.to_string(), TRIED.as_millis().to_string());
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(&first)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", tried),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batch),
        ("OTEL_BSP_MAX_QUEUE_SIZE", (4 * BATCH).to_string()),
    ];
    let vars = vars.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut callee = start_callee(&world, &vars, &["--admin", "unix:callee.admin"]);
    let load = Load::start(&world);

    let before = until(&world, |now| now.exported >= 1_000);
    first.kill();
    let killed = Instant::now();
    // One after the other: once a batch has failed, the one that was on its way has an end as well.
    let away = until(&world, |now| {
        now.failed > before.failed && now.dropped > before.dropped
    });
    let begun_again = Instant::now();
    let mut second = first.again("rotel-again");
    until(&world, |now| now.exported >= away.exported + 1_000);
    let calls = load.stop();

    let end = until(&world, |now| now.open == 0 && now.queued == 0);
    assert_eq!(end.sampled, end.exported + end.lost(), "{end:?}");
    assert_eq!(end.sampled, SPANS_OF_A_CALL * calls.len() as u64, "{end:?}");

    // Given up while rotel ran, so that it may have taken them and its word was lost.
    let (late_before, late_again) = (before.failed, end.failed - away.failed);
    let acknowledged_again = end.exported - away.exported;
    let printed_again = second.until_ids(acknowledged_again as usize);
    let printed = first.ids();
    let (by_first, by_second) = (printed.len() as u64, printed_again.len() as u64);
    println!(
        "{protocol}: {end:?}; the first printed {by_first} and acknowledged {}, the second {by_second} and \
         {acknowledged_again}; late: {late_before} + {late_again}",
        away.exported
    );
    // The batch that it was killed over may have arrived, or any that it took may not have been printed yet.
    assert!(by_first > 0 && by_first <= away.exported + BATCH + late_before);
    assert!(by_second >= acknowledged_again && by_second <= acknowledged_again + late_again);
    assert!(
        printed.is_disjoint(&printed_again),
        "nothing is sent to both"
    );

    calls_went_on(&calls, killed, begun_again);
    callee.signal(rustix::process::Signal::TERM);
    assert_eq!(said_lost(&callee.rest()), end.lost());
    assert!(callee.end().success());
}

/// What the admin port counts.
#[derive(Debug, Clone, Copy)]
struct Counts {
    sampled: u64,
    open: u64,
    queued: u64,
    exported: u64,
    failed: u64,
    dropped: u64,
    ended: u64,
}

impl Counts {
    fn read(world: &World) -> Self {
        let text = metrics(world, "callee.admin");
        let read = |name: &str| -> u64 {
            let start = format!("binding_span_otlp_{name} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&start));
            let value = value.unwrap_or_else(|| panic!("no {start}in:\n{text}"));
            value.parse().unwrap()
        };
        let lost = |reason: &str| read(&format!("lost_spans_total{{reason=\"{reason}\"}}"));
        Self {
            sampled: read("sampled_spans_total"),
            open: read("open_spans"),
            queued: read("queued_spans"),
            exported: read("exported_spans_total"),
            failed: lost("not_taken"),
            dropped: lost("no_room"),
            ended: lost("program_ended"),
        }
    }

    fn lost(&self) -> u64 {
        self.failed + self.dropped + self.ended
    }
}

/// Waits until the counts are so; nothing tells when they change.
#[track_caller]
fn until(world: &World, done: impl Fn(&Counts) -> bool) -> Counts {
    let limit = Instant::now() + LIMIT;
    loop {
        let now = Counts::read(world);
        if done(&now) {
            return now;
        }
        assert!(Instant::now() < limit, "{now:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Calls of the database, from the beginning to [`stop`](Self::stop).
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Call>, CallError>>,
}

/// A call that was answered.
struct Call {
    begun: Instant,
    took: Duration,
}

impl Load {
    fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (Arc::clone(&stop), world.unix("callee.sock"));
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let address = address.parse().unwrap();
                let client = Client::connect(address, ConnectOptions::default()).await?;
                let lanes = (0..LANES).map(|_| lane(&client, &stopped));
                let lanes = futures::future::try_join_all(lanes).await?;
                Ok(lanes.into_iter().flatten().collect())
            })
        });
        Self { stop, thread }
    }

    /// All that were begun, each of which was answered.
    fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        let calls = self.thread.join().unwrap();
        calls.expect("every call is answered")
    }
}

async fn lane(client: &Client, stop: &AtomicBool) -> Result<Vec<Call>, CallError> {
    let mut calls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let args: serde_json::Value = serde_json::from_str(&request("select 1")).unwrap();
        client.call("DB", "query", (args,)).await?;
        let took = begun.elapsed();
        calls.push(Call { begun, took });
        // A load, and not all that there is of the machine: others test here as well.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(calls)
}

/// Calls went on before, while nobody was there, and afterwards, and none waited for a receiver.
fn calls_went_on(calls: &[Call], killed: Instant, begun_again: Instant) {
    let of = |call: &Call| match call.begun {
        begun if begun < killed => "before",
        begun if begun < begun_again => "away",
        _ => "again",
    };
    let mut medians = Vec::new();
    for phase in ["before", "away", "again"] {
        let calls = calls.iter().filter(|call| of(call) == phase);
        let mut took: Vec<Duration> = calls.map(|call| call.took).collect();
        took.sort_unstable();
        let (Some(slowest), Some(median)) = (took.last(), took.get(took.len() / 2)) else {
            panic!("no calls {phase}");
        };
        println!(
            "{phase}: {} calls, median {median:?}, slowest {slowest:?}",
            took.len()
        );
        assert!(*slowest < SLOWEST, "{phase}: {slowest:?}");
        medians.push(*median);
    }
    let most = medians[0] * 10 + Duration::from_millis(100);
    assert!(medians[1] < most, "{medians:?}");
}

/// How many spans the log says were lost.
fn said_lost(log: &str) -> u64 {
    let lines = log
        .lines()
        .filter_map(|line| line.split_once("spans were lost: "));
    let said = lines.map(|(_, said)| said.split(',').next().unwrap().parse::<u64>().unwrap());
    said.sum()
}
