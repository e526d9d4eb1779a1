//! Prompts and answers as attributes of spans, for operators who want them there: in the form of the conventions'
//! `gen_ai.input.messages` and `gen_ai.output.messages`. Nothing else puts any of them on a span.

use std::collections::BTreeMap;

use binding_span::Enrichment;
use serde_json::{Map, Value, json};

/// How many bytes of text a span has of each. What is beyond is left out.
const MOST: usize = 32 << 10;

/// The prompt of a request.
pub(super) fn input(body: &Map<String, Value>) -> Enrichment {
    let mut room = MOST;
    let messages: Vec<Value> = match body.get("messages").or_else(|| body.get("input")) {
        Some(Value::Array(messages)) => messages
            .iter()
            .map_while(|message| {
                let role = message.get("role").and_then(Value::as_str);
                let text = text_of(message.get("content").unwrap_or(message));
                let text = cut(&text, &mut room)?;
                Some(part(role.unwrap_or("user"), text, None))
            })
            .collect(),
        Some(Value::String(text)) => cut(text, &mut room)
            .map(|text| part("user", text, None))
            .into_iter()
            .collect(),
        _ => {
            let prompt = body.get("prompt").map(text_of).unwrap_or_default();
            let prompt = cut(&prompt, &mut room).filter(|text| !text.is_empty());
            prompt
                .map(|text| part("user", text, None))
                .into_iter()
                .collect()
        }
    };
    match messages.is_empty() {
        true => Enrichment::new(),
        false => {
            Enrichment::new().attribute("gen_ai.input.messages", Value::Array(messages).to_string())
        }
    }
}

/// An answer, as it comes.
#[derive(Debug, Default)]
pub(super) struct Output {
    choices: BTreeMap<u64, Choice>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Choice {
    text: String,
    finish_reason: Option<String>,
}

impl Output {
    /// Reads an answer, or an event of one.
    pub(super) fn read(&mut self, value: &Value) {
        let choices = value.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten().take(16) {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            let message = choice.get("message").or_else(|| choice.get("delta"));
            let text = match message {
                Some(message) => message.get("content").map(text_of),
                None => choice.get("text").map(text_of),
            };
            if self.choices.len() >= 16 && !self.choices.contains_key(&index) {
                continue;
            }
            let known = self.choices.entry(index).or_default();
            if let Some(text) = text {
                let mut room = MOST.saturating_sub(self.bytes);
                if let Some(text) = cut(&text, &mut room) {
                    self.bytes += text.len();
                    known.text.push_str(text);
                }
            }
            if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
                known.finish_reason = Some(reason.chars().take(64).collect());
            }
        }
    }

    /// What came.
    pub(super) fn enrichment(self) -> Enrichment {
        if self.choices.is_empty() {
            return Enrichment::new();
        }
        let choices = self.choices.into_values();
        let messages: Vec<Value> = choices
            .map(|choice| part("assistant", &choice.text, choice.finish_reason.as_deref()))
            .collect();
        Enrichment::new().attribute("gen_ai.output.messages", Value::Array(messages).to_string())
    }
}

fn part(role: &str, text: &str, finish_reason: Option<&str>) -> Value {
    let mut message = json!({"role": role, "parts": [{"type": "text", "content": text}]});
    if let (Some(reason), Some(message)) = (finish_reason, message.as_object_mut()) {
        message.insert("finish_reason".into(), reason.into());
    }
    message
}

/// The text of a content, which is a text or a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| {
                let text = part.get("text").unwrap_or(part);
                text.as_str()
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// As much of a text as there is room for; `None` when there is none.
fn cut<'a>(text: &'a str, room: &mut usize) -> Option<&'a str> {
    if *room == 0 {
        return None;
    }
    let end = text.floor_char_boundary(text.len().min(*room));
    *room -= end;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(enrichment: &Enrichment, key: &str) -> Value {
        let text = enrichment
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap();
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_prompt_is_messages_of_parts_whatever_it_was() {
        let wanted = json!([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]);
        for body in [
            json!({"prompt": "Hi"}),
            json!({"input": "Hi"}),
            json!({"messages": [{"role": "user", "content": "Hi"}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}),
        ] {
            let enrichment = input(body.as_object().unwrap());
            assert_eq!(
                attribute(&enrichment, "gen_ai.input.messages"),
                wanted,
                "{body}"
            );
        }
        let nothing = json!({"model": "m"});
        assert!(input(nothing.as_object().unwrap()).is_empty());
    }

    #[test]
    fn an_answer_is_put_together_from_its_events_by_choice() {
        let mut output = Output::default();
        for event in [
            json!({"choices": [{"index": 1, "delta": {"content": "b"}}]}),
            json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "a"}}]}),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": {}}),
        ] {
            output.read(&event);
        }
        let wanted = json!([
            {"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": "stop"},
            {"role": "assistant", "parts": [{"type": "text", "content": "b"}]},
        ]);
        assert_eq!(
            attribute(&output.enrichment(), "gen_ai.output.messages"),
            wanted
        );
    }

    #[test]
    fn a_span_has_only_so_much_of_them() {
        let long = "ä".repeat(MOST);
        let body = json!({"messages": [{"role": "user", "content": long}, {"role": "user", "content": "more"}]});
        let enrichment = input(body.as_object().unwrap());
        let messages = attribute(&enrichment, "gen_ai.input.messages");
        assert_eq!(messages.as_array().unwrap().len(), 1);
        let text = messages[0]["parts"][0]["content"].as_str().unwrap();
        assert_eq!(text.len(), MOST);
        let mut output = Output::default();
        for _ in 0..3 {
            output.read(&json!({"choices": [{"delta": {"content": long}}]}));
        }
        assert_eq!(output.choices[&0].text.len(), MOST);
    }
}
