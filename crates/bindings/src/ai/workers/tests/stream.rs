use bytes::Bytes;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::ai::openai::Events;
use crate::ai::upstream::UpstreamRequest;
use crate::ai::workers::{Stream, request};
use crate::ai::{Reading, builtin};

/// What an event with this data becomes.
fn pushed(stream: &mut Stream, data: &str) -> Option<Bytes> {
    stream.push(data, serde_json::from_str(data).ok())
}

/// What a Worker reads: the data of each event, as JSON or as a text.
fn read(bytes: &[u8]) -> Vec<Value> {
    let mut events = Events::new(1 << 20);
    let mut read = events.push(bytes);
    assert_eq!(events.end(), None, "an event without its end");
    read.drain(..)
        .map(|event| {
            let data = event.unwrap().data;
            serde_json::from_str(&data).unwrap_or(Value::String(data))
        })
        .collect()
}

fn through(chunks: &[Value]) -> (Vec<Value>, Stream) {
    let mut stream = Stream::new();
    let mut out = Vec::new();
    for chunk in chunks {
        let data = chunk
            .as_str()
            .map_or_else(|| chunk.to_string(), str::to_owned);
        out.extend(pushed(&mut stream, &data).into_iter().flatten());
    }
    out.extend(stream.end());
    assert!(stream.end().is_empty());
    assert_eq!(pushed(&mut stream, "{\"choices\":[]}"), None);
    (read(&out), stream)
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[test]
fn pieces_of_text_come_as_they_are_and_the_usage_last() {
    let (out, stream) = through(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hé"})),
        delta(json!({"content": "llo"})),
        finish("stop"),
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        json!("[DONE]"),
    ]);
    assert_eq!(
        out,
        [
            json!({"response": "Hé"}),
            json!({"response": "llo"}),
            json!({"response": "", "finish_reason": "stop",
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}),
            json!("[DONE]"),
        ]
    );
    assert!(stream.error().is_none());
}

#[test]
fn tool_calls_come_in_their_pieces() {
    let first = json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]);
    let second = json!([{"index": 0, "function": {"arguments": "{\"x\""}}]);
    let (out, _) = through(&[
        delta(json!({"content": null, "tool_calls": first})),
        delta(json!({"tool_calls": second})),
        delta(json!({"tool_calls": []})),
        finish("tool_calls"),
        json!("[DONE]"),
    ]);
    assert_eq!(
        out,
        [
            json!({"response": "", "tool_calls": first}),
            json!({"response": "", "tool_calls": second}),
            json!({"response": "", "finish_reason": "tool_calls"}),
            json!("[DONE]"),
        ]
    );
}

#[test]
fn completions_reasoning_and_other_choices() {
    let (out, _) = through(&[
        json!({"choices": [{"index": 0, "text": "Hi", "finish_reason": null}]}),
        delta(json!({"reasoning_content": "hm"})),
        json!({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        json!({"choices": [{"index": 0, "text": "!", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}),
        json!("[DONE]"),
    ]);
    assert_eq!(out[0], json!({"response": "Hi"}));
    assert_eq!(out[1], json!({"response": "", "reasoning_content": "hm"}));
    assert_eq!(out[2], json!({"response": "!"}));
    assert_eq!(out[3]["usage"]["total_tokens"], 3);
    assert_eq!(out.len(), 5);
}

#[test]
fn a_server_that_forgets_done_has_finished_if_it_said_so() {
    let (out, stream) = through(&[delta(json!({"content": "Hi"})), finish("stop")]);
    assert_eq!(out.last(), Some(&json!("[DONE]")));
    assert!(stream.error().is_none());
}

#[test]
fn what_breaks_off_or_fails_ends_with_an_error_and_without_done() {
    let hello = || delta(json!({"content": "Hi"}));
    let table = [
        (vec![], "upstream_broken", "complete"),
        (vec![hello()], "upstream_broken", "complete"),
        (
            vec![hello(), json!({"error": {"message": "boom", "code": 500}})],
            "upstream_error",
            "boom",
        ),
        (
            vec![hello(), json!("{\"choices\": [")],
            "invalid_answer",
            "not JSON",
        ),
    ];
    for (mut chunks, kind, text) in table {
        // Nothing after the error is read.
        if kind != "upstream_broken" {
            chunks.push(hello());
            chunks.push(json!("[DONE]"));
        }
        let (out, stream) = through(&chunks);
        let last = out.last().unwrap();
        assert!(last["error"].as_str().unwrap().contains(text), "{last}");
        assert_eq!(last["internalCode"], 3043);
        assert_eq!(last["errors"][0]["code"], 3043);
        assert!(!out.contains(&json!("[DONE]")));
        assert!(out.len() <= 2, "{out:?}");
        assert_eq!(stream.error().unwrap().error_type(), kind);
    }
}

#[test]
fn data_that_says_nothing_becomes_nothing() {
    let mut stream = Stream::new();
    for data in [
        "",
        " ",
        "{}",
        "null",
        "7",
        "[]",
        "{\"choices\":{}}",
        "{\"choices\":[3]}",
        "{\"error\":null}",
    ] {
        assert_eq!(pushed(&mut stream, data), None, "{data:?}");
    }
    assert!(stream.error().is_none());
}

/// The whole way of a streamed run: inputs, the word counter, its events, Workers AI's.
#[test]
fn a_run_of_the_word_counter_whatever_its_bytes_are_cut_into() {
    let asked = request("@cf/any", &json!({"prompt": "to be 😀", "stream": true})).unwrap();
    let mut body = asked.body;
    body.insert("model".into(), "@cf/any".into());
    assert!(crate::ai::openai::ask_for_usage(&mut body));
    let answer = builtin::answer(&UpstreamRequest {
        method: Method::POST,
        path: asked.path.into(),
        headers: HeaderMap::new(),
        body: Value::Object(body).to_string().into(),
        timeout: None,
    });
    let chunks: Vec<_> = block_on(answer.unwrap().body.try_collect()).unwrap();
    let whole: Vec<u8> = chunks.concat();

    for size in [1, 2, 3, 7, 64, whole.len()] {
        let mut events = Events::new(4096);
        let mut stream = Stream::new();
        let mut reading = Reading::default();
        let mut out = Vec::new();
        for bytes in whole.chunks(size) {
            for event in events.push(bytes) {
                let event = event.unwrap();
                if let Ok(chunk) = serde_json::from_str(&event.data) {
                    reading.read(&chunk);
                }
                out.extend(pushed(&mut stream, &event.data).into_iter().flatten());
            }
        }
        out.extend(stream.end());
        let out = read(&out);
        let text: String = out
            .iter()
            .filter_map(|event| event["response"].as_str())
            .collect();
        assert_eq!(text, "The last message has 3 words: to be 😀");
        let usage = &out[out.len() - 2]["usage"];
        assert_eq!(
            *usage,
            json!({"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12})
        );
        assert_eq!(reading.usage.input, Some(3));
        assert_eq!(reading.usage.output, Some(9));
        assert_eq!(reading.finish_reasons, ["stop"]);
        assert_eq!(reading.model.as_deref(), Some("word-counter"));
    }
    // A reader that goes away takes nothing more.
    let mut answer = futures::stream::iter(chunks);
    assert!(block_on(answer.next()).is_some());
}
