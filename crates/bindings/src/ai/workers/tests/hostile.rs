//! Answers, events and inputs with every part of them replaced by something else in turn: whatever comes of it, nothing
//! panics, and a stream ends once.

use serde_json::{Value, json};

use crate::ai::Reading;
use crate::ai::openai::{ask_for_usage, is_usage_only};
use crate::ai::workers::{Stream, Task, reply, request};

/// The value with each of its parts replaced in turn, and with each left out.
fn variants(value: &Value) -> Vec<Value> {
    let others = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("x"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"a": 1}),
    ];
    let mut all = others.to_vec();
    let mut paths = Vec::new();
    collect(value, String::new(), &mut paths);
    for path in paths {
        for other in &others {
            let mut changed = value.clone();
            *changed.pointer_mut(&path).unwrap() = other.clone();
            all.push(changed);
        }
        let mut less = value.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        match less.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.shift_remove(name)),
            Value::Array(list) => drop(list.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        all.push(less);
    }
    all
}

fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let path = format!("{path}/{name}");
        collect(child, path.clone(), paths);
        paths.push(path);
    }
}

fn answers() -> Vec<Value> {
    vec![
        json!({"id": "c", "model": "m", "created": 1, "choices": [{"index": 0, "finish_reason": "stop",
            "delta": {"content": "x", "tool_calls": [{"index": 0, "function": {"name": "f"}}]},
            "message": {"content": [{"text": "x"}], "reasoning": "r", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 1}}}),
        json!({"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}],
            "usage": {"prompt_tokens": 1}}),
        json!({"type": "response.completed", "response": {"id": "r", "object": "response", "status": "incomplete",
            "incomplete_details": {"reason": "x"}, "usage": {"input_tokens": 1, "output_tokens": 1,
                "input_tokens_details": {"cached_tokens": 1}}}}),
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1,
            "cache_read_input_tokens": 1, "cache_creation_input_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "x"}, "usage": {"output_tokens": 1}}),
        json!({"error": {"message": "m", "type": "t", "code": "c"}}),
    ]
}

#[test]
fn no_answer_and_no_event_panics() {
    for answer in answers().iter().flat_map(variants) {
        let mut reading = Reading::default();
        reading.read(&answer);
        reading.read(&answer);
        assert!(reading.finish_reasons.len() <= 16);
        is_usage_only(&answer);
        for task in [
            Task::TextGeneration,
            Task::JsonGeneration,
            Task::Responses,
            Task::Embeddings,
        ] {
            let _ = reply(task, &answer);
        }
        let mut stream = Stream::new();
        let piece = stream.push(&answer.to_string(), Some(answer.clone()));
        assert!(piece.is_none_or(|piece| piece.starts_with(b"data: ") && piece.ends_with(b"\n\n")));
        let failed = stream.error().is_some();
        assert_eq!(stream.end().is_empty(), failed, "{answer}");
    }
}

#[test]
fn no_inputs_panic_and_what_comes_of_them_has_where_it_goes() {
    let inputs = [
        json!({"prompt": "x", "stream": true, "raw": true, "response_format": {"type": "json_schema",
            "json_schema": {"name": "n", "schema": {}}}, "stream_options": {"include_usage": true}}),
        json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [
            {"name": "f", "arguments": {"a": 1}}, {"id": "i", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "name": "f", "content": "x"}, {"role": "tool", "tool_call_id": "i", "content": "x"}],
            "tools": [{"name": "f", "parameters": {}}, {"type": "function", "function": {"name": "f"}}]}),
        json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": "u"}]}, {"type": "function_call", "call_id": "c", "name": "f",
            "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "x"}],
            "instructions": "x", "reasoning": {"effort": "low"}, "text": {"format": {"type": "json_schema",
            "name": "n", "schema": {}}}}),
        json!({"text": ["x", "y"], "encoding_format": "float"}),
    ];
    let mut taken = 0;
    for inputs in inputs.iter().flat_map(variants) {
        let Ok(mut asked) = request("m", &inputs) else {
            continue;
        };
        taken += 1;
        let member = match asked.path {
            "chat/completions" => "messages",
            "completions" => "prompt",
            "embeddings" => "input",
            other => panic!("{other}"),
        };
        assert!(asked.body.contains_key(member), "{inputs}");
        assert!(!asked.body.contains_key("model"), "{inputs}");
        assert_eq!(
            asked.stream,
            asked.body.get("stream") == Some(&json!(true)),
            "{inputs}"
        );
        ask_for_usage(&mut asked.body);
    }
    assert!(taken > 100, "{taken}");
}
