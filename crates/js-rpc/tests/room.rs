//! More calls than a connection takes at once: ours wait for room, in order, within their deadlines.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use common::relay::Relay;
use common::{BINDING, SOON, WIRES, Wire, a_while, all, serve, service, socket_dir, unix};
use js_rpc::{
    Args, CallError, ConnectOptions, Connection, Context, NetworkLimits, NetworkStats, Proxy,
    Reason, RpcLimits, Server, Service, ServiceResult, Stub, Value, async_trait, reply,
};
use tokio::sync::Notify;

/// Questions at once.
const MARK: usize = 12;

/// Calls that wait for their results when there is no room for one more.
const fn full(wire: Wire) -> usize {
    match wire {
        // The bootstrap is the connection's own.
        Wire::OneMessage => MARK - 1,
        // The entrypoint as well; a call that opens a session is three, of which one is left.
        Wire::ThreeCalls => MARK - 2 - 2,
    }
}

fn limits() -> RpcLimits {
    limits_of(Wire::OneMessage)
}

fn limits_of(wire: Wire) -> RpcLimits {
    RpcLimits {
        call: SOON,
        network: NetworkLimits {
            in_flight: MARK,
            waiting: 100,
            ..NetworkLimits::default()
        },
        ..wire.limits()
    }
}

/// What a callee does, and what the test sees of it.
#[derive(Default)]
struct Seen {
    began: RefCell<Vec<i64>>,
    now: Cell<usize>,
    most: Cell<usize>,
    go: Notify,
}

struct Busy(Rc<Seen>);

#[async_trait(?Send)]
impl Service for Busy {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        let number: i64 = args.first::<Option<i64>>()?.unwrap_or_default();
        let Self(seen) = self;
        seen.began.borrow_mut().push(number);
        seen.now.set(seen.now.get() + 1);
        seen.most.set(seen.most.get().max(seen.now.get()));
        match method {
            "wait" => seen.go.notified().await,
            "make" => {
                let stub = Stub::new(Self(Rc::clone(seen)));
                seen.now.set(seen.now.get() - 1);
                return reply(&stub);
            }
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        seen.now.set(seen.now.get() - 1);
        reply(&number)
    }
}

struct World {
    wire: Wire,
    connection: Connection,
    seen: Rc<Seen>,
    /// What the callee refused.
    callee: NetworkStats,
    relay: Relay,
    #[allow(dead_code, reason = "held for its drop")]
    dir: tempfile::TempDir,
}

impl World {
    async fn over(wire: Wire) -> Self {
        println!("{wire:?}");
        let dir = socket_dir();
        let seen = Rc::new(Seen::default());
        let limited = limits();
        let callee = limited.network.stats.clone();
        let server = Server::new().service(BINDING, Busy(Rc::clone(&seen)));
        let address = serve(server.limits(limited), &unix(&dir, "callee")).await;
        let relay = Relay::to(&address, &dir).await;
        let options = ConnectOptions {
            limits: limits_of(wire),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&relay.address, options).await.unwrap();
        Self {
            wire,
            connection,
            seen,
            callee,
            relay,
            dir,
        }
    }

    /// Takes all of the room, with calls that are held until they are let go.
    async fn fill(&self) -> Vec<js_rpc::PendingCall> {
        let full = full(self.wire);
        let calls = (0..full).map(|_| self.call("wait", 0)).collect();
        let full = async {
            while self.seen.now.get() < full {
                a_while().await;
            }
        };
        tokio::time::timeout(SOON, full)
            .await
            .expect("there is room for these");
        calls
    }

    fn call(&self, method: &str, number: i64) -> js_rpc::PendingCall {
        let binding = self.connection.binding(BINDING);
        binding.call(method, (number,)).send()
    }
}

#[tokio::test(flavor = "local")]
async fn calls_beyond_the_mark_wait_for_room_and_keep_their_order() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let calls: Vec<_> = (0..60).map(|n| world.call("run", n)).collect();
        for (n, outcome) in all(calls).await.into_iter().enumerate() {
            assert_eq!(outcome.unwrap().parse::<usize>().unwrap(), n);
        }
        assert_eq!(*world.seen.began.borrow(), (0..60).collect::<Vec<_>>());
        assert!(world.seen.most.get() <= MARK, "{}", world.seen.most.get());
        assert_eq!(world.callee.count(Reason::InFlight), 0, "none is refused");
    }
}

#[tokio::test(flavor = "local")]
async fn calls_of_a_stub_wait_as_well() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let made: Stub = world.call("make", 0).await.unwrap().parse().unwrap();
        let calls: Vec<_> = (0..60).map(|n| made.call("run", (n,)).send()).collect();
        for outcome in all(calls).await {
            outcome.unwrap();
        }
        assert_eq!(world.callee.count(Reason::InFlight), 0, "none is refused");
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_is_dropped_while_it_waits_gives_up_its_turn() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let first = world.fill().await;
        let waiting: Vec<_> = (4..40).map(|n| world.call("run", n)).collect();
        a_while().await;
        // The one that is dropped last was let in by the one before it.
        let (dropped, kept): (Vec<_>, Vec<_>) =
            waiting.into_iter().zip(4..).partition(|(_, n)| n % 3 > 0);
        drop(dropped);
        drop(first);
        for (call, n) in kept {
            assert_eq!(call.await.unwrap().parse::<i32>().unwrap(), n);
        }
        let began = world.seen.began.borrow().clone();
        assert!(
            began[full(world.wire)..].iter().all(|n| n % 3 == 0),
            "{began:?}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn the_wait_counts_for_the_deadline_and_has_a_bound() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let binding = world.connection.binding(BINDING);
        let blocking = world.fill().await;
        let short = binding
            .call("run", (9,))
            .deadline(Duration::from_millis(30));
        let error = short.await.unwrap_err();
        assert!(matches!(error, CallError::Deadline(_)), "{error:?}");
        let waiting: Vec<_> = (0..101).map(|n| world.call("run", n)).collect();
        let outcomes = async {
            a_while().await;
            world.seen.go.notify_waiters();
            all(waiting).await
        };
        let (mut outcomes, blocked) = tokio::join!(outcomes, all(blocking));
        assert!(blocked.iter().all(Result::is_ok), "{blocked:?}");
        assert!(!world.seen.began.borrow().contains(&999));
        // So many may wait, and not one more.
        let refused = outcomes.pop().unwrap().unwrap_err();
        assert!(matches!(refused, CallError::Overloaded(_)), "{refused:?}");
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn what_waits_when_the_connection_is_lost_fails_at_once() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let calls: Vec<_> = (0..20).map(|n| world.call("wait", n)).collect();
        let pipelined = calls[19].pipelined().expect("a result ahead");
        let on_it = pipelined.call("run", (1,)).send();
        a_while().await;
        world.relay.cut();
        let ended = tokio::time::timeout(SOON / 2, futures::future::join(all(calls), on_it));
        let (outcomes, on_it) = ended.await.expect("nobody waits");
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert!(matches!(error, CallError::Disconnected(_)), "{error:?}");
        }
        on_it.unwrap_err();
        assert!(
            world.seen.most.get() <= full(world.wire),
            "the others did not run"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_result_ahead_of_a_call_that_waits_can_be_called() {
    for wire in WIRES {
        let world = World::over(wire).await;
        let blocking = world.fill().await;
        let made = world.call("make", 4);
        let ahead = made.pipelined().expect("a result ahead");
        let called = ahead.call("run", (5,)).send();
        a_while().await;
        assert!(!world.seen.began.borrow().contains(&4), "it waits");
        let go = async {
            world.seen.go.notify_waiters();
        };
        let (made, called, blocked, ()) = tokio::join!(made, called, all(blocking), go);
        made.unwrap();
        assert_eq!(called.unwrap().parse::<i32>().unwrap(), 5);
        assert!(blocked.iter().all(Result::is_ok));
    }
}

#[tokio::test(flavor = "local")]
async fn callers_of_a_proxy_share_its_room_and_none_is_refused() {
    let dir = socket_dir();
    let seen = Rc::new(Seen::default());
    let limited = limits();
    let callee = limited.network.stats.clone();
    let server = Server::new().service(BINDING, Busy(Rc::clone(&seen)));
    let back = serve(server.limits(limited), &unix(&dir, "callee")).await;
    let proxy = Proxy::new(back, BINDING, ConnectOptions::default());
    let front = Server::new().proxy(BINDING, proxy).limits(limits());
    let front = serve(front, &unix(&dir, "proxy")).await;
    let mut calls = Vec::new();
    for _ in 0..6 {
        let options = ConnectOptions {
            limits: limits(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&front, options).await.unwrap();
        let binding = connection.binding(BINDING);
        calls.extend((0..20).map(|n| binding.call("run", (n,)).send()));
    }
    for outcome in all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(seen.began.borrow().len(), 120);
    assert_eq!(callee.count(Reason::InFlight), 0, "none is refused");
}

/// Calls the service that called it, as often as it is told.
struct Deeper(Stub, Cell<u32>);

#[async_trait(?Send)]
impl Service for Deeper {
    async fn call(&self, _method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        let left = self.1.get();
        if left == 0 {
            return reply(&0);
        }
        self.1.set(left - 1);
        self.0.call("run", (1,)).await?;
        reply(&left)
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_the_peer_waits_for_does_not_wait() {
    let dir = socket_dir();
    let calls_back =
        service(
            async |_: &str, args: Args, _: &Context| match args.first::<Option<Stub>>()? {
                Some(stub) => Ok(stub.call("any", ()).await?.into_payload()),
                None => reply(&1),
            },
        );
    let makes = service(
        async move |method: &str, args: Args, cx: &Context| match method {
            "make" => reply(&Stub::new(service(async |_: &str, _, _: &Context| {
                reply(&1)
            }))),
            _ => calls_back.call(method, args, cx).await,
        },
    );
    let address = serve(Server::new().service(BINDING, makes), &unix(&dir, "callee")).await;
    let options = ConnectOptions {
        limits: limits(),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&address, options).await.unwrap();
    let binding = connection.binding(BINDING);
    let made: Stub = binding.call("make", ()).await.unwrap().parse().unwrap();
    // All of the room is taken by calls that wait for what they call back, which calls on.
    let calls = (0..40).map(|_| {
        let back = Stub::new(Deeper(made.clone(), Cell::new(1)));
        binding.call("run", (back,)).send()
    });
    let began = std::time::Instant::now();
    for outcome in all(calls).await {
        outcome.unwrap();
    }
    assert!(began.elapsed() < SOON / 2, "nobody waited for a deadline");
}

/// Gives back what it is given, after a while, and sees how many calls it has at once.
fn echo(seen: &Rc<Seen>) -> impl Service + use<> {
    let seen = Rc::clone(seen);
    service(async move |_: &str, args: Args, _: &Context| {
        seen.now.set(seen.now.get() + 1);
        seen.most.set(seen.most.get().max(seen.now.get()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen.now.set(seen.now.get() - 1);
        let value = args.values.into_iter().next().unwrap_or_default();
        Ok(value.into())
    })
}

/// Bytes of one value, of which a message may have one.
const LARGE: usize = 31 << 20;

#[tokio::test(flavor = "local")]
async fn the_largest_values_pass_alone_and_wait_for_each_other() {
    let large = Value::from("x".repeat(LARGE));
    for (wire, proxied) in WIRES
        .into_iter()
        .flat_map(|wire| [(wire, false), (wire, true)])
    {
        println!("{wire:?}, proxied: {proxied}");
        let (dir, seen) = (socket_dir(), Rc::new(Seen::default()));
        let server = Server::new().service(BINDING, echo(&seen));
        let mut address = serve(server, &unix(&dir, "callee")).await;
        if proxied {
            let proxy = Proxy::new(address, BINDING, ConnectOptions::default());
            let front = Server::new().proxy(BINDING, proxy).limits(wire.limits());
            address = serve(front, &unix(&dir, "proxy")).await;
        }
        let connect = async || {
            let options = ConnectOptions {
                limits: wire.limits(),
                ..ConnectOptions::default()
            };
            Connection::connect(&address, options).await.unwrap()
        };
        let one = connect().await;
        // To a proxy also over two connections: they share that of the proxy.
        let two = if proxied {
            connect().await
        } else {
            one.clone()
        };
        let call = async |connection: &Connection| {
            let args = Args::from(vec![large.clone()]);
            let reply = connection
                .binding(BINDING)
                .call("echo", args)
                .deadline(SOON * 2);
            let reply = reply.await.expect("it passes");
            assert!(reply.value() == &large);
        };
        call(&one).await;
        tokio::join!(call(&one), call(&two));
        assert_eq!(seen.most.get(), 1, "they waited for each other");
        // Small ones go on beside it.
        let small = one.binding(BINDING).call("echo", (1,));
        let (_, small) = tokio::join!(call(&one), small.into_future());
        small.expect("an answer");
    }
}

/// What each of two callers sees of a proxy whose upstream connection one of them fills.
async fn beside_who_fills(args: fn() -> Args, calls: usize, limits: RpcLimits) {
    let dir = socket_dir();
    let seen = Rc::new(Seen::default());
    let limited = limits.clone();
    let server = Server::new().service(BINDING, Busy(Rc::clone(&seen)));
    let back = serve(server.limits(limited), &unix(&dir, "callee")).await;
    let upstream = NetworkStats::default();
    let mut options = ConnectOptions::default();
    options.limits.network.stats = upstream.clone();
    let proxy = Proxy::new(back, BINDING, options);
    let front = Server::new().proxy(BINDING, proxy).limits(limits.clone());
    let front = serve(front, &unix(&dir, "proxy")).await;
    let connect = async || {
        let options = ConnectOptions {
            limits: limits.clone(),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&front, options).await.unwrap();
        connection.binding(BINDING)
    };
    // One fills what it can, with calls that do not return.
    let greedy = connect().await;
    let held: Vec<_> = (0..calls)
        .map(|_| greedy.call("wait", args()).send())
        .collect();
    let mut of_greedy = 0;
    while of_greedy == 0 || of_greedy < seen.now.get() {
        of_greedy = seen.now.get();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(of_greedy < calls, "it has to wait, with {of_greedy}");
    // Another has its answers at once.
    let honest = connect().await;
    for n in 0..50 {
        let call = honest.call("run", (n,)).deadline(Duration::from_secs(2));
        call.await.expect("nothing of the other's is waited for");
    }
    assert_eq!(seen.now.get(), of_greedy, "which took nobody's turn");
    let go = async {
        loop {
            seen.go.notify_waiters();
            a_while().await;
        }
    };
    tokio::select! {
        outcomes = all(held) => outcomes.into_iter().for_each(|it| drop(it.expect("its turn came"))),
        () = go => {}
    }
    assert_eq!(upstream.count(Reason::Unread), 0, "the upstream stays");
}

#[tokio::test(flavor = "local")]
async fn who_fills_a_proxys_connection_with_calls_waits_for_itself_alone() {
    beside_who_fills(|| Args::from(vec![0.into()]), MARK * 2, limits()).await;
}

#[tokio::test(flavor = "local")]
async fn who_fills_a_proxys_connection_with_bytes_waits_for_itself_alone() {
    let large = || Args::from(vec![0.into(), "x".repeat(15 << 20).into()]);
    beside_who_fills(large, 3, RpcLimits::default()).await;
    let largest = || Args::from(vec![0.into(), "x".repeat(LARGE).into()]);
    beside_who_fills(largest, 2, RpcLimits::default()).await;
    let medium = || Args::from(vec![0.into(), "x".repeat(700 << 10).into()]);
    beside_who_fills(medium, 40, RpcLimits::default()).await;
}
