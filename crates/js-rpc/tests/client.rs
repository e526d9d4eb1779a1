//! The handle for applications of many threads.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use binding_span::{AttributeValue, Enrichment, Outcome, SpanContext};
use common::relay::Relay;
use common::{BINDING, SOON, Spans, Way, World, service, socket_dir};
use js_rpc::{Args, CallError, CallOptions, Client, ConnectOptions, Context, Stub, reply};

fn callee() -> impl js_rpc::Service {
    service(async |method: &str, args: Args, cx: &Context| {
        cx.enrich(Enrichment::new().name(format!("callee.{method}")));
        match method {
            "make" => reply(&(Stub::new(callee()), Stub::new(callee()))),
            "slow" => {
                tokio::time::sleep(SOON * 2).await;
                reply(&0)
            }
            _ => {
                let n: i64 = args.first()?;
                cx.enrich(Enrichment::new().attribute("n", n));
                reply(&n)
            }
        }
    })
}

/// Waits until a call has reached the callee.
async fn begun(callee: &Spans) {
    let open = async {
        while callee.open() == 0 {
            common::a_while().await;
        }
    };
    tokio::time::timeout(SOON, open).await.expect("it arrives");
}

/// A callee on a thread of its own, and a client of it; what the client's spans are.
struct Setting {
    client: Client,
    spans: std::sync::Arc<Spans>,
    callee: std::sync::Arc<Spans>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Setting {
    async fn new() -> Self {
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(Default::default())
                .unwrap();
            runtime.block_on(async {
                let world = World::of(Way::Unix, callee()).await;
                let (address, spans) = (world.address.clone(), world.callee.clone());
                ready.send((address, spans)).ok().unwrap();
                let _ = stopped.await;
            });
        });
        let (address, callee) = is_ready.await.unwrap();
        let spans = Spans::new();
        let options = ConnectOptions {
            sinks: spans.sinks(),
            ..ConnectOptions::default()
        };
        Self {
            client: Client::connect(address, options).await.unwrap(),
            spans,
            callee,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let _ = self.thread.take().unwrap().join();
    }
}

#[test]
fn a_client_and_its_stubs_go_anywhere() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    anywhere::<Client>();
    anywhere::<js_rpc::RemoteStub>();
    anywhere::<js_rpc::RemoteReply>();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_on_many_threads_call_at_once_and_nothing_is_mixed() {
    let setting = Setting::new().await;
    let parents: Vec<SpanContext> = (0..64).map(|_| SpanContext::root()).collect();
    let calls = parents.iter().enumerate().map(|(n, parent)| {
        let client = setting.client.clone();
        let options = CallOptions {
            parent: Some(*parent),
            ..CallOptions::default()
        };
        tokio::spawn(async move {
            let reply = client.call_with(BINDING, "n", (n,), options).await;
            assert_eq!(reply.unwrap().parse::<usize>().unwrap(), n);
        })
    });
    for call in common::all(calls.collect::<Vec<_>>()).await {
        call.unwrap();
    }
    let spans = setting.spans.ended(64).await;
    for span in &spans {
        let Some(AttributeValue::Int64(n)) = span.get("n") else {
            panic!("{span:#?}")
        };
        let parent = parents[*n as usize];
        assert_eq!(span.parent, Some(parent.span_id));
        assert_eq!(span.context.trace_id, parent.trace_id);
        assert_eq!(span.name, "callee.n");
    }
    let traces: HashSet<_> = spans.iter().map(|span| span.context.trace_id).collect();
    assert_eq!(traces.len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stubs_are_held_by_any_thread_and_keep_their_session() {
    let setting = Setting::new().await;
    let reply = setting.client.call(BINDING, "make", ()).await.unwrap();
    let [one, two] = [
        reply.stub(0).unwrap().clone(),
        reply.stub(1).unwrap().clone(),
    ];
    drop(reply);
    let called = tokio::spawn(async move { one.call("n", (1,)).await.unwrap().parse::<i64>() });
    assert_eq!(called.await.unwrap().unwrap(), 1);
    assert_eq!(setting.spans.open(), 1, "the session's");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async { two.call("n", (2,)).await.unwrap().parse::<i64>() })
    });
    assert_eq!(thread.join().unwrap().unwrap(), 2);
    let spans = setting.spans.ended(3).await;
    let session = &spans[2];
    assert_eq!(session.original_name, "jsRpcSession");
    for call in &spans[..2] {
        assert_eq!(call.original_name, "jsRpcCall");
        assert_eq!(call.parent, Some(session.context.span_id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_call_and_a_drop_cancels_it() {
    let setting = Setting::new().await;
    // It has to get there, through two other threads.
    let options = CallOptions {
        deadline: Some(Duration::from_millis(500)),
        ..CallOptions::default()
    };
    let outcome = setting.client.call_with(BINDING, "slow", (), options).await;
    assert!(matches!(outcome, Err(CallError::Deadline(_))));
    setting.callee.ended(1).await;
    tokio::select! {
        outcome = setting.client.call(BINDING, "slow", ()) => panic!("{outcome:?}"),
        () = begun(&setting.callee) => {}
    }
    let outcomes: Vec<_> = setting
        .spans
        .ended(2)
        .await
        .iter()
        .map(|s| s.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::ExceededWallTime, Outcome::Canceled]);
    // The callee knows of the one, and is told of the other.
    let callee = setting.callee.ended(2).await;
    let outcomes: Vec<_> = callee.iter().map(|span| span.outcome).collect();
    assert_eq!(outcomes, [Outcome::ExceededWallTime, Outcome::Canceled]);
    for span in setting.spans.now() {
        assert_eq!(span.renamed(), span.outcome == Outcome::ExceededWallTime);
    }
}

#[tokio::test(flavor = "local")]
async fn a_lost_connection_is_made_again_for_the_next_call() {
    let world = World::of(Way::Unix, callee()).await;
    let dir = socket_dir();
    let relay = Relay::to(&world.address, &dir).await;
    let client = Client::connect(relay.address.clone(), ConnectOptions::default())
        .await
        .unwrap();
    let held = client.call(BINDING, "make", ()).await.unwrap();
    let cut = async {
        begun(&world.callee).await;
        relay.cut();
    };
    let (outcome, ()) = tokio::join!(client.call(BINDING, "slow", ()), cut);
    assert!(
        matches!(outcome, Err(CallError::Disconnected(_))),
        "{outcome:?}"
    );
    let reply = client.call(BINDING, "n", (3,)).await.unwrap();
    assert_eq!(reply.parse::<i64>().unwrap(), 3);
    let lost = held.stub(0).unwrap().call("n", (4,)).await;
    assert!(matches!(lost, Err(CallError::Disconnected(_))), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_a_client_is_told_so_at_once() {
    let dir = socket_dir();
    let nowhere = common::unix(&dir, "none");
    let outcome = Client::connect(nowhere, ConnectOptions::default()).await;
    let Err(CallError::Unavailable(reason)) = outcome else {
        panic!("connected to nobody")
    };
    assert!(reason.contains("is the callee running?"), "{reason}");
}

#[tokio::test(flavor = "local")]
async fn a_stub_of_this_thread_cannot_be_given_through_a_client() {
    let world = World::of(Way::Unix, callee()).await;
    let client = Client::connect(world.address.clone(), ConnectOptions::default())
        .await
        .unwrap();
    let outcome = client.call(BINDING, "n", (Stub::new(callee()),)).await;
    assert!(
        matches!(outcome, Err(CallError::Arguments(_))),
        "{outcome:?}"
    );
}
