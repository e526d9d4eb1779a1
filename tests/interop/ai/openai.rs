//! OpenAI's own clients at every address that a callee and a caller have for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, LiteLlm, LlamaCpp, http};
use crate::scene::{LLAMA, PROXIED, Scene};
use crate::util::{LIMIT, attributes};

/// The application's own key, which is none of the provider's.
const KEY: &str = "sk-of-the-application";

const GATEWAY: &str = "[ai.AI.gateway.gw]\n";

/// A request of a client's.
fn request(operation: &str, base: &str, model: &str, more: &Value) -> Value {
    let mut request = json!({"operation": operation, "base": base, "key": KEY, "model": model});
    let more = more.as_object().unwrap().clone();
    request.as_object_mut().unwrap().extend(more);
    request
}

/// Six tokens.
fn short(more: &Value) -> Value {
    let mut short = json!({"temperature": 0, "max_tokens": 6});
    let more = more.as_object().unwrap().clone();
    short.as_object_mut().unwrap().extend(more);
    short
}

fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": false,
        },
    }}])
}

/// What `getUrl` of a gateway gives for a provider.
fn url_of(scene: &Scene, provider: &str) -> String {
    let mut url = String::new();
    scene.run(async |ai| {
        let gateway = ai.gateway("gw").await;
        let reply = gateway.call("getUrl", (provider,)).await.unwrap();
        url = reply.parse().unwrap();
    });
    url
}

/// The attributes of each span in the caller's tail that has this name at its end, once one has closed.
fn told(scene: &Scene, name: &str) -> Vec<Vec<(String, Value)>> {
    let limit = Instant::now() + LIMIT;
    loop {
        let events = scene.world.tail("caller.jsonl");
        let of = |renamed: &Value| {
            let span = &renamed["spanContext"]["spanId"];
            let of = events
                .iter()
                .filter(|it| it["spanContext"]["spanId"] == *span);
            let of: Vec<Value> = of.cloned().collect();
            let closed = of.iter().any(|event| event["event"]["type"] == "spanClose");
            closed.then(|| attributes(&of))
        };
        let renamed = events.iter().filter(|event| {
            let info = &event["event"]["info"];
            info["type"] == "name" && info["name"] == name
        });
        let told: Vec<_> = renamed.filter_map(of).collect();
        if !told.is_empty() {
            return told;
        }
        assert!(Instant::now() < limit, "no {name}: {events:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn of<'a>(said: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    let found = said.iter().rev().find(|(known, _)| known == key);
    found.map(|(_, value)| value)
}

#[test]
fn clients_get_what_the_model_says_at_each_address() {
    let llama = &LlamaCpp::shared().chat;
    let scene = Scene::start(GATEWAY);
    let (by_provider, compat) = (url_of(&scene, "llama"), url_of(&scene, "compat"));
    let listens = format!("{}/v1/AI/gw/llama", scene.callee_url);
    assert_eq!(by_provider, listens, "it is where it listens");
    let [callee, caller] = [&scene.callee_url, &scene.caller_url].map(|url| format!("{url}/v1"));
    let asked = |base: &str, model: &str| {
        let called = json!({"temperature": 0, "max_tokens": 200, "tools": weather()});
        [
            ("chat", short(&json!({}))),
            ("stream", short(&json!({}))),
            ("stream", short(&json!({"usage": false}))),
            ("chat", called.clone()),
            ("stream", called),
        ]
        .map(|(operation, more)| request(operation, base, model, &more))
    };
    for (client, at) in [
        (
            Client::Node,
            &[
                (llama, "tiny"),
                (&callee, LLAMA),
                (&caller, LLAMA),
                (&caller, PROXIED),
                (&by_provider, "tiny"),
                (&compat, LLAMA),
            ][..],
        ),
        (
            Client::Python,
            &[(llama, "tiny"), (&caller, LLAMA), (&compat, PROXIED)],
        ),
    ] {
        let requests: Vec<Value> = at
            .iter()
            .flat_map(|(base, model)| asked(base, model))
            .collect();
        let results = client.run(&requests);
        let direct = &results[..5];
        for ((base, model), result) in at.iter().zip(results.chunks(5)) {
            let at = format!("{client:?} {base} {model}: {result:#?}");
            let [chat, stream, unasked, called, streamed] = result else {
                panic!("{at}");
            };
            assert_eq!(chat["text"], direct[0]["text"], "{at}");
            assert_eq!(chat["finish"], "length", "{at}");
            for stream in [stream, unasked] {
                assert_eq!(stream["text"], direct[0]["text"], "{at}");
            }
            for tokens in ["prompt_tokens", "completion_tokens"] {
                assert_eq!(stream["usage"][tokens], direct[0]["usage"][tokens], "{at}");
            }
            assert_eq!(unasked["usage"], Value::Null, "{at}");
            if *model != PROXIED {
                assert_eq!(unasked["chunks"], direct[2]["chunks"], "{at}");
            }
            let call = json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"});
            for called in [called, streamed] {
                assert_eq!(called["calls"], json!([call]), "{at}");
            }
        }
    }
    // Tokens are counted, whether a client asks for them or not.
    for model in [LLAMA, PROXIED] {
        for said in told(&scene, &format!("chat {model}")) {
            let output = of(&said, "gen_ai.usage.output_tokens");
            assert!(output.is_some_and(|count| *count != 0), "{said:?}");
        }
    }
    scene.stop();
}

#[test]
fn clients_get_vectors_as_they_want_them_and_the_models_there_are() {
    let scene = Scene::start(GATEWAY);
    let texts = json!({"input": ["the water", "a man"]});
    let embeddings = &LlamaCpp::shared().embeddings;
    let (by_provider, compat) = (url_of(&scene, "vectors"), url_of(&scene, "compat"));
    let caller = format!("{}/v1", scene.caller_url);
    let bge = "@cf/baai/bge-base-en-v1.5";
    let vectors = |base: &str, model: &str| request("embeddings", base, model, &texts);
    let models = |base: &str| request("models", base, LLAMA, &json!({}));
    let mut results = Client::Node.run(&[
        vectors(embeddings, "tiny"),
        vectors(&by_provider, "tiny"),
        vectors(&compat, "litellm/tiny-embeddings"),
        vectors(&caller, bge),
        models(&caller),
        models(&compat),
    ]);
    for models in results.split_off(4) {
        for name in [LLAMA, "litellm/mock", "tiny"] {
            assert!(
                models.as_array().unwrap().contains(&json!(name)),
                "{models}"
            );
        }
    }
    results.push(Client::Python.ask(vectors(&caller, bge)));
    for got in &results {
        assert_eq!(got["lengths"], json!([64, 64]), "{got}");
        assert_eq!(got["first"], results[0]["first"]);
        let tokens = |got: &Value| got["usage"]["prompt_tokens"].clone();
        assert_eq!(tokens(got), tokens(&results[0]));
    }
    for said in told(&scene, &format!("embeddings {bge}")) {
        let formats = of(&said, "gen_ai.request.encoding_formats");
        assert!(formats.unwrap().to_string().contains("base64"), "{said:?}");
    }
    scene.stop();
}

#[test]
fn clients_know_the_errors_by_their_classes() {
    let more = format!(
        "{GATEWAY}\
         [ai.AI.gateway.few]\nrate-limit = 1\nrate-window = '1h'\n\
         [ai.AI.provider.locked]\nurl = '{}'\nkey-file = 'litellm.key'\n\
         [ai.AI.provider.gone]\nurl = 'http://127.0.0.1:9/v1'\n",
        LlamaCpp::locked().chat
    );
    let scene = Scene::start(&more);
    let caller = format!("{}/v1", scene.caller_url);
    let gateway = |id: &str, provider: &str| format!("{}/v1/AI/{id}/{provider}", scene.caller_url);
    let few = gateway("few", "compat");
    let expected = [
        (&caller, "litellm/limited", "RateLimitError", 429),
        (&caller, "litellm/too-long", "BadRequestError", 400),
        (&caller, "litellm/broken", "InternalServerError", 500),
        (&caller, "locked/tiny", "AuthenticationError", 401),
        (&caller, "gone/tiny", "InternalServerError", 502),
        (&gateway("gw", "locked"), "tiny", "AuthenticationError", 401),
        (
            &gateway("gw", "litellm"),
            "too-long",
            "BadRequestError",
            400,
        ),
        (&gateway("no", "litellm"), "mock", "BadRequestError", 400),
        (&gateway("gw", "nobody"), "mock", "BadRequestError", 400),
        (&few, "litellm/mock", "", 200),
        (&few, "litellm/mock", "RateLimitError", 429),
    ];
    let requests = expected.map(|(base, model, ..)| request("chat", base, model, &json!({})));
    let results = Client::Node.run(&requests);
    for ((base, model, kind, status), result) in expected.into_iter().zip(&results) {
        if status == 200 {
            assert_eq!(result["text"], "Hello from the mock.", "{base} {model}");
            continue;
        }
        let error = &result["error"];
        assert_eq!(error["kind"], kind, "{base} {model}: {error}");
        assert_eq!(error["status"], status, "{base} {model}: {error}");
        assert!(!error.to_string().contains(LiteLlm::KEY), "{error}");
    }
    scene.stop();
}

#[test]
fn a_client_that_leaves_stops_the_model() {
    let llama = LlamaCpp::start("openai-left");
    let slots = llama.chat.replace("/v1", "/slots");
    let busy = || {
        let slots = http::get(&slots).unwrap().json();
        let mut slots = slots.as_array().unwrap().iter();
        slots.any(|slot| slot["is_processing"] == true)
    };
    let scene = Scene::with(&llama.chat, GATEWAY, &[], &[]);
    let base = format!("{}/v1", scene.caller_url);
    let asked = json!({"max_tokens": 3_500});
    let left = Client::Node.ask(request("leave", &base, LLAMA, &asked));
    assert!(left["text"].is_string(), "{left}");
    let said = told(&scene, &format!("chat {LLAMA}")).remove(0);
    assert!(!busy(), "the span has ended, and so has what it was about");
    assert_eq!(of(&said, "gen_ai.usage.output_tokens"), None, "{said:?}");
    scene.stop();
}
