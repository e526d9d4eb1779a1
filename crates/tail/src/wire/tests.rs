//! Every kind of event there and back, and what hostile and future peers send.

use std::time::{Duration, UNIX_EPOCH};

use binding_span::wire::write_attribute;
use binding_span::{Attribute, InvocationId, SpanId, TraceId};
use binding_span_schema::tail_stream_capnp::tail_event;
use serde_json::json;

use super::*;
use crate::{
    ChannelMessage, Diagnostic, ErrorInfo, Event, EventKind, FetchInfo, Header, JsonText, Log,
    MAX_LINE, Onset, OnsetInfo, Preview, Published, ReturnInfo, ScriptVersion, SpanChange,
    SpanInfo, SpanStatus, StatusCode, StreamContext, WebSocketEvent,
};

fn event(event: EventKind) -> Event {
    Event {
        span_context: StreamContext {
            trace_id: TraceId(7),
            span_id: Some(SpanId(8)),
            trace_flags: Some(1),
        },
        invocation_id: InvocationId(9),
        timestamp: UNIX_EPOCH + Duration::from_nanos(1_795_000_000_123_456_789),
        sequence: 4,
        event,
    }
}

type Message = capnp::message::Builder<capnp::message::HeapAllocator>;

fn written(event: &Event) -> Message {
    let mut message = Message::new_default();
    write_event(event, message.init_root());
    message
}

fn read(message: &Message, headers: Headers) -> (Event, Found) {
    let mut found = Found::default();
    let read = read_event(message.get_root_as_reader().unwrap(), headers, &mut found);
    (read.unwrap(), found)
}

fn request() -> FetchInfo {
    let header = |name: &str, value: &str| Header {
        name: name.into(),
        value: value.into(),
    };
    FetchInfo {
        method: "DELETE".into(),
        url: "http://shop/x?q=1".into(),
        cf_json: Some(JsonText(r#"{"colo":"AMS"}"#.into())),
        headers: vec![header("accept", "*/*"), header("cookie", "a=b")],
    }
}

fn attributes() -> Vec<Attribute> {
    vec![
        Attribute::new("text", "h\u{e9}"),
        Attribute::new("yes", true),
        Attribute::new("int", i64::MIN),
        Attribute::new("float", f64::INFINITY),
    ]
}

fn infos() -> Vec<OnsetInfo> {
    let time = Some(UNIX_EPOCH + Duration::from_millis(1_795_000_000_123));
    let close = WebSocketEvent::Close {
        code: 1001,
        was_clean: true,
    };
    let sockets = [WebSocketEvent::Message, close, WebSocketEvent::Error];
    let mut all = vec![
        OnsetInfo::Fetch(Box::new(request())),
        OnsetInfo::Jsrpc {
            method: Some("query".into()),
        },
        OnsetInfo::default(),
        OnsetInfo::Scheduled {
            scheduled_time: time,
            cron: "* * * * 1".into(),
        },
        OnsetInfo::Alarm {
            scheduled_time: time,
        },
        OnsetInfo::Queue {
            queue_name: "q".into(),
            batch_size: 3,
        },
        OnsetInfo::Email {
            mail_from: "a@x".into(),
            rcpt_to: "b@y".into(),
            raw_size: 42,
        },
        OnsetInfo::Trace {
            traces: vec![Some("shop".into()), None],
        },
        OnsetInfo::Connect,
        OnsetInfo::Custom,
    ];
    all.extend(sockets.map(|info| OnsetInfo::HibernatableWebSocket { info }));
    all
}

/// One of every kind, with everything that it can have and with nothing.
fn every_kind() -> Vec<EventKind> {
    let full = Onset {
        execution_model: "durableObject".into(),
        span_id: SpanId(1),
        dispatch_namespace: Some("space".into()),
        entrypoint: Some("DB".into()),
        durable_object_id: Some("da07".into()),
        script_name: Some("caller".into()),
        script_tags: vec!["a".into()],
        script_version: Some(Box::new(ScriptVersion {
            id: Some(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            tag: Some("v1".into()),
            message: Some("first".into()),
        })),
        preview: Some(Box::new(Preview {
            id: "1".into(),
            slug: "pre".into(),
            name: "view".into(),
        })),
        attributes: attributes(),
        info: OnsetInfo::default(),
        script_id: Some("id".into()),
    };
    let mut all: Vec<EventKind> = infos()
        .into_iter()
        .map(|info| {
            EventKind::Onset(Box::new(Onset {
                info,
                ..full.clone()
            }))
        })
        .collect();
    all.push(EventKind::Onset(Box::new(Onset {
        span_id: SpanId(1),
        ..Onset::default()
    })));
    for info in [
        None,
        Some(SpanInfo::Fetch(Box::new(request()))),
        Some(SpanInfo::Jsrpc {
            method: Some("add".into()),
        }),
        Some(SpanInfo::Attributes { info: attributes() }),
    ] {
        all.push(EventKind::SpanOpen {
            name: "jsRpcSession".into(),
            span_id: SpanId(2),
            info,
        });
    }
    let name = SpanChange::Name { name: "n".into() };
    let status = |code, message: Option<&str>| SpanChange::Status {
        status: SpanStatus {
            code,
            message: message.map(str::to_owned),
        },
    };
    for info in [
        name,
        status(StatusCode::Error, Some("boom")),
        status(StatusCode::Error, Some("")),
        status(StatusCode::Ok, None),
        status(StatusCode::Unset, None),
    ] {
        all.push(EventKind::SpanUpdate { info });
    }
    let slot = ErrorInfo {
        name: "TypeError".into(),
        message: "bad".into(),
        stack: Some("    at x".into()),
    };
    for (level, truncated, error_info) in [
        ("debug", false, None),
        ("warn", true, None),
        ("error", false, Some(vec![Some(slot), None])),
    ] {
        all.push(EventKind::Log(Log {
            level: level.into(),
            message: r#"["said",{"a":1}]"#.into(),
            truncated,
            error_info,
        }));
    }
    all.push(EventKind::DiagnosticChannel(ChannelMessage {
        channel: "c".into(),
        message: Published::Serialized(b"\xff\x0fI\x06".to_vec()),
    }));
    let exception = |stack: Option<&str>| EventKind::Exception {
        name: "TypeError".into(),
        message: "no".into(),
        stack: stack.map(str::to_owned),
    };
    all.extend([exception(None), exception(Some("    at y"))]);
    let returned = |info| EventKind::Return { info };
    all.extend([
        EventKind::Attributes { info: attributes() },
        EventKind::SpanClose {
            outcome: "exceededWallTime".into(),
        },
        returned(None),
        returned(Some(ReturnInfo::Fetch { status_code: 204 })),
        EventKind::StreamDiagnostic {
            diagnostic: Diagnostic {
                kind: "droppedEvents".into(),
                count: 91,
            },
        },
        EventKind::Outcome {
            outcome: "canceled".into(),
            cpu_time: 1,
            wall_time: 2,
        },
    ]);
    all
}

#[test]
fn every_kind_of_event_goes_there_and_back_on_the_wire() {
    for kind in every_kind() {
        let event = event(kind);
        let (read, found) = read(&written(&event), Headers::All);
        assert_eq!((read, found), (event, Found::default()));
    }
}

#[test]
fn every_kind_of_event_goes_there_and_back_as_a_line() {
    for kind in every_kind() {
        let line = event(kind).to_line();
        let read = Event::from_line(&line).unwrap();
        assert_eq!(read.to_line(), line);
        // What was read from a line can be sent, and says the same.
        let sent = self::read(&written(&read), Headers::All).0;
        assert_eq!(sent.to_line(), line);
    }
}

#[test]
fn secrets_of_requests_are_left_out_where_they_begin_something() {
    let onset = EventKind::Onset(Box::new(Onset {
        info: OnsetInfo::Fetch(Box::new(request())),
        ..Onset::default()
    }));
    let open = EventKind::SpanOpen {
        name: "fetch".into(),
        span_id: SpanId(2),
        info: Some(SpanInfo::Fetch(Box::new(request()))),
    };
    for kind in [onset, open] {
        let message = written(&event(kind));
        let line = |headers| read(&message, headers).0.to_line();
        assert!(line(Headers::All).contains(r#"{"name":"cookie","value":"a=b"}"#));
        let redacted = line(Headers::Redacted);
        assert!(
            redacted.contains(r#"{"name":"cookie","value":"REDACTED"}"#),
            "{redacted}"
        );
        assert!(redacted.contains("*/*") && redacted.contains("q=1"));
        assert!(line(Headers::None).contains(r#""headers":[]"#));
    }
}

#[test]
fn what_a_later_version_says_is_named() {
    // The u16 at the event's union, at an onset's info and at a status; the rest is as ours.
    let mut messages = Vec::new();
    for kind in every_kind() {
        let message = written(&event(kind));
        messages.push(capnp::serialize::write_message_to_words(&message));
    }
    let mut named = Vec::new();
    for words in &messages {
        for at in (8..words.len()).step_by(2) {
            let mut words = words.clone();
            if words[at..at + 2] == [0xe7, 0x03] {
                continue;
            }
            words[at..at + 2].copy_from_slice(&999_u16.to_le_bytes());
            let mut found = Found::default();
            let read =
                capnp::serialize::read_message(&words[..], capnp::message::ReaderOptions::new());
            let Ok(read) = read else { continue };
            let Ok(root) = read.get_root::<tail_event::Reader<'_>>() else {
                continue;
            };
            if let Ok(event) = read_event(root, Headers::All, &mut found) {
                let _ = event.to_line();
            }
            named.extend(
                found
                    .unknown
                    .iter()
                    .filter(|u| u.discriminant == 999)
                    .map(|u| u.of),
            );
        }
    }
    named.sort_unstable();
    named.dedup();
    let all = [
        "attribute.value",
        "event",
        "executionModel",
        "hibernatableWebSocket",
        "log.errorInfo",
        "log.level",
        "method",
        "onset.info",
        "outcome",
        "return.info",
        "spanOpen.info",
        "spanUpdate",
        "status",
        "status.message",
        "streamDiagnostics",
    ];
    assert_eq!(named, all);
}

/// Texts of a hostile peer: everything that a line has to escape.
fn large(bytes: usize) -> String {
    "\u{1}\u{202e}".repeat(bytes / 4)
}

#[test]
fn an_event_is_cut_to_what_readers_take_and_counted_with_all_it_holds() {
    const MIB: usize = 1024 * 1024;
    let slots = (0..2000).map(|_| {
        Some(ErrorInfo {
            name: large(1024),
            message: large(1024),
            stack: None,
        })
    });
    let log = |message: String, error_info| {
        EventKind::Log(Log {
            level: "log".into(),
            message,
            truncated: false,
            error_info,
        })
    };
    let request = FetchInfo {
        url: large(MIB),
        headers: vec![Header::default(); 5000],
        ..request()
    };
    for (kind, cut) in [
        (log(large(2 * MIB), None), 1),
        (log("[".repeat(MIB / 2), None), 0),
        (log(String::new(), Some(slots.collect())), 2),
        (
            EventKind::Attributes {
                info: vec![Attribute::new("k", large(MIB))],
            },
            1,
        ),
        (
            EventKind::Attributes {
                info: vec![Attribute::new("k", vec![large(MIB / 4); 8])],
            },
            1,
        ),
        (
            EventKind::Exception {
                name: large(MIB),
                message: large(MIB),
                stack: Some(large(MIB)),
            },
            3,
        ),
        (
            EventKind::Onset(Box::new(Onset {
                info: OnsetInfo::Fetch(Box::new(request)),
                ..Onset::default()
            })),
            2,
        ),
        (
            EventKind::DiagnosticChannel(ChannelMessage {
                channel: "c".into(),
                message: Published::Serialized(vec![0; MIB]),
            }),
            1,
        ),
    ] {
        let (read, found) = read(&written(&event(kind)), Headers::Redacted);
        assert!(found.cut >= cut, "{}", found.cut);
        let line = read.to_line();
        assert!(line.len() <= MAX_LINE, "{}", line.len());
        let again = Event::from_line(&line).unwrap();
        assert_eq!(again.to_line().len(), line.len());
        // A line holds no more than six bytes for one that was counted.
        assert!(
            line.len() < 6 * read.size() + 1024,
            "{} of {}",
            line.len(),
            read.size()
        );
    }
}

#[test]
fn a_log_that_was_cut_says_so_as_workerd_does() {
    let log = EventKind::Log(Log {
        level: "info".into(),
        message: format!("[\"{}\"]", "é".repeat(512 * 1024)),
        truncated: false,
        error_info: None,
    });
    let (read, found) = read(&written(&event(log)), Headers::All);
    let EventKind::Log(log) = &read.event else {
        panic!("{read:?}");
    };
    assert!(log.truncated && found.cut == 1 && log.message.ends_with('é'));
}

#[test]
fn several_values_are_a_list_and_of_several_types_their_json() {
    let mut message = Message::new_default();
    let root: tail_event::Builder<'_> = message.init_root();
    let mut list = root.init_event().init_attribute(4);
    list.reborrow().get(0).set_name("list");
    let mut values = list.reborrow().get(0).init_value(3);
    values.reborrow().get(0).set_string("a");
    values.reborrow().get(1).set_int64(1);
    values.get(2).set_bool(true);
    list.reborrow().get(1).set_name("empty");
    list.reborrow().get(1).init_value(0);
    let reasons = Attribute::new("reasons", ["stop", "length"]);
    let doubles = Attribute::new("doubles", [1.0, f64::NAN]);
    for (i, Attribute { key, value }) in [(2, &reasons), (3, &doubles)] {
        write_attribute(list.reborrow().get(i), key, value);
    }
    let (read, _) = read(&message, Headers::All);
    let line: serde_json::Value = serde_json::from_str(&read.to_line()).unwrap();
    let values = json!([
        {"name": "list", "value": "[\"a\",1,true]"},
        {"name": "empty", "value": "[]"},
        {"name": "reasons", "value": ["stop", "length"]},
        {"name": "doubles", "value": [1.0, "NaN"]},
    ]);
    assert_eq!(line["event"]["info"], values);
    let EventKind::Attributes { info } = &read.event else {
        panic!("{read:?}");
    };
    assert_eq!(info[2], reasons);
    // What is sent on is what came.
    let again = self::read(&written(&read), Headers::All).0;
    assert_eq!(again.to_line(), read.to_line());
}

#[test]
fn lists_without_a_text_are_held_to_the_bytes_of_an_event() {
    let attribute = |i: u32| Attribute::new(format!("k{i}"), vec![""; 5000]);
    let info = (0..1000).map(attribute).collect();
    let (read, found) = read(
        &written(&event(EventKind::Attributes { info })),
        Headers::All,
    );
    assert!(found.cut > 900, "{}", found.cut);
    assert!(read.size() < 2 * 1024 * 1024, "{}", read.size());
}
