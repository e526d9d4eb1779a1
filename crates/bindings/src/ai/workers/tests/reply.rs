use serde_json::{Value, json};

use crate::ai::workers::{Task, reply};

fn chat(message: Value, reason: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
}

const USAGE: &str = r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#;

fn usage() -> Value {
    serde_json::from_str(USAGE).unwrap()
}

#[test]
fn a_text() {
    assert_eq!(
        reply(
            Task::TextGeneration,
            &chat(json!({"role": "assistant", "content": "Hi"}), "stop")
        )
        .unwrap(),
        json!({"response": "Hi", "finish_reason": "stop", "usage": usage()})
    );
    let parts = json!({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}],
        "reasoning_content": "hm"});
    assert_eq!(
        reply(Task::TextGeneration, &chat(parts, "length")).unwrap(),
        json!({"response": "Hi", "reasoning_content": "hm", "finish_reason": "length", "usage": usage()})
    );
}

#[test]
fn a_completion_has_its_text_beside_the_reason() {
    let answer = json!({"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    assert_eq!(
        reply(Task::TextGeneration, &answer).unwrap(),
        json!({"response": "Hi", "finish_reason": "stop", "usage": usage()})
    );
    let without_usage = json!({"choices": [{"text": "Hi"}]});
    assert_eq!(
        reply(Task::TextGeneration, &without_usage).unwrap(),
        json!({"response": "Hi"})
    );
}

#[test]
fn tool_calls_are_flat_with_their_arguments_parsed() {
    let call = |id: Value, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let message = json!({"content": null, "tool_calls": [
        call(json!("a"), json!("{\"x\":1}")),
        call(Value::Null, json!("")),
        call(json!("b"), json!({"x": 2})),
        call(json!("c"), json!("{broken")),
        {"id": "d", "type": "custom"},
    ]});
    for task in [Task::TextGeneration, Task::JsonGeneration] {
        assert_eq!(
            reply(task, &chat(message.clone(), "tool_calls")).unwrap(),
            json!({"response": null, "tool_calls": [
                {"id": "a", "name": "f", "arguments": {"x": 1}},
                {"name": "f", "arguments": {}},
                {"id": "b", "name": "f", "arguments": {"x": 2}},
                {"id": "c", "name": "f", "arguments": "{broken"},
            ], "finish_reason": "tool_calls", "usage": usage()})
        );
    }
}

#[test]
fn in_json_mode_the_response_is_the_value() {
    let answer = chat(json!({"content": " {\"words\": [1, 2.5]} "}), "stop");
    assert_eq!(
        reply(Task::JsonGeneration, &answer).unwrap()["response"],
        json!({"words": [1, 2.5]})
    );
    let cut = chat(json!({"content": "{\"words\": ["}), "length");
    let error = reply(Task::JsonGeneration, &cut).unwrap_err();
    assert_eq!(error.internal_code(), 5024);
    assert!(error.description().starts_with("JSON Mode couldn't be met"));
    // The text is an answer: it is not in the error.
    assert!(!error.description().contains("words"));
}

#[test]
fn the_form_of_responses() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let answer = chat(
        json!({"content": "Hi", "reasoning": "hm", "tool_calls": [call]}),
        "length",
    );
    assert_eq!(
        reply(Task::Responses, &answer).unwrap(),
        json!({
            "id": "c1", "object": "response", "created_at": 1, "model": "m", "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "message", "role": "assistant", "status": "incomplete",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"},
            ],
            "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        })
    );
}

#[test]
fn vectors_are_in_the_order_of_the_texts() {
    let answer = json!({"object": "list", "data": [
        {"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1, 2]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    assert_eq!(
        reply(Task::Embeddings, &answer).unwrap(),
        json!({"shape": [2, 2], "data": [[1, 2], [3, 4.5]],
            "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}})
    );
    assert_eq!(
        reply(Task::Embeddings, &json!({"data": []})).unwrap(),
        json!({"shape": [0, 0], "data": []})
    );
}

#[test]
fn an_answer_that_is_none_is_an_error_and_says_why() {
    let table = [
        (Task::TextGeneration, json!(null), 3043, "`choices`"),
        (
            Task::TextGeneration,
            json!({"choices": []}),
            3043,
            "`choices`",
        ),
        (Task::Responses, json!({"choices": {}}), 3043, "`choices`"),
        (Task::Embeddings, json!({"data": 3}), 3043, "`data`"),
        (
            Task::Embeddings,
            json!({"data": [{"embedding": "AAAA"}]}),
            3043,
            "list of numbers",
        ),
        (
            Task::Embeddings,
            json!({"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}),
            3043,
            "differ in length",
        ),
        (
            Task::TextGeneration,
            json!({"error": {"message": "boom"}}),
            3043,
            "boom",
        ),
        (Task::Embeddings, json!({"error": "boom"}), 3043, "boom"),
    ];
    for (task, answer, code, text) in table {
        let error = reply(task, &answer).unwrap_err();
        assert_eq!(error.internal_code(), code, "{answer}");
        assert!(error.description().contains(text), "{answer}: {error}");
        assert_eq!(error.status().as_u16(), 502, "{answer}");
    }
}
