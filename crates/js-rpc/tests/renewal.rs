//! Connections on which many calls were cancelled: new sessions move to a new one, what is held stays.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::{BINDING, SOON, WIRES, Wire, a_while, all, released, serve, socket_dir, unix};
use js_rpc::{
    Address, Args, Binding, CallError, ConnectOptions, Connection, Context, Listener,
    NetworkLimits, NetworkStats, PendingCall, Proxy, RpcLimits, Server, Service, ServiceResult,
    Stub, async_trait, reply,
};

const RENEW: usize = 50;

fn limits() -> RpcLimits {
    limits_of(Wire::OneMessage)
}

fn limits_of(wire: Wire) -> RpcLimits {
    RpcLimits {
        // So many that the old ones must be closed for the new ones to get in.
        connections: 3,
        connections_per_peer: 3,
        connections_reserved: 0,
        network: NetworkLimits {
            renew: RENEW,
            ..NetworkLimits::default()
        },
        ..wire.limits()
    }
}

/// Counts, hands out counters, or never answers.
#[derive(Default)]
struct Counter {
    count: Cell<i64>,
    /// Held by each call that never answers, while it runs.
    running: RefCell<Weak<()>>,
}

impl Counter {
    fn running(&self) -> Weak<()> {
        self.running.borrow().clone()
    }
}

struct Shared(Rc<Counter>);

#[async_trait(?Send)]
impl Service for Shared {
    async fn call(&self, method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "make" => reply(&Stub::new(Self(Rc::default()))),
            "wait" => {
                let running = Rc::new(());
                self.0.running.replace(Rc::downgrade(&running));
                std::future::pending().await
            }
            _ => {
                self.0.count.set(self.0.count.get() + 1);
                reply(&self.0.count.get())
            }
        }
    }
}

struct World {
    callee: Address,
    counter: Rc<Counter>,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = socket_dir();
        let counter = Rc::new(Counter::default());
        let server = Server::new().service(BINDING, Shared(Rc::clone(&counter)));
        let callee = serve(server.limits(limits()), &unix(&dir, "callee")).await;
        Self {
            callee,
            counter,
            dir,
        }
    }
}

async fn connect(address: &Address) -> (Connection, NetworkStats) {
    connect_over(address, Wire::OneMessage).await
}

async fn connect_over(address: &Address, wire: Wire) -> (Connection, NetworkStats) {
    let options = ConnectOptions {
        limits: limits_of(wire),
        ..ConnectOptions::default()
    };
    let stats = options.limits.network.stats.clone();
    (Connection::connect(address, options).await.unwrap(), stats)
}

/// Calls that are dropped before they are answered.
async fn give_up(connection: &Connection, calls: usize) {
    let binding = connection.binding(BINDING);
    // So that they are on their way when they are dropped.
    binding.call("run", ()).await.expect("an answer");
    for _ in 0..calls.div_ceil(10) {
        let soon = Duration::from_millis(5);
        let calls = (0..10).map(|_| binding.call("wait", ()).send());
        let answered = tokio::time::timeout(soon, all(calls)).await;
        answered.expect_err("they are never answered");
    }
}

/// Calls until so many connections were replaced: one that has no room for another yet is tried again.
async fn renewed(binding: &Binding, stats: &NetworkStats, count: u64) {
    let renewed = async {
        while stats.renewed() < count {
            binding.call("run", ()).await.expect("an answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, renewed)
        .await
        .expect("it is replaced");
}

async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, held).await.expect("it happens");
}

#[tokio::test(flavor = "local")]
async fn new_sessions_move_and_held_stubs_stay() {
    for wire in WIRES {
        moves_and_stays(wire).await;
    }
}

async fn moves_and_stays(wire: Wire) {
    let world = World::new().await;
    let (connection, stats) = connect_over(&world.callee, wire).await;
    let binding = connection.binding(BINDING);
    let held: Stub = binding.call("make", ()).await.unwrap().parse().unwrap();
    for round in 1..6 {
        give_up(&connection, 2 * RENEW).await;
        renewed(&binding, &stats, round).await;
        binding.call("run", ()).await.expect("an answer");
        let count: u64 = held.call("run", ()).await.unwrap().parse().unwrap();
        assert_eq!(count, round, "it is the same object");
        assert!(!connection.is_lost());
    }
    // The first one is held by the stub, the others are closed: else there would be no room for these.
    let ended = connection.ended();
    drop((binding, connection));
    a_while().await;
    held.call("run", ()).await.expect("it is still there");
    drop(held);
    tokio::time::timeout(SOON, ended)
        .await
        .expect("all are closed");
}

#[tokio::test(flavor = "local")]
async fn a_callee_that_takes_no_new_connection_is_called_over_the_old_one() {
    let dir = socket_dir();
    let at = unix(&dir, "callee");
    let listener = Listener::bind(&at).await.unwrap();
    let server = Server::new().service(BINDING, Shared(Rc::default()));
    let limited = RpcLimits {
        connections: 1,
        connections_per_peer: 1,
        ..limits()
    };
    let serving = server
        .limits(limited)
        .serve([listener], std::future::pending());
    tokio::task::spawn_local(serving);
    let (connection, _) = connect(&at).await;
    give_up(&connection, 2 * RENEW).await;
    let binding = connection.binding(BINDING);
    for _ in 0..20 {
        binding.call("run", ()).await.expect("an answer");
    }
}

#[tokio::test(flavor = "local")]
async fn a_proxy_moves_as_well() {
    let world = World::new().await;
    let options = ConnectOptions::default();
    let stats = options.limits.network.stats.clone();
    let proxy = Proxy::new(world.callee.clone(), BINDING, options);
    let front = Server::new().proxy(BINDING, proxy).limits(limits());
    let front = serve(front, &unix(&world.dir, "proxy")).await;
    let connection = Connection::connect(&front, ConnectOptions::default())
        .await
        .unwrap();
    let binding = connection.binding(BINDING);
    let held: Stub = binding.call("make", ()).await.unwrap().parse().unwrap();
    for round in 1..5 {
        give_up(&connection, 2 * RENEW).await;
        renewed(&binding, &stats, round).await;
        held.call("run", ()).await.expect("an answer");
    }
}

/// Calls whose time was over were answered, between our own peers: nothing of them is left.
#[tokio::test(flavor = "local")]
async fn deadlines_wear_nothing_where_the_callee_knows_of_them() {
    for (wire, worn) in [(Wire::OneMessage, false), (Wire::ThreeCalls, true)] {
        let world = World::new().await;
        let (connection, stats) = connect_over(&world.callee, wire).await;
        let binding = connection.binding(BINDING);
        binding.call("run", ()).await.expect("an answer");
        // Not all at the same moment, in which this thread could not be in time for all.
        let calls = (0..2 * RENEW as u64).map(|n| {
            let soon = Duration::from_millis(1000 + 10 * n);
            binding.call("wait", ()).deadline(soon).send()
        });
        for outcome in all(calls).await {
            let error = outcome.unwrap_err();
            assert!(matches!(error, CallError::Deadline(_)), "{error:?}");
        }
        match worn {
            true => renewed(&binding, &stats, 1).await,
            false => {
                for _ in 0..20 {
                    binding.call("run", ()).await.expect("an answer");
                }
                // But for some, where a busy machine was late.
                let abandoned = stats.abandoned();
                assert!(abandoned < RENEW as u64 / 2, "{abandoned}");
                assert_eq!(stats.renewed(), 0);
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_deadline_stops_the_callee_while_the_result_ahead_is_held() {
    let world = World::new().await;
    let proxy = Proxy::new(world.callee.clone(), BINDING, ConnectOptions::default());
    let front = Server::new().proxy(BINDING, proxy);
    let front = serve(front, &unix(&world.dir, "proxy")).await;
    for address in [&world.callee, &front] {
        let (connection, _) = connect(address).await;
        let binding = connection.binding(BINDING);
        let call: PendingCall = binding
            .call("wait", ())
            .deadline(Duration::from_millis(500))
            .send();
        let ahead = call.pipelined().expect("a result ahead");
        until(|| world.counter.running.borrow().strong_count() > 0).await;
        let error = call.await.unwrap_err();
        assert!(matches!(error, CallError::Deadline(_)), "{error:?}");
        released(&world.counter.running()).await;
        let error = ahead.call("run", ()).await.unwrap_err();
        assert!(matches!(error, CallError::Canceled), "{error:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_proxys_deadline_stops_the_callee_while_its_caller_holds_the_result_ahead() {
    let world = World::new().await;
    let proxy = Proxy::new(world.callee.clone(), BINDING, ConnectOptions::default());
    let proxy = proxy.deadline(Duration::from_millis(50));
    let front = Server::new().proxy(BINDING, proxy);
    let front = serve(front, &unix(&world.dir, "proxy")).await;
    let (connection, _) = connect(&front).await;
    let call = connection.binding(BINDING).call("wait", ()).send();
    let ahead = call.pipelined().expect("a result ahead");
    let error = call.await.unwrap_err();
    assert!(error.to_string().contains("deadline"), "{error}");
    released(&world.counter.running()).await;
    ahead.call("run", ()).await.unwrap_err();
}
