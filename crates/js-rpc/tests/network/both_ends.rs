//! Two honest peers, each with more to do than it may: nobody waits for ever.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use js_rpc::{
    Address, Args, ConnectOptions, Connection, Context, Listener, NetworkLimits, Reason, RpcLimits,
    Server, Service, ServiceResult, Stub, async_trait, reply,
};

use crate::victim::{local, thread};

const MARK: usize = 64;

fn limits() -> RpcLimits {
    RpcLimits {
        call: Duration::from_secs(20),
        network: NetworkLimits {
            in_flight: MARK,
            queued: 16 << 10,
            ..NetworkLimits::default()
        },
        ..RpcLimits::default()
    }
}

/// Calls back what it is given, and waits for that.
struct CallsBack;

#[async_trait(?Send)]
impl Service for CallsBack {
    async fn call(&self, _method: &str, args: Args, _cx: &Context) -> ServiceResult {
        let stub: Stub = args.first()?;
        let text = "x".repeat(4 << 10);
        stub.call("back", (text.as_str(),)).await?;
        reply(&text)
    }
}

/// The callback, which takes its time.
struct Callback(Rc<Cell<usize>>);

#[async_trait(?Send)]
impl Service for Callback {
    async fn call(&self, _method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.set(self.0.get() + 1);
        reply(&"y".repeat(4 << 10))
    }
}

#[test]
fn handlers_that_all_wait_for_callbacks_at_twice_the_mark_end() {
    let run = thread("both", || {
        local(async {
            let dir = tempfile::tempdir().expect("a directory");
            let address = Address::Unix(dir.path().join("both"));
            let listener = Listener::bind(&address).await.expect("a socket");
            let server = Server::new().service("S", CallsBack).limits(limits());
            tokio::task::spawn_local(server.serve([listener], std::future::pending()));
            let options = ConnectOptions {
                limits: limits(),
                ..ConnectOptions::default()
            };
            let stats = options.limits.network.stats.clone();
            let connection = Connection::connect(&address, options)
                .await
                .expect("a server");
            let binding = connection.binding("S");
            let backs = Rc::new(Cell::new(0));
            let calls = (0..2 * MARK).map(|_| {
                let stub = Stub::new(Callback(Rc::clone(&backs)));
                binding.call("run", (stub,)).send()
            });
            for outcome in futures::future::join_all(calls).await {
                outcome.expect("it waits for room, and is answered");
            }
            assert_eq!(backs.get(), 2 * MARK);
            assert_eq!(stats.count(Reason::InFlight), 0);
            assert!(!connection.is_lost(), "and nobody is cut off");
            binding
                .call("run", (Stub::new(Callback(backs)),))
                .await
                .expect("the next call is answered");
            assert_eq!(stats.count(Reason::Unread), 0);
        });
    });
    run.join().expect("both ends live");
}
