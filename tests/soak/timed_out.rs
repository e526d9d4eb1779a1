//! Calls that time out, through the real `caller serve`: it serves calls that their callers give up, and gives
//! up its own. One in four is answered, so that no more is sent than is read.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use js_rpc::{
    Address, CallError, ConnectOptions, Connection, Context, Listener, Server, nothing, service_fn,
};

use crate::measure::Watched;

/// The deadline of each.
const DEADLINE: Duration = Duration::from_millis(10);

/// A callee that never answers, unless it is asked for `run`.
pub async fn swallow(at: Address) {
    let listener = Listener::bind(&at).await.expect("a socket");
    let service = service_fn(async |method: &str, _, _: &Context| match method {
        "run" => nothing(),
        _ => pending().await,
    });
    Server::new()
        .service("S", service)
        .serve([listener], pending())
        .await;
}

/// Makes so many calls of a binding that never answers, so many at once, and samples after each tenth of them.
pub async fn run(at: &Address, calls: usize, at_once: usize, watched: &mut [Watched]) {
    let connection = Connection::connect(at, ConnectOptions::default())
        .await
        .expect("it listens");
    let left = Rc::new(Cell::new(calls / 10));
    for tenth in 0..=10 {
        print!("{:>4} %", tenth * 10);
        for watched in &mut *watched {
            let now = watched.sample();
            print!(
                "  {} {:>7.0} KiB, {} descriptors",
                watched.name, now.memory_kib, now.descriptors
            );
        }
        println!();
        if tenth == 10 {
            break;
        }
        left.set(calls / 10);
        let callers = (0..at_once).map(|_| give_up(&connection, &left));
        futures::future::join_all(callers).await;
    }
}

async fn give_up(connection: &Connection, left: &Cell<usize>) {
    let binding = connection.binding("S");
    while left.get() > 0 {
        left.set(left.get() - 1);
        if left.get().is_multiple_of(4) {
            binding.call("run", ()).await.expect("an answer");
        }
        match binding.call("wait", ()).deadline(DEADLINE).await {
            Err(CallError::Deadline(_)) => {}
            other => panic!("a call that times out ended with {other:?}"),
        }
    }
}

/// By how much what a process holds at the end exceeds what it held after the first tenth. The least of the last
/// three samples counts: an allocator keeps some MiB for a while, and gives them back.
pub fn more(watched: &Watched) -> f64 {
    let samples = &watched.samples[1..];
    let last = &samples[samples.len() - 3..];
    let least = last.iter().map(|s| s.memory_kib).fold(f64::MAX, f64::min);
    least - samples[0].memory_kib
}
