//! Events -> Cap'n Proto.

use std::time::{SystemTime, UNIX_EPOCH};

use binding_span::wire::{write_attribute, write_span_context, write_trace_id};
use binding_span::{Attribute, SpanContext};
use binding_span_schema::binding_span_capnp::attribute;
use binding_span_schema::tail_stream_capnp::{
    diagnostic_channel_event, fetch_info, log, onset, outcome, span_open, span_update, tail_event,
};
use capnp::struct_list;

use super::{LEVELS, METHODS, MODELS, OUTCOMES, number};
use crate::json::date;
use crate::{
    ChannelMessage, Event, EventKind, FetchInfo, Log, Onset, OnsetInfo, Published, ReturnInfo,
    SpanChange, SpanInfo, StatusCode, StreamContext, WebSocketEvent,
};

fn outcome_named(name: &str) -> outcome::Kind {
    let known = OUTCOMES.iter().find(|(_, word)| *word == name);
    known.map_or(outcome::Kind::Unknown, |(kind, _)| *kind)
}

/// Writes an event. One of a kind that is not known, or a `spanUpdate` of an unknown one, is left as the onset or
/// the rename that an empty event is: do not send it. Details that are not known are left out.
pub fn write_event(event: &Event, mut to: tail_event::Builder<'_>) {
    let StreamContext {
        trace_id,
        span_id,
        trace_flags,
    } = event.span_context;
    let context = SpanContext {
        trace_id,
        span_id: span_id.unwrap_or_default(),
        flags: trace_flags,
    };
    write_span_context(&context, to.reborrow().init_span_context());
    write_trace_id(event.invocation_id.0, to.reborrow().init_invocation_id());
    let timestamp = nanoseconds(event.timestamp);
    to.set_timestamp_ns(timestamp);
    to.set_sequence(event.sequence);
    let to = to.init_event();
    match &event.event {
        EventKind::Onset(onset) => write_onset(onset, to.init_onset()),
        EventKind::SpanOpen {
            name,
            span_id,
            info,
        } => {
            let mut open = to.init_span_open();
            open.set_operation_name(name);
            open.set_span_id(span_id.0);
            write_span_info(info.as_ref(), open.init_info());
        }
        EventKind::SpanUpdate { info } => write_update(info, to.init_span_update()),
        EventKind::Attributes { info } => {
            write_attributes(info, to.init_attribute(info.len() as u32));
        }
        EventKind::Exception {
            name,
            message,
            stack,
        } => {
            let mut exception = to.init_exception();
            exception.set_timestamp_ns(timestamp);
            exception.set_name(name);
            exception.set_message(message);
            if let Some(stack) = stack {
                exception.set_stack(stack);
            }
        }
        EventKind::Log(log) => write_log(log, timestamp, to.init_log()),
        EventKind::DiagnosticChannel(message) => {
            write_published(message, timestamp, to.init_diagnostic_channel_event());
        }
        EventKind::SpanClose { outcome } => {
            to.init_span_close().set_outcome(outcome_named(outcome));
        }
        EventKind::Return { info } => {
            let to = to.init_return().init_info();
            if let Some(ReturnInfo::Fetch { status_code }) = info {
                to.init_fetch().set_status_code(*status_code);
            }
        }
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
    to.set_execution_model(number(&MODELS, &onset.execution_model));
    if let Some(name) = &onset.script_name {
        to.set_script_name(name);
    }
    if let Some(id) = &onset.script_id {
        to.set_script_id(id);
    }
    if let Some(namespace) = &onset.dispatch_namespace {
        to.set_dispatch_namespace(namespace);
    }
    if let Some(id) = &onset.durable_object_id {
        to.set_durable_object_id(id);
    }
    if let Some(entrypoint) = &onset.entrypoint {
        to.set_entry_point(entrypoint);
    }
    if let Some(version) = &onset.script_version {
        let mut to = to.reborrow().init_script_version();
        let id = version.id.unwrap_or_default();
        to.set_id_high((id >> 64) as u64);
        to.set_id_low(id as u64);
        if let Some(tag) = &version.tag {
            to.set_tag(tag);
        }
        if let Some(message) = &version.message {
            to.set_message(message);
        }
    }
    if let Some(preview) = &onset.preview {
        let mut to = to.reborrow().init_preview();
        to.set_id(&preview.id);
        to.set_slug(&preview.slug);
        to.set_name(&preview.name);
    }
    let tags = to.reborrow();
    let mut tags = tags.init_script_tags(onset.script_tags.len() as u32);
    for (i, tag) in onset.script_tags.iter().enumerate() {
        tags.set(i as u32, tag);
    }
    write_onset_info(&onset.info, to.reborrow().init_info());
    to.set_span_id(onset.span_id.0);
    let attributes = to.init_attributes(onset.attributes.len() as u32);
    write_attributes(&onset.attributes, attributes);
}

fn write_onset_info(info: &OnsetInfo, to: onset::info::Builder<'_>) {
    match info {
        OnsetInfo::Fetch(fetch) => write_fetch(fetch, to.init_fetch()),
        OnsetInfo::Jsrpc { method } => {
            let mut to = to.init_js_rpc();
            if let Some(method) = method {
                to.set_method_name(method);
            }
        }
        OnsetInfo::Scheduled {
            scheduled_time,
            cron,
        } => {
            let mut to = to.init_scheduled();
            to.set_scheduled_time(date::millis(*scheduled_time));
            to.set_cron(cron);
        }
        OnsetInfo::Alarm { scheduled_time } => {
            // Of NaN it makes 0, which is what is left.
            let millis = date::millis(*scheduled_time) as i64;
            to.init_alarm().set_scheduled_time_ms(millis);
        }
        OnsetInfo::Queue {
            queue_name,
            batch_size,
        } => {
            let mut to = to.init_queue();
            to.set_queue_name(queue_name);
            to.set_batch_size(*batch_size);
        }
        OnsetInfo::Email {
            mail_from,
            rcpt_to,
            raw_size,
        } => {
            let mut to = to.init_email();
            to.set_mail_from(mail_from);
            to.set_rcpt_to(rcpt_to);
            to.set_raw_size(*raw_size);
        }
        OnsetInfo::Trace { traces } => {
            let mut to = to.init_trace().init_traces(traces.len() as u32);
            for (i, name) in traces.iter().enumerate() {
                if let Some(name) = name {
                    to.reborrow().get(i as u32).set_script_name(name);
                }
            }
        }
        OnsetInfo::HibernatableWebSocket { info } => {
            let mut to = to.init_hibernatable_web_socket().init_type();
            match info {
                WebSocketEvent::Close { code, was_clean } => {
                    let mut to = to.init_close();
                    to.set_code(*code);
                    to.set_was_clean(*was_clean);
                }
                WebSocketEvent::Error => to.set_error(()),
                WebSocketEvent::Message | WebSocketEvent::Unknown => to.set_message(()),
            }
        }
        OnsetInfo::Connect => drop(to.init_connect()),
        OnsetInfo::Custom | OnsetInfo::Unknown => drop(to.init_custom()),
    }
}

fn write_fetch(fetch: &FetchInfo, mut to: fetch_info::Builder<'_>) {
    to.set_method(number(&METHODS, &fetch.method));
    to.set_url(&fetch.url);
    to.set_cf_json(fetch.cf_json.as_ref().map_or("", |json| json.0.as_str()));
    let mut to = to.init_headers(fetch.headers.len() as u32);
    for (i, header) in fetch.headers.iter().enumerate() {
        let mut to = to.reborrow().get(i as u32);
        to.set_name(&header.name);
        to.set_value(&header.value);
    }
}

fn write_span_info(info: Option<&SpanInfo>, mut to: span_open::info::Builder<'_>) {
    match info {
        None | Some(SpanInfo::Unknown) => to.set_empty(()),
        Some(SpanInfo::Fetch(fetch)) => write_fetch(fetch, to.init_fetch()),
        Some(SpanInfo::Jsrpc { method }) => {
            let mut to = to.init_js_rpc();
            if let Some(method) = method {
                to.set_method_name(method);
            }
        }
        Some(SpanInfo::Attributes { info }) => {
            write_attributes(info, to.init_custom(info.len() as u32));
        }
    }
}

fn write_update(info: &SpanChange, mut to: span_update::Builder<'_>) {
    match info {
        SpanChange::Name { name } => to.set_name(name),
        SpanChange::Status { status } => {
            let mut to = to.init_status();
            to.set_code(match status.code {
                StatusCode::Unset | StatusCode::Unknown => 0,
                StatusCode::Ok => 1,
                StatusCode::Error => 2,
            });
            let mut to = to.init_message();
            match &status.message {
                Some(message) => to.set_some(message),
                None => to.set_none(()),
            }
        }
        SpanChange::Unknown => {}
    }
}

fn write_log(log: &Log, timestamp: i64, mut to: log::Builder<'_>) {
    to.set_timestamp_ns(timestamp);
    to.set_level(number(&LEVELS, &log.level));
    to.set_message(&log.message);
    to.set_truncated(log.truncated);
    let Some(errors) = &log.error_info else {
        return;
    };
    let mut to = to.init_error_info(errors.len() as u32);
    for (i, error) in errors.iter().enumerate() {
        let mut slot = to.reborrow().get(i as u32);
        match error {
            None => slot.set_none(()),
            Some(error) => {
                let mut info = slot.init_info();
                info.set_name(&error.name);
                info.set_message(&error.message);
                if let Some(stack) = &error.stack {
                    info.set_stack(stack);
                }
            }
        }
    }
}

fn write_published(
    message: &ChannelMessage,
    timestamp: i64,
    mut to: diagnostic_channel_event::Builder<'_>,
) {
    to.set_timestamp_ns(timestamp);
    to.set_channel(&message.channel);
    let encode = |value: js_value::Value| js_value::encode(&value).unwrap_or_default();
    match &message.message {
        Published::Serialized(bytes) => to.set_message(bytes),
        Published::Undefined => to.set_message(&encode(js_value::Value::Undefined)),
        Published::TooLarge => to.set_message(&encode(js_value::Value::Null)),
        Published::Json(json) => {
            let value = js_value::Value::from_json(json.value());
            to.set_message(&encode(value.unwrap_or(js_value::Value::Null)));
        }
    }
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
