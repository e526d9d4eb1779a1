//! What happens to a span besides attributes: a new name or status, log lines, messages of diagnostics channels.
//!
//! A log line and a message stay as their source wrote them until somebody writes them as JSON: they may be large,
//! and where they are sent on nobody needs to read them.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::{self, JsonText};

/// What changed in a span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[non_exhaustive]
pub enum SpanChange {
    /// It has another name.
    Name {
        /// Which.
        name: String,
    },
    /// It has another status.
    Status {
        /// Which.
        status: SpanStatus,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a span's end means, as its author has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanStatus {
    /// Whether it is a success.
    pub code: StatusCode,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a span's end is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum StatusCode {
    /// Its author does not say.
    Unset,
    /// It is.
    Ok,
    /// It is not.
    Error,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl SpanChange {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Name { name } => name.len(),
            Self::Status { status } => status.message.as_ref().map_or(0, String::len),
            Self::Unknown => 0,
        }
    }
}

/// A line of `console.log()` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "ReadLog")]
pub struct Log {
    /// `debug`, `info`, `log`, `warn` or `error`.
    pub level: Cow<'static, str>,
    /// The arguments, a JSON array; if it is truncated, the beginning of one.
    pub message: String,
    /// The message was too long.
    pub truncated: bool,
    /// For each argument, what it was if it was an error; `None` if none was.
    pub error_info: Option<Vec<Option<ErrorInfo>>>,
}

/// An error that was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Its class.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl Log {
    pub(crate) fn size(&self) -> usize {
        let held = |info: &Option<ErrorInfo>| {
            let texts = info.as_ref().map_or(0, |info| {
                let stack = info.stack.as_ref().map_or(0, String::len);
                info.name.len() + info.message.len() + stack
            });
            size_of::<Option<ErrorInfo>>() + texts
        };
        let errors = self
            .error_info
            .as_ref()
            .map_or(0, |all| all.iter().map(held).sum());
        self.message.len() + errors
    }

    /// The arguments as a console shows them, as far as `most` bytes go.
    pub(crate) fn text(&self, most: usize) -> String {
        let parsed = json::parse(&self.message).filter(|_| !self.truncated);
        let mut text = match parsed {
            Some(Value::Array(arguments)) => {
                let shown = arguments.iter().map(|argument| match argument {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                shown.collect::<Vec<_>>().join(" ")
            }
            Some(Value::String(text)) => text,
            _ => self.message.clone(),
        };
        text.truncate(text.floor_char_boundary(most));
        text
    }
}

impl Serialize for Log {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut log = to.serialize_struct("Log", 4)?;
        log.serialize_field("level", &self.level)?;
        match self.truncated {
            true => {
                log.serialize_field("message", &self.message)?;
                log.serialize_field("truncated", &true)?;
            }
            false => log.serialize_field("message", &json::AsJson(&self.message))?,
        }
        if let Some(errors) = &self.error_info {
            log.serialize_field("errorInfo", errors)?;
        }
        log.end()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadLog {
    level: Cow<'static, str>,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    error_info: Option<Vec<Option<ErrorInfo>>>,
}

impl From<ReadLog> for Log {
    fn from(read: ReadLog) -> Self {
        let message = match read.message {
            Value::String(text) if read.truncated => text,
            other => other.to_string(),
        };
        Self {
            level: read.level,
            message,
            truncated: read.truncated,
            error_info: read.error_info,
        }
    }
}

/// A message of a diagnostics channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "ReadMessage")]
pub struct ChannelMessage {
    /// The channel.
    pub channel: String,
    /// What was published.
    pub message: Published,
}

/// What was published on a diagnostics channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A value, serialized by V8. JSON has it as `JSON.stringify` would write it; what cannot be read, or would
    /// be too large, as `{"$serialized": ".."}`, the bytes in base64.
    Serialized(Vec<u8>),
    /// A value, as JSON had it.
    Json(JsonText),
    /// `undefined`.
    Undefined,
    /// A value that was too large.
    TooLarge,
}

/// Marks bytes that are no JSON.
const SERIALIZED: &str = "$serialized";

impl ChannelMessage {
    pub(crate) fn size(&self) -> usize {
        self.channel.len()
            + match &self.message {
                Published::Serialized(bytes) => bytes.len(),
                Published::Json(json) => json.0.len(),
                Published::Undefined | Published::TooLarge => 0,
            }
    }

    /// The message as JSON, if it has one.
    pub(crate) fn json(&self) -> Option<Value> {
        match &self.message {
            Published::Serialized(bytes) => match json::stringify::published(bytes) {
                Ok(value) => value,
                Err(()) => {
                    let text = json::stringify::base64(bytes);
                    Some(serde_json::json!({ SERIALIZED: text }))
                }
            },
            Published::Json(json) => Some(json.value()),
            Published::Undefined => None,
            Published::TooLarge => Some(Value::Null),
        }
    }
}

impl Serialize for ChannelMessage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut message = to.serialize_struct("ChannelMessage", 3)?;
        message.serialize_field("channel", &self.channel)?;
        if let Some(value) = self.json() {
            message.serialize_field("message", &value)?;
        }
        if self.message == Published::TooLarge {
            message.serialize_field("truncated", &true)?;
        }
        message.end()
    }
}

#[derive(Deserialize)]
struct ReadMessage {
    channel: String,
    #[serde(default, deserialize_with = "json::present")]
    message: Option<Value>,
    #[serde(default)]
    truncated: bool,
}

impl From<ReadMessage> for ChannelMessage {
    fn from(read: ReadMessage) -> Self {
        let message = match read.message {
            _ if read.truncated => Published::TooLarge,
            None => Published::Undefined,
            Some(value) => match serialized(&value) {
                Some(bytes) => Published::Serialized(bytes),
                None => Published::Json(JsonText(value.to_string())),
            },
        };
        Self {
            channel: read.channel,
            message,
        }
    }
}

fn serialized(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    json::stringify::from_base64(object.get(SERIALIZED)?.as_str()?)
}
