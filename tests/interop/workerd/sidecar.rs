//! Our caller between Workers: it owns the spans of calls that it passes on.

use std::sync::Arc;
use std::time::Duration;

use binding_span::{Policy, PolicyConfig, Rename, Sinks, SpanSink};
use js_rpc::{
    Args, ConnectOptions, Connection, Context, Enrichment, Forward, Proxy, Server, Service,
    ServiceResult, async_trait, reply, unknown_method,
};
use serde_json::{Value, json};
use tail::{FinishedSpan, Recorder};

use crate::calls_rust::Probe;
use crate::harness::{Builder, Daemon, Ours, attributes_of, renamed, within};

/// A service that enriches.
struct Gateway;

#[async_trait(?Send)]
impl Service for Gateway {
    async fn call(&self, method: &str, args: Args, cx: &Context) -> ServiceResult {
        match method {
            "run" => {
                let (model, prompt): (String, String) = args.parse()?;
                let named = Enrichment::new().name("ai_gateway.run");
                cx.enrich(named.attribute("gen_ai.request.model", model));
                cx.enrich(
                    Enrichment::new()
                        .attribute("gen_ai.usage.input_tokens", prompt.len())
                        .attribute("service.name", "not for a callee to say"),
                );
                reply(&prompt.to_uppercase())
            }
            _ => unknown_method(method),
        }
    }
}

fn recorder() -> (Arc<Recorder>, Sinks) {
    let recorder = Arc::new(Recorder::new());
    let sinks: Sinks = Arc::new([recorder.clone() as Arc<dyn SpanSink>]);
    (recorder, sinks)
}

fn proxy(to: &Ours, remote: &str) -> Proxy {
    Proxy::new(to.address().clone(), remote, ConnectOptions::default())
}

#[tokio::test(flavor = "local")]
async fn what_a_worker_does_with_a_rust_service_it_does_through_the_caller_too() {
    within(async {
        let callee = Ours::serve(Server::new().service("SVC", Probe)).await;
        let near = Server::new().proxy("SVC", proxy(&callee, "SVC"));
        let near = Ours::serve(near).await;
        // Two callers in a row: nothing piles up.
        let far = Server::new().proxy("SVC", proxy(&near, "SVC"));
        let far = Ours::serve(far).await;
        let start = async |ours: &Ours| {
            Builder::new("calls_rust")
                .external("rust", ours.address())
                .external("nobody", ours.address())
                .start()
                .await
        };
        let (direct, passed) = (start(&callee).await, start(&far).await);
        for case in [
            "values",
            "errors",
            "stub_from_rust",
            "stubs_from_js",
            "stub_there_and_back",
            "stub_is_kept",
            "pipelining",
            "properties",
            "many",
            "no_arguments",
            "large",
            "fetch",
            "unknown_binding",
        ] {
            assert_eq!(passed.run(case).await, direct.run(case).await, "{case}");
        }
    })
    .await;
}

/// What `Gateway` says of a call that came through two callers, of which the first has this policy and
/// forwards so.
async fn told_to_the_second(policy: PolicyConfig, forward: Forward) -> FinishedSpan {
    let callee = Ours::serve(Server::new().service("AI", Gateway)).await;
    let near = proxy(&callee, "AI")
        .policy(Arc::new(Policy::new(policy)))
        .forward(forward);
    let near = Ours::serve(Server::new().proxy("AI", near)).await;
    let (spans, sinks) = recorder();
    let far = Server::new()
        .sinks(sinks)
        .proxy("GATEWAY", proxy(&near, "AI"));
    let far = Ours::serve(far).await;
    let workerd = Builder::new("sidecar")
        .external("gateway-through-caller", far.address())
        .start()
        .await;
    assert_eq!(workerd.run("gateway").await, "A PROMPT");
    finished(&spans, 1).await.remove(0)
}

/// The first `n` finished spans.
async fn finished(spans: &Arc<Recorder>, n: usize) -> Vec<FinishedSpan> {
    let spans = Arc::clone(spans);
    let waiting = move || spans.wait_for(n, Duration::from_secs(60));
    tokio::task::spawn_blocking(waiting).await.unwrap()
}

#[tokio::test(flavor = "local")]
async fn what_a_policy_accepted_is_forwarded_and_nothing_else() {
    within(async {
        let default = PolicyConfig::default;
        let all = told_to_the_second(default(), Forward::Accepted).await;
        assert_eq!(all.name, "ai_gateway.run");
        assert_eq!(all.get("gen_ai.request.model"), Some(&"model-1".into()));
        let nothing = told_to_the_second(default(), Forward::Nothing).await;
        assert_eq!(nothing.name, "jsRpcSession");
        assert_eq!(nothing.get("gen_ai.request.model"), None);
        let unnamed = PolicyConfig {
            rename: Rename::Off,
            ..default()
        };
        let unnamed = told_to_the_second(unnamed, Forward::Accepted).await;
        assert_eq!(unnamed.name, "jsRpcSession");
        assert_eq!(unnamed.get("gen_ai.request.model"), Some(&"model-1".into()));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_calls_another_worker_through_the_caller() {
    within(async {
        // Each needs the other's address: the caller's socket is there first.
        let behind = Builder::new("called").start().await;
        let (spans, sinks) = recorder();
        let to_worker = Proxy::new(behind.debug_port(), "main", ConnectOptions::default());
        let caller = Ours::serve(Server::new().sinks(sinks).proxy("WORKER", to_worker)).await;
        let workerd = Builder::new("sidecar")
            .external("worker-through-caller", caller.address())
            .start()
            .await;
        workerd.run("worker").await;
        let opened = finished(&spans, 15).await;
        let count = |name: &str| opened.iter().filter(|span| span.name == name).count();
        // One span a call: every call of a stub, in either direction, has its own.
        assert_eq!(
            (count("jsRpcSession"), count("jsRpcCall")),
            (9, 6),
            "{opened:#?}"
        );
        assert!(opened.iter().all(|span| span.parent.is_some()));
        // What workerd passes between Workers passes, too.
        let passed_on = workerd.run("streams").await;
        let each = passed_on.as_object().unwrap().values();
        assert!(
            each.clone().all(|outcome| outcome["value"].is_string()),
            "{passed_on:#}"
        );
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_workers_call_has_a_named_and_tagged_span_below_the_workers_own() {
    within(async {
        let callee = Ours::serve(Server::new().service("AI", Gateway)).await;
        let (spans, sinks) = recorder();
        let server = Server::new()
            .sinks(sinks)
            .proxy("GATEWAY", proxy(&callee, "AI"));
        let caller = Ours::serve(server).await;
        let mut workerd = Builder::new("sidecar")
            .external("gateway-through-caller", caller.address())
            .start()
            .await;
        assert_eq!(workerd.run("gateway").await, "A PROMPT");
        let recording = workerd.tail(|tail| tail.ended == 1).await;
        // The Worker's own tail knows nothing of it.
        let stream = &recording.streams[0];
        let opened = |name| stream.iter().find(|e| e["event"]["name"] == name).unwrap();
        let session = &opened("jsRpcSession")["event"]["spanId"];
        assert_eq!(renamed(stream, session), None, "{recording}");
        // The caller's view: a child of the call's span, with the callee's name, under the caller's policy.
        let span = finished(&spans, 1).await.remove(0);
        assert_eq!(span.name, "ai_gateway.run");
        assert_eq!(span.original_name, "jsRpcSession");
        let call = opened("jsRpcCall");
        let parent = json!(span.parent.unwrap().to_string());
        assert_eq!(parent, call["event"]["spanId"]);
        let trace = json!(span.context.trace_id.to_string());
        assert_eq!(trace, call["spanContext"]["traceId"]);
        assert_eq!(span.get("gen_ai.request.model"), Some(&"model-1".into()));
        assert_eq!(span.get("gen_ai.usage.input_tokens"), Some(&8_i64.into()));
        assert_eq!(span.get("service.name"), None);
        assert_eq!(span.dropped.total(), 1);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_programs_show_a_workers_query_to_its_own_tail_worker() {
    within(async {
        let callee = Daemon::callee().await;
        let builder = Builder::new("d1").experimental();
        let bind = format!("DB={}", callee.address());
        let tail = format!("{}#tail", builder.debug_port());
        let caller = Daemon::caller(&["--bind", &bind, "--tail-to", &tail]).await;
        let mut workerd = builder
            .external("database", &caller.address())
            .start()
            .await;
        workerd.run("write").await;
        let recording = workerd.tail(|tail| tail.ended == 3).await;
        // One stream is the Worker's own, the others are the caller's, of a session each.
        let is_ours = |stream: &&Vec<Value>| stream[0]["event"]["info"]["type"] == "jsrpc";
        let ours: Vec<_> = recording.streams.iter().filter(is_ours).collect();
        let worker = recording.streams.iter().find(|s| !is_ours(s)).unwrap();
        assert_eq!(ours.len(), 2, "{recording}");
        for stream in ours {
            let opened = stream.iter().find(|e| e["event"]["type"] == "spanOpen");
            let opened = opened.unwrap();
            let span = &opened["event"]["spanId"];
            assert_eq!(renamed(stream, span), Some("d1.query"), "{recording}");
            let attributes = attributes_of(stream, span);
            assert!(attributes.contains(&("cloudflare.binding.type", &json!("D1"))));
            // Below a span that the Worker's own tail has.
            let parent = &opened["spanContext"]["spanId"];
            assert!(
                worker.iter().any(|e| e["event"]["spanId"] == *parent),
                "{recording}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn the_caller_writes_down_what_a_workerd_reports_to_it() {
    within(async {
        let behind = Builder::new("called").start().await;
        let bind = format!("MAIN={}#main", behind.debug_port());
        let caller = Daemon::caller(&["--bind", &bind, "--tail-from", "TAIL"]).await;
        let workerd = Builder::new("tailed").external("ours", &caller.address());
        let mut workerd = workerd.start().await;
        let connection =
            Connection::connect(&workerd.debug_port(), ConnectOptions::default()).await;
        let main = connection.unwrap().binding("main");
        drop(main.call("add", (1, 2)).await.unwrap());
        let judge = workerd.tail(|tail| tail.ended == 1).await.streams[0].clone();
        // Nothing tells when a file grows.
        let mut lines = Vec::new();
        while lines.len() < judge.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let written = std::fs::read_to_string(caller.file("tail.jsonl")).unwrap();
            let whole = written
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            lines = whole
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>();
        }
        assert_eq!(lines, judge);
    })
    .await;
}
