//! What is seen of calls from outside: in the tail's file, and by a receiver of OTLP that is not ours.

use serde_json::json;

use crate::harness::{Client, LiteLlm};
use crate::rotel::{Rotel, Seen};
use crate::scene::{LLAMA, Scene, answer, whole};
use crate::util::{World, attribute};

/// The finished spans of a service that have this name.
fn named<'a>(spans: &'a [Seen], service: &str, name: &str) -> Vec<&'a Seen> {
    let of = spans.iter();
    of.filter(|span| span.service == service && span.name == name)
        .collect()
}

#[test]
fn a_collector_gets_names_and_typed_values_and_lists_where_the_conventions_want_them() {
    let folder = World::new();
    let mut rotel = Rotel::start(&folder);
    let (endpoint, mut scene) = (rotel.http(), None);
    let options = ["--otlp", &endpoint];
    let llama = &crate::harness::LlamaCpp::shared().chat;
    let scene = scene.insert(Scene::with(llama, "", &options, &options));
    scene.run(async |ai| {
        let inputs = json!({"prompt": "Say something.", "max_tokens": 6, "stream": true});
        whole(ai.stream(LLAMA, &inputs).await).await;
        let gateway = ai.gateway("gw").await;
        let request = json!({
            "provider": "litellm",
            "endpoint": "chat/completions",
            "query": {"model": "mock", "messages": [{"role": "user", "content": "Hi."}]},
        });
        for _ in 0..2 {
            let options = json!({"gateway": {"cacheTtl": 60}});
            assert_eq!(answer(&gateway, &request, &options).await.status(), 200);
        }
    });
    let chat = format!("chat {LLAMA}");
    rotel.until(|spans| {
        !named(spans, "caller", &chat).is_empty()
            && named(spans, "caller", "ai_gateway.run").len() == 2
    });
    let spans = rotel.seen();
    let [chat] = named(&spans, "caller", &chat)[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(chat.kind, "SPAN_KIND_CLIENT");
    assert_eq!(chat.status, "STATUS_CODE_UNSET");
    for (key, kind) in [
        ("gen_ai.response.finish_reasons", "Slice(Str(length))"),
        ("gen_ai.request.max_tokens", "Int(6)"),
        ("gen_ai.usage.output_tokens", "Int(6)"),
        ("gen_ai.usage.input_tokens", "Int("),
        ("gen_ai.response.time_to_first_chunk", "Double("),
        ("gen_ai.usage.cost", "Double("),
        ("gen_ai.request.stream", "Bool(true)"),
        ("gen_ai.request.model", &format!("Str({LLAMA})")),
        ("gen_ai.provider.name", "Str(llama)"),
    ] {
        let said = chat.get(key).unwrap_or_default();
        assert!(said.starts_with(kind), "{key} is {said}: {chat:#?}");
    }
    let runs = named(&spans, "caller", "ai_gateway.run");
    let caches: Vec<_> = runs.iter().map(|run| run.get("ai_gateway.cache")).collect();
    assert_eq!(caches, [Some("Str(miss)"), Some("Str(hit)")]);
    for run in runs {
        let reasons = run.get("gen_ai.response.finish_reasons");
        assert_eq!(reasons, Some("Slice(Str(stop))"), "{run:#?}");
        assert_eq!(run.get("gen_ai.usage.output_tokens"), Some("Int(20)"));
        assert!(run.get("ai_gateway.log.id").is_some());
    }

    // The same in the tail's file: JSON's own types.
    let events = scene.world.tail("caller.jsonl");
    let first = attribute(&events, "gen_ai.response.time_to_first_chunk").unwrap();
    assert!(first.is_f64(), "{first}");
    let tokens = attribute(&events, "gen_ai.usage.output_tokens").unwrap();
    assert!(tokens.is_u64(), "{tokens}");
}

#[test]
fn a_gateway_s_url_is_where_its_binding_is_reached_unless_somebody_says_another() {
    let request = json!({"operation": "chat", "key": "none", "model": "mock"});
    for (args, expected) in [
        (&["--listen", "127.0.0.1:0"][..], "http://127.0.0.1:PORT"),
        (
            &[
                "--listen",
                "127.0.0.1:0,binding=AI",
                "--d1",
                "DB=shop.sqlite",
            ],
            "http://127.0.0.1:PORT",
        ),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--ai-public-url",
                "http://ai.internal:80",
            ],
            "http://ai.internal:80",
        ),
        (&["--listen", "127.0.0.1:0", "--d1", "DB=shop.sqlite"], ""),
        (
            &[
                "--listen",
                "127.0.0.1:0,binding=DB",
                "--d1",
                "DB=shop.sqlite",
            ],
            "",
        ),
    ] {
        let world = World::new();
        world.database();
        let text = format!(
            "[ai.AI]\nurl = '{}'\nkey-file = 'litellm.key'\n",
            LiteLlm::shared().base
        );
        std::fs::write(world.path("callee.toml"), text).unwrap();
        std::fs::write(world.path("litellm.key"), LiteLlm::KEY).unwrap();
        let first = ["--config", "callee.toml", "--listen", "unix:callee.sock"];
        let args = [&first[..], args].concat();
        let mut daemon = world.start(crate::util::callee(), &args);
        let line = daemon.line("listening on 127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let port = port.split([',', ' ']).next().unwrap();
        let at = world.unix("callee.sock");
        let got = url(&at);
        match expected {
            "" => assert!(
                got.as_ref().is_err_and(|e| e.contains("public URL")),
                "{got:?}"
            ),
            _ => {
                let expected = expected.replace("PORT", port);
                let got = got.unwrap();
                assert_eq!(got, format!("{expected}/v1/AI/gw/default"), "{args:?}");
                if expected.contains(port) {
                    let mut request = request.clone();
                    request["base"] = got.into();
                    let answer = Client::Node.ask(request);
                    assert_eq!(answer["text"], "Hello from the mock.", "{answer}");
                }
            }
        }
        assert!(daemon.stop().success());
    }
}

/// What `getUrl` of a gateway gives at a callee.
fn url(at: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    let address = at.parse().unwrap();
    runtime.block_on(async {
        let options = js_rpc::ConnectOptions::default();
        let connection = js_rpc::Connection::connect(&address, options)
            .await
            .unwrap();
        let gateway = connection.binding("AI").call("gateway", ("gw",)).await;
        let gateway: js_rpc::Stub = gateway.unwrap().parse().unwrap();
        let url = gateway.call("getUrl", ("default",)).await;
        url.map(|url| url.parse().unwrap())
            .map_err(|error| error.to_string())
    })
}
