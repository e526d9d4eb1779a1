//! Our caller between Workers: it owns the spans of calls that it passes on.

use std::sync::Arc;

use binding_span::{AttributeValue, Policy, PolicyConfig, Rename, Sinks, SpanSink};
use js_rpc::{
    Args, ConnectOptions, Context, Enrichment, Forward, Proxy, Server, Service, ServiceResult,
    async_trait, reply, unknown_method,
};
use tail::{FinishedSpan, Recorder};

use crate::calls_rust::Probe;
use crate::harness::{Builder, Ours, within};

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
            "streams",
            "fetch",
            "unknown_binding",
        ] {
            assert_eq!(passed.run(case).await, direct.run(case).await, "{case}");
        }
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
        println!("{:#}", workerd.run("streams").await);
        for span in spans.spans() { println!("{} {:?} {:?}", span.name, span.parent, span.attributes); }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_workers_call_has_a_named_and_tagged_span_below_the_workers_own() {
    within(async {
        let callee = Ours::serve(Server::new().service("AI", Gateway)).await;
        let (spans, sinks) = recorder();
        let server = Server::new().sinks(sinks).proxy("GATEWAY", proxy(&callee, "AI"));
        let caller = Ours::serve(server).await;
        let mut workerd = Builder::new("sidecar")
            .external("gateway-through-caller", caller.address())
            .start()
            .await;
        assert_eq!(workerd.run("gateway").await, "A PROMPT");
        let recording = workerd.tail(|tail| tail.ended == 1).await;
        println!("{recording}");
        for span in spans.spans() { println!("{} {:?} {:?} {:?}", span.name, span.context, span.parent, span.attributes); }
    })
    .await;
}
