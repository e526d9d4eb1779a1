//! Connections on which many calls were cancelled: new sessions move to a new one, what is held stays.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::{BINDING, SOON, a_while, all, released, serve, socket_dir, unix};
use js_rpc::{
    Address, Args, Binding, CallError, ConnectOptions, Connection, Context, Listener,
    NetworkLimits, NetworkStats, PendingCall, Proxy, RpcLimits, Server, Service, ServiceResult,
    Stub, async_trait, reply,
};

const RENEW: usize = 50;

fn limits() -> RpcLimits {
    RpcLimits {
        // So many that the old ones must be closed for the new ones to get in.
        connections: 3,
        connections_per_peer: 3,
        connections_reserved: 0,
        network: NetworkLimits {
            renew: RENEW,
            ..NetworkLimits::default()
        },
        ..RpcLimits::default()
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
    let options = ConnectOptions {
        limits: limits(),
        ..ConnectOptions::default()
    };
    let stats = options.limits.network.stats.clone();
    (Connection::connect(address, options).await.unwrap(), stats)
}

/// Calls that nobody answers in time.
async fn give_up(connection: &Connection, calls: usize) {
    let binding = connection.binding(BINDING);
    for _ in 0..calls.div_ceil(10) {
        let soon = Duration::from_millis(5);
        let calls = (0..10).map(|_| binding.call("wait", ()).deadline(soon).send());
        for outcome in all(calls).await {
            assert!(
                matches!(outcome, Err(CallError::Deadline(_))),
                "{outcome:?}"
            );
        }
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
    let world = World::new().await;
    let (connection, stats) = connect(&world.callee).await;
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
    // Which every call has that is answered, too.
    let proxy = proxy.deadline(Duration::from_secs(1));
    let front = Server::new().proxy(BINDING, proxy).limits(limits());
    let front = serve(front, &unix(&world.dir, "proxy")).await;
    let connection = Connection::connect(&front, ConnectOptions::default())
        .await
        .unwrap();
    let binding = connection.binding(BINDING);
    let held: Stub = binding.call("make", ()).await.unwrap().parse().unwrap();
    for round in 1..5 {
        for outcome in all((0..2 * RENEW).map(|_| binding.call("wait", ()).send())).await {
            outcome.unwrap_err();
        }
        renewed(&binding, &stats, round).await;
        held.call("run", ()).await.expect("an answer");
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
