//! The model of a tail event. How it is written and read as JSON is in `json.rs`.
//!
//! The shape is that of workerd's streaming tail workers (`src/workerd/io/trace-stream.c++` there);
//! what workerd leaves out when it is empty is left out here.

use std::borrow::Cow;
use std::time::SystemTime;

use binding_span::{Attribute, InvocationId, SpanId, TraceId};
use serde::{Deserialize, Serialize};

use crate::{ChannelMessage, Log, Onset, ReturnInfo, SpanChange, SpanInfo, json};

/// One thing that happened in an invocation.
///
/// Events of one invocation carry the sequence numbers 0, 1, 2, .. in the order in which they
/// happened; the first is an onset, the last an outcome. A gap means that the reader was too slow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Where it happened.
    pub span_context: StreamContext,
    /// The invocation that it belongs to.
    #[serde(with = "json::invocation_id")]
    pub invocation_id: InvocationId,
    /// When it happened; JSON has it in milliseconds.
    #[serde(with = "json::timestamp")]
    pub timestamp: SystemTime,
    /// Its place in the invocation.
    pub sequence: u32,
    /// What happened.
    pub event: EventKind,
}

/// The span that an event is about. For a `spanOpen` it is the parent; for an onset it is the
/// caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamContext {
    /// The trace.
    #[serde(with = "json::trace_id")]
    pub trace_id: TraceId,
    /// The span, if there is one.
    #[serde(
        with = "json::optional_span_id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub span_id: Option<SpanId>,
    /// W3C trace flags, where the event's source says any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_flags: Option<u8>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum EventKind {
    /// An invocation began.
    Onset(Box<Onset>),
    /// A span began.
    SpanOpen {
        /// Its name.
        name: String,
        /// Its id.
        #[serde(with = "json::span_id")]
        span_id: SpanId,
        /// What it is for, if its source says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        info: Option<SpanInfo>,
    },
    /// The span has another name, or another status.
    SpanUpdate {
        /// Which.
        info: SpanChange,
    },
    /// The span has these attributes besides the earlier ones; [`crate::SPAN_NAME`] renames it.
    Attributes {
        /// The attributes, no key twice.
        #[serde(with = "json::attributes")]
        info: Vec<Attribute>,
    },
    /// Something was thrown in the span.
    Exception {
        /// The class: `TypeError`.
        name: String,
        /// The message.
        message: String,
        /// Where it was thrown, as the engine shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stack: Option<String>,
    },
    /// A line of `console.log()` and its like.
    Log(Log),
    /// A message of a diagnostics channel.
    DiagnosticChannel(ChannelMessage),
    /// The span ended.
    SpanClose {
        /// How: `ok`, `exception`, `canceled`, `exceededWallTime`, or another of workerd's words.
        outcome: Cow<'static, str>,
    },
    /// What the invocation was for is done; spans may still be open.
    Return {
        /// What it returned, if its source says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        info: Option<ReturnInfo>,
    },
    /// Some events of this stream were lost; sent just before the outcome.
    StreamDiagnostic {
        /// Which and how many.
        diagnostic: Diagnostic,
    },
    /// The invocation ended.
    Outcome {
        /// How; the words of [`EventKind::SpanClose`], and `unknown` for one whose end nobody saw.
        outcome: Cow<'static, str>,
        /// Milliseconds of computation. Nobody measures it: 0.
        #[serde(deserialize_with = "json::milliseconds", default)]
        cpu_time: u64,
        /// Milliseconds from the onset to this event.
        #[serde(deserialize_with = "json::milliseconds", default)]
        wall_time: u64,
    },
    /// An event of a type that this version does not know; never written.
    #[serde(other)]
    Unknown,
}

/// What a reader is told about its own stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// `droppedEvents`.
    #[serde(rename = "diagnosticsType")]
    pub kind: Cow<'static, str>,
    /// How many events the reader did not get.
    #[serde(default)]
    pub count: u64,
}

impl Event {
    /// About how many bytes of memory it holds; what queues count.
    pub fn size(&self) -> usize {
        let held = match &self.event {
            EventKind::Onset(onset) => onset.size(),
            EventKind::SpanOpen { name, info, .. } => {
                name.len() + info.as_ref().map_or(0, SpanInfo::size)
            }
            EventKind::SpanUpdate { info } => info.size(),
            EventKind::Attributes { info } => attributes_size(info),
            EventKind::Exception {
                name,
                message,
                stack,
            } => name.len() + message.len() + stack.as_ref().map_or(0, String::len),
            EventKind::Log(log) => log.size(),
            EventKind::DiagnosticChannel(message) => message.size(),
            _ => 0,
        };
        size_of::<Self>() + held
    }

    /// Whether readers get it even when they lose others: there is at most one of each in a stream,
    /// and a reader cannot do without.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.event,
            EventKind::Return { .. } | EventKind::Outcome { .. }
        )
    }
}

/// About how many bytes of memory attributes hold.
pub(crate) fn attributes_size(attributes: &[Attribute]) -> usize {
    let held = |a: &Attribute| size_of::<Attribute>() + a.key.len() + a.value.footprint();
    attributes.iter().map(held).sum()
}
