//! A connection that ends with much in flight: others have their turn while it is let go of.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, Listener, Server, Service, ServiceResult,
    async_trait,
};

use crate::victim::{local, thread};

/// Calls in flight: each is three questions of the 4,096 that there may be.
const CALLS: usize = 1200;

/// Calls that end in one turn, at most: as many as begin in one.
const TURN: usize = 64;

/// Never answers; counts the calls that it has.
struct Waits(Rc<Cell<usize>>);

struct One(Rc<Cell<usize>>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[async_trait(?Send)]
impl Service for Waits {
    async fn call(&self, _method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        self.0.set(self.0.get() + 1);
        let _one = One(Rc::clone(&self.0));
        std::future::pending().await
    }
}

/// Lets everything else on the thread run until this many are open; the most that ended in one turn.
async fn until(count: usize, open: &Cell<usize>) -> usize {
    let (mut most, began) = (0, Instant::now());
    while open.get() != count {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", open.get());
        let before = open.get();
        tokio::task::yield_now().await;
        most = most.max(before.saturating_sub(open.get()));
    }
    most
}

#[test]
fn calls_of_a_peer_that_is_gone_end_a_few_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = Address::Unix(dir.path().join("callee"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (leave, leaves) = tokio::sync::oneshot::channel();
    let to = address.clone();
    let callee = thread("callee", move || {
        local(async move {
            let listener = Listener::bind(&address).await.expect("a socket");
            let open = Rc::new(Cell::new(0));
            let server = Server::new().service("S", Waits(Rc::clone(&open)));
            tokio::task::spawn_local(server.serve([listener], std::future::pending()));
            ready.send(()).expect("a test");
            until(CALLS, &open).await;
            let _ = leave.send(());
            until(0, &open).await
        })
    });
    let caller = thread("caller", move || {
        local(async move {
            is_ready.recv().expect("a callee");
            let connection = Connection::connect(&to, ConnectOptions::default()).await;
            let binding = connection.expect("a callee").binding("S");
            let _calls: Vec<_> = (0..CALLS).map(|_| binding.call("run", ()).send()).collect();
            leaves.await.expect("all of them run");
            // Gone, with its thread's runtime, without a word.
        });
    });
    caller.join().expect("the caller leaves");
    let most = callee.join().expect("the callee lives");
    assert!(
        (1..=TURN).contains(&most),
        "{most} of {CALLS} calls ended in one turn"
    );
}
