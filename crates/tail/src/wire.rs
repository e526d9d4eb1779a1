//! Tail events in Cap'n Proto, the form in which workerd's streaming tail workers get them. Generated types
//! appear in this module's signatures and nowhere else in the crate; who sends and receives is not here.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binding_span::wire::{
    read_span_context, read_trace_id, write_attribute, write_span_context, write_trace_id,
};
use binding_span::{Attribute, AttributeValue, InvocationId, SpanContext, SpanId};
use binding_span_schema::binding_span_capnp::{attribute, tag_value};
use binding_span_schema::tail_stream_capnp::{
    onset, outcome, span_open, stream_diagnostics, tail_event,
};
use capnp::{struct_list, text};

use crate::{Diagnostic, Event, EventKind, Onset, OnsetInfo, StreamContext};

/// workerd's words for how something ended.
const OUTCOMES: [(outcome::Kind, &str); 14] = [
    (outcome::Kind::Unknown, "unknown"),
    (outcome::Kind::Ok, "ok"),
    (outcome::Kind::Exception, "exception"),
    (outcome::Kind::ExceededCpu, "exceededCpu"),
    (outcome::Kind::KillSwitch, "killSwitch"),
    (outcome::Kind::DaemonDown, "daemonDown"),
    (outcome::Kind::ScriptNotFound, "scriptNotFound"),
    (outcome::Kind::Canceled, "canceled"),
    (outcome::Kind::ExceededMemory, "exceededMemory"),
    (outcome::Kind::LoadShed, "loadShed"),
    (
        outcome::Kind::ResponseStreamDisconnected,
        "responseStreamDisconnected",
    ),
    (outcome::Kind::InternalError, "internalError"),
    (outcome::Kind::ExceededWallTime, "exceededWallTime"),
    (outcome::Kind::Aborted, "aborted"),
];

/// workerd's numbers of execution models.
const MODELS: [&str; 3] = ["stateless", "durableObject", "workflow"];

/// Attributes of one event that are read; workerd sends a few dozen.
const MAX_ATTRIBUTES: u32 = 1024;
/// Labels of a service that are read.
const MAX_TAGS: u32 = 256;

fn outcome_named(name: &str) -> outcome::Kind {
    let known = OUTCOMES.iter().find(|(_, word)| *word == name);
    known.map_or(outcome::Kind::Unknown, |(kind, _)| *kind)
}

fn outcome_word(kind: Result<outcome::Kind, capnp::NotInSchema>) -> Cow<'static, str> {
    let known = OUTCOMES.iter().find(|(known, _)| kind == Ok(*known));
    known.map_or("unknown", |(_, word)| word).into()
}

/// Writes an event. One of a kind that is not known is left as the onset that an empty event is: do not
/// send it.
pub fn write_event(event: &Event, mut to: tail_event::Builder<'_>) {
    let StreamContext { trace_id, span_id } = event.span_context;
    let context = SpanContext {
        trace_id,
        span_id: span_id.unwrap_or_default(),
        flags: None,
    };
    write_span_context(&context, to.reborrow().init_span_context());
    write_trace_id(event.invocation_id.0, to.reborrow().init_invocation_id());
    let timestamp = nanoseconds(event.timestamp);
    to.set_timestamp_ns(timestamp);
    to.set_sequence(event.sequence);
    let to = to.init_event();
    match &event.event {
        EventKind::Onset(onset) => write_onset(onset, to.init_onset()),
        EventKind::SpanOpen { name, span_id } => {
            let mut open = to.init_span_open();
            open.set_operation_name(name);
            open.set_span_id(span_id.0);
        }
        EventKind::Attributes { info } => {
            write_attributes(info, to.init_attribute(info.len() as u32));
        }
        EventKind::Exception { name, message } => {
            let mut exception = to.init_exception();
            exception.set_timestamp_ns(timestamp);
            exception.set_name(name);
            exception.set_message(message);
        }
        EventKind::SpanClose { outcome } => {
            to.init_span_close().set_outcome(outcome_named(outcome));
        }
        EventKind::Return => drop(to.init_return()),
        EventKind::StreamDiagnostic { diagnostic } => {
            let count = u32::try_from(diagnostic.count).unwrap_or(u32::MAX);
            let to = to.init_stream_diagnostics().init_diagnostic();
            to.init_dropped_events().set_count(count);
        }
        EventKind::Outcome {
            outcome,
            cpu_time,
            wall_time,
        } => {
            let mut to = to.init_outcome();
            to.set_outcome(outcome_named(outcome));
            to.set_cpu_time(*cpu_time);
            to.set_wall_time(*wall_time);
        }
        EventKind::Unknown => {}
    }
}

fn write_onset(onset: &Onset, mut to: onset::Builder<'_>) {
    let model = MODELS.iter().position(|m| *m == onset.execution_model);
    to.set_execution_model(model.unwrap_or(0) as u16);
    if let Some(name) = &onset.script_name {
        to.set_script_name(name);
    }
    let mut tags = to
        .reborrow()
        .init_script_tags(onset.script_tags.len() as u32);
    for (i, tag) in onset.script_tags.iter().enumerate() {
        tags.set(i as u32, tag);
    }
    if let Some(entrypoint) = &onset.entrypoint {
        to.set_entry_point(entrypoint);
    }
    // Whatever began the invocation: of the others we know the word and not the members.
    to.reborrow().init_info().init_js_rpc();
    to.set_span_id(onset.span_id.0);
    let attributes = to.init_attributes(onset.attributes.len() as u32);
    write_attributes(&onset.attributes, attributes);
}

fn write_attributes(attributes: &[Attribute], mut to: struct_list::Builder<'_, attribute::Owned>) {
    for (i, attribute) in attributes.iter().enumerate() {
        let to = to.reborrow().get(i as u32);
        write_attribute(to, &attribute.key, &attribute.value);
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads an event. One of a kind that our lines do not have (a log line, a message of a diagnostics
/// channel) is [`EventKind::Unknown`].
///
/// # Errors
/// When the message cannot be read.
pub fn read_event(from: tail_event::Reader<'_>) -> capnp::Result<Event> {
    let context = read_span_context(from.get_span_context()?).unwrap_or_default();
    let timestamp = u64::try_from(from.get_timestamp_ns()).unwrap_or(0);
    Ok(Event {
        span_context: StreamContext {
            trace_id: context.trace_id,
            span_id: Some(context.span_id).filter(|id| id.is_valid()),
        },
        invocation_id: InvocationId(read_trace_id(from.get_invocation_id()?)),
        timestamp: UNIX_EPOCH + Duration::from_nanos(timestamp),
        sequence: from.get_sequence(),
        event: read_kind(from.get_event())?,
    })
}

fn read_kind(from: tail_event::event::Reader<'_>) -> capnp::Result<EventKind> {
    use tail_event::event;
    let Ok(which) = from.which() else {
        return Ok(EventKind::Unknown);
    };
    Ok(match which {
        event::Onset(onset) => EventKind::Onset(read_onset(onset?)?),
        event::Outcome(outcome) => {
            let outcome = outcome?;
            EventKind::Outcome {
                outcome: outcome_word(outcome.get_outcome()),
                cpu_time: outcome.get_cpu_time(),
                wall_time: outcome.get_wall_time(),
            }
        }
        event::SpanOpen(open) => read_span_open(open?)?,
        event::SpanClose(close) => EventKind::SpanClose {
            outcome: outcome_word(close?.get_outcome()),
        },
        event::Attribute(list) => EventKind::Attributes {
            info: read_attributes(list?)?,
        },
        event::Return(_) => EventKind::Return,
        event::Exception(exception) => {
            let exception = exception?;
            EventKind::Exception {
                name: lossy(exception.get_name()?),
                message: lossy(exception.get_message()?),
            }
        }
        event::StreamDiagnostics(diagnostics) => read_diagnostic(diagnostics?)?,
        event::DiagnosticChannelEvent(_) | event::Log(_) => EventKind::Unknown,
    })
}

fn read_span_open(open: span_open::Reader<'_>) -> capnp::Result<EventKind> {
    Ok(EventKind::SpanOpen {
        name: lossy(open.get_operation_name()?),
        span_id: SpanId(open.get_span_id()),
    })
}

fn read_diagnostic(from: stream_diagnostics::Reader<'_>) -> capnp::Result<EventKind> {
    use stream_diagnostics::diagnostic::DroppedEvents;
    let Ok(DroppedEvents(dropped)) = from.get_diagnostic().which() else {
        return Ok(EventKind::Unknown);
    };
    let diagnostic = Diagnostic {
        kind: "droppedEvents".into(),
        count: dropped?.get_count().into(),
    };
    Ok(EventKind::StreamDiagnostic { diagnostic })
}

fn read_onset(onset: onset::Reader<'_>) -> capnp::Result<Onset> {
    let optional = |there: bool, name: capnp::Result<text::Reader<'_>>| {
        let name = name.map(lossy).map(|name| Some(name).filter(|_| there));
        name.map(|name| name.filter(|name| !name.is_empty()))
    };
    let tags = onset.get_script_tags()?;
    let tags = tags.iter().take(MAX_TAGS as usize);
    let model = MODELS.get(usize::from(onset.get_execution_model()));
    Ok(Onset {
        execution_model: (*model.unwrap_or(&"stateless")).into(),
        span_id: SpanId(onset.get_span_id()),
        entrypoint: optional(onset.has_entry_point(), onset.get_entry_point())?,
        script_name: optional(onset.has_script_name(), onset.get_script_name())?,
        script_tags: tags.map(|tag| tag.map(lossy)).collect::<Result<_, _>>()?,
        info: OnsetInfo {
            kind: onset_word(onset.get_info()?).into(),
        },
        attributes: read_attributes(onset.get_attributes()?)?,
    })
}

fn onset_word(info: onset::info::Reader<'_>) -> &'static str {
    use onset::info;
    match info.which() {
        Ok(info::JsRpc(_)) => "jsrpc",
        Ok(info::Fetch(_)) => "fetch",
        Ok(info::Scheduled(_)) => "scheduled",
        Ok(info::Alarm(_)) => "alarm",
        Ok(info::Queue(_)) => "queue",
        Ok(info::Email(_)) => "email",
        Ok(info::Trace(_)) => "trace",
        Ok(info::HibernatableWebSocket(_)) => "hibernatableWebSocket",
        Ok(info::Connect(_)) => "connect",
        Ok(info::Custom(_)) | Err(_) => "custom",
    }
}

/// Reads attributes with at least one value; of several the first counts, as everywhere.
fn read_attributes(
    list: struct_list::Reader<'_, attribute::Owned>,
) -> capnp::Result<Vec<Attribute>> {
    let mut read = Vec::new();
    for attribute in list.iter().take(MAX_ATTRIBUTES as usize) {
        let values = attribute.get_value()?;
        if values.is_empty() {
            continue;
        }
        let value = match values.get(0).which() {
            Ok(tag_value::String(text)) => AttributeValue::from(lossy(text?)),
            Ok(tag_value::Bool(value)) => value.into(),
            Ok(tag_value::Int64(value)) => value.into(),
            Ok(tag_value::Float64(value)) => value.into(),
            Err(_) => continue,
        };
        read.push(Attribute::new(lossy(attribute.get_name()?), value));
    }
    Ok(read)
}

fn lossy(text: text::Reader<'_>) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(event: EventKind) -> EventKind {
        let event = Event {
            span_context: StreamContext {
                trace_id: binding_span::TraceId(7),
                span_id: Some(SpanId(8)),
            },
            invocation_id: InvocationId(9),
            timestamp: UNIX_EPOCH + Duration::from_nanos(1_795_000_000_123_456_789),
            sequence: 4,
            event,
        };
        let mut message = capnp::message::Builder::new_default();
        write_event(&event, message.init_root());
        let read = read_event(message.get_root_as_reader().unwrap()).unwrap();
        assert_eq!(
            (
                read.span_context,
                read.invocation_id,
                read.timestamp,
                read.sequence
            ),
            (
                event.span_context,
                event.invocation_id,
                event.timestamp,
                event.sequence
            )
        );
        read.event
    }

    #[test]
    fn every_kind_of_event_goes_there_and_back() {
        let attributes = vec![
            Attribute::new("text", "h\u{e9}"),
            Attribute::new("yes", true),
            Attribute::new("int", i64::MIN),
            Attribute::new("float", f64::INFINITY),
        ];
        let onset = Onset {
            execution_model: "stateless".into(),
            span_id: SpanId(1),
            entrypoint: Some("DB".into()),
            script_name: Some("caller".into()),
            script_tags: vec!["a".into()],
            info: OnsetInfo::default(),
            attributes: attributes.clone(),
        };
        let diagnostic = Diagnostic {
            kind: "droppedEvents".into(),
            count: 91,
        };
        for event in [
            EventKind::Onset(onset),
            EventKind::SpanOpen {
                name: "jsRpcSession".into(),
                span_id: SpanId(2),
            },
            EventKind::Attributes { info: attributes },
            EventKind::Exception {
                name: "TypeError".into(),
                message: "no".into(),
            },
            EventKind::SpanClose {
                outcome: "exceededWallTime".into(),
            },
            EventKind::Return,
            EventKind::StreamDiagnostic { diagnostic },
            EventKind::Outcome {
                outcome: "canceled".into(),
                cpu_time: 1,
                wall_time: 2,
            },
        ] {
            assert_eq!(there_and_back(event.clone()), event);
        }
    }
}
