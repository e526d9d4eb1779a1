//! An entry of the log, as it is written and as it is shown.

use std::time::{Duration, SystemTime};

use js_value::{Object, Value};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ai::gateway::Metadata;

/// Bytes that are kept of a prompt, and of an answer.
const MAX_HEAD: usize = 16 << 10;
/// Bytes that are kept of a name.
const MAX_NAME: usize = 512;
/// Bytes that are kept of a path.
const MAX_PATH: usize = 2048;

/// A request that has ended. The names are those of Cloudflare's `AiGatewayLog`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct Entry {
    /// From [`Logs::new_id`](super::Logs::new_id).
    pub(in crate::ai) id: String,
    /// The gateway's id.
    pub(in crate::ai) gateway: String,
    /// Who was asked last.
    pub(in crate::ai) provider: String,
    /// For which model.
    pub(in crate::ai) model: String,
    /// What kind of model: the name of the operation.
    pub(in crate::ai) model_type: Option<String>,
    /// The path below the provider's URL.
    pub(in crate::ai) path: String,
    /// All of it.
    pub(in crate::ai) duration: Duration,
    /// `universal`, or another way of asking.
    pub(in crate::ai) request_type: Option<String>,
    /// `content-type` of the request.
    pub(in crate::ai) request_content_type: Option<String>,
    /// The status of the answer.
    pub(in crate::ai) status_code: u16,
    /// `content-type` of the answer.
    pub(in crate::ai) response_content_type: Option<String>,
    /// Whether it was answered.
    pub(in crate::ai) success: bool,
    /// Whether the cache answered.
    pub(in crate::ai) cached: bool,
    /// Tokens that were read.
    pub(in crate::ai) tokens_in: Option<u64>,
    /// Tokens that were written.
    pub(in crate::ai) tokens_out: Option<u64>,
    /// What the request's maker wrote on it.
    pub(in crate::ai) metadata: Metadata,
    /// Which request of the list was answered, from 0.
    pub(in crate::ai) step: Option<u32>,
    /// US dollars.
    pub(in crate::ai) cost: Option<f64>,
    /// Whether the request's maker said what it costs.
    pub(in crate::ai) custom_cost: bool,
    /// Bytes of the request's body.
    pub(in crate::ai) request_size: u64,
    /// How it begins, if content is logged.
    pub(in crate::ai) request_head: Head,
    /// Bytes of the answer's body.
    pub(in crate::ai) response_size: u64,
    /// How it begins, if content is logged.
    pub(in crate::ai) response_head: Head,
    /// When it came.
    pub(in crate::ai) created_at: SystemTime,
}

/// How a body begins, if it is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ai) struct Head {
    /// At most 16 KiB of it.
    pub(in crate::ai) text: Option<String>,
    /// Whether that is all of it.
    pub(in crate::ai) complete: bool,
}

impl Head {
    /// Bytes of a body that are worth collecting for it.
    pub(in crate::ai) const MAX: usize = MAX_HEAD;

    /// Of a body that is not logged.
    pub(in crate::ai) fn none() -> Self {
        Self::default()
    }

    /// Of a body of so many bytes, of which these are the first.
    pub(in crate::ai) fn of(first: &[u8], size: u64) -> Self {
        let kept = &first[..first.len().min(MAX_HEAD)];
        let mut kept = String::from_utf8_lossy(kept).into_owned();
        let complete = first.len() <= MAX_HEAD && size <= first.len() as u64;
        if !complete && kept.ends_with(char::REPLACEMENT_CHARACTER) {
            // A character that was cut apart.
            kept.pop();
        }
        truncate(&mut kept, MAX_HEAD);
        Self {
            text: Some(kept),
            complete,
        }
    }
}

/// Cuts a text at a character's end.
fn truncate(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    text.truncate(text.floor_char_boundary(max));
    text.shrink_to_fit();
    true
}

impl Entry {
    /// The same with nothing that is too long: what a peer sends may be.
    pub(super) fn bounded(mut self) -> Self {
        for name in [
            &mut self.id,
            &mut self.gateway,
            &mut self.provider,
            &mut self.model,
        ] {
            truncate(name, MAX_NAME);
        }
        truncate(&mut self.path, MAX_PATH);
        let optional = [
            &mut self.model_type,
            &mut self.request_type,
            &mut self.request_content_type,
            &mut self.response_content_type,
        ];
        for name in optional.into_iter().flatten() {
            truncate(name, MAX_NAME);
        }
        for head in [&mut self.request_head, &mut self.response_head] {
            match &mut head.text {
                Some(text) => head.complete &= !truncate(text, MAX_HEAD),
                None => head.complete = false,
            }
        }
        self
    }
}

/// An entry with its feedback.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct LogEntry {
    /// The request.
    pub(in crate::ai) entry: Entry,
    /// 0 to 100.
    pub(in crate::ai) score: Option<f64>,
    /// -1 or 1.
    pub(in crate::ai) feedback: Option<i8>,
}

impl LogEntry {
    /// As JSON, for HTTP: `created_at` is a date in ISO 8601.
    pub(in crate::ai) fn to_json(&self) -> Json {
        let mut members = self.members();
        let at = OffsetDateTime::from(self.entry.created_at);
        let at = at.format(&Rfc3339).unwrap_or_default();
        members.insert("created_at".into(), at.into());
        Json::Object(members)
    }

    /// As a JavaScript value, for RPC: `created_at` is a `Date`.
    pub(in crate::ai) fn to_value(&self) -> Value {
        let members = self.members().into_iter();
        let mut object: Object = members.map(|(name, value)| (name, plain(value))).collect();
        let at = millis(self.entry.created_at) as f64;
        object.insert("created_at", Value::Date(at));
        Value::Object(object)
    }

    /// All but the date. What is not known is not there.
    fn members(&self) -> Map<String, Json> {
        let Entry {
            id,
            gateway: _,
            provider,
            model,
            model_type,
            path,
            duration,
            request_type,
            request_content_type,
            status_code,
            response_content_type,
            success,
            cached,
            tokens_in,
            tokens_out,
            metadata,
            step,
            cost,
            custom_cost,
            request_size,
            request_head,
            response_size,
            response_head,
            created_at: _,
        } = &self.entry;
        let mut members = Map::new();
        let mut set = |name: &str, value: Option<Json>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Json::from);
        let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        set("id", Some(id.clone().into()));
        set("provider", Some(provider.clone().into()));
        set("model", Some(model.clone().into()));
        set("model_type", text(model_type));
        set("path", Some(path.clone().into()));
        set("duration", Some(duration.into()));
        set("request_type", text(request_type));
        set("request_content_type", text(request_content_type));
        set("status_code", Some((*status_code).into()));
        set("response_content_type", text(response_content_type));
        set("success", Some((*success).into()));
        set("cached", Some((*cached).into()));
        set("tokens_in", tokens_in.map(Json::from));
        set("tokens_out", tokens_out.map(Json::from));
        let metadata = Some(metadata.clone()).filter(|metadata| !metadata.is_empty());
        set("metadata", metadata.map(Json::Object));
        set("step", step.map(Json::from));
        set("cost", cost.map(number));
        set("custom_cost", Some((*custom_cost).into()));
        set("request_size", Some((*request_size).into()));
        set("request_head", text(&request_head.text));
        set("request_head_complete", Some(request_head.complete.into()));
        set("response_size", Some((*response_size).into()));
        set("response_head", text(&response_head.text));
        set(
            "response_head_complete",
            Some(response_head.complete.into()),
        );
        set("feedback", self.feedback.map(Json::from));
        set("score", self.score.map(number));
        members
    }
}

/// As JavaScript writes it: a whole number has no point.
fn number(number: f64) -> Json {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => Json::from(number as i64),
        false => Json::from(number),
    }
}

/// JSON as the value that it is: nothing in it stands for something else.
fn plain(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => flag.into(),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => text.into(),
        Json::Array(list) => list.into_iter().map(plain).collect(),
        Json::Object(members) => {
            let members = members.into_iter();
            Value::Object(members.map(|(name, value)| (name, plain(value))).collect())
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
