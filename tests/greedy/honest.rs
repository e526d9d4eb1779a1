//! What an honest client does, and how long that takes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use js_rpc::{Address, Args, Binding, ConnectOptions, Connection};
use serde_json::json;
use tokio::runtime::LocalRuntime;

use super::http::Http;

/// Whom it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Callee,
    Sidecar,
    Http,
    /// A long body that nothing is wrong with.
    LongHttp,
    Admin,
}

/// How long its calls took, sorted, and what was wrong with those that failed.
pub struct Took {
    pub calls: Vec<Duration>,
    pub failures: Vec<String>,
}

/// Threads on the way of a call, for the time in which one was ready to run and the machine ran something else: that
/// is no part of what a call takes. On Linux the kernel tells.
pub struct Threads(Vec<PathBuf>);

impl Threads {
    /// The main threads of these processes, and the one that asks.
    pub fn of(processes: [u32; 2]) -> Self {
        let own = rustix::thread::gettid().as_raw_nonzero();
        let mut paths = vec![PathBuf::from(format!("/proc/self/task/{own}/schedstat"))];
        paths.extend(processes.map(|id| format!("/proc/{id}/task/{id}/schedstat").into()));
        Self(paths)
    }

    fn delays(&self) -> Vec<Duration> {
        let delay = |path: &PathBuf| {
            let read = std::fs::read_to_string(path).unwrap_or_default();
            let nanos = read.split_whitespace().nth(1);
            Duration::from_nanos(nanos.and_then(|it| it.parse().ok()).unwrap_or(0))
        };
        self.0.iter().map(delay).collect()
    }
}

impl Took {
    /// Makes so many calls, with a pause between.
    pub fn of(
        calls: usize,
        threads: &Threads,
        mut call: impl FnMut() -> Result<(), String>,
    ) -> Self {
        let (mut took, mut failures) = (Vec::new(), Vec::new());
        for _ in 0..calls {
            let (delays, began) = (threads.delays(), Instant::now());
            if let Err(failure) = call() {
                failures.push(failure);
            }
            let elapsed = began.elapsed();
            // They may overlap: the longest counts.
            let delays = threads.delays().into_iter().zip(delays).map(|(a, b)| a - b);
            took.push(elapsed.saturating_sub(delays.max().unwrap_or_default()));
            std::thread::sleep(Duration::from_millis(3));
        }
        took.sort_unstable();
        Self {
            calls: took,
            failures,
        }
    }

    pub fn at(&self, percent: usize) -> Duration {
        let rank = (self.calls.len() * percent).div_ceil(100);
        self.calls[rank.saturating_sub(1)]
    }
}

/// A statement as the argument of `query`.
pub fn query(sql: &str, params: serde_json::Value) -> serde_json::Value {
    json!({"queries": [{"sql": sql, "params": params}]})
}

/// A client by wire.
pub struct Wire {
    runtime: LocalRuntime,
    binding: Binding,
}

pub fn local() -> LocalRuntime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build_local(Default::default())
        .unwrap()
}

pub async fn connect(address: &str) -> Binding {
    let address: Address = address.parse().unwrap();
    let connection = Connection::connect(&address, ConnectOptions::default()).await;
    connection.unwrap().binding("DB")
}

impl Wire {
    pub fn to(address: &str) -> Self {
        let runtime = local();
        let binding = runtime.block_on(connect(address));
        Self { runtime, binding }
    }

    pub fn call(&self) -> Result<(), String> {
        let args = Args::from_json(vec![query("select a from t where a = ?", json!([2]))]).unwrap();
        let reply = self
            .runtime
            .block_on(async { self.binding.call("query", args).await });
        let json = reply.map_err(|error| error.to_string())?.to_json().unwrap();
        expect(&json)
    }
}

/// A call by HTTP.
pub fn post(http: &mut Http, body: &str) -> Result<(), String> {
    let answer = http.post("/v1/call/DB/query", "", body);
    match answer.status {
        200 => expect(&answer.body),
        status => Err(format!("{status}: {}", answer.body)),
    }
}

fn expect(json: &serde_json::Value) -> Result<(), String> {
    match json.pointer("/results/queryResults/0/data/rows") {
        Some(rows) if *rows == json!([[2]]) => Ok(()),
        _ => Err(format!("another answer: {json:.200}")),
    }
}
