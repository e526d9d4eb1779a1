//! The servers asked directly, without anything of ours between: that they are what the other tests take them for.

use serde_json::{Value, json};

use crate::harness::{Client, LiteLlm, LlamaCpp, http};

/// No key is needed there.
const NO_KEY: &str = "none";

fn chat(model: &str, more: &Value) -> Value {
    let mut body = json!({
        "model": model,
        "temperature": 0,
        "max_tokens": 6,
        "messages": [{"role": "user", "content": "Say something."}],
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn at(base: &str) -> String {
    format!("{base}/chat/completions")
}

/// A tool as a request offers it. The model of these tests leaves every string empty that may be anything.
fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": false,
        },
    }}])
}

/// The text that a stream's pieces make.
fn text(events: &[Value]) -> String {
    let pieces = events
        .iter()
        .map(|event| event["choices"][0]["delta"]["content"].as_str());
    pieces.flatten().collect()
}

#[test]
fn llama_cpp_says_the_same_at_once_and_in_pieces() {
    let llama = LlamaCpp::shared();
    let once = http::post(&at(&llama.chat), NO_KEY, &chat(LlamaCpp::MODEL, &json!({})));
    assert_eq!(once.status, 200, "{once:?}");
    let once = once.json();
    assert_eq!(once["choices"][0]["finish_reason"], "length");
    assert_eq!(once["usage"]["completion_tokens"], 6);
    let said = once["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(said.split_whitespace().count(), 6, "{said:?}");

    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let stream = http::post(&at(&llama.chat), NO_KEY, &chat(LlamaCpp::MODEL, &more));
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let events = stream.events();
    assert_eq!(text(&events), said);
    let last = events.last().unwrap();
    assert_eq!(
        last["choices"],
        json!([]),
        "usage comes in a chunk of its own"
    );
    assert_eq!(last["usage"]["completion_tokens"], 6);
    assert_eq!(
        last["usage"]["prompt_tokens"],
        once["usage"]["prompt_tokens"]
    );

    let unasked = http::post(
        &at(&llama.chat),
        NO_KEY,
        &chat(LlamaCpp::MODEL, &json!({"stream": true})),
    );
    assert!(
        unasked
            .events()
            .iter()
            .all(|event| event["usage"].is_null()),
        "{unasked:?}"
    );
}

#[test]
fn llama_cpp_calls_tools_and_fills_json() {
    let llama = LlamaCpp::shared();
    let more = json!({"tools": weather(), "max_tokens": 200});
    let answer = http::post(&at(&llama.chat), NO_KEY, &chat(LlamaCpp::MODEL, &more)).json();
    assert_eq!(
        answer["choices"][0]["finish_reason"], "tool_calls",
        "{answer}"
    );
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(
        *call,
        json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"})
    );

    let schema = json!({
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": false,
    });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
    let more = json!({"response_format": format, "max_tokens": 200});
    let answer = http::post(&at(&llama.chat), NO_KEY, &chat(LlamaCpp::MODEL, &more)).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    assert!(said["ok"].is_boolean(), "{said}");
}

#[test]
fn llama_cpp_stops_when_its_client_goes_away() {
    let mut llama = LlamaCpp::start("left");
    // So long that it would go on for a while.
    let long = chat(
        LlamaCpp::MODEL,
        &json!({"stream": true, "max_tokens": 3_500}),
    );
    let slots = llama.chat.replace("/v1", "/slots");
    let busy = || {
        let slots = http::get(&slots).unwrap().json();
        slots
            .as_array()
            .unwrap()
            .iter()
            .any(|slot| slot["is_processing"] == true)
    };
    let stream = http::post_until(&at(&llama.chat), NO_KEY, &long, "\"content\":\" ");
    assert!(busy());
    let left = std::time::Instant::now();
    drop(stream);
    while busy() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    println!("it stopped after {:?}", left.elapsed());

    // And killed in mid-stream, it leaves a stream without an end.
    let mut stream = http::post_until(&at(&llama.chat), NO_KEY, &long, "\"content\":\" ");
    llama.kill();
    let mut rest = Vec::new();
    // Reset, or just ended: both are how a connection breaks off.
    let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
}

#[test]
fn litellm_answers_refuses_and_passes_on() {
    let proxy = LiteLlm::shared();
    let ask =
        |model: &str, more: Value| http::post(&at(&proxy.base), LiteLlm::KEY, &chat(model, &more));

    let mock = ask("mock", json!({}));
    assert_eq!(mock.status, 200, "{mock:?}");
    assert_eq!(
        mock.json()["choices"][0]["message"]["content"],
        "Hello from the mock."
    );
    let stream = ask(
        "mock",
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    )
    .events();
    assert_eq!(text(&stream), "Hello from the mock.");
    let last = stream.last().unwrap();
    assert_eq!(
        last["choices"],
        json!([{"index": 0, "delta": {}}]),
        "not empty, as OpenAI's is"
    );
    assert_eq!(last["usage"]["completion_tokens"], 5);

    let calls = ask("calls", json!({})).json();
    let call = &calls["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(
        *call,
        json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"})
    );

    for (model, status) in [
        ("broken", 500),
        ("too-long", 400),
        ("gone", 500),
        ("nosuch", 400),
    ] {
        let refused = ask(model, json!({}));
        assert_eq!(refused.status, status, "{model}: {refused:?}");
        assert!(refused.json()["error"]["message"].is_string(), "{model}");
    }
    let limited: Vec<_> = (0..5).map(|_| ask("limited", json!({}))).collect();
    assert!(
        limited.iter().all(|answer| answer.status == 429),
        "{limited:?}"
    );
    let wait = limited
        .iter()
        .find_map(|answer| answer.header("retry-after"));
    assert_eq!(wait, Some("1"), "{limited:?}");

    let direct = http::post(
        &at(&LlamaCpp::shared().chat),
        NO_KEY,
        &chat(LlamaCpp::MODEL, &json!({})),
    )
    .json();
    let passed = ask("tiny", json!({})).json();
    assert_eq!(
        passed["choices"][0]["message"]["content"],
        direct["choices"][0]["message"]["content"]
    );
}

#[test]
fn openai_s_clients_understand_both_servers() {
    let (llama, proxy) = (LlamaCpp::shared(), LiteLlm::shared());
    let request = |operation: &str, base: &str, key: &str, model: &str, more: Value| {
        let mut request = json!({"operation": operation, "base": base, "key": key, "model": model});
        let all = request.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        request
    };
    let proxied = |operation: &str, model: &str, more| {
        request(operation, &proxy.base, LiteLlm::KEY, model, more)
    };
    let mut requests = Vec::new();
    for (base, key) in [(&llama.chat, NO_KEY), (&proxy.base, LiteLlm::KEY)] {
        let (short, called) = (
            json!({"temperature": 0, "max_tokens": 6}),
            json!({"temperature": 0, "max_tokens": 200, "tools": weather()}),
        );
        let long = json!({"temperature": 0, "max_tokens": 3_000});
        for (operation, more) in [
            ("chat", &short),
            ("stream", &short),
            ("chat", &called),
            ("stream", &called),
            ("leave", &long),
        ] {
            requests.push(request(operation, base, key, "tiny", more.clone()));
        }
    }
    let texts = json!({"input": ["the water", "a man"]});
    let vectors = (&llama.embeddings, NO_KEY, LlamaCpp::MODEL);
    requests.extend([
        request("embeddings", vectors.0, vectors.1, vectors.2, texts.clone()),
        proxied("embeddings", "tiny-embeddings", texts),
        proxied("models", "mock", json!({})),
        proxied("chat", "nosuch", json!({})),
        proxied("chat", "limited", json!({})),
    ]);
    for client in Client::ALL {
        let results = client.run(&requests);
        for result in results.chunks(5).take(2) {
            let [once, stream, called, streamed, left] = result else {
                panic!("{results:?}");
            };
            assert_eq!(once["finish"], "length", "{client:?}: {once}");
            assert_eq!(stream["text"], once["text"], "{client:?}");
            let total = &once["usage"]["total_tokens"];
            assert_eq!(stream["usage"]["total_tokens"], *total);
            for called in [called, streamed] {
                assert_eq!(called["finish"], "tool_calls", "{client:?}: {called}");
                let call = json!({"name": "weather", "arguments": "{\"city\":\"Paris\"}"});
                assert_eq!(called["calls"], json!([call]));
            }
            let text = stream["text"].as_str().unwrap();
            let end = text[1..].find(' ').map_or(text.len(), |end| end + 1);
            assert_eq!(left["text"], text[..end], "{client:?}");
        }
        let [direct, passed, models, refused, limited] = &results[10..] else {
            panic!("{results:?}");
        };
        assert_eq!(direct["lengths"], json!([64, 64]));
        assert_eq!(passed["first"], direct["first"]);
        assert!(models.as_array().unwrap().contains(&json!("mock")));
        for (refused, kind, status) in [
            (refused, "BadRequestError", 400),
            (limited, "RateLimitError", 429),
        ] {
            assert_eq!(refused["error"]["kind"], kind, "{client:?}: {refused}");
            assert_eq!(refused["error"]["status"], status);
        }
    }
}
