use serde_json::{Value, json};

use crate::ai::workers::{AiError, Asked, Task, request};

fn asked(inputs: Value) -> Asked {
    request("m", &inputs).unwrap_or_else(|error| panic!("{inputs}: {error}"))
}

/// Asserts where inputs go, and with which body.
fn becomes(inputs: Value, task: Task, path: &str, body: Value) {
    let asked = asked(inputs.clone());
    assert_eq!((asked.task, asked.path), (task, path), "{inputs}");
    assert_eq!(Value::Object(asked.body), body, "{inputs}");
}

fn refused(inputs: Value) -> AiError {
    match request("m", &inputs) {
        Err(error) => error,
        Ok(asked) => panic!("{inputs}: {asked:?}"),
    }
}

#[test]
fn a_prompt_is_a_message_and_with_raw_a_completion() {
    becomes(
        json!({"prompt": "Hi", "max_tokens": 5, "top_k": 3, "lora": null}),
        Task::TextGeneration,
        "chat/completions",
        json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "top_k": 3}),
    );
    becomes(
        json!({"prompt": "[INST]Hi", "raw": true, "stream": true}),
        Task::TextGeneration,
        "completions",
        json!({"prompt": "[INST]Hi", "stream": true}),
    );
    becomes(
        json!({"prompt": "Hi", "raw": false}),
        Task::TextGeneration,
        "chat/completions",
        json!({"messages": [{"role": "user", "content": "Hi"}]}),
    );
}

#[test]
fn every_parameter_is_passed_on_whether_it_is_known_or_not() {
    let mut inputs = json!({
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "stream": false, "max_tokens": 10, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "seed": 7,
        "repetition_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop": ["."],
        "tool_choice": "auto", "chat_template_kwargs": {"enable_thinking": false}, "made_up": [1, {"a": null}],
    });
    becomes(
        inputs.clone(),
        Task::TextGeneration,
        "chat/completions",
        inputs.clone(),
    );
    // A client library repeats the model.
    inputs["model"] = "m".into();
    assert!(!asked(inputs).body.contains_key("model"));
}

#[test]
fn a_stream_is_asked_for_by_true_alone() {
    assert!(asked(json!({"prompt": "x", "stream": true})).stream);
    assert!(!asked(json!({"prompt": "x", "stream": false})).stream);
    assert!(!asked(json!({"prompt": "x", "stream": null})).stream);
    assert!(!asked(json!({"text": "x", "stream": true})).stream);
    assert!(
        refused(json!({"prompt": "x", "stream": "true"}))
            .description()
            .contains("`stream`")
    );
}

#[test]
fn images_in_messages_pass_as_they_are() {
    let inputs = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]});
    becomes(
        inputs.clone(),
        Task::TextGeneration,
        "chat/completions",
        inputs,
    );
}

#[test]
fn flat_tools_are_nested_and_nested_ones_kept() {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let nested = json!({"type": "function", "function":
        {"name": "weather", "description": "d", "parameters": parameters}});
    let flat = json!({"name": "weather", "description": "d", "parameters": parameters});
    let flat_typed = json!({"type": "function", "name": "weather", "description": "d", "parameters": parameters});
    let untyped = json!({"function": nested["function"]});
    let own = json!({"type": "web_search"});
    let asked = asked(json!({"prompt": "x", "tools": [nested, flat, flat_typed, untyped, own]}));
    let tools = asked.body["tools"].as_array().unwrap();
    for tool in &tools[..4] {
        assert_eq!(*tool, nested);
    }
    assert_eq!(tools[4], own);
    for bad in [json!({}), json!([1]), json!([{"description": "no name"}])] {
        assert!(
            refused(json!({"prompt": "x", "tools": bad}))
                .description()
                .contains("`tools`")
        );
    }
}

#[test]
fn a_conversation_with_flat_calls_gets_ids_that_fit() {
    let inputs = json!({"messages": [
        {"role": "user", "content": "Weather in Oslo and Rome, and the time?"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"name": "weather", "arguments": {"city": "Oslo"}},
            {"name": "time"},
            {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}]},
        {"role": "tool", "name": "weather", "content": "cold"},
        {"role": "tool", "name": "weather", "content": "warm"},
        {"role": "tool", "name": "time", "content": "noon"},
        {"role": "tool", "name": "unknown", "content": "?"},
    ]});
    let messages = asked(inputs).body["messages"].clone();
    let call = |id: &str, name: &str, arguments: &str| json!({"type": "function", "function": {"name": name, "arguments": arguments}, "id": id});
    assert_eq!(
        messages[1]["tool_calls"],
        json!([
            call("call_0", "weather", "{\"city\":\"Oslo\"}"),
            call("call_1", "time", "{}"),
            call("call_2", "weather", "{\"city\":\"Rome\"}"),
        ])
    );
    let ids: Vec<&Value> = (2..6).map(|at| &messages[at]["tool_call_id"]).collect();
    assert_eq!(
        ids,
        [
            &json!("call_0"),
            &json!("call_2"),
            &json!("call_1"),
            &Value::Null
        ]
    );
}

#[test]
fn nested_calls_and_their_ids_are_kept() {
    let inputs = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "name": "f", "content": "2"},
    ]});
    let mut wanted = inputs.clone();
    // The one that names its tool alone is the answer to what is still open.
    wanted["messages"][2]["tool_call_id"] = "b".into();
    becomes(inputs, Task::TextGeneration, "chat/completions", wanted);
}

#[test]
fn json_mode_has_a_schema_with_a_name() {
    let schema = json!({"type": "object", "properties": {"schema": {"type": "string"}, "name": {"type": "string"}}});
    let table = [
        (
            json!({"type": "json_object"}),
            json!({"type": "json_object"}),
        ),
        (
            json!({"type": "json_schema", "json_schema": schema}),
            json!({"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}),
        ),
        (
            json!({"type": "json_schema", "json_schema": {"name": "mine", "strict": true, "schema": schema}}),
            json!({"type": "json_schema", "json_schema": {"name": "mine", "strict": true, "schema": schema}}),
        ),
        (
            json!({"type": "json_schema", "json_schema": {"schema": schema}}),
            json!({"type": "json_schema", "json_schema": {"schema": schema, "name": "response"}}),
        ),
    ];
    for (given, wanted) in table {
        let asked = asked(json!({"prompt": "x", "response_format": given}));
        assert_eq!(asked.task, Task::JsonGeneration, "{given}");
        assert_eq!(asked.body["response_format"], wanted);
    }
    let text = asked(json!({"prompt": "x", "response_format": {"type": "text"}}));
    assert_eq!(text.task, Task::TextGeneration);
    for bad in [
        json!("json"),
        json!({"type": "xml"}),
        json!({"type": "json_schema"}),
    ] {
        let error = refused(json!({"prompt": "x", "response_format": bad}));
        assert!(error.description().contains("`response_format`"), "{error}");
    }
}

#[test]
fn text_is_embeddings_alone_or_in_a_list() {
    becomes(
        json!({"text": "a", "pooling": "cls"}),
        Task::Embeddings,
        "embeddings",
        json!({"input": "a", "pooling": "cls"}),
    );
    becomes(
        json!({"text": ["a", "b"], "encoding_format": "float"}),
        Task::Embeddings,
        "embeddings",
        json!({"input": ["a", "b"], "encoding_format": "float"}),
    );
    becomes(
        json!({"input": ["a"]}),
        Task::Embeddings,
        "embeddings",
        json!({"input": ["a"]}),
    );
    let named = request("nomic-embed-text", &json!({"input": "a"})).unwrap();
    assert_eq!((named.task, named.path), (Task::Embeddings, "embeddings"));
    for bad in [
        json!({"text": []}),
        json!({"text": [1]}),
        json!({"text": {}}),
    ] {
        assert!(refused(bad).description().contains("`text` must be"));
    }
    assert!(
        refused(json!({"text": "a", "encoding_format": "base64"}))
            .description()
            .contains("encoding_format")
    );
}

#[test]
fn input_is_the_form_of_responses() {
    becomes(
        json!({"input": "Hi", "instructions": "Be short.", "max_output_tokens": 9,
            "reasoning": {"effort": "low"}}),
        Task::Responses,
        "chat/completions",
        json!({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
            "reasoning_effort": "low", "max_tokens": 9}),
    );
    becomes(
        json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": "https://example.com/a.png"}]},
            {"type": "message", "id": "m1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Ho"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": {"a": 1}},
        ], "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}},
            "verbosity": "low"}}),
        Task::Responses,
        "chat/completions",
        json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"a\":1}"},
        ], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "verbosity": "low"}),
    );
    for bad in [
        json!({"input": ""}),
        json!({"input": []}),
        json!({"input": 7}),
        json!({"input": [7]}),
        json!({"input": [{"type": "computer_call"}]}),
        json!({"input": "x", "instructions": 7}),
        json!({"input": "x", "text": "y"}),
        json!({"input": "x", "previous_response_id": "r"}),
    ] {
        refused(bad);
    }
}

#[test]
fn inputs_that_cannot_be_meant_are_refused_with_workers_ais_codes() {
    let table = [
        (json!("prompt"), 5006, "object"),
        (json!({}), 5006, "`prompt`, `messages`"),
        (json!({"prompt": null}), 5006, "`prompt`, `messages`"),
        (
            json!({"prompt": "x", "messages": []}),
            1001,
            "prompt and messages are mutually exclusive",
        ),
        (
            json!({"prompt": "x", "text": "y"}),
            1001,
            "prompt and text are mutually exclusive",
        ),
        (
            json!({"messages": [], "input": "y"}),
            1001,
            "messages and input are mutually exclusive",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "raw": true}),
            1001,
            "raw and messages",
        ),
        (
            json!({"prompt": "x", "raw": true, "tools": []}),
            1001,
            "raw and tools",
        ),
        (json!({"prompt": ""}), 5006, "`prompt` must not be empty"),
        (json!({"prompt": ["x"]}), 5006, "`prompt` must be a text"),
        (json!({"messages": "x"}), 5006, "`messages` must be a list"),
        (json!({"messages": []}), 5006, "`messages` must be a list"),
        (
            json!({"messages": ["x"]}),
            5006,
            "messages[0] must be an object",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}, {"content": "x"}]}),
            5006,
            "messages[1].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            5006,
            "messages[0] needs `content`",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": 1}]}),
            5006,
            "messages[0].tool_calls",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
            5006,
            "messages[0].tool_calls",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": 1}]}]}),
            5006,
            "tool_calls",
        ),
        (json!({"prompt": "x", "n": 2}), 5006, "`n`"),
        (json!({"prompt": "x", "raw": 1}), 5006, "`raw`"),
        (json!({"prompt": "x", "model": "other"}), 5006, "`model`"),
        (json!({"prompt": "x", "lora": "l"}), 5005, "LoRa"),
        (json!({"audio": "x"}), 5007, "speech recognition"),
    ];
    for (inputs, code, text) in table {
        let error = refused(inputs.clone());
        assert_eq!(error.internal_code(), code, "{inputs}: {error}");
        assert!(error.description().contains(text), "{inputs}: {error}");
        assert!(error.status().is_client_error(), "{inputs}");
    }
}
