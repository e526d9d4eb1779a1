//! What goes wrong at real servers, and what becomes of it on the way.

use std::io::Read;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{LlamaCpp, http};
use crate::scene::{LLAMA, Scene, answer, whole};
use crate::through::{int, value};
use crate::util::metrics;

/// A request of a gateway's list.
fn request(provider: &str, model: &str) -> Value {
    json!({
        "provider": provider,
        "endpoint": "chat/completions",
        "query": {
            "model": model,
            "max_tokens": 6,
            "messages": [{"role": "user", "content": "Say something."}],
        },
    })
}

fn text(content: &str) -> Value {
    serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"))
}

#[test]
fn a_gateway_waits_as_long_as_a_provider_asks_and_says_so_when_it_gives_up() {
    let more = "[ai.AI.gateway.gw]\nmax-attempts = 2\nretry-delay = '0s'\n";
    let scene = Scene::start(more);
    scene.run(async |ai| {
        let gateway = ai.gateway("gw").await;
        let limited = request("litellm", "limited");
        let mut waited = None;
        // LiteLLM asks for a pause once both of its deployments have failed, and for a second then.
        for _ in 0..10 {
            let begun = Instant::now();
            let answer = answer(&gateway, &limited, &json!({})).await;
            assert_eq!(answer.status(), 429, "{answer:?}");
            if begun.elapsed() >= Duration::from_secs(1) {
                waited = Some(begun.elapsed());
                break;
            }
        }
        println!(
            "waited {:?}",
            waited.expect("one that is as long as it asked for")
        );
        let once = json!({"gateway": {"retries": {"maxAttempts": 1}}});
        let mut passed = None;
        for _ in 0..10 {
            let answer = answer(&gateway, &limited, &once).await;
            assert_eq!(answer.status(), 429);
            passed = answer.headers().get("retry-after").cloned();
            if passed.is_some() {
                break;
            }
        }
        assert_eq!(passed.unwrap(), "1");
        drop(gateway);
        let spans = ai.spans().await;
        let asked = spans.iter().filter(|span| span.name == "ai_gateway.run");
        for (nth, span) in asked.enumerate() {
            assert_eq!(*value(span, "error.type"), "429".into(), "{nth}");
            assert_eq!(int(span, "http.response.status_code"), 429);
            assert_eq!(span.get("gen_ai.usage.output_tokens"), None);
        }
        let first = spans.iter().find(|span| span.name == "ai_gateway.run");
        assert_eq!(int(first.unwrap(), "ai_gateway.attempts"), 2);

        // What a server breaks at is tried again, and passed on.
        let gateway = ai.gateway("gw").await;
        let broken = answer(&gateway, &request("litellm", "broken"), &json!({})).await;
        assert_eq!(broken.status(), 500);
        assert!(
            text(broken.body())["error"]["message"].is_string(),
            "{broken:?}"
        );
        drop(gateway);
        let spans = ai.spans().await;
        assert_eq!(*value(&spans[0], "error.type"), "500".into());
        assert_eq!(int(&spans[0], "ai_gateway.attempts"), 2);
    });
    scene.stop();
}

#[test]
fn a_provider_that_is_gone_leaves_it_to_the_next() {
    let more = "[ai.AI.provider.gone]\nurl = 'http://127.0.0.1:9/v1'\n";
    let scene = Scene::start(more);
    scene.run(async |ai| {
        let gateway = ai.gateway("gw").await;
        let list = json!([
            request("gone", "tiny"),
            request("litellm", "too-long"),
            request("llama", "tiny"),
        ]);
        let got = answer(&gateway, &list, &json!({})).await;
        assert_eq!(got.status(), 200, "{got:?}");
        assert_eq!(got.headers()["cf-aig-step"], "2");
        let log = got.headers()["cf-aig-log-id"].to_str().unwrap().to_owned();
        let usage = &text(got.body())["usage"];
        let none = answer(&gateway, &request("gone", "tiny"), &json!({})).await;
        assert_eq!(none.status(), 502, "{none:?}");
        let entry = gateway.call("getLog", (log,)).await.unwrap();
        let entry = entry.to_json().unwrap();
        assert_eq!(entry["provider"], "llama", "{entry}");
        assert_eq!(entry["step"], 2, "{entry}");
        assert_eq!(entry["tokens_out"], usage["completion_tokens"], "{entry}");
        drop(gateway);
        let spans = ai.spans().await;
        let named = |name: &str| spans.iter().filter(|s| s.name == name).collect::<Vec<_>>();
        let runs = named("ai_gateway.run");
        assert_eq!(int(runs[0], "ai_gateway.fallback"), 2);
        assert_eq!(int(runs[0], "ai_gateway.attempts"), 3);
        assert_eq!(*value(runs[0], "gen_ai.provider.name"), "llama".into());
        let written = int(runs[0], "gen_ai.usage.output_tokens");
        assert_eq!(written, usage["completion_tokens"]);
        assert_eq!(runs[0].get("error.type"), None, "{:#?}", runs[0]);
        assert_eq!(*value(runs[1], "error.type"), "upstream_connect".into());
        assert_eq!(named("ai_gateway.get_log").len(), 1);
    });
    scene.stop();
}

#[test]
fn a_server_that_dies_in_mid_stream_is_an_error_to_every_reader_and_counts_nothing() {
    let mut llama = LlamaCpp::start("dies");
    let scene = Scene::with(&llama.chat, "", &[], &[]);
    scene.run(async |ai| {
        let inputs = json!({"prompt": "Go on.", "max_tokens": 3_500, "stream": true});
        let mut stream = ai.stream(LLAMA, &inputs).await;
        stream.next().await.unwrap().unwrap();
        let asked = json!({
            "model": LLAMA,
            "stream": true,
            "max_tokens": 3_500,
            "messages": [{"role": "user", "content": "Go on."}],
        });
        let mut others = ["/v1", "/v1/AI/gw/compat"].map(|path| {
            let url = format!("{}{path}/chat/completions", scene.caller_url);
            http::post_until(&url, "none", &asked, "\"content\":\" ")
        });
        llama.kill();

        // A Worker gets an error event.
        let rest = whole(stream).await;
        let last = rest.trim_end().lines().next_back().unwrap();
        let last = text(last.strip_prefix("data: ").unwrap());
        assert!(last["error"].is_string(), "{last}");
        assert_eq!(last["internalCode"], 3043, "{last}");
        assert!(!rest.contains("[DONE]"));
        // A client of OpenAI's gets an answer that breaks off.
        for other in &mut others {
            let mut rest = Vec::new();
            let _ = other.read_to_end(&mut rest);
            let rest = String::from_utf8_lossy(&rest);
            assert!(
                !rest.contains("[DONE]") && !rest.ends_with("0\r\n\r\n"),
                "{rest}"
            );
        }
        let span = ai.span().await;
        let kind = value(&span, "error.type");
        assert_eq!(*kind, "upstream_broken".into(), "{span:#?}");
        for counted in [
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.input_tokens",
            "gen_ai.response.finish_reasons",
            "gen_ai.usage.cost",
        ] {
            assert_eq!(span.get(counted), None, "{counted}");
        }
    });
    let text = metrics(&scene.world, "callee-admin.sock");
    let counted = "binding_span_ai_requests_total{binding=\"AI\",provider=\"llama\",operation=\"chat\",outcome=\"upstream_broken\"} 3";
    assert!(text.contains(counted), "{text}");
    assert!(!text.contains("binding_span_ai_tokens_total{"), "{text}");
    scene.stop();
}

#[test]
fn a_provider_that_fails_is_left_alone_for_a_while() {
    let proxy = crate::harness::LiteLlm::shared();
    let more = format!(
        "[ai.AI.provider.fragile]\nurl = '{}'\nkey-file = 'litellm.key'\nbreak-after = 2\nbreak-for = '1s'\n",
        proxy.base
    );
    let scene = Scene::start(&more);
    let is_open = |open: u8| {
        let text = metrics(&scene.world, "callee-admin.sock");
        let line =
            format!("binding_span_ai_circuit_open{{binding=\"AI\",provider=\"fragile\"}} {open}");
        assert!(text.contains(&line), "{text}");
    };
    scene.run(async |ai| {
        let inputs = json!({"prompt": "Say something."});
        let fails = async |model: &str| {
            let error = ai.run(model, &inputs).await.unwrap_err().to_string();
            let span = ai.span().await;
            (error, span)
        };
        // What is wrong with a request counts for nothing.
        for _ in 0..3 {
            fails("fragile/too-long").await;
        }
        is_open(0);
        for _ in 0..2 {
            let (error, span) = fails("fragile/broken").await;
            assert_eq!(int(&span, "http.response.status_code"), 500, "{error}");
        }
        is_open(1);
        let (error, span) = fails("fragile/mock").await;
        assert!(error.contains("failed several times in a row"), "{error}");
        assert_eq!(
            span.get("http.response.status_code"),
            None,
            "it was not asked"
        );
        let counted =
            "provider=\"fragile\",operation=\"chat\",outcome=\"upstream_circuit_open\"} 1";
        let text = metrics(&scene.world, "callee-admin.sock");
        assert!(text.contains(counted), "{text}");
        // Others are as they were.
        ai.run("litellm/mock", &inputs).await.unwrap();
        ai.span().await;
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        let answer = ai.run("fragile/mock", &inputs).await.unwrap();
        assert_eq!(answer["response"], "Hello from the mock.");
        is_open(0);
    });
    scene.stop();
}
