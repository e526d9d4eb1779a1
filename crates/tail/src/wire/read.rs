//! Cap'n Proto -> events.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use binding_span::wire::{read_span_context, read_trace_id};
use binding_span::{Attribute, AttributeList, AttributeValue, InvocationId, SpanId};
use binding_span_schema::binding_span_capnp::{attribute, tag_value};
use binding_span_schema::tail_stream_capnp::{
    diagnostic_channel_event, log, outcome, return_, span_open, span_update, stream_diagnostics,
    tail_event,
};
use capnp::{NotInSchema, struct_list, text};

use super::secrets::Headers;
use super::{LEVELS, OUTCOMES, word};
use crate::{
    ChannelMessage, Diagnostic, ErrorInfo, Event, EventKind, Log, Published, ReturnInfo,
    SpanChange, SpanInfo, SpanStatus, StatusCode, StreamContext,
};

/// Bytes of text of one event that are read. workerd sends at most 256 KiB of each, and of this much every line is
/// one that readers take.
const TEXT: usize = 640 * 1024;
/// Bytes of a message of a diagnostics channel, which cannot be cut.
const PUBLISHED: usize = 256 * 1024;
/// Attributes, headers and the like of one event that are read; workerd sends a few dozen.
pub(super) const LIST: u32 = 1024;

/// What of an event could not be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// What this version does not know.
    pub unknown: Vec<Unknown>,
    /// How many texts and lists were too long, and were cut.
    pub cut: u32,
}

/// A member of a union, or a number of a list of words, that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// Of which union.
    pub of: &'static str,
    /// Its number there.
    pub discriminant: u16,
}

/// Reads an event, and adds to `found` what could not be read of it. One of a kind that is not known is
/// [`EventKind::Unknown`].
///
/// # Errors
/// When the message cannot be read.
pub fn read_event(
    from: tail_event::Reader<'_>,
    headers: Headers,
    found: &mut Found,
) -> capnp::Result<Event> {
    let context = read_span_context(from.get_span_context()?).unwrap_or_default();
    let timestamp = u64::try_from(from.get_timestamp_ns()).unwrap_or(0);
    let mut reading = Reading {
        left: TEXT,
        headers,
        found,
    };
    Ok(Event {
        span_context: StreamContext {
            trace_id: context.trace_id,
            span_id: Some(context.span_id).filter(|id| id.is_valid()),
            trace_flags: context.flags,
        },
        invocation_id: InvocationId(read_trace_id(from.get_invocation_id()?)),
        timestamp: UNIX_EPOCH + Duration::from_nanos(timestamp),
        sequence: from.get_sequence(),
        event: reading.kind(from.get_event())?,
    })
}

/// One event while it is read.
pub(super) struct Reading<'f> {
    /// Bytes of text that may still be read.
    left: usize,
    pub(super) headers: Headers,
    found: &'f mut Found,
}

impl Reading<'_> {
    pub(super) fn unknown<T>(
        &mut self,
        of: &'static str,
        NotInSchema(discriminant): NotInSchema,
        is: T,
    ) -> T {
        self.found.unknown.push(Unknown { of, discriminant });
        is
    }

    pub(super) fn text(&mut self, text: text::Reader<'_>) -> String {
        let bytes = text.as_bytes();
        if bytes.len() <= self.left {
            self.left -= bytes.len();
            return String::from_utf8_lossy(bytes).into_owned();
        }
        self.found.cut += 1;
        let mut end = std::mem::take(&mut self.left);
        // Between two characters.
        while end > 0 && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    pub(super) fn optional(
        &mut self,
        text: capnp::Result<text::Reader<'_>>,
    ) -> capnp::Result<Option<String>> {
        let text = text?;
        Ok((!text.is_empty()).then(|| self.text(text)))
    }

    /// How many of a list are read.
    pub(super) fn count(&mut self, length: u32, most: u32) -> u32 {
        self.found.cut += u32::from(length > most);
        length.min(most)
    }

    fn kind(&mut self, from: tail_event::event::Reader<'_>) -> capnp::Result<EventKind> {
        use tail_event::event;
        let which = match from.which() {
            Ok(which) => which,
            Err(other) => return Ok(self.unknown("event", other, EventKind::Unknown)),
        };
        Ok(match which {
            event::Onset(onset) => EventKind::Onset(Box::new(self.onset(onset?)?)),
            event::Outcome(outcome) => {
                let outcome = outcome?;
                EventKind::Outcome {
                    outcome: self.outcome(outcome.get_outcome()),
                    cpu_time: outcome.get_cpu_time(),
                    wall_time: outcome.get_wall_time(),
                }
            }
            event::SpanOpen(open) => {
                let open = open?;
                EventKind::SpanOpen {
                    name: self.text(open.get_operation_name()?),
                    span_id: SpanId(open.get_span_id()),
                    info: self.span_info(open.get_info())?,
                }
            }
            event::SpanUpdate(update) => match self.update(update?)? {
                SpanChange::Unknown => EventKind::Unknown,
                info => EventKind::SpanUpdate { info },
            },
            event::SpanClose(close) => EventKind::SpanClose {
                outcome: self.outcome(close?.get_outcome()),
            },
            event::Attribute(list) => EventKind::Attributes {
                info: self.attributes(list?)?,
            },
            event::Return(returned) => EventKind::Return {
                info: self.returned(returned?.get_info())?,
            },
            event::Exception(exception) => {
                let exception = exception?;
                EventKind::Exception {
                    name: self.text(exception.get_name()?),
                    message: self.text(exception.get_message()?),
                    stack: match exception.has_stack() {
                        true => Some(self.text(exception.get_stack()?)),
                        false => None,
                    },
                }
            }
            event::Log(log) => EventKind::Log(self.log(log?)?),
            event::DiagnosticChannelEvent(message) => {
                EventKind::DiagnosticChannel(self.published(message?)?)
            }
            event::StreamDiagnostics(diagnostics) => self.diagnostic(diagnostics?)?,
        })
    }

    fn outcome(&mut self, kind: Result<outcome::Kind, NotInSchema>) -> Cow<'static, str> {
        let kind = match kind {
            Ok(kind) => kind,
            Err(other) => self.unknown("outcome", other, outcome::Kind::Unknown),
        };
        let known = OUTCOMES.iter().find(|(known, _)| kind == *known);
        known.map_or("unknown", |(_, word)| word).into()
    }

    /// A word of one of our tables.
    pub(super) fn word(
        &mut self,
        of: &'static str,
        table: &'static [&'static str],
        number: u16,
    ) -> Cow<'static, str> {
        let known = word(table, number);
        known.unwrap_or_else(|| self.unknown(of, NotInSchema(number), "unknown".into()))
    }

    fn update(&mut self, update: span_update::Reader<'_>) -> capnp::Result<SpanChange> {
        use span_update::{Which, status::message};
        Ok(match update.which() {
            Ok(Which::Name(name)) => SpanChange::Name {
                name: self.text(name?),
            },
            Ok(Which::Status(status)) => {
                let status = status?;
                let code = match status.get_code() {
                    0 => StatusCode::Unset,
                    1 => StatusCode::Ok,
                    2 => StatusCode::Error,
                    other => self.unknown("status", NotInSchema(other), StatusCode::Unknown),
                };
                let message = match status.get_message().which() {
                    Ok(message::Some(text)) => Some(self.text(text?)),
                    Ok(message::None(())) => None,
                    Err(other) => self.unknown("status.message", other, None),
                };
                SpanChange::Status {
                    status: SpanStatus { code, message },
                }
            }
            Err(other) => self.unknown("spanUpdate", other, SpanChange::Unknown),
        })
    }

    fn span_info(&mut self, from: span_open::info::Reader<'_>) -> capnp::Result<Option<SpanInfo>> {
        use span_open::info;
        Ok(match from.which() {
            Ok(info::Empty(())) => None,
            Ok(info::Fetch(fetch)) => Some(SpanInfo::Fetch(Box::new(self.fetch(fetch?)?))),
            Ok(info::JsRpc(call)) => Some(SpanInfo::Jsrpc {
                method: self.method(call?)?,
            }),
            Ok(info::Custom(list)) => Some(SpanInfo::Attributes {
                info: self.attributes(list?)?,
            }),
            Err(other) => self.unknown("spanOpen.info", other, Some(SpanInfo::Unknown)),
        })
    }

    fn returned(&mut self, from: return_::info::Reader<'_>) -> capnp::Result<Option<ReturnInfo>> {
        use return_::info;
        Ok(match from.which() {
            Ok(info::Empty(())) => None,
            Ok(info::Fetch(response)) => Some(ReturnInfo::Fetch {
                status_code: response?.get_status_code(),
            }),
            Err(other) => self.unknown("return.info", other, Some(ReturnInfo::Unknown)),
        })
    }

    fn log(&mut self, log: log::Reader<'_>) -> capnp::Result<Log> {
        let cut = self.found.cut;
        let message = self.text(log.get_message()?);
        let truncated = log.get_truncated() || self.found.cut > cut;
        let level = self.word("log.level", &LEVELS, log.get_level());
        let mut error_info = None;
        if log.has_error_info() {
            let slots = log.get_error_info()?;
            let mut errors = Vec::new();
            for i in 0..self.count(slots.len(), LIST) {
                errors.push(self.error(slots.get(i))?);
            }
            error_info = Some(errors);
        }
        Ok(Log {
            level,
            message,
            truncated,
            error_info,
        })
    }

    fn error(&mut self, slot: log::error_slot::Reader<'_>) -> capnp::Result<Option<ErrorInfo>> {
        use log::error_slot;
        let info = match slot.which() {
            Ok(error_slot::None(())) => return Ok(None),
            Ok(error_slot::Info(info)) => info?,
            Err(other) => return Ok(self.unknown("log.errorInfo", other, None)),
        };
        Ok(Some(ErrorInfo {
            name: self.text(info.get_name()?),
            message: self.text(info.get_message()?),
            stack: match info.has_stack() {
                true => Some(self.text(info.get_stack()?)),
                false => None,
            },
        }))
    }

    fn published(
        &mut self,
        from: diagnostic_channel_event::Reader<'_>,
    ) -> capnp::Result<ChannelMessage> {
        let channel = self.text(from.get_channel()?);
        let bytes = from.get_message()?;
        let message = match bytes.len() {
            ..=PUBLISHED => Published::Serialized(bytes.to_vec()),
            _ => {
                self.found.cut += 1;
                Published::TooLarge
            }
        };
        Ok(ChannelMessage { channel, message })
    }

    fn diagnostic(&mut self, from: stream_diagnostics::Reader<'_>) -> capnp::Result<EventKind> {
        use stream_diagnostics::diagnostic;
        let dropped = match from.get_diagnostic().which() {
            Ok(diagnostic::DroppedEvents(dropped)) => dropped?,
            Ok(diagnostic::Undefined(())) => {
                let of = "streamDiagnostics";
                return Ok(self.unknown(of, NotInSchema(0), EventKind::Unknown));
            }
            Err(other) => {
                return Ok(self.unknown("streamDiagnostics", other, EventKind::Unknown));
            }
        };
        let diagnostic = Diagnostic {
            kind: "droppedEvents".into(),
            count: dropped.get_count().into(),
        };
        Ok(EventKind::StreamDiagnostic { diagnostic })
    }

    pub(super) fn attributes(
        &mut self,
        list: struct_list::Reader<'_, attribute::Owned>,
    ) -> capnp::Result<Vec<Attribute>> {
        let mut read = Vec::new();
        for i in 0..self.count(list.len(), LIST) {
            let attribute = list.get(i);
            let values = attribute.get_value()?;
            let key = self.text(attribute.get_name()?);
            let mut value = match values.len() {
                1 => match self.value(values.get(0))? {
                    Some(value) => value,
                    None => continue,
                },
                _ => self.list(values)?,
            };
            self.headers.apply_attribute(&key, &mut value);
            read.push(Attribute::new(key, value));
        }
        Ok(read)
    }

    fn value(&mut self, value: tag_value::Reader<'_>) -> capnp::Result<Option<AttributeValue>> {
        Ok(Some(match value.which() {
            Ok(tag_value::String(text)) => self.text(text?).into(),
            Ok(tag_value::Bool(value)) => value.into(),
            Ok(tag_value::Int64(value)) => value.into(),
            Ok(tag_value::Float64(value)) => value.into(),
            Err(other) => return Ok(self.unknown("attribute.value", other, None)),
        }))
    }

    /// Several values are a list; of several types, which workerd may send and we have not, their JSON.
    fn list(
        &mut self,
        values: struct_list::Reader<'_, tag_value::Owned>,
    ) -> capnp::Result<AttributeValue> {
        // An element takes memory also when it has no text.
        let most = (self.left / size_of::<AttributeValue>()).min(LIST as usize);
        let count = self.count(values.len(), most as u32);
        self.left -= count as usize * size_of::<AttributeValue>();
        let mut elements = Vec::new();
        for i in 0..count {
            elements.push(self.value(values.get(i))?);
        }
        if let Some(list) = AttributeList::from_elements(elements.iter().cloned()) {
            return Ok(list.into());
        }
        let json = elements.into_iter().map(|element| match element {
            Some(AttributeValue::String(text)) => text.into_owned().into(),
            Some(AttributeValue::Bool(value)) => value.into(),
            Some(AttributeValue::Int64(value)) => value.into(),
            Some(AttributeValue::Float64(value)) => value.into(),
            Some(AttributeValue::List(_)) | None => serde_json::Value::Null,
        });
        Ok(serde_json::Value::Array(json.collect()).to_string().into())
    }
}
