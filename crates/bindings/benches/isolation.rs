//! What it costs to run SQL in processes of its own: `cargo bench -p binding-span-bindings --bench isolation`.
//!
//! The same calls of a database whose SQL runs on threads, and of one whose SQL runs in processes, by turns, from a
//! client over a unix socket to a server on another thread; then start-up and memory. `-- 'by key'`: those whose name
//! contains that.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bindings::d1::{Database, DatabaseOptions, IsolatedDatabase, Isolation};
use js_rpc::{Address, ConnectOptions, Connection, ListenOptions, Listener, Server};
use serde_json::{Value, json};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;

fn main() -> ExitCode {
    if let Some(worker) = bindings::d1::run_if_asked() {
        return worker;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

async fn run() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let address: Address = format!("unix:{}", folder.path().join("s").display()).parse()?;
    let (ready, listening) = tokio::sync::oneshot::channel();
    let (path, at) = (folder.path().to_owned(), address.clone());
    // A thread of its own, as a callee is a process of its own.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        if let Ok(runtime) = runtime
            && let Err(error) = runtime.block_on(serve(&path, &at, ready))
        {
            eprintln!("the server: {error}");
        }
    });
    listening.await?;
    let connection = Connection::connect(&address, ConnectOptions::default()).await?;
    for binding in ["THREADS", "PROCESSES"] {
        fill(&connection, binding).await?;
    }
    println!("us a call                        threads   processes   ratio");
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |case: &Case| only.as_ref().is_none_or(|only| case.name.contains(only));
    for case in cases().iter().filter(|case| wanted(case)) {
        measure(&connection, case).await?;
    }
    start_up(folder.path()).await?;
    Ok(())
}

async fn serve(
    folder: &Path,
    address: &Address,
    ready: tokio::sync::oneshot::Sender<()>,
) -> Outcome<()> {
    let options = || DatabaseOptions {
        create: true,
        ..DatabaseOptions::default()
    };
    let threads = Database::open(folder.join("t.sqlite"), options())?;
    let path = folder.join("p.sqlite");
    let processes = IsolatedDatabase::open(path, options(), Isolation::default()).await?;
    let listener = Listener::bind_with(address, &ListenOptions::default()).await?;
    let server = Server::new()
        .service("THREADS", threads)
        .service("PROCESSES", processes);
    let _ = ready.send(());
    server.serve([listener], std::future::pending()).await;
    Ok(())
}

async fn query(connection: &Connection, binding: &str, argument: &Value) -> Outcome<()> {
    let reply = connection
        .binding(binding)
        .call("query", (argument,))
        .await?;
    let reply: Value = reply.parse()?;
    match reply["success"] == json!(true) {
        true => Ok(()),
        false => Err(reply.to_string().into()),
    }
}

async fn fill(connection: &Connection, binding: &str) -> Outcome<()> {
    let rows = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000) \
                select i, 'name ' || i, i * 0.5 from n";
    let queries = json!({"queries": [
        {"sql": "create table t (id integer primary key, name text, price real)"},
        {"sql": rows},
    ]});
    query(connection, binding, &queries).await
}

struct Case {
    name: &'static str,
    argument: Value,
    calls: usize,
    at_once: usize,
}

fn cases() -> Vec<Case> {
    let by_key = json!({"queries": [{"sql": "select * from t where id = ?1", "params": [4321]}]});
    let rows = json!({"queries": [{"sql": "select * from t limit 1000"}]});
    let write = json!({"queries": [{"sql": "update t set price = price + 1 where id = ?1", "params": [17]}]});
    let insert =
        json!({"sql": "update t set name = ?1 where id = ?2", "params": ["another name", 99]});
    let batch = json!({"queries": vec![insert; 100]});
    let case = |name, argument: &Value, calls, at_once| Case {
        name,
        argument: argument.clone(),
        calls,
        at_once,
    };
    vec![
        case("select by key", &by_key, 2000, 1),
        case("select by key, 16 at once", &by_key, 4000, 16),
        case("select of 1,000 rows", &rows, 200, 1),
        case("select of 1,000 rows, 16 at once", &rows, 400, 16),
        case("write", &write, 300, 1),
        case("write, 16 at once", &write, 600, 16),
        case("batch of 100 writes", &batch, 100, 1),
    ]
}

async fn measure(connection: &Connection, case: &Case) -> Outcome<()> {
    let mut ratios = Vec::new();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let mut pair = [Duration::ZERO; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let binding = ["THREADS", "PROCESSES"][side];
            let started = Instant::now();
            let one = async || -> Outcome<()> {
                for _ in 0..case.calls / case.at_once {
                    query(connection, binding, &case.argument).await?;
                }
                Ok(())
            };
            let all = (0..case.at_once).map(|_| one());
            futures::future::try_join_all(all).await?;
            pair[side] = started.elapsed() / u32::try_from(case.calls)?;
        }
        // The first round warms up.
        if round > 0 {
            ratios.push(pair[1].as_secs_f64() / pair[0].as_secs_f64());
            times[0].push(pair[0]);
            times[1].push(pair[1]);
        }
    }
    let [threads, processes] = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2].as_secs_f64() * 1e6
    });
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    println!(
        "{:<32} {threads:>7.1} {processes:>11.1} {ratio:>7.2}",
        case.name
    );
    Ok(())
}

async fn start_up(folder: &Path) -> Outcome<()> {
    let mut opened = Vec::new();
    let mut times = Vec::new();
    for n in 0..8 {
        let path = folder.join(format!("{n}.sqlite"));
        let options = DatabaseOptions {
            create: true,
            ..DatabaseOptions::default()
        };
        let started = Instant::now();
        opened.push(IsolatedDatabase::open(path, options, Isolation::default()).await?);
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "opening a database with its two first processes: {:.1} ms (median of 8)",
        times[4].as_secs_f64() * 1e3
    );
    let mut proportional = Vec::new();
    for child in std::fs::read_to_string("/proc/thread-self/children")?.split_whitespace() {
        let rollup = std::fs::read_to_string(format!("/proc/{child}/smaps_rollup"))?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:"));
        let kib = line
            .and_then(|line| line.split_whitespace().nth(1))
            .ok_or("no Pss")?;
        proportional.push(kib.parse::<u64>()?);
    }
    proportional.sort_unstable();
    let middle = proportional.len() / 2;
    println!(
        "memory of a process that is idle: {} KiB (proportional, median of {})",
        proportional[middle],
        proportional.len()
    );
    Ok(())
}
