//! We call a Worker: through workerd's debug port and through CONNECT, with the session discipline that
//! its own tail Worker judges.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::join_all;
use js_rpc::{
    Args, Binding, ConnectOptions, Connection, Context, Service, ServiceResult, Stub, Value,
    async_trait, reply, unknown_method,
};

use crate::harness::{Builder, Workerd, attributes_of, within};

async fn through_debug_port(workerd: &Workerd, name: &str) -> Binding {
    let connection = Connection::connect(&workerd.debug_port(), ConnectOptions::default()).await;
    connection.unwrap().binding(name)
}

async fn through_connect(workerd: &Workerd) -> Binding {
    let options = ConnectOptions {
        connect: Some("main".into()),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&workerd.http(), options).await;
    connection.unwrap().binding("main")
}

/// A service of ours that the Worker calls back.
struct Counter(Cell<i64>);

#[async_trait(?Send)]
impl Service for Counter {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "increment" => {
                self.0.set(self.0.get() + args.first::<i64>()?);
                reply(&self.0.get())
            }
            _ => unknown_method(method),
        }
    }
}

/// Everything that a binding of the Worker `workers/called.js` does.
async fn check(main: &Binding) {
    let sum: i64 = main.call("add", (1, 2)).await.unwrap().parse().unwrap();
    assert_eq!(sum, 3);
    let nothing = main.call("nothing", ()).await.unwrap();
    assert_eq!(*nothing.value(), Value::Undefined);
    let version: String = main.get("version").await.unwrap().parse().unwrap();
    assert_eq!(version, "1.0");

    let stub: Stub = main.call("counter", (5,)).await.unwrap().parse().unwrap();
    for n in [6, 7] {
        let value: i64 = stub.call("increment", ()).await.unwrap().parse().unwrap();
        assert_eq!(value, n);
    }
    let value: i64 = stub.get("value").await.unwrap().parse().unwrap();
    assert_eq!(value, 7);
    drop(stub);

    let pending = main.call("object", ()).send();
    let early = pending.pipelined().unwrap();
    let (count, name) = tokio::join!(
        early.call("nested.counter.increment", (4,)).send(),
        early.get("name").send()
    );
    assert_eq!(count.unwrap().parse::<i64>().unwrap(), 14);
    assert_eq!(name.unwrap().parse::<String>().unwrap(), "plain");
    drop(early);
    let object = pending.await.unwrap();
    let counter = &object.stub(0).unwrap();
    let count: i64 = counter.get("value").await.unwrap().parse().unwrap();
    assert_eq!(count, 14);
    drop(object);

    let mine = Stub::of(Rc::new(Counter(Cell::new(0))));
    let sum: i64 = main.call("call", (mine, 5)).await.unwrap().parse().unwrap();
    assert_eq!(sum, 15);

    for class in ["TypeError", "RangeError", "Error"] {
        let thrown = main.call("throw", (class, "no: good")).await.unwrap_err();
        assert_eq!(thrown.to_string(), format!("{class}: no: good"));
    }
    let missing = main.call("nothing_of_that_name", ()).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "TypeError: The RPC receiver does not implement the method \"nothing_of_that_name\"."
    );
}

#[tokio::test(flavor = "local")]
async fn a_worker_is_called_through_the_debug_port() {
    within(async {
        let workerd = Builder::new("called").start().await;
        check(&through_debug_port(&workerd, "main").await).await;
        let entry = through_debug_port(&workerd, "main#Entry").await;
        let sum: i64 = entry.call("add", (1, 2)).await.unwrap().parse().unwrap();
        assert_eq!(sum, 1003);
        for (name, says) in [("nobody", "nobody"), ("main#Nobody", "Nobody")] {
            let nobody = through_debug_port(&workerd, name).await;
            let error = nobody.call("add", (1, 2)).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_is_called_through_connect() {
    within(async {
        let workerd = Builder::new("called").start().await;
        check(&through_connect(&workerd).await).await;
        let options = ConnectOptions {
            connect: Some("nobody".into()),
            ..ConnectOptions::default()
        };
        let refused = Connection::connect(&workerd.http(), options).await;
        let reason = refused.err().unwrap().to_string();
        assert!(
            reason.contains("the peer refused CONNECT nobody"),
            "{reason}"
        );
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn no_call_ends_as_an_exception_in_the_workers_own_tail() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let main = through_debug_port(&workerd, "main").await;
        let mut calls = 0;
        for _round in 0..8 {
            let together = (0..64).map(|n| main.call("add", (n, 1)).send());
            for (n, sum) in join_all(together).await.into_iter().enumerate() {
                assert_eq!(sum.unwrap().parse::<usize>().unwrap(), n + 1);
            }
            calls += 64;
        }
        for n in 0..600_i64 {
            match n % 3 {
                0 => drop(main.call("add", (n, 1)).await.unwrap()),
                1 => drop(main.call("nothing", ()).await.unwrap()),
                _ => {
                    let counter: Stub = main.call("counter", (n,)).await.unwrap().parse().unwrap();
                    drop(counter.call("increment", ()).await.unwrap());
                }
            }
            calls += 1;
        }
        assert!(calls > 1000);
        let recording = workerd.tail(|tail| tail.ended == calls).await;
        let bad: Vec<_> = recording
            .outcomes()
            .into_iter()
            .filter(|o| *o != "ok")
            .collect();
        assert!(bad.is_empty(), "{} of {calls}: {bad:?}", bad.len());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_is_told_the_span_of_its_caller() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let spans = Arc::new(tail::Recorder::new());
        let options = ConnectOptions {
            sinks: Arc::new([spans.clone() as Arc<dyn binding_span::SpanSink>]),
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(&workerd.debug_port(), options).await;
        let main = connection.unwrap().binding("main");
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call = main.call("add", (1, 2)).parent(parent.parse().unwrap());
        drop(call.await.unwrap());
        let recording = workerd.tail(|tail| tail.ended == 1).await;
        let stream = &recording.streams[0];
        let opened = stream.iter().find(|e| e["event"]["name"] == "jsRpcCall");
        let span = &opened.unwrap_or_else(|| panic!("{recording}"))["event"]["spanId"];
        let attributes = attributes_of(stream, span);
        let caller = attributes
            .iter()
            .find(|(name, _)| *name == "jsrpc.caller_span_id");
        // The id of our span, which is a child of the one above. workerd takes no trace id from us.
        let sent = caller.and_then(|(_, id)| id.as_str()).unwrap_or_default();
        assert_eq!(
            sent,
            spans.spans()[0].context.span_id.to_string(),
            "{recording}"
        );
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_command_calls_a_worker() {
    within(async {
        let workerd = Builder::new("called").start().await;
        let address = workerd.debug_port().to_string();
        for (args, stdout, stderr, code) in [
            (&["main#Entry.add", "1", "2"][..], "1003\n", "", 0),
            (&["main.add", "1", "2"], "3\n", "", 0),
            (
                &["main.object"],
                "{\"name\":\"plain\",\"nested\":{\"counter\":{\"$stub\":0},\"list\":[1,2]}}\n",
                "",
                0,
            ),
            (
                &["main.throw", "\"RangeError\"", "\"no\""],
                "",
                "RangeError: no",
                1,
            ),
        ] {
            let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_caller"))
                .args(["call", "--connect", &address])
                .args(args)
                .output()
                .await
                .unwrap();
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
            assert_eq!(out, stdout, "{args:?}: {err}");
            assert!(err.contains(stderr), "{args:?}: {out}{err}");
        }
    })
    .await;
}
