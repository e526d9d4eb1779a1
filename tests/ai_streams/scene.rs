//! The programs around a server of models, and what they take.
#![allow(dead_code, reason = "each program uses a part of it")]

use crate::util::{self, Daemon, World};

/// A `callee` whose `AI` is the server, ready, at `callee.sock` and by plain HTTP.
pub fn start_callee(world: &World, server: &str) -> (Daemon, String) {
    let (listen, ai) = (world.unix("callee.sock"), format!("AI=http://{server}/v1"));
    let http = "127.0.0.1:0,binding=AI";
    let args = ["--listen", &listen, "--listen", http, "--ai", &ai];
    ready(world.start(util::callee(), &args))
}

/// A `caller serve` in front of it, likewise.
pub fn start_caller(world: &World) -> (Daemon, String) {
    let (listen, bind) = (
        world.unix("caller.sock"),
        format!("AI={}", world.unix("callee.sock")),
    );
    let http = "127.0.0.1:0,binding=AI";
    let args = [
        "serve", "--listen", &listen, "--listen", http, "--bind", &bind,
    ];
    ready(world.start(util::caller(), &args))
}

fn ready(mut daemon: Daemon) -> (Daemon, String) {
    let line = daemon.line("listening on 127.0.0.1:");
    let at = line.split("listening on ").nth(1).expect("an address");
    let at = at.split([',', ' ']).next().expect("an address").to_owned();
    (daemon, at)
}

/// Seconds for which a process has been on a processor.
pub fn processor_seconds(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(of_task).sum::<f64>() / 1e9
}

/// What a process holds of memory, and what it held at most, in bytes.
pub fn memory(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("a number") << 10
    };
    (number("VmRSS:"), number("VmHWM:"))
}
