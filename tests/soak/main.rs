//! The real programs under a load that goes on: what they hold must not grow.
//!
//! `cargo bench -p binding-span-daemons --bench soak [-- --seconds N]` loads a `callee` and a `caller serve` in
//! front of it with calls, sessions that are held, calls that are given up and connections that come and go, 300
//! seconds by default, and prints the slopes of what each process holds.
//! With `--timed-out N` it makes N calls that time out, through `caller serve`, and prints what each process
//! holds after each tenth of them.
//!
//! With `--idle` it prints what an idle connection and an open session cost a `callee`.
//!
//! Ends with 1 if anything grew by more than it may, or costs more.

mod idle;
mod measure;
mod mixed;
mod timed_out;
#[path = "../util.rs"]
mod util;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use js_rpc::Address;
use measure::{Allowed, Watched};
use mixed::Load;
use util::{Daemon, World};

/// Over the last two thirds of a run, however long it is.
const ALLOWED: Allowed = Allowed {
    memory_kib: 2048.0,
    descriptors: 4.0,
    threads: 1.0,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).map(String::as_str)
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime");
    if let Some(at) = after("--swallow") {
        runtime.block_on(timed_out::swallow(at.parse().expect("an address")));
        return ExitCode::SUCCESS;
    }
    let flat = runtime.block_on(async {
        match after("--timed-out") {
            Some(calls) => calls_that_time_out(number(calls)).await,
            None if args.iter().any(|arg| arg == "--idle") => idle_connections().await,
            None => mixed_load(after("--seconds").map_or(300, number)).await,
        }
    });
    match flat {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn calls_that_time_out(calls: usize) -> bool {
    let world = World::new();
    let (swallow, serve) = (world.unix("swallow.sock"), world.unix("caller.sock"));
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new(this);
    command.args(["--swallow", &swallow]).stdin(Stdio::null());
    let callee = Daemon::spawn(&mut command);
    wait_for(&world, "swallow.sock").await;
    let bind = format!("S={swallow}");
    let caller = world.start(
        util::caller(),
        &["serve", "--listen", &serve, "--bind", &bind],
    );
    let caller = caller.ready();
    let mut watched = [
        Watched::new("the load", std::process::id()),
        Watched::new("caller serve", caller.id()),
        Watched::new("the callee", callee.id()),
    ];
    let at: Address = serve.parse().expect("an address");
    timed_out::run(&at, calls, 64, &mut watched).await;
    let mut flat = true;
    for watched in &watched {
        let more = timed_out::more(watched);
        println!(
            "{:<14} {more:+8.0} KiB at most since the first tenth",
            watched.name
        );
        flat &= more <= ALLOWED.memory_kib;
    }
    flat
}

async fn idle_connections() -> bool {
    let world = World::new();
    drop(world.database());
    let callee = world.callee(&[]);
    let at = world.unix("callee.sock").parse().expect("an address");
    idle::run(&at, &mut Watched::new("callee", callee.id())).await
}

async fn wait_for(world: &World, name: &str) {
    let until = Instant::now() + util::LIMIT;
    while !world.path(name).exists() {
        assert!(Instant::now() < until, "no {name}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn mixed_load(seconds: usize) -> bool {
    let world = World::new();
    drop(world.database());
    let (callee, caller) = (world.callee(&[]), world.caller(&[]));
    let mut watched = [
        Watched::new("the load", std::process::id()),
        Watched::new("caller serve", caller.id()),
        Watched::new("callee", callee.id()),
    ];
    let load = Load {
        callee: world.unix("callee.sock").parse().expect("an address"),
        caller: world.unix("caller.sock").parse().expect("an address"),
        until: Instant::now() + Duration::from_secs(seconds as u64),
    };
    let every = Duration::from_secs_f64((seconds as f64 / 200.0).max(0.1));
    let sampling = async {
        while Instant::now() < load.until {
            for watched in &mut watched {
                watched.sample();
            }
            tokio::time::sleep(every).await;
        }
    };
    let (done, ()) = tokio::join!(load.run(), sampling);
    println!("{}", done.expect("all that is to be answered is"));
    let mut flat = true;
    for watched in &watched {
        let (line, ok) = watched.judge(ALLOWED);
        println!("{line}");
        flat &= ok;
    }
    flat
}
