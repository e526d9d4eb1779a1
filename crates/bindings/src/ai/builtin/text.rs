//! Texts: how many words there are, and which.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use super::failure::Failure;
use super::words::{self, Words};
use super::{MODEL, streamed, whole};
use crate::ai::openai::event;
use crate::ai::upstream::UpstreamAnswer;

pub(super) fn chat(body: &Value) -> Result<UpstreamAnswer, Failure> {
    let chosen = body.get("tool_choice").and_then(Value::as_str);
    let tools = body.get("tools").and_then(Value::as_array);
    if tools.is_some_and(|tools| !tools.is_empty()) && chosen != Some("none") {
        return Err(Failure::unsupported("tools", "calls no tools"));
    }
    let messages = body
        .get("messages")
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| {
            Failure::invalid(
                Some("messages"),
                "messages must be a list of messages, and not empty",
            )
        })?;
    let mut read = 0;
    let mut last = String::new();
    for message in messages {
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(Failure::invalid(
                Some("messages"),
                "each message must have a role",
            ));
        }
        last = content(message.get("content"))?;
        read += words::count(&last);
    }
    let text = if wants_json(body)? {
        json!({"words": words::count(&last)}).to_string()
    } else {
        sentence("last message", &last)
    };
    Writing::new(body, Form::Chat, read, text)?.answer()
}

pub(super) fn completions(body: &Value) -> Result<UpstreamAnswer, Failure> {
    let prompt = match body.get("prompt") {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(Value::Array(list)) if list.len() == 1 => list[0].as_str(),
        _ => None,
    };
    let prompt =
        prompt.ok_or_else(|| Failure::invalid(Some("prompt"), "prompt must be one text"))?;
    let text = sentence("prompt", prompt);
    Writing::new(body, Form::Completion, words::count(prompt), text)?.answer()
}

fn sentence(what: &str, text: &str) -> String {
    match words::count(text) {
        0 => format!("The {what} has no words."),
        1 => format!("The {what} has 1 word: {text}"),
        count => format!("The {what} has {count} words: {text}"),
    }
}

fn content(content: Option<&Value>) -> Result<String, Failure> {
    let bad = || {
        Failure::unsupported(
            "messages",
            "reads text: a message's content is one, or a list of parts with `text`",
        )
    };
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<&str>> = parts
                .iter()
                .map(|part| part.get("text").and_then(Value::as_str))
                .collect();
            Ok(texts.ok_or_else(bad)?.join(" "))
        }
        Some(_) => Err(bad()),
    }
}

fn wants_json(body: &Value) -> Result<bool, Failure> {
    match body.get("response_format") {
        None | Some(Value::Null) => Ok(false),
        Some(format) => match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(false),
            Some("json_object" | "json_schema") => Ok(true),
            _ => Err(Failure::invalid(
                Some("response_format"),
                "response_format.type must be \"text\", \"json_object\" or \"json_schema\"",
            )),
        },
    }
}

#[derive(Clone, Copy)]
enum Form {
    Chat,
    Completion,
}

/// One answer, before it is written.
struct Writing {
    form: Form,
    stream: bool,
    include_usage: bool,
    /// Words that were read, and that are written.
    read: usize,
    written: usize,
    finish_reason: &'static str,
    text: String,
    head: Head,
}

/// What each chunk of an answer begins with.
#[derive(Clone)]
struct Head {
    id: String,
    created: u64,
}

impl Writing {
    fn new(body: &Value, form: Form, read: usize, text: String) -> Result<Self, Failure> {
        if body.get("n").is_some_and(|n| !n.is_null() && *n != 1) {
            return Err(Failure::unsupported("n", "gives one answer"));
        }
        let stream = match body.get("stream") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(stream)) => *stream,
            Some(_) => {
                return Err(Failure::invalid(
                    Some("stream"),
                    "stream must be true or false",
                ));
            }
        };
        let usage = body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"));
        let words = words::count(&text);
        let max = max_words(body)?;
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        Ok(Self {
            form,
            stream,
            include_usage: usage == Some(&Value::Bool(true)),
            read,
            written: words.min(max),
            finish_reason: if words > max { "length" } else { "stop" },
            text,
            head: Head {
                id: format!("{prefix}-{MODEL}-{read}-{words}"),
                created,
            },
        })
    }

    fn answer(self) -> Result<UpstreamAnswer, Failure> {
        if self.stream {
            Ok(self.chunks())
        } else {
            Ok(whole(&self.value()))
        }
    }

    fn usage(&self) -> Value {
        json!({"prompt_tokens": self.read, "completion_tokens": self.written,
            "total_tokens": self.read + self.written})
    }

    fn value(self) -> Value {
        let usage = self.usage();
        let text: String = Words::new(self.text, self.written).collect();
        let (object, choice) = match self.form {
            Form::Chat => (
                "chat.completion",
                json!({"index": 0, "message": {"role": "assistant", "content": text},
                    "finish_reason": self.finish_reason}),
            ),
            Form::Completion => (
                "text_completion",
                json!({"index": 0, "text": text, "finish_reason": self.finish_reason}),
            ),
        };
        json!({"id": self.head.id, "object": object, "created": self.head.created, "model": MODEL,
            "choices": [choice], "usage": usage})
    }

    /// A chunk for each word, made when it is asked for.
    fn chunks(self) -> UpstreamAnswer {
        let usage = self.usage();
        let Self {
            form,
            include_usage,
            finish_reason,
            head,
            ..
        } = self;
        let chunk = move |choices: Value, usage: Value| {
            let object = match form {
                Form::Chat => "chat.completion.chunk",
                Form::Completion => "text_completion",
            };
            let mut chunk = json!({"id": head.id, "object": object, "created": head.created, "model": MODEL,
                "choices": choices});
            if include_usage {
                chunk["usage"] = usage;
            }
            event(chunk)
        };
        let piece = move |text: Option<String>, first: bool, reason: Value| match form {
            Form::Chat => {
                let mut delta = json!({});
                if first {
                    delta["role"] = "assistant".into();
                }
                if let Some(text) = text {
                    delta["content"] = text.into();
                }
                json!([{"index": 0, "delta": delta, "finish_reason": reason}])
            }
            Form::Completion => {
                json!([{"index": 0, "text": text.unwrap_or_default(), "finish_reason": reason}])
            }
        };
        let of_word = chunk.clone();
        let words = Words::new(self.text, self.written)
            .enumerate()
            .map(move |(at, word)| of_word(piece(Some(word), at == 0, Value::Null), Value::Null));
        let mut ends: Vec<Bytes> =
            vec![chunk(piece(None, false, finish_reason.into()), Value::Null)];
        if include_usage {
            ends.push(chunk(json!([]), usage));
        }
        ends.push(event("[DONE]"));
        streamed(stream::iter(words.chain(ends).map(Ok)).boxed())
    }
}

/// How many words may be written: `max_completion_tokens`, or by its old name `max_tokens`.
fn max_words(body: &Value) -> Result<usize, Failure> {
    for name in ["max_completion_tokens", "max_tokens"] {
        match body.get(name) {
            None | Some(Value::Null) => {}
            Some(given) => {
                let max = given.as_u64().filter(|max| *max > 0);
                let max = max.and_then(|max| usize::try_from(max).ok());
                return max.ok_or_else(|| {
                    Failure::invalid(
                        Some(name),
                        format!("{name} must be a whole number from 1 on"),
                    )
                });
            }
        }
    }
    Ok(usize::MAX)
}
