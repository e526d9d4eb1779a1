//! How long an honest caller waits for its answers while somebody floods the server: the floods of the
//! suite of hostile inputs, each over and over, against a server on a thread of its own.
//!
//! The caller makes a call every 4 ms, and a call that could not begin in time counts from when it
//! should have begun. The attacker and what reads for it are threads of the same machine, so what two
//! threads that only compute do to the caller is printed first.
//!
//! `cargo bench -p binding-span-js-rpc --bench under_attack [-- part of a flood's name]`
#![allow(missing_docs, reason = "a program")]

#[path = "../tests/network/alloc.rs"]
mod alloc;
#[allow(dead_code, unused_imports, reason = "what tests alone use")]
#[path = "../tests/network/clock.rs"]
mod clock;
#[allow(dead_code, unused_imports, reason = "what tests alone use")]
#[path = "../tests/network/floods.rs"]
mod floods;
#[allow(dead_code, reason = "what tests alone use")]
#[path = "../tests/network/messages.rs"]
mod messages;
#[allow(dead_code, unused_imports, reason = "what tests alone use")]
#[path = "../tests/network/on_server.rs"]
mod on_server;
#[allow(dead_code, reason = "what tests alone use")]
#[path = "../tests/network/peer.rs"]
mod peer;
#[allow(dead_code, reason = "what tests alone use")]
#[path = "../tests/network/raw.rs"]
mod raw;
#[allow(dead_code, reason = "what tests alone use")]
#[path = "../tests/network/report.rs"]
mod report;
#[allow(dead_code, reason = "what tests alone use")]
#[path = "../tests/network/victim.rs"]
mod victim;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use js_rpc::{Address, ConnectOptions, Connection};

use on_server::{Attack, Expect};
use peer::Peer;
use victim::{Victim, limits, local, thread};

/// Calls of the honest caller in each round.
const CALLS: u32 = 600;

/// From one call to the next: long enough that one that waits does not make all others late.
const PACE: Duration = Duration::from_millis(4);

/// Makes the calls; how long each took, in order of length.
async fn honest(address: &Address) -> Vec<Duration> {
    let connection = Connection::connect(address, ConnectOptions::default()).await;
    let binding = connection.expect("the victim answers").binding("S");
    binding.call("run", ()).await.expect("an answer");
    let began = Instant::now();
    let mut took = Vec::new();
    for i in 0..CALLS {
        let due = began + PACE * i;
        // Late for its turn, a call has waited already; the timer's own lateness is not the server's.
        let from = match due.checked_duration_since(Instant::now()) {
            Some(early) => {
                std::thread::sleep(early);
                Instant::now()
            }
            None => due,
        };
        binding.call("run", ()).await.expect("an answer");
        took.push(from.elapsed());
    }
    took.sort_unstable();
    took
}

/// The times of the honest caller's calls beside attackers, who are told when to stop; and how many
/// rounds these made.
fn round(attackers: usize, attack: impl Fn(&Path) + Copy + Send + 'static) -> (Vec<Duration>, u32) {
    let victim = Victim::start(limits());
    let stop = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..attackers)
        .map(|_| {
            let (path, stop) = (victim.path.clone(), Arc::clone(&stop));
            thread("attacker", move || {
                let mut rounds = 0;
                while !stop.load(Relaxed) {
                    attack(&path);
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let address = Address::Unix(victim.path.clone());
    let caller = thread("honest", move || {
        local(async move { honest(&address).await })
    });
    let took = caller.join().expect("the honest caller got its answers");
    stop.store(true, Relaxed);
    let rounds = attackers.into_iter().map(|it| it.join().expect("rounds"));
    let rounds = rounds.sum();
    victim.stop();
    (took, rounds)
}

fn flood(attack: &Attack, path: &Path) {
    let peer = Peer::connect(path);
    let peer = match attack.expect {
        Expect::Dropped => peer,
        _ => peer.reading(),
    };
    peer.send(&messages::bootstrap(0));
    (attack.run)(&peer);
    if let Err(error) = attack.expect.check(&peer) {
        println!("{}: {error}", attack.name);
    }
}

fn compute() {
    std::hint::black_box((0..100_000_u64).fold(0, |sum, i| sum ^ i.wrapping_mul(sum + 1)));
}

fn print(name: &str, (took, rounds): &(Vec<Duration>, u32), baseline: Duration) -> Duration {
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let (median, p99, longest) = (at(0.5), at(0.99), at(1.0));
    println!(
        "{name:<62} {rounds:>5} times: {:>7.3} ms, p99 {:>7.3} ms, at most {:>7.3} ms{}",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
        match baseline.is_zero() {
            true => String::new(),
            false => format!(", {:>5.1}x", p99.as_secs_f64() / baseline.as_secs_f64()),
        }
    );
    p99
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| {
        wanted
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    };
    let baseline = print("alone", &round(0, |_| {}), Duration::ZERO);
    let computing = round(2, |_| compute());
    print("beside two threads that compute", &computing, baseline);
    for attack in floods::CALLS.iter().chain(floods::UNREAD) {
        if wanted(attack.name) {
            print(attack.name, &round(1, |path| flood(attack, path)), baseline);
        }
    }
    let name = "1,000 connections that come and go";
    if wanted(name) {
        print(name, &round(1, floods::come_and_go), baseline);
    }
}
