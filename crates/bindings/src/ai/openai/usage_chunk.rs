//! The usage of a streamed answer: it is asked for, and comes in a chunk of its own.

use serde_json::{Map, Value, json};

/// Asks for a streamed answer's usage, where `body` is a request for a stream and does not say whether it wants it.
///
/// Returns whether it was added: then the chunk that carries it ([`is_usage_only`]) is nothing that the caller asked for.
/// Who says `include_usage: false` means it, and is not overruled.
pub(in crate::ai) fn ask_for_usage(body: &mut Map<String, Value>) -> bool {
    if body.get("stream") != Some(&Value::Bool(true)) {
        return false;
    }
    match body.get_mut("stream_options") {
        None | Some(Value::Null) => {
            body.insert("stream_options".into(), json!({"include_usage": true}));
            true
        }
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => {
                options.insert("include_usage".into(), Value::Bool(true));
                true
            }
            Some(_) => false,
        },
        // Invalid: the provider refuses it.
        Some(_) => false,
    }
}

/// Whether a chunk of a stream carries the usage and nothing else: it has usage, and a list of choices of which none has
/// anything. OpenAI's list is empty; LiteLLM's has a choice with an empty delta.
pub(in crate::ai) fn is_usage_only(chunk: &Value) -> bool {
    let empty = |choice: &Value| {
        let member = |name: &str| choice.get(name).filter(|member| !member.is_null());
        let delta = member("delta").and_then(Value::as_object);
        delta.is_some_and(Map::is_empty) && member("finish_reason").is_none()
    };
    let choices = chunk.get("choices").and_then(Value::as_array);
    chunk.get("usage").is_some_and(Value::is_object)
        && choices.is_some_and(|choices| choices.iter().all(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_asked_for_where_the_caller_does_not_say() {
        let table = [
            (
                json!({"stream": true}),
                true,
                json!({"include_usage": true}),
            ),
            (
                json!({"stream": true, "stream_options": null}),
                true,
                json!({"include_usage": true}),
            ),
            (
                json!({"stream": true, "stream_options": {"include_obfuscation": false}}),
                true,
                json!({"include_obfuscation": false, "include_usage": true}),
            ),
            (
                json!({"stream": true, "stream_options": {"include_usage": true}}),
                false,
                json!({"include_usage": true}),
            ),
            (
                json!({"stream": true, "stream_options": {"include_usage": false}}),
                false,
                json!({"include_usage": false}),
            ),
            (
                json!({"stream": true, "stream_options": 7}),
                false,
                json!(7),
            ),
            (json!({"stream": false}), false, Value::Null),
            (json!({"stream": "true"}), false, Value::Null),
            (json!({}), false, Value::Null),
        ];
        for (body, added, wanted) in table {
            let mut asked = body.as_object().unwrap().clone();
            assert_eq!(ask_for_usage(&mut asked), added, "{body}");
            let options = asked.get("stream_options").cloned().unwrap_or_default();
            assert_eq!(options, wanted, "{body}");
        }
    }

    #[test]
    fn only_the_chunk_that_is_usage_and_nothing_else_may_be_left_out() {
        let table = [
            (json!({"choices": [], "usage": {"prompt_tokens": 1}}), true),
            (
                json!({"choices": [{"index": 0, "delta": {}}], "usage": {"prompt_tokens": 1}}),
                true,
            ),
            (
                json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}),
                false,
            ),
            // vLLM's continuous usage: the chunk has text.
            (
                json!({"choices": [{"index": 0}], "usage": {"prompt_tokens": 1}}),
                false,
            ),
            // Azure's first chunk.
            (json!({"choices": [], "prompt_filter_results": []}), false),
            (json!({"choices": [], "usage": null}), false),
            (json!({"usage": {"prompt_tokens": 1}}), false),
            (json!([1]), false),
        ];
        for (chunk, wanted) in table {
            assert_eq!(is_usage_only(&chunk), wanted, "{chunk}");
        }
    }
}
