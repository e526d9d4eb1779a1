//! What of a callee's enrichment counts is the caller's to say, for each binding.

mod common;

use std::sync::Arc;

use binding_span::{AttributeValue, DropReason, Enrichment};
use common::{Way, World, said, service};
use js_rpc::{Args, Context, Forward, Policy, PolicyConfig, Rename, RpcLimits, Server, nothing};

/// Names the span as it is told to, and tags it with what it has no say in and what it has.
fn callee() -> impl js_rpc::Service {
    service(async |_: &str, args: Args, cx: &Context| {
        let name: String = args.first()?;
        let mut said = Enrichment::new().name(name).attribute("db.rows", 3);
        for key in DENIED {
            said.set_attribute(key, "me");
        }
        cx.enrich(said.attribute("servicex", 1).attribute("error.type", "E"));
        nothing()
    })
}

const DENIED: [&str; 7] = [
    "service.name",
    "telemetry.sdk.name",
    "otel.name",
    "rpc.method",
    "jsrpc.binding",
    "binding_span.anything",
    "span.name",
];

fn policy(change: impl FnOnce(&mut PolicyConfig)) -> Arc<Policy> {
    let mut config = PolicyConfig::default();
    change(&mut config);
    Arc::new(Policy::new(config))
}

/// The policy in force where the spans are that `observed` shows: at the caller, or at the proxy.
struct Judged {
    world: World,
    policy: Arc<Policy>,
}

impl Judged {
    async fn each(policy: impl Fn() -> Arc<Policy>) -> [Self; 2] {
        let world = World::of(Way::Unix, callee()).await;
        let at_caller = Self {
            world,
            policy: policy(),
        };
        let at_proxy = policy();
        let server = Server::new().service(common::BINDING, callee());
        let judge = |proxy: js_rpc::Proxy| proxy.policy(Arc::clone(&at_proxy));
        let world = World::with(Way::Proxied, server, judge, RpcLimits::default()).await;
        [
            at_caller,
            Self {
                world,
                policy: at_proxy,
            },
        ]
    }

    /// The span under the policy, of a call that wants this name.
    async fn span(&self, name: &str) -> tail::FinishedSpan {
        let world = &self.world;
        let binding = match world.way {
            Way::Proxied => world.binding(),
            _ => world.binding().with_policy(Arc::clone(&self.policy)),
        };
        let (outcome, span) = world.one(binding.call("run", (name,))).await;
        outcome.unwrap();
        let judged = world.above_callee(&span).await;
        if world.way == Way::Proxied {
            // What was accepted goes on to whoever called.
            assert_eq!(span.name, judged.name);
            assert_eq!(said(&span), said(&judged));
            assert_eq!(span.dropped.total(), judged.dropped.total());
        }
        judged
    }
}

#[tokio::test(flavor = "local")]
async fn by_default_a_callee_may_rename_and_tag_but_not_describe_the_caller_or_the_protocol() {
    for judged in Judged::each(Arc::default).await {
        let span = judged.span("anything").await;
        assert_eq!(span.name, "anything");
        let keys: Vec<&str> = said(&span).iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["db.rows", "servicex", "error.type"]);
        assert_eq!(
            span.dropped.count(DropReason::DeniedKey),
            DENIED.len() as u32
        );
        assert_eq!(span.get("rpc.method").unwrap().as_str(), Some("run"));
        assert_eq!(span.get("jsrpc.binding").unwrap().as_str(), Some("S"));
    }
}

#[tokio::test(flavor = "local")]
async fn rename_can_be_off() {
    for judged in Judged::each(|| policy(|p| p.rename = Rename::Off)).await {
        let span = judged.span("anything").await;
        assert_eq!(span.name, "jsRpcSession");
        assert_eq!(span.dropped.count(DropReason::RenameOff), 1);
        assert_eq!(span.get("db.rows"), Some(&AttributeValue::Int64(3)));
    }
}

#[tokio::test(flavor = "local")]
async fn names_can_be_held_to_patterns() {
    let patterns = || vec!["d1.*".to_owned(), "ai?run".to_owned()];
    for judged in Judged::each(|| policy(|p| p.rename = Rename::Matching(patterns()))).await {
        for (name, fits) in [
            ("d1.query", true),
            ("d1.", true),
            ("d1", false),
            ("xd1.query", false),
            ("ai.run", true),
            ("ai..run", false),
        ] {
            let span = judged.span(name).await;
            assert_eq!(span.name == name, fits, "{name}");
            let dropped = span.dropped.count(DropReason::RenamePattern);
            assert_eq!(dropped, u32::from(!fits), "{name}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn attributes_can_be_off_and_so_can_everything() {
    for judged in Judged::each(|| policy(|p| p.attributes = false)).await {
        let span = judged.span("anything").await;
        assert_eq!((&*span.name, said(&span).len()), ("anything", 0));
        assert_eq!(span.dropped.count(DropReason::AttributesOff), 10);
    }
    for judged in Judged::each(|| Arc::new(Policy::new(PolicyConfig::deny_all()))).await {
        let span = judged.span("anything").await;
        assert_eq!((&*span.name, said(&span).len()), ("jsRpcSession", 0));
        assert_eq!(span.dropped.total(), 11);
    }
}

#[tokio::test(flavor = "local")]
async fn denied_prefixes_are_the_callers_choice() {
    let own = || vec!["db.".to_owned(), "error".to_owned()];
    let judged = Judged::each(|| policy(|p| p.denied_prefixes = own())).await;
    // The caller behind the proxy has the default ones, so only what the proxy accepts is looked at.
    let span = judged[0].span("x").await;
    let keys: Vec<&str> = span.attributes.iter().map(|a| &*a.key).collect();
    assert!(!keys.contains(&"db.rows") && !keys.contains(&"error.type"));
    assert_eq!(span.get("service.name").unwrap().as_str(), Some("me"));
    assert_eq!(span.get("rpc.method").unwrap().as_str(), Some("me"));
}

#[tokio::test(flavor = "local")]
async fn the_201st_distinct_name_is_dropped_and_the_first_200_go_on_counting() {
    for judged in Judged::each(Arc::default).await {
        for i in 0..200 {
            assert_eq!(judged.span(&format!("n{i}")).await.name, format!("n{i}"));
        }
        let span = judged.span("n200").await;
        assert_eq!(span.name, "jsRpcSession");
        assert_eq!(span.dropped.count(DropReason::RenameDistinct), 1);
        assert_eq!(span.get("db.rows"), Some(&AttributeValue::Int64(3)));
        assert_eq!(judged.span("n7").await.name, "n7");
    }
}

#[tokio::test(flavor = "local")]
async fn names_are_counted_for_each_policy_not_for_each_connection() {
    let world = World::of(Way::Unix, callee()).await;
    let shared = policy(|p| p.max_distinct_names = 1);
    let name_of = async |policy: &Arc<Policy>, name: &str| {
        let binding = world.binding().with_policy(Arc::clone(policy));
        let (_, span) = world.one(binding.call("run", (name,))).await;
        span.name
    };
    assert_eq!(name_of(&shared, "a").await, "a");
    assert_eq!(name_of(&shared, "b").await, "jsRpcSession");
    let other = policy(|p| p.max_distinct_names = 1);
    assert_eq!(name_of(&other, "b").await, "b");
}

#[tokio::test(flavor = "local")]
async fn asking_for_a_binding_again_does_not_forget_its_names() {
    let world = World::of(Way::Unix, callee()).await;
    let client = js_rpc::Client::connect(
        world.address.clone(),
        js_rpc::ConnectOptions {
            sinks: world.proxy.sinks(), // there is no proxy here
            ..js_rpc::ConnectOptions::default()
        },
    );
    let client = client.await.unwrap();
    for i in 0..=200 {
        let name = format!("n{i}");
        let (_, span) = world.one(world.binding().call("run", (&name,))).await;
        assert_eq!(span.name == name, i < 200, "{name}");
        client.call(common::BINDING, "run", (&name,)).await.unwrap();
        let span = world.proxy.last();
        assert_eq!(span.name == name, i < 200, "{name}, of a client");
    }
}

#[tokio::test(flavor = "local")]
async fn a_proxy_can_keep_enrichment_to_itself() {
    let server = Server::new().service(common::BINDING, callee());
    let quiet = |proxy: js_rpc::Proxy| proxy.forward(Forward::Nothing);
    let world = World::with(Way::Proxied, server, quiet, RpcLimits::default()).await;
    let (_, span) = world.one(world.binding().call("run", ("x",))).await;
    assert_eq!((&*span.name, said(&span).len()), ("jsRpcSession", 0));
    assert!(span.dropped.is_empty());
    assert_eq!(world.proxy.ended(1).await[0].name, "x");
}
