//! OpenAI's events as Workers AI's.
//!
//! Workers AI's stream is `data: {"response": "text"}` for each piece, `tool_calls` beside it in OpenAI's own pieces
//! (`{index, id, type, function: {name, arguments}}`), one event with the usage, and `data: [DONE]`. Nothing is held
//! back: each event that says something becomes one event.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::error::AiError;
use super::reply::{reasoning, usage};
use crate::ai::openai::event;

/// One answer's events.
#[derive(Debug, Default)]
pub(in crate::ai) struct Stream {
    finish_reason: Option<String>,
    usage: Option<Value>,
    ended: bool,
    error: Option<AiError>,
}

impl Stream {
    /// Of an answer that begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// What one event becomes, of its data and the same read as JSON; nothing, where it says nothing to a Worker.
    pub fn push(&mut self, data: &str, read: Option<Value>) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if data.trim() == "[DONE]" {
            return Some(self.complete());
        }
        if data.trim().is_empty() {
            return None;
        }
        let Some(chunk) = read else {
            return Some(self.fail(AiError::unreadable("an event of its stream is not JSON")));
        };
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Some(self.fail(AiError::upstream_value(StatusCode::BAD_GATEWAY, &chunk)));
        }
        if let Some(usage) = usage(&chunk) {
            self.usage = Some(usage);
        }
        let choices = chunk.get("choices").and_then(Value::as_array);
        let piece = choices.into_iter().flatten().find_map(|choice| {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            (index == 0).then(|| self.piece(choice)).flatten()
        });
        piece.map(|piece| event(Value::Object(piece)))
    }

    fn piece(&mut self, choice: &Value) -> Option<Map<String, Value>> {
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
        }
        let delta = choice.get("delta").unwrap_or(choice);
        let text = ["content", "text"]
            .iter()
            .find_map(|name| delta.get(*name)?.as_str())
            .unwrap_or("");
        let reasoning = reasoning(delta);
        let calls = delta
            .get("tool_calls")
            .filter(|calls| calls.as_array().is_some_and(|calls| !calls.is_empty()));
        if text.is_empty() && reasoning.is_none() && calls.is_none() {
            return None;
        }
        let mut piece = Map::new();
        piece.insert("response".into(), text.into());
        if let Some(reasoning) = reasoning {
            piece.insert("reasoning_content".into(), reasoning.into());
        }
        if let Some(calls) = calls {
            piece.insert("tool_calls".into(), calls.clone());
        }
        Some(piece)
    }

    /// What the stream's end becomes: nothing more after `[DONE]`; the same as for `[DONE]` if the model said that it
    /// has finished, since there are servers that leave it out; an error otherwise.
    pub fn end(&mut self) -> Bytes {
        if self.ended {
            Bytes::new()
        } else if self.finish_reason.is_some() {
            self.complete()
        } else {
            self.fail(AiError::broken_off())
        }
    }

    /// Ends the answer with an error: an event that has it, and no `[DONE]`, so that nobody takes the answer for a
    /// whole one.
    pub fn fail(&mut self, error: AiError) -> Bytes {
        if std::mem::replace(&mut self.ended, true) {
            return Bytes::new();
        }
        let mut json = error.to_json();
        json["error"] = error.description().into();
        self.error = Some(error);
        event(json)
    }

    /// What it ended with, if that was an error.
    pub fn error(&self) -> Option<&AiError> {
        self.error.as_ref()
    }

    fn complete(&mut self) -> Bytes {
        self.ended = true;
        let mut last = Map::new();
        last.insert("response".into(), "".into());
        if let Some(reason) = self.finish_reason.take() {
            last.insert("finish_reason".into(), reason.into());
        }
        if let Some(usage) = self.usage.take() {
            last.insert("usage".into(), usage);
        }
        let last = event(Value::Object(last));
        Bytes::from([&last, event("[DONE]").as_ref()].concat())
    }
}
