//! How an invocation begins, a span is opened and a call returns: what an event says besides.
//!
//! The keys, and their order, are those that a tail Worker of workerd prints.

use std::borrow::Cow;
use std::time::SystemTime;

use binding_span::{Attribute, SpanId};
use serde::{Deserialize, Serialize};

use crate::event::attributes_size;
use crate::json::{self, JsonText};

/// The beginning of an invocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Onset {
    /// `stateless`, `durableObject` or `workflow`.
    #[serde(default)]
    pub execution_model: Cow<'static, str>,
    /// The span that the invocation's own spans are below.
    #[serde(with = "json::span_id")]
    pub span_id: SpanId,
    /// The namespace that the service was dispatched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_namespace: Option<String>,
    /// The entrypoint or binding that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// The Durable Object that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_object_id: Option<String>,
    /// The service that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_name: Option<String>,
    /// Labels of the service.
    #[serde(default)]
    pub script_tags: Vec<String>,
    /// Which version of the service ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_version: Option<Box<ScriptVersion>>,
    /// Which preview of the service ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Box<Preview>>,
    /// What began it.
    #[serde(default)]
    pub info: OnsetInfo,
    /// Attributes of the onset's span: its name, if it is not [`crate::SESSION_NAME`].
    #[serde(
        with = "json::attributes",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attributes: Vec<Attribute>,
    /// An id of the service, which is passed on and not in JSON, as in workerd.
    #[serde(skip)]
    pub script_id: Option<String>,
}

impl Default for Onset {
    fn default() -> Self {
        Self {
            execution_model: "stateless".into(),
            span_id: SpanId::default(),
            dispatch_namespace: None,
            entrypoint: None,
            durable_object_id: None,
            script_name: None,
            script_tags: Vec::new(),
            script_version: None,
            preview: None,
            info: OnsetInfo::default(),
            attributes: Vec::new(),
            script_id: None,
        }
    }
}

/// A version of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScriptVersion {
    /// Its id, a UUID.
    #[serde(with = "json::uuid", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u128>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A preview of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its name in addresses.
    #[serde(default)]
    pub slug: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// What began an invocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum OnsetInfo {
    /// An HTTP request.
    Fetch(Box<FetchInfo>),
    /// A call.
    Jsrpc {
        /// Its method, which is passed on and not in JSON, as in workerd.
        #[serde(skip)]
        method: Option<String>,
    },
    /// A time that came.
    Scheduled {
        /// Which; `None` for what is no date.
        #[serde(with = "json::date", default)]
        scheduled_time: Option<SystemTime>,
        /// The pattern that it meets.
        #[serde(default)]
        cron: String,
    },
    /// A Durable Object's alarm.
    Alarm {
        /// When it was to be.
        #[serde(with = "json::date", default)]
        scheduled_time: Option<SystemTime>,
    },
    /// Messages of a queue.
    Queue {
        /// The queue.
        #[serde(default)]
        queue_name: String,
        /// How many.
        #[serde(default)]
        batch_size: u32,
    },
    /// A mail.
    Email {
        /// Who sent it.
        #[serde(default)]
        mail_from: String,
        /// To whom.
        #[serde(default)]
        rcpt_to: String,
        /// Its bytes.
        #[serde(default)]
        raw_size: u32,
    },
    /// What other invocations did: this one is a tail's.
    Trace {
        /// The services that did it, as far as they have names.
        #[serde(default)]
        traces: Vec<Option<String>>,
    },
    /// A message of a WebSocket, or its end.
    HibernatableWebSocket {
        /// Which.
        info: WebSocketEvent,
    },
    /// A connection.
    Connect,
    /// Something else.
    Custom,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Default for OnsetInfo {
    fn default() -> Self {
        Self::Jsrpc { method: None }
    }
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FetchInfo {
    /// `GET`, ..
    pub method: Cow<'static, str>,
    /// What was asked for.
    pub url: String,
    /// What the network says of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cf_json: Option<JsonText>,
    /// Its headers, of which secrets may have been left out.
    #[serde(default)]
    pub headers: Vec<Header>,
}

/// A header of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What happened to a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum WebSocketEvent {
    /// A message came.
    Message,
    /// It was closed.
    Close {
        /// With which code.
        #[serde(default)]
        code: u16,
        /// In order.
        #[serde(default)]
        was_clean: bool,
    },
    /// It broke.
    Error,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a span is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[non_exhaustive]
pub enum SpanInfo {
    /// An HTTP request.
    Fetch(Box<FetchInfo>),
    /// A call.
    Jsrpc {
        /// Its method, which is passed on and not in JSON, as in workerd.
        #[serde(skip)]
        method: Option<String>,
    },
    /// Attributes that it has from the beginning.
    Attributes {
        /// The attributes.
        #[serde(with = "json::attributes")]
        info: Vec<Attribute>,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What was returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum ReturnInfo {
    /// An HTTP response.
    Fetch {
        /// Its status.
        status_code: u16,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

fn length(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

impl Onset {
    pub(crate) fn size(&self) -> usize {
        let texts = [
            &self.dispatch_namespace,
            &self.entrypoint,
            &self.durable_object_id,
            &self.script_name,
            &self.script_id,
        ];
        let tags = self.script_tags.iter();
        let version = self.script_version.as_ref().map_or(0, |version| {
            size_of::<ScriptVersion>() + length(&version.tag) + length(&version.message)
        });
        let preview = self.preview.as_ref().map_or(0, |preview| {
            let texts = preview.id.len() + preview.slug.len() + preview.name.len();
            size_of::<Preview>() + texts
        });
        size_of::<Self>()
            + texts.into_iter().map(length).sum::<usize>()
            + tags
                .map(|tag| size_of::<String>() + tag.len())
                .sum::<usize>()
            + version
            + preview
            + self.info.size()
            + attributes_size(&self.attributes)
    }
}

impl OnsetInfo {
    /// workerd's word for it: `fetch`, `jsrpc`, ..
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Jsrpc { .. } => "jsrpc",
            Self::Scheduled { .. } => "scheduled",
            Self::Alarm { .. } => "alarm",
            Self::Queue { .. } => "queue",
            Self::Email { .. } => "email",
            Self::Trace { .. } => "trace",
            Self::HibernatableWebSocket { .. } => "hibernatableWebSocket",
            Self::Connect => "connect",
            Self::Custom => "custom",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is a call.
    pub(crate) fn is_call(&self) -> bool {
        matches!(self, Self::Jsrpc { .. })
    }

    /// In a few words what it is about, if there is more than its kind.
    pub(crate) fn summary(&self) -> Option<String> {
        Some(match self {
            Self::Fetch(fetch) => fetch.summary(),
            Self::Jsrpc { method } => method.clone()?,
            Self::Scheduled { cron, .. } => cron.clone(),
            Self::Queue {
                queue_name,
                batch_size,
            } => format!("{queue_name} ({batch_size})"),
            Self::Email {
                mail_from, rcpt_to, ..
            } => format!("{mail_from} to {rcpt_to}"),
            Self::Trace { traces } => {
                let names: Vec<&str> = traces.iter().flatten().map(String::as_str).collect();
                names.join(", ")
            }
            Self::HibernatableWebSocket { info } => match info {
                WebSocketEvent::Message => "message".to_owned(),
                WebSocketEvent::Close { code, .. } => format!("close {code}"),
                WebSocketEvent::Error => "error".to_owned(),
                WebSocketEvent::Unknown => return None,
            },
            Self::Alarm { .. } | Self::Connect | Self::Custom | Self::Unknown => return None,
        })
        .filter(|summary| !summary.is_empty())
    }

    fn size(&self) -> usize {
        match self {
            Self::Fetch(fetch) => fetch.size(),
            Self::Jsrpc { method } => length(method),
            Self::Scheduled { cron, .. } => cron.len(),
            Self::Queue { queue_name, .. } => queue_name.len(),
            Self::Email {
                mail_from, rcpt_to, ..
            } => mail_from.len() + rcpt_to.len(),
            Self::Trace { traces } => {
                let held = traces.iter().map(|name| size_of_val(name) + length(name));
                held.sum()
            }
            _ => 0,
        }
    }
}

impl FetchInfo {
    /// `GET http://shop/`
    pub(crate) fn summary(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    fn size(&self) -> usize {
        let held = |h: &Header| size_of::<Header>() + h.name.len() + h.value.len();
        let headers = self.headers.iter().map(held).sum::<usize>();
        let cf = self.cf_json.as_ref().map_or(0, |json| json.0.len());
        size_of::<Self>() + self.method.len() + self.url.len() + cf + headers
    }
}

impl SpanInfo {
    /// In a few words what it is about.
    pub(crate) fn summary(&self) -> Option<String> {
        match self {
            Self::Fetch(fetch) => Some(fetch.summary()),
            Self::Jsrpc { method } => method.clone(),
            Self::Attributes { .. } | Self::Unknown => None,
        }
    }

    /// The attributes that the span has from the beginning.
    pub(crate) fn attributes(&self) -> &[Attribute] {
        match self {
            Self::Attributes { info } => info,
            _ => &[],
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Fetch(fetch) => fetch.size(),
            Self::Jsrpc { method } => length(method),
            Self::Attributes { info } => attributes_size(info),
            Self::Unknown => 0,
        }
    }
}
