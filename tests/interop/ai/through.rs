//! Workers AI's calls, through a caller and a callee, to the real servers: what they give is what the servers say.

use binding_span::AttributeValue;
use futures::StreamExt;
use serde_json::{Value, json};
use tail::FinishedSpan;

use crate::harness::{LiteLlm, LlamaCpp, http};
use crate::scene::{LLAMA, PRICE, PROXIED, Scene, whole};

/// A value of a span's, which has to be there.
#[track_caller]
pub fn value<'a>(span: &'a FinishedSpan, key: &str) -> &'a AttributeValue {
    span.get(key)
        .unwrap_or_else(|| panic!("no {key}: {span:#?}"))
}

/// The same, an integer.
#[track_caller]
pub fn int(span: &FinishedSpan, key: &str) -> i64 {
    match value(span, key) {
        AttributeValue::Int64(count) => *count,
        other => panic!("{key}: {other:?}"),
    }
}

fn messages() -> Value {
    json!([{"role": "user", "content": "Say something."}])
}

/// What the model says when it is asked directly, without and with a stream.
fn direct(more: &Value) -> Value {
    let mut body = json!({"model": "tiny", "temperature": 0, "messages": messages()});
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    let url = format!("{}/chat/completions", LlamaCpp::shared().chat);
    http::post(&url, "none", &body).json()
}

/// Workers AI's tool.
fn weather() -> Value {
    json!([{
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": false,
        },
    }])
}

/// The data of a stream's events; the last is `[DONE]`, which is left out.
pub fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut data: Vec<_> = lines.collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    let data = data.into_iter();
    data.map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

#[test]
fn texts_and_streams_are_the_model_s_with_its_counts_on_the_span() {
    let said = direct(&json!({"max_tokens": 6}));
    let text = &said["choices"][0]["message"]["content"];
    let (read, written) = (
        &said["usage"]["prompt_tokens"],
        &said["usage"]["completion_tokens"],
    );
    assert_eq!(*written, 6);
    let scene = Scene::start("");
    scene.run(async |ai| {
        for (model, provider) in [(LLAMA, "llama"), (PROXIED, "litellm")] {
            let inputs = json!({"messages": messages(), "temperature": 0, "max_tokens": 6});
            let answer = ai.run(model, &inputs).await.unwrap();
            assert_eq!(answer["response"], *text, "{answer}");
            assert_eq!(answer["finish_reason"], "length");
            assert_eq!(answer["usage"]["prompt_tokens"], *read, "{answer}");
            assert_eq!(answer["usage"]["completion_tokens"], *written, "{answer}");
            let once = ai.span().await;

            let mut streamed = inputs.clone();
            streamed["stream"] = true.into();
            let stream = ai.stream(model, &streamed).await;
            let events = events(&whole(stream).await);
            let pieces = events
                .iter()
                .map(|event| event["response"].as_str().unwrap());
            assert_eq!(pieces.collect::<String>(), *text, "{events:?}");
            let last = events.last().unwrap();
            assert_eq!(last["usage"]["prompt_tokens"], *read, "{last}");
            assert_eq!(last["usage"]["completion_tokens"], *written, "{last}");
            let stream = ai.span().await;

            for span in [&once, &stream] {
                assert_eq!(span.name, format!("chat {model}"));
                assert_eq!(span.original_name, "jsRpcSession");
                assert_eq!(int(span, "gen_ai.usage.input_tokens"), *read);
                assert_eq!(int(span, "gen_ai.usage.output_tokens"), *written);
                assert_eq!(int(span, "gen_ai.request.max_tokens"), 6);
                for (key, expected) in [
                    ("gen_ai.operation.name", "chat".into()),
                    ("gen_ai.provider.name", provider.into()),
                    ("gen_ai.request.model", model.into()),
                    ("gen_ai.response.model", "tiny".into()),
                    ("gen_ai.request.temperature", 0.0.into()),
                ] as [(&str, AttributeValue); 5]
                {
                    assert_eq!(*value(span, key), expected, "{key} of {span:#?}");
                }
                // On the wire a list of one text is that text.
                let reasons = value(span, "gen_ai.response.finish_reasons");
                assert_eq!(*reasons, "length".into());
                assert_eq!(span.get("error.type"), None);
            }
            let (input, output) = (read.as_f64().unwrap(), written.as_f64().unwrap());
            let cost = (input * PRICE.0 + output * PRICE.1) / 1e6;
            match (once.get("gen_ai.usage.cost"), model == LLAMA) {
                (Some(AttributeValue::Float64(said)), true) => {
                    assert!((said - cost).abs() < 1e-9, "{said} {cost}");
                }
                (None, false) => {}
                (other, _) => panic!("{model} costs {other:?}"),
            }
            let first = value(&stream, "gen_ai.response.time_to_first_chunk");
            let AttributeValue::Float64(first) = first else {
                panic!("{first:?}");
            };
            assert!(*first > 0.0 && *first < stream.duration().as_secs_f64());
            assert_eq!(once.get("gen_ai.response.time_to_first_chunk"), None);
        }
        let prompt = json!({"prompt": "Say something.", "temperature": 0, "max_tokens": 6});
        assert_eq!(ai.run(LLAMA, &prompt).await.unwrap()["response"], *text);
    });
    scene.stop();
}

#[test]
fn a_stream_comes_as_the_model_writes_it_and_ends_it_when_its_reader_leaves() {
    let llama = LlamaCpp::start("through");
    let slots = llama.chat.replace("/v1", "/slots");
    let busy = || {
        let slots = http::get(&slots).unwrap().json();
        let mut slots = slots.as_array().unwrap().iter();
        slots.any(|slot| slot["is_processing"] == true)
    };
    let scene = Scene::with(&llama.chat, "", &[], &[]);
    scene.run(async |ai| {
        let inputs = json!({"prompt": "Go on.", "max_tokens": 3_500, "stream": true});
        let mut stream = ai.stream(LLAMA, &inputs).await;
        let first = stream.next().await.unwrap().unwrap();
        assert!(first.starts_with(b"data: {\"response\":\""), "{first:?}");
        assert!(busy(), "it is still writing");
        let left = std::time::Instant::now();
        drop(stream);
        while busy() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        println!("it stopped after {:?}", left.elapsed());
        let span = ai.span().await;
        assert_eq!(span.name, format!("chat {LLAMA}"));
        value(&span, "gen_ai.response.time_to_first_chunk");
        for counted in ["gen_ai.usage.output_tokens", "gen_ai.usage.input_tokens"] {
            assert_eq!(span.get(counted), None, "nobody counted: {span:#?}");
        }
    });
    scene.stop();
}

#[test]
fn tools_json_vectors_and_models_are_those_of_the_servers() {
    let scene = Scene::start("");
    scene.run(async |ai| {
        for model in [LLAMA, PROXIED] {
            let asked = json!({
                "messages": messages(),
                "temperature": 0,
                "max_tokens": 200,
                "tools": weather(),
            });
            let called = ai.run(model, &asked).await.unwrap();
            let call = &called["tool_calls"][0];
            assert_eq!(call["name"], "weather", "{called}");
            assert_eq!(call["arguments"], json!({"city": "Paris"}), "{called}");
            let span = ai.span().await;
            let reasons = value(&span, "gen_ai.response.finish_reasons");
            assert_eq!(*reasons, "tool_calls".into());

            // Its result, as Workers AI's documentation has it.
            let mut asked = asked;
            let messages = asked["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
            messages.push(json!({"role": "tool", "name": "weather", "content": "7 degrees"}));
            let answer = ai.run(model, &asked).await.unwrap();
            let said = answer["response"].as_str().unwrap();
            assert!(
                !said.is_empty() && answer["tool_calls"].is_null(),
                "{answer}"
            );
            ai.span().await;

            let mut streamed = asked.clone();
            streamed["messages"].as_array_mut().unwrap().truncate(1);
            streamed["stream"] = true.into();
            let events = events(&whole(ai.stream(model, &streamed).await).await);
            let parts = events
                .iter()
                .flat_map(|event| event["tool_calls"].as_array());
            let parts = parts.flatten().map(|part| &part["function"]["arguments"]);
            let arguments: String = parts.filter_map(Value::as_str).collect();
            assert_eq!(arguments, "{\"city\":\"Paris\"}", "{events:?}");
            ai.span().await;

            let schema = json!({
                "type": "object",
                "properties": {"ok": {"type": "boolean"}},
                "required": ["ok"],
                "additionalProperties": false,
            });
            let format = json!({"type": "json_schema", "json_schema": schema});
            let asked = json!({"prompt": "Is it?", "response_format": format, "max_tokens": 200});
            let answer = ai.run(model, &asked).await.unwrap();
            assert!(answer["response"]["ok"].is_boolean(), "{answer}");
            let span = ai.span().await;
            assert_eq!(*value(&span, "gen_ai.output.type"), "json".into());
        }

        let texts = json!(["the water", "a man"]);
        let url = format!("{}/embeddings", LlamaCpp::shared().embeddings);
        let direct = http::post(&url, "none", &json!({"model": "tiny", "input": texts})).json();
        for (model, provider) in [
            ("@cf/baai/bge-base-en-v1.5", "vectors"),
            ("litellm/tiny-embeddings", "litellm"),
        ] {
            let answer = ai.run(model, &json!({"text": texts})).await.unwrap();
            assert_eq!(answer["shape"], json!([2, 64]), "{answer}");
            for nth in [0, 1] {
                let of = |vector: &Value| -> Vec<f64> {
                    let numbers = vector.as_array().unwrap().iter();
                    numbers.map(|number| number.as_f64().unwrap()).collect()
                };
                let expected = of(&direct["data"][nth]["embedding"]);
                assert_eq!(of(&answer["data"][nth]), expected, "{model}");
            }
            let span = ai.span().await;
            assert_eq!(span.name, format!("embeddings {model}"));
            assert_eq!(*value(&span, "gen_ai.provider.name"), provider.into());
            let tokens = int(&span, "gen_ai.usage.input_tokens");
            assert_eq!(tokens, direct["usage"]["prompt_tokens"]);
        }

        let models = ai.models(&json!({"per_page": 100})).await;
        let names: Vec<_> = models.as_array().unwrap().iter().collect();
        let has = |name: &str| names.iter().any(|model| model["name"] == name);
        assert!(has(LLAMA), "{models}");
        assert!(has(PROXIED) && has("litellm/mock"), "{models}");
        assert_eq!(ai.span().await.name, "ai.models");
    });
    scene.stop();
}

#[test]
fn errors_of_the_servers_are_workers_ai_s() {
    let scene = Scene::start("");
    scene.run(async |ai| {
        for (model, code, status) in [
            ("litellm/limited", "3040", 429),
            ("litellm/broken", "3043", 500),
            ("litellm/too-long", "5006", 400),
            ("litellm/nosuch", "5006", 400),
        ] {
            let inputs = json!({"prompt": "Say something."});
            let error = ai.run(model, &inputs).await.unwrap_err();
            let span = ai.span().await;
            assert!(error.to_string().contains(code), "{model}: {error}");
            assert_eq!(span.name, format!("chat {model}"));
            assert_eq!(int(&span, "http.response.status_code"), status, "{model}");
            assert_eq!(*value(&span, "error.type"), "InferenceUpstreamError".into());
            let said = span.error.unwrap().message;
            assert_eq!(said, format!("litellm answered {status}"), "not its words");
            assert!(!error.to_string().contains(LiteLlm::KEY), "{error}");
        }
    });
    scene.stop();
}
