//! The word counter asked as a provider is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::*;
use crate::ai::openai::Events;

fn send(method: Method, path: &str, body: impl ToString) -> UpstreamAnswer {
    let request = UpstreamRequest {
        method,
        path: path.into(),
        headers: HeaderMap::new(),
        body: body.to_string().into(),
        timeout: None,
    };
    answer(&request).unwrap()
}

fn body(answer: UpstreamAnswer) -> Vec<u8> {
    let chunks: Vec<Bytes> = block_on(answer.body.try_collect()).unwrap();
    chunks.concat()
}

/// A whole answer.
fn post(path: &str, request: &Value) -> Value {
    let answer = send(Method::POST, path, request);
    let status = answer.status;
    assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
    let value: Value = serde_json::from_slice(&body(answer)).unwrap();
    assert_eq!(status, 200, "{value}");
    value
}

/// The chunks of a stream, without the `[DONE]` that ends it.
fn stream(path: &str, request: &Value) -> Vec<Value> {
    let answer = send(Method::POST, path, request);
    assert_eq!(answer.headers[CONTENT_TYPE], "text/event-stream");
    let mut events = Events::new(1 << 20).push(&body(answer));
    let done = events.pop().unwrap().unwrap();
    assert!(done.is_done(), "{done:?}");
    events
        .into_iter()
        .map(|event| serde_json::from_str(&event.unwrap().data).unwrap())
        .collect()
}

fn error(method: Method, path: &str, request: impl ToString) -> (u16, Value) {
    let answer = send(method, path, request);
    let status = answer.status.as_u16();
    let value: Value = serde_json::from_slice(&body(answer)).unwrap();
    assert_eq!(value["error"]["type"], "invalid_request_error");
    (status, value["error"].clone())
}

fn chat(text: &str) -> Value {
    json!({"model": "any", "messages": [{"role": "system", "content": "Count."}, {"role": "user", "content": text}]})
}

#[test]
fn it_says_what_it_is() {
    for path in ["models", "/models", "v1/models", "models?limit=3"] {
        let list: Value = serde_json::from_slice(&body(send(Method::GET, path, ""))).unwrap();
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"][0]["id"], "word-counter");
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
    }
    let one: Value =
        serde_json::from_slice(&body(send(Method::GET, "models/word-counter", ""))).unwrap();
    assert_eq!(one["id"], "word-counter");
    assert_eq!(
        post("chat/completions", &chat("x"))["model"],
        "word-counter"
    );
}

#[test]
fn it_counts_the_words_of_the_last_message_and_of_all_for_the_usage() {
    let answer = post("chat/completions", &chat(" to be\nor  not "));
    assert_eq!(
        answer["choices"],
        json!([{"index": 0, "message": {"role": "assistant",
            "content": "The last message has 4 words: to be or not"}, "finish_reason": "stop"}])
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15})
    );
    assert_eq!(answer["object"], "chat.completion");
    let content = |text: Value| {
        let mut request = chat("");
        request["messages"][1]["content"] = text;
        post("chat/completions", &request)["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(content(json!("")), "The last message has no words.");
    assert_eq!(content(Value::Null), "The last message has no words.");
    assert_eq!(content(json!("one")), "The last message has 1 word: one");
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(content(parts), "The last message has 2 words: a b");
}

#[test]
fn the_same_request_has_the_same_answer() {
    let mut answers = [
        post("chat/completions", &chat("a b")),
        post("chat/completions", &chat("a b")),
    ];
    for answer in &mut answers {
        answer["created"] = Value::Null;
    }
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_stream_has_a_word_in_each_chunk_and_says_the_same() {
    let mut request = chat("to be");
    let whole = post("chat/completions", &request);
    request["stream"] = true.into();
    let chunks = stream("chat/completions", &request);
    assert_eq!(chunks.len(), 8 + 1);
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": "The"})
    );
    assert_eq!(
        chunks[1]["choices"][0]["delta"],
        json!({"content": " last"})
    );
    assert_eq!(
        chunks[8]["choices"][0],
        json!({"index": 0, "delta": {}, "finish_reason": "stop"})
    );
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == whole["id"])
    );
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(
        text,
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );

    request["stream_options"] = json!({"include_usage": true});
    let with_usage = stream("chat/completions", &request);
    assert_eq!(with_usage.len(), 10);
    assert!(
        with_usage[..9]
            .iter()
            .all(|chunk| chunk["usage"] == Value::Null)
    );
    assert_eq!(with_usage[9]["choices"], json!([]));
    assert_eq!(with_usage[9]["usage"], whole["usage"]);
    assert!(crate::ai::openai::is_usage_only(&with_usage[9]));
}

#[test]
fn max_tokens_ends_it() {
    for name in ["max_tokens", "max_completion_tokens"] {
        let mut request = chat("to be");
        request[name] = 3.into();
        let answer = post("chat/completions", &request);
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            "The last message"
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
        request["stream"] = true.into();
        let chunks = stream("chat/completions", &request);
        assert_eq!(chunks.len(), 4);
        assert_eq!(chunks[3]["choices"][0]["finish_reason"], "length");
        request[name] = 8.into();
        assert_eq!(
            stream("chat/completions", &request).last().unwrap()["choices"][0]["finish_reason"],
            "stop"
        );
    }
}

#[test]
fn json_mode_is_an_object() {
    for format in [
        json!({"type": "json_object"}),
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
    ] {
        let mut request = chat("to be or not");
        request["response_format"] = format;
        let answer = post("chat/completions", &request);
        assert_eq!(answer["choices"][0]["message"]["content"], "{\"words\":4}");
    }
}

#[test]
fn completions_whole_and_streamed() {
    let mut request = json!({"model": "m", "prompt": ["a b"]});
    let whole = post("completions", &request);
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(
        whole["choices"],
        json!([{"index": 0, "text": "The prompt has 2 words: a b", "finish_reason": "stop"}])
    );
    assert_eq!(whole["usage"]["prompt_tokens"], 2);
    request["stream"] = true.into();
    let chunks = stream("completions", &request);
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "The prompt has 2 words: a b");
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

fn vectors(input: Value) -> Vec<Vec<f64>> {
    let answer = post("embeddings", &json!({"model": "m", "input": input}));
    let data = answer["data"].as_array().unwrap();
    data.iter()
        .map(|item| {
            item["embedding"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part.as_f64().unwrap())
                .collect()
        })
        .collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[test]
fn embeddings_have_length_one_and_are_near_for_the_same_words() {
    let all = vectors(json!([
        "the cat sat",
        "Sat, the CAT!",
        "the cat ran",
        "quarterly revenue grew",
        ""
    ]));
    assert!(all.iter().all(|vector| vector.len() == 64));
    for vector in &all[..4] {
        assert!((dot(vector, vector) - 1.0).abs() < 1e-5);
    }
    assert!((dot(&all[0], &all[1]) - 1.0).abs() < 1e-5);
    assert!(dot(&all[0], &all[2]) > 0.5);
    assert!(dot(&all[0], &all[3]) < 0.5);
    assert_eq!(dot(&all[4], &all[4]), 0.0);
    assert_eq!(vectors(json!("the cat sat"))[0], all[0]);
}

#[test]
fn embeddings_in_base64_are_the_same_numbers() {
    let request = json!({"model": "m", "input": "the cat sat", "encoding_format": "base64", "dimensions": 64});
    let answer = post("embeddings", &request);
    let bytes = STANDARD
        .decode(answer["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let decoded: Vec<f64> = bytes
        .chunks_exact(4)
        .map(|part| f64::from(f32::from_le_bytes(part.try_into().unwrap())))
        .collect();
    assert_eq!(decoded, vectors(json!("the cat sat"))[0]);
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
}

#[test]
fn what_it_cannot_do_is_an_error_as_openai_has_them() {
    let with = |name: &str, value: Value| {
        let mut request = chat("x");
        request[name] = value;
        request
    };
    let table = [
        (
            "chat/completions",
            with("tools", json!([{"type": "function"}])),
            "tools",
            "calls no tools",
        ),
        ("chat/completions", with("n", json!(2)), "n", "one answer"),
        (
            "chat/completions",
            with("model", Value::Null),
            "model",
            "model",
        ),
        (
            "chat/completions",
            with("messages", json!([])),
            "messages",
            "not empty",
        ),
        (
            "chat/completions",
            with("messages", json!([{"content": "x"}])),
            "messages",
            "role",
        ),
        (
            "chat/completions",
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            ),
            "messages",
            "reads text",
        ),
        (
            "chat/completions",
            with("max_tokens", json!(0)),
            "max_tokens",
            "from 1",
        ),
        (
            "chat/completions",
            with("max_tokens", json!("5")),
            "max_tokens",
            "from 1",
        ),
        (
            "chat/completions",
            with("stream", json!("yes")),
            "stream",
            "true or false",
        ),
        (
            "chat/completions",
            with("response_format", json!({"type": "xml"})),
            "response_format",
            "json_object",
        ),
        (
            "completions",
            json!({"model": "m", "prompt": ["a", "b"]}),
            "prompt",
            "one text",
        ),
        (
            "embeddings",
            json!({"model": "m", "input": [[1, 2]]}),
            "input",
            "texts",
        ),
        (
            "embeddings",
            json!({"model": "m", "input": vec![""; 2049]}),
            "input",
            "2048",
        ),
        (
            "embeddings",
            json!({"model": "m", "input": "x", "dimensions": 3}),
            "dimensions",
            "64",
        ),
        (
            "embeddings",
            json!({"model": "m", "input": "x", "encoding_format": 3}),
            "encoding_format",
            "base64",
        ),
    ];
    for (path, request, param, text) in table {
        let (status, error) = error(Method::POST, path, &request);
        assert_eq!(status, 400);
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(text), "{error}");
    }
    assert_eq!(error(Method::POST, "images/generations", "{}").0, 404);
    assert_eq!(error(Method::GET, "chat/completions", "").0, 405);
    assert_eq!(send(Method::POST, "models", "").headers[ALLOW], "GET");
    let (status, error) = error(Method::POST, "chat/completions", "{\"model\": SECRET");
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("line 1"));
    assert!(!error.to_string().contains("SECRET"));
    // Tools that are not to be used are nothing to refuse.
    let mut unused = with("tools", json!([{"type": "function"}]));
    unused["tool_choice"] = "none".into();
    post("chat/completions", &unused);
}

#[test]
fn a_long_stream_is_made_as_it_is_read_and_may_be_dropped() {
    let mut request = chat(&"word ".repeat(100_000));
    request["stream"] = true.into();
    let mut answer = send(Method::POST, "chat/completions", &request);
    for _ in 0..10 {
        assert!(block_on(answer.body.next()).unwrap().is_ok());
    }
    drop(answer);
}
