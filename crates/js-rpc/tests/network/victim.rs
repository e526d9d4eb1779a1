//! Who is attacked: a server, or a caller, on a thread of its own with a small stack; and an honest peer
//! beside the attacker.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, Listener, NetworkLimits, RpcLimits, Server,
    Service, ServiceResult, async_trait, reply,
};

use crate::alloc;
use crate::clock::{Clock, Thread};
use crate::report::WAIT;

/// What every thread must do with.
const STACK: usize = 2 << 20;

/// Calls that an honest caller makes once the attack is over.
const AFTER: u32 = 3;

/// Default limits, but for those that are waited for, and for a cap that takes a build without optimization
/// long to reach.
pub fn limits() -> RpcLimits {
    RpcLimits {
        connect: Duration::from_secs(1),
        call: Duration::from_millis(1500),
        drain: Duration::from_millis(100),
        network: NetworkLimits {
            first_frame: Duration::from_millis(1200),
            frame: Duration::from_millis(400),
            write_stall: Duration::from_secs(1),
            pause: Duration::from_millis(50),
            cancelled: 8_192,
            exports: 4_096,
            ..NetworkLimits::default()
        },
        ..RpcLimits::default()
    }
}

/// Answers, waits for ever, keeps what it is given, panics, or holds the thread.
#[derive(Default)]
pub struct Honest(RefCell<Vec<Args>>);

#[async_trait(?Send)]
impl Service for Honest {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "wait" => std::future::pending().await,
            "keep" => self.0.borrow_mut().push(args),
            "panic" => panic!("as asked"),
            "stall" => std::thread::sleep(3 * WAIT),
            _ => {}
        }
        reply(&3)
    }
}

pub fn local<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime")
        .block_on(future)
}

/// A thread with a small stack.
pub fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let builder = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK);
    builder.spawn(run).expect("a thread")
}

/// A server, and what it cost.
pub struct Victim {
    pub path: PathBuf,
    pub serves: Thread,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<isize>,
    dir: tempfile::TempDir,
}

impl Victim {
    pub fn start(limits: RpcLimits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("victim");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let address = Address::Unix(path.clone());
        let thread = thread("victim", move || {
            local(async move {
                let listener = Listener::bind(&address).await.expect("a socket");
                let server = Server::new().service("S", Honest::default()).limits(limits);
                let baseline = alloc::baseline();
                ready.send(Thread::this()).expect("a test");
                let _ = server
                    .serve([listener], async { drop(stopped.await) })
                    .await;
                alloc::peak() - baseline
            })
        });
        let serves = is_ready.recv().expect("a server");
        Self {
            path,
            serves,
            stop,
            thread,
            dir,
        }
    }

    /// Stops it; the most bytes that it held at once.
    pub fn stop(self) -> isize {
        let _ = self.stop.send(());
        let peak = self.thread.join().expect("the victim lives");
        drop(self.dir);
        peak
    }
}

/// A caller that keeps calling until it is told to stop; the longest that one of its calls took.
pub struct Beside {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<(usize, Duration)>,
}

impl Beside {
    pub fn start(victim: &Victim) -> Self {
        let (address, serves) = (Address::Unix(victim.path.clone()), victim.serves);
        let (stop, stopped) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread("honest", move || {
            local(async move {
                let connection = Connection::connect(&address, ConnectOptions::default()).await;
                let binding = connection.expect("the victim answers").binding("S");
                binding.call("run", ()).await.expect("an answer");
                ready.send(()).expect("a test");
                let (mut calls, mut longest) = (0, Duration::ZERO);
                // Told to stop, a few more: what an attacker held is released when it is gone.
                let mut left = None;
                while left != Some(0) {
                    let began = Clock::of([serves, Thread::this()]);
                    binding.call("run", ()).await.expect("an answer");
                    (calls, longest) = (calls + 1, longest.max(began.elapsed()));
                    let stopped = stopped.recv_timeout(Duration::from_millis(2)).is_ok();
                    left = match left {
                        None => stopped.then_some(AFTER),
                        Some(left) => Some(left - 1),
                    };
                }
                (calls, longest)
            })
        });
        is_ready.recv().expect("an honest caller");
        Self { stop, thread }
    }

    pub fn stop(self) -> (usize, Duration) {
        let _ = self.stop.send(());
        self.thread
            .join()
            .expect("the honest caller got its answers")
    }
}
