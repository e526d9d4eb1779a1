//! What is left in daemons of two hundred calls that failed: nothing.

use std::time::{Duration, Instant};

use js_rpc::{Address, Args, CallError, ConnectOptions, Connection, PendingCall, Value};

use crate::relay::{Mode, Relay};
use crate::scene::{descriptors, port};
use crate::util::{self, Daemon, LIMIT, World, request};

const FAULTS: [Mode; 4] = [
    Mode::Reset,
    Mode::EndRequests,
    Mode::EndReplies,
    Mode::Stall,
];

/// What may be held more than before, of what allocators keep: 2 MiB.
const SPARE: u64 = 2 << 20;

/// Resident memory of a program, in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

struct Chain {
    callee: Daemon,
    caller: Daemon,
    /// Before the sidecar, and behind it.
    relays: [Relay; 2],
}

impl Chain {
    fn start(world: &World) -> Self {
        world.database();
        // One process that reads, so that none is started because two calls meet.
        let mut callee = world.callee(&["--listen", "127.0.0.1:0", "--d1-readers", "1"]);
        let behind = Relay::to(&port(&mut callee));
        let bind = format!("DB={}", behind.address);
        let args = ["serve", "--listen", "127.0.0.1:0", "--bind", &bind];
        let mut caller = world.start(util::caller(), &args);
        let before = Relay::to(&port(&mut caller));
        Self {
            callee,
            caller,
            relays: [before, behind],
        }
    }

    /// One call, of which the answer is held up while it is on its way and then meets a fault.
    async fn fail(&self, fault: Mode, place: usize) {
        let relay = &self.relays[place];
        let connection = connect(&self.relays[0].address).await;
        // All along the way it is known how the next peer is called.
        query(&connection, LIMIT).await.unwrap();
        relay.set(Mode::HoldReplies);
        let deadline = match fault {
            Mode::Stall => Duration::from_millis(100),
            _ => LIMIT,
        };
        let call = tokio::task::spawn_local(query(&connection, deadline));
        while fault != Mode::Stall && !relay.holds_answer() && !call.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let early = fault != Mode::Stall && call.is_finished();
        relay.set(fault);
        let outcome = call.await.unwrap();
        drop(connection);
        let fits = match (fault, &outcome) {
            (Mode::Stall, Err(CallError::Deadline(_))) => true,
            (Mode::EndRequests, Ok(_)) => true,
            (Mode::Stall, _) => false,
            (_, Err(CallError::Disconnected(_))) => true,
            _ => false,
        };
        assert!(fits && !early, "{fault:?} {place}: {:?}", outcome.err());
        while !relay.is_over() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        relay.set(Mode::Pass);
    }

    fn daemons(&self) -> [&Daemon; 2] {
        [&self.callee, &self.caller]
    }
}

fn query(connection: &Connection, deadline: Duration) -> PendingCall {
    let query = Value::from_json(serde_json::from_str(&request("select 1")).unwrap()).unwrap();
    let binding = connection.binding("DB");
    let call = binding.call("query", Args::from(vec![query]));
    call.deadline(deadline).send()
}

async fn connect(at: &str) -> Connection {
    let address: Address = at.parse().unwrap();
    Connection::connect(&address, ConnectOptions::default())
        .await
        .unwrap()
}

#[test]
fn two_hundred_faults_leave_neither_memory_nor_descriptors_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let world = World::new();
    let chain = Chain::start(&world);
    let mut measured = Vec::new();
    for round in 0..5 {
        runtime.block_on(async {
            for i in 0..50 {
                chain.fail(FAULTS[i % 4], i / 4 % 2).await;
            }
        });
        let (chain, settled) = (&chain, Instant::now());
        // The first fifty are what a daemon needs to be warm.
        let first = measured
            .first()
            .copied()
            .unwrap_or([(usize::MAX, u64::MAX); 2]);
        let now = loop {
            let now = chain.daemons().map(|d| (descriptors(d).len(), memory(d)));
            let is_back = now.iter().zip(first).all(|(now, first)| now.0 <= first.0);
            let quiet = round > 0 || settled.elapsed() > Duration::from_secs(2);
            if is_back && quiet {
                break now;
            }
            assert!(
                settled.elapsed() < LIMIT,
                "{first:?} were open, and are {now:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        println!(
            "after {}: (descriptors, bytes) of callee and caller {now:?}",
            (round + 1) * 50
        );
        measured.push(now);
    }
    let (first, last) = (measured[0], measured[4]);
    for (first, last) in first.iter().zip(last) {
        assert!(last.1 <= first.1 + SPARE, "{measured:?}");
    }
    let Chain { callee, caller, .. } = chain;
    assert!(caller.stop().success());
    assert!(callee.stop().success());
}
