//! How a server ends: in time, whatever its peers do, and so that they know.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{BINDING, SOON, service, socket_dir, unix};
use js_rpc::{
    Address, CallError, ConnectOptions, Connection, Context, Listener, NetworkLimits, RpcLimits,
    Server, Service, reply,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A server that can be told to stop.
struct World {
    at: Address,
    stop: Rc<Notify>,
    ended: JoinHandle<usize>,
    dir: tempfile::TempDir,
}

const DRAIN: Duration = Duration::from_millis(300);
const CLOSE: Duration = Duration::from_millis(200);
/// Both together, on a machine that has more to do; and less than whatever else there is to wait for.
const LATE: Duration = Duration::from_secs(5);

impl World {
    async fn of(service: impl Service) -> Self {
        let dir = socket_dir();
        let at = unix(&dir, "s");
        let listener = Listener::bind(&at).await.unwrap();
        let stop = Rc::new(Notify::new());
        let limits = RpcLimits {
            drain: DRAIN,
            network: NetworkLimits {
                close: CLOSE,
                ..NetworkLimits::default()
            },
            ..RpcLimits::default()
        };
        let server = Server::new().service(BINDING, service).limits(limits);
        let told = Rc::clone(&stop);
        let ended =
            tokio::task::spawn_local(
                async move { server.serve([listener], told.notified()).await },
            );
        Self {
            at,
            stop,
            ended,
            dir,
        }
    }

    async fn connect(&self) -> Connection {
        let connected = Connection::connect(&self.at, ConnectOptions::default());
        connected.await.unwrap()
    }

    /// Tells it to stop; how many calls it gave up, and how long it took.
    async fn stop(self) -> (usize, Duration) {
        let since = Instant::now();
        self.stop.notify_one();
        let abandoned = tokio::time::timeout(SOON, self.ended).await;
        (abandoned.expect("it ends").unwrap(), since.elapsed())
    }
}

#[tokio::test(flavor = "local")]
async fn calls_in_flight_finish_while_nobody_new_gets_in() {
    let (entered, release) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    let (is_in, go) = (Rc::clone(&entered), Rc::clone(&release));
    let world = World::of(service(async move |_: &str, _, _: &Context| {
        is_in.notify_one();
        go.notified().await;
        reply(&42)
    }))
    .await;
    let (busy, idle) = (world.connect().await, world.connect().await);
    let call = busy.binding(BINDING).call("any", ()).send();
    entered.notified().await;
    world.stop.notify_one();
    common::a_while().await;
    assert!(
        !world.dir.path().join("s").exists(),
        "the socket is gone first"
    );
    assert!(
        UnixStream::connect(world.dir.path().join("s"))
            .await
            .is_err()
    );
    let late = idle.binding(BINDING).call("any", ()).await.unwrap_err();
    // Which says that it did not run.
    assert!(matches!(late, CallError::Overloaded(_)), "{late:?}");
    assert!(late.to_string().ends_with("it is shutting down"), "{late}");
    release.notify_one();
    assert_eq!(call.await.unwrap().parse::<i32>().unwrap(), 42);
    assert_eq!(world.ended.await.unwrap(), 0);
    // Both peers are told, also the one that said nothing.
    for connection in [busy, idle] {
        let ended = connection.ended();
        tokio::time::timeout(SOON, ended).await.expect("it is told");
        assert!(connection.is_lost());
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_never_ends_is_given_up_after_the_drain_and_its_caller_told() {
    let world = World::of(service(async |_: &str, _, _: &Context| {
        std::future::pending::<()>().await;
        reply(&0)
    }))
    .await;
    let connection = world.connect().await;
    let call = connection.binding(BINDING).call("any", ()).send();
    common::a_while().await;
    let (abandoned, took) = world.stop().await;
    assert_eq!(abandoned, 1);
    assert!((DRAIN..LATE).contains(&took), "{took:?}");
    let error = tokio::time::timeout(SOON, call).await.expect("it ends");
    assert!(
        matches!(error, Err(CallError::Disconnected(_))),
        "{error:?}"
    );
}

#[tokio::test(flavor = "local")]
async fn peers_that_say_nothing_or_read_nothing_do_not_keep_it() {
    let large = "x".repeat(2 << 20);
    let served = Rc::new(Cell::new(0));
    let count = Rc::clone(&served);
    let world = World::of(service(async move |_: &str, _, _: &Context| {
        count.set(count.get() + 1);
        reply(&large)
    }))
    .await;
    // One that says nothing, one in the middle of its opening, one in the middle of a message.
    let path = world.dir.path().join("s");
    let mut silent = UnixStream::connect(&path).await.unwrap();
    let opening = UnixStream::connect(&path).await.unwrap();
    opening.try_write(b"CONNECT S HTTP/1.1\r\nHos").unwrap();
    let message = UnixStream::connect(&path).await.unwrap();
    message.try_write(&[0, 0, 0, 0, 9, 0, 0, 0, 1]).unwrap();
    // And one whose results nobody reads: its thread stops where the results begin.
    let at = world.at.clone();
    let (stuck, is_stuck) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async move {
            let connection = Connection::connect(&at, ConnectOptions::default())
                .await
                .unwrap();
            let calls = (0..8).map(|_| connection.binding(BINDING).call("any", ()).send());
            let _calls: Vec<_> = calls.collect();
            common::a_while().await;
            let _ = is_stuck.recv();
        });
    });
    let until = Instant::now() + SOON;
    while served.get() < 1 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (_, took) = world.stop().await;
    assert!(took < LATE, "{took:?}");
    let end = tokio::time::timeout(SOON, silent.read_u8()).await;
    assert!(end.expect("it is told").is_err());
    drop(stuck);
    reader.join().unwrap();
}
