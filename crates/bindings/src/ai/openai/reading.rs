//! What an answer, or a chunk of one, says about itself, read from whatever a provider sends.
//!
//! OpenAI's `chat/completions`, `completions`, `embeddings` and `responses`, and Anthropic's `messages`, whole and as
//! events. What is not understood is skipped: the answer passes all the same.

use serde_json::{Map, Value};

use crate::ai::{Reading, Usage};

/// Ids, models and reasons that are longer are none.
const MAX_TEXT: usize = 256;
/// Choices whose reason is kept.
const MAX_CHOICES: usize = 16;

impl Reading {
    /// Takes what a whole answer or one chunk says. Later chunks add to earlier ones; counts replace earlier counts.
    ///
    /// Reasons stand in the order of the choices. One that has not said why while a later one has is an empty text.
    pub(in crate::ai) fn read(&mut self, answer: &Value) {
        let Some(answer) = answer.as_object() else {
            return;
        };
        let kind = answer.get("type").and_then(Value::as_str).unwrap_or("");
        // Events that have the answer within: OpenAI's `response.completed`, Anthropic's `message_start`.
        if kind.starts_with("response.") {
            if let Some(response) = answer.get("response").and_then(Value::as_object) {
                self.read_answer(response);
            }
        } else if kind == "message_start" {
            if let Some(message) = answer.get("message").and_then(Value::as_object) {
                self.read_answer(message);
            }
        } else {
            self.read_answer(answer);
        }
    }

    fn read_answer(&mut self, answer: &Map<String, Value>) {
        if self.id.is_none() {
            self.id = answer.get("id").and_then(text);
        }
        if self.model.is_none() {
            self.model = answer.get("model").and_then(text);
        }
        if let Some(choices) = answer.get("choices").and_then(Value::as_array) {
            for (position, choice) in choices.iter().enumerate().take(MAX_CHOICES) {
                let index = choice.get("index").and_then(count);
                let index = index.map_or(position, |index| {
                    usize::try_from(index).unwrap_or(usize::MAX)
                });
                if let Some(reason) = choice.get("finish_reason").and_then(text) {
                    self.finished(index, reason);
                }
            }
        }
        if let Some(reason) = stop_reason(answer) {
            self.finished(0, reason);
        }
        if let Some(usage) = answer.get("usage").and_then(Value::as_object) {
            self.usage.read(usage);
        }
    }

    fn finished(&mut self, index: usize, reason: String) {
        if index >= MAX_CHOICES {
            return;
        }
        if self.finish_reasons.len() <= index {
            self.finish_reasons.resize(index + 1, String::new());
        }
        self.finish_reasons[index] = reason;
    }
}

/// Why an answer without choices ended: Anthropic's `stop_reason`, the status of OpenAI's `responses`.
fn stop_reason(answer: &Map<String, Value>) -> Option<String> {
    let stopped = |object: &Map<String, Value>| object.get("stop_reason").and_then(text);
    let delta = answer.get("delta").and_then(Value::as_object);
    if let Some(reason) = stopped(answer).or_else(|| delta.and_then(stopped)) {
        return Some(reason);
    }
    if answer.get("object").and_then(Value::as_str) != Some("response") {
        return None;
    }
    let why = answer
        .get("incomplete_details")
        .and_then(|details| details.get("reason"))
        .and_then(text);
    let status = answer.get("status").and_then(text);
    why.or(status.filter(|status| {
        matches!(
            status.as_str(),
            "completed" | "incomplete" | "failed" | "cancelled"
        )
    }))
}

impl Usage {
    fn read(&mut self, usage: &Map<String, Value>) {
        let number = |name: &str| usage.get(name).and_then(count);
        let detail = |names: [&str; 2], member: &str| {
            names
                .iter()
                .find_map(|name| usage.get(*name)?.get(member).and_then(count))
        };
        let from_cache = number("cache_read_input_tokens");
        let input = number("prompt_tokens").or_else(|| {
            let input = number("input_tokens")?;
            // Anthropic counts what its cache read and wrote apart; OpenAI's `responses` has it included, with details.
            let apart = if usage.contains_key("input_tokens_details") {
                0
            } else {
                let written = number("cache_creation_input_tokens");
                from_cache.unwrap_or(0).saturating_add(written.unwrap_or(0))
            };
            let input = input.saturating_add(apart);
            // The events of Anthropic's stream repeat a running count, and not each of them has all of it.
            Some(input.max(self.input.unwrap_or(0)))
        });
        let cached = detail(
            ["prompt_tokens_details", "input_tokens_details"],
            "cached_tokens",
        )
        .or(from_cache)
        .or_else(|| number("prompt_cache_hit_tokens"));
        let reasoning = detail(
            ["completion_tokens_details", "output_tokens_details"],
            "reasoning_tokens",
        );
        self.input = input.or(self.input);
        self.output = number("completion_tokens")
            .or_else(|| number("output_tokens"))
            .or(self.output);
        self.cached_input = cached.or(self.cached_input);
        self.reasoning = reasoning.or(self.reasoning);
    }
}

/// A text that says something and is not too long for a name.
fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.to_owned())
}

/// A count: a whole number that is not negative, as 7 or as 7.0.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // Above 2^53 a float is no count.
        (number >= 0.0 && number.fract() == 0.0 && number < 9_007_199_254_740_992.0)
            .then_some(number as u64)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(chunks: &[Value]) -> Reading {
        let mut reading = Reading::default();
        for chunk in chunks {
            reading.read(chunk);
        }
        reading
    }

    fn usage(input: u64, output: u64, cached: Option<u64>, reasoning: Option<u64>) -> Usage {
        Usage {
            input: Some(input),
            output: Some(output),
            cached_input: cached,
            reasoning,
        }
    }

    #[test]
    fn a_whole_answer_of_each_kind() {
        let chat = read(&[json!({
            "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
            "choices": [
                {"index": 1, "finish_reason": "length", "message": {"content": "b"}},
                {"index": 0, "finish_reason": "stop", "message": {"content": "a"}},
            ],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 16},
                "completion_tokens_details": {"reasoning_tokens": 4}},
        })]);
        assert_eq!(chat.id.as_deref(), Some("chatcmpl-1"));
        assert_eq!(chat.model.as_deref(), Some("gpt-4o-2024-08-06"));
        assert_eq!(chat.finish_reasons, ["stop", "length"]);
        assert_eq!(chat.usage, usage(20, 9, Some(16), Some(4)));

        let embeddings = read(&[json!({
            "object": "list", "model": "e", "data": [{"embedding": [0.1], "index": 0}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        })]);
        assert_eq!(embeddings.usage.input, Some(8));
        assert_eq!(embeddings.usage.output, None);
        assert!(embeddings.finish_reasons.is_empty());

        let responses = read(&[json!({
            "id": "resp_1", "object": "response", "model": "gpt-5", "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "usage": {"input_tokens": 30, "output_tokens": 12,
                "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 5}},
        })]);
        assert_eq!(responses.finish_reasons, ["max_output_tokens"]);
        assert_eq!(responses.usage, usage(30, 12, Some(10), Some(5)));

        let messages = read(&[json!({
            "id": "msg_1", "type": "message", "model": "claude", "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7,
                "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20},
        })]);
        assert_eq!(messages.finish_reasons, ["end_turn"]);
        assert_eq!(messages.usage, usage(125, 7, Some(100), None));
    }

    #[test]
    fn chat_chunks() {
        let chunk = |index: u64, reason: Value| {
            json!({"id": "c1", "model": "m", "usage": null,
                "choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": reason}]})
        };
        let reading = read(&[
            // Azure's first chunk.
            json!({"id": "", "model": "", "choices": [], "prompt_filter_results": []}),
            chunk(0, Value::Null),
            chunk(1, json!("stop")),
            chunk(0, json!("length")),
            chunk(0, json!("length")),
            json!({"id": "c1", "model": "m", "choices": [],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": null}}),
        ]);
        assert_eq!(reading.id.as_deref(), Some("c1"));
        assert_eq!(reading.model.as_deref(), Some("m"));
        assert_eq!(reading.finish_reasons, ["length", "stop"]);
        assert_eq!(reading.usage, usage(3, 4, None, None));
    }

    #[test]
    fn counts_that_run_replace_each_other() {
        let reading = read(&[
            json!({"choices": [{"index": 0}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}),
            json!({"choices": [{"index": 0}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
        ]);
        assert_eq!(reading.usage, usage(3, 2, None, None));
    }

    #[test]
    fn events_of_responses() {
        let reading = read(&[
            json!({"type": "response.created", "response": {"id": "resp_1", "object": "response",
                "model": "gpt-5", "status": "in_progress", "usage": null}}),
            json!({"type": "response.output_item.added", "item": {"id": "item_1", "status": "in_progress"}}),
            json!({"type": "response.output_text.delta", "item_id": "item_1", "delta": "Hi"}),
            json!({"type": "response.completed", "response": {"id": "resp_1", "object": "response",
                "model": "gpt-5", "status": "completed",
                "usage": {"input_tokens": 11, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 0}}}}),
        ]);
        assert_eq!(reading.id.as_deref(), Some("resp_1"));
        assert_eq!(reading.finish_reasons, ["completed"]);
        assert_eq!(reading.usage, usage(11, 2, Some(0), None));
    }

    #[test]
    fn events_of_messages() {
        let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "model": "claude", "stop_reason": null,
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 5,
                "output_tokens": 1}}});
        let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}});
        // Older servers send the output alone, newer ones repeat the rest, some without what the cache did.
        let ends = [
            json!({"output_tokens": 15}),
            json!({"input_tokens": 25, "output_tokens": 15}),
            json!({"input_tokens": 25, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 5,
                "output_tokens": 15}),
        ];
        for end in ends {
            let end = json!({"type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": end});
            let reading = read(&[
                start.clone(),
                json!({"type": "ping"}),
                delta.clone(),
                end,
                json!({"type": "message_stop"}),
            ]);
            assert_eq!(reading.id.as_deref(), Some("msg_1"));
            assert_eq!(reading.model.as_deref(), Some("claude"));
            assert_eq!(reading.finish_reasons, ["tool_use"]);
            assert_eq!(reading.usage, usage(80, 15, Some(50), None));
        }
    }

    #[test]
    fn a_proxy_that_counts_both_ways_is_not_counted_twice() {
        // LiteLLM's: OpenAI's names, in which the cache is included, and Anthropic's beside them.
        let reading = read(&[
            json!({"usage": {"prompt_tokens": 125, "completion_tokens": 7,
            "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}}),
        ]);
        assert_eq!(reading.usage, usage(125, 7, Some(100), None));
    }

    #[test]
    fn what_a_peer_can_grow_is_bounded() {
        let long = "x".repeat(100_000);
        let choices: Vec<Value> = (0..1000)
            .map(|index| json!({"index": index, "finish_reason": "stop"}))
            .collect();
        let reading = read(&[
            json!({"id": long, "model": long, "choices": [{"finish_reason": long}]}),
            json!({"choices": choices}),
            json!({"choices": [{"index": u64::MAX, "finish_reason": "stop"}]}),
            json!({"choices": [{"index": 1e15, "finish_reason": "stop"}]}),
        ]);
        assert_eq!(reading.id, None);
        assert_eq!(reading.model, None);
        assert_eq!(reading.finish_reasons, vec!["stop"; MAX_CHOICES]);
    }

    #[test]
    fn nothing_that_a_peer_sends_is_more_than_skipped() {
        let odd = [
            json!(null),
            json!(1),
            json!("text"),
            json!([]),
            json!({}),
            json!({"type": 3}),
            json!({"type": "response.completed", "response": "x"}),
            json!({"type": "message_start", "message": []}),
            json!({"id": 3, "model": {}, "choices": {}, "usage": []}),
            json!({"choices": [1, null, [], {"index": -1, "finish_reason": 3}]}),
            json!({"usage": {"prompt_tokens": -1, "completion_tokens": 1.5, "prompt_tokens_details": 3}}),
            json!({"usage": {"prompt_tokens": "7", "completion_tokens": 1e300}}),
        ];
        assert_eq!(read(&odd), Reading::default());
        let large =
            json!({"usage": {"input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX}});
        assert_eq!(read(&[large]).usage.input, Some(u64::MAX));
        let whole = json!({"usage": {"prompt_tokens": 7.0, "completion_tokens": 2.0}});
        assert_eq!(read(&[whole]).usage, usage(7, 2, None, None));
    }
}
