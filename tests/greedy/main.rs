//! Clients that take all they can get, each beside an honest one: by wire, through `caller serve`, by HTTP, on the
//! admin port. The honest one's calls succeed, and 99 of 100 are answered within 100 ms.
//!
//! `cargo test -p binding-span-daemons --test greedy -- --nocapture` prints the table; with
//! `GREEDY=sidecar` in the environment only of those whose name contains that.

#[path = "../http.rs"]
mod http;
#[path = "../util.rs"]
mod util;

mod clients;
mod honest;
mod scene;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clients::{ALL, Client};
use honest::Took;
use scene::Scene;

/// What 99 of 100 calls of an honest client may take, in any build, without the time for which the machine ran
/// something else.
const P99: Duration = Duration::from_millis(100);

/// Attempts to keep to it: who takes what is others' does so each time, and a machine that has more to do does not.
const ATTEMPTS: usize = 5;

/// What both programs together may hold at any time.
const MEMORY: u64 = 1 << 30;

#[test]
fn an_honest_client_is_served_beside_each_greedy_one() {
    let scene = Scene::start();
    println!(
        "{:<62} {:>6} {:>8} {:>7} {:>7} {:>7} {:>9}",
        "beside", "calls", "failures", "p50 ms", "p99 ms", "max ms", "peak MiB"
    );
    let mut wrong = Vec::new();
    let only = std::env::var("GREEDY").unwrap_or_default();
    for client in ALL.iter().filter(|client| client.name.contains(&only)) {
        if let Err(why) = beside(&scene, client) {
            wrong.push(format!("{}: {why}", client.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.stop();
}

/// Measures an honest client beside a greedy one.
fn beside(scene: &Scene, client: &Client) -> Result<(), String> {
    let mut slow = Vec::new();
    while slow.len() < ATTEMPTS {
        let stop = AtomicBool::new(false);
        let (took, peak) = thread::scope(|scope| {
            let (ports, stop) = (&scene.ports, &stop);
            let greedy = scope.spawn(move || (client.run)(ports, stop));
            // So that it has what it can get.
            thread::sleep(Duration::from_millis(300));
            // Also if something is wrong.
            let stops = Stops(stop);
            let took = scene.honest(client.beside);
            let peak = scene.memory();
            drop(stops);
            greedy.join().expect("a greedy client does what it does");
            (took, peak)
        });
        let [p50, p99, max] = [took.p50(), took.p99(), took.max()].map(millis);
        println!(
            "{:<62} {:>6} {:>8} {p50:>7.1} {p99:>7.1} {max:>7.1} {:>9}",
            client.name,
            took.calls.len(),
            took.failures.len(),
            peak >> 20
        );
        if let Some(failure) = took.failures.first() {
            return Err(format!("{} calls failed: {failure}", took.failures.len()));
        }
        if peak > MEMORY {
            return Err(format!("{peak} bytes are held"));
        }
        if took.p99() <= P99 {
            return Ok(());
        }
        slow.push(took.p99());
        settle(scene);
    }
    Err(format!("p99 {slow:?}"))
}

/// Stops a greedy client when it is dropped.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Waits until nothing of an attempt is left to do.
fn settle(scene: &Scene) {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until && scene.probe(honest::Kind::Sidecar) > P99 / 4 {}
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

impl Took {
    fn p50(&self) -> Duration {
        self.at(50)
    }

    fn p99(&self) -> Duration {
        self.at(99)
    }

    fn max(&self) -> Duration {
        self.at(100)
    }
}
