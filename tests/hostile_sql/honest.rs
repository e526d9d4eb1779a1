//! Two clients that want little, while others want all: one reads a row, one writes a row, each after a short pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use js_rpc::{Address, Args, ConnectOptions, Connection, Value};
use js_value::Object;

use crate::scene::Scene;

const PACE: Duration = Duration::from_millis(15);

/// A call of an honest client.
#[derive(Debug, Clone, Copy)]
struct Sample {
    raw: Duration,
    /// Without the time in which the client's thread or the callee's was ready and the machine ran something else.
    net: Duration,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    pause: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    failures: Mutex<Vec<String>>,
}

/// One of them.
pub struct Honest {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<i64>>>,
    name: &'static str,
}

/// How it went since it was last asked.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub name: &'static str,
    pub calls: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub raw_p99: f64,
    pub raw_max: f64,
    pub failures: Vec<String>,
}

impl Figures {
    /// No failures, and no long waits.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.p99 <= crate::P99
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            calls,
            p50,
            p99,
            max,
            raw_p99,
            raw_max,
            failures,
        } = self;
        let failures = failures.len();
        write!(
            f,
            "{name}: {calls} calls, {failures} failures, p50 {p50:.1} p99 {p99:.1} max {max:.1} ms (by the clock p99 {raw_p99:.1} max {raw_max:.1})"
        )
    }
}

impl Honest {
    /// Reads rows that nobody changes.
    pub fn reader(scene: &Scene) -> Self {
        Self::start("reader", scene, |n| {
            let id = n % 100 + 1;
            (
                "select v from honest where id = ?1",
                id,
                Some(format!("v{id}")),
            )
        })
    }

    /// Writes numbers, from `first` on.
    pub fn writer(scene: &Scene, first: i64) -> Self {
        Self::start("writer", scene, move |n| {
            ("insert into log values (?1)", first + n, None)
        })
    }

    fn start(
        name: &'static str,
        scene: &Scene,
        call: impl Fn(i64) -> (&'static str, i64, Option<String>) + Send + 'static,
    ) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let (address, pid) = (scene.address(), scene.pid);
        let work = Arc::clone(&shared);
        let thread = std::thread::spawn(move || local(run(address, pid, work, call)));
        Self {
            shared,
            thread: Some(thread),
            name,
        }
    }

    pub fn pause(&self, pause: bool) {
        self.shared.pause.store(pause, Ordering::Relaxed);
    }

    /// What was since the last time.
    pub fn take(&self) -> Samples {
        Samples {
            name: self.name,
            samples: std::mem::take(&mut *self.shared.samples.lock().unwrap()),
            failures: std::mem::take(&mut *self.shared.failures.lock().unwrap()),
        }
    }

    /// Ends; returns the numbers that were acknowledged.
    pub fn stop(mut self) -> Vec<i64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Calls of an honest client.
#[derive(Default)]
pub struct Samples {
    name: &'static str,
    samples: Vec<Sample>,
    failures: Vec<String>,
}

impl Samples {
    pub fn extend(&mut self, more: Self) {
        self.name = more.name;
        self.samples.extend(more.samples);
        self.failures.extend(more.failures);
    }

    pub fn figures(&self) -> Figures {
        let mut raw: Vec<_> = self.samples.iter().map(|sample| sample.raw).collect();
        let mut net: Vec<_> = self.samples.iter().map(|sample| sample.net).collect();
        raw.sort();
        net.sort();
        Figures {
            name: self.name,
            calls: net.len(),
            p50: at(&net, 50),
            p99: at(&net, 99),
            max: at(&net, 100),
            raw_p99: at(&raw, 99),
            raw_max: at(&raw, 100),
            failures: self.failures.clone(),
        }
    }
}

/// A percentile, in milliseconds.
fn at(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let sample = sorted.get(last * percent / 100);
    sample.map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

async fn run(
    address: Address,
    pid: u32,
    shared: Arc<Shared>,
    call: impl Fn(i64) -> (&'static str, i64, Option<String>),
) -> Vec<i64> {
    let options = ConnectOptions::default();
    let connection = Connection::connect(&address, options).await.unwrap();
    let binding = connection.binding("DB");
    let delays = || delay("/proc/thread-self") + delay(&format!("/proc/{pid}"));
    let mut done = Vec::new();
    for n in 0.. {
        while shared.pause.load(Ordering::Relaxed) && !shared.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(PACE).await;
        }
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let (sql, number, expected) = call(n);
        let (began, before) = (Instant::now(), delays());
        let reply = binding.call("query", query(sql, vec![number.into()])).await;
        let raw = began.elapsed();
        let net = raw.saturating_sub(delays().saturating_sub(before));
        shared.samples.lock().unwrap().push(Sample { raw, net });
        let failure = match reply {
            Err(error) => Some(error.to_string()),
            Ok(reply) => {
                let json = reply.to_json().unwrap();
                let good = json["success"] == true
                    && expected.is_none_or(|value| {
                        json["results"]["queryResults"][0]["data"]["rows"][0][0] == value
                    });
                (!good).then(|| json.to_string())
            }
        };
        match failure {
            Some(failure) => {
                let mut failures = shared.failures.lock().unwrap();
                failures.push(format!("{number} after {raw:?}: {failure}"));
            }
            None => done.push(number),
        }
        tokio::time::sleep(PACE).await;
    }
    done
}

/// The arguments of a call with one statement.
pub fn query(sql: &str, params: Vec<Value>) -> Args {
    let query = Object::from([("sql", Value::from(sql)), ("params", Value::Array(params))]);
    queries(vec![query.into()])
}

/// The arguments of a call with these statements.
pub fn queries(queries: Vec<Value>) -> Args {
    let request = Object::from([("queries", Value::Array(queries))]);
    Args::from(vec![request.into()])
}

/// For how long a process's or a thread's first thread waited for a processor since it began.
fn delay(path: &str) -> Duration {
    let read = std::fs::read_to_string(format!("{path}/schedstat")).unwrap_or_default();
    let nanos = read.split_whitespace().nth(1);
    Duration::from_nanos(nanos.and_then(|it| it.parse().ok()).unwrap_or(0))
}

pub fn local<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime")
        .block_on(future)
}
