//! Everything that a real Worker does is told by our tail as by workerd's own: in a file, and to another real tail
//! Worker behind us. What workerd does not do by itself on one machine, a mail for instance, we report to a real
//! tail Worker.

use std::time::{Duration, UNIX_EPOCH};

use binding_span::{InvocationId, SpanId, TraceId};
use js_rpc::{ConnectOptions, Connection};
use serde_json::{Value, json};
use tail::{
    ChannelMessage, ErrorInfo, Event, EventKind, FetchInfo, Header, JsonText, Log, Onset,
    OnsetInfo, Preview, Published, ReturnInfo, ScriptVersion, SpanChange, SpanInfo, SpanStatus,
    StatusCode, StreamContext, WebSocketEvent,
};

use crate::harness::{Builder, Daemon, Recording, Workerd, get, in_file, text, within};

/// What events.js does, and how many invocations it takes.
const CASES: [(&str, usize); 10] = [
    ("logs", 1),
    ("channels", 1),
    ("throws", 1),
    ("throws_no_error", 1),
    ("spans", 1),
    ("scheduled", 2),
    ("queue", 2),
    ("alarm", 3),
    ("socket", 4),
    ("posts", 2),
];

/// A caller that takes events, writes them down and sends them on to the tail Worker of another workerd.
struct Carried {
    source: Workerd,
    behind: Workerd,
    caller: Daemon,
    invocations: usize,
}

impl Carried {
    async fn run(cases: &[(&str, usize)], more: &[&str]) -> Self {
        let behind = Builder::new("called").start().await;
        let to = format!("{}#tail", behind.debug_port());
        let args = [&["--tail-from", "TAIL", "--tail-to", &to], more].concat();
        let caller = Daemon::caller(&args).await;
        let source = Builder::new("events").external("ours", &caller.address());
        let source = source.experimental().start().await;
        for (case, _) in cases {
            let (status, _) = get(&source.http(), &format!("/{case}")).await;
            assert_eq!(
                status,
                if case.starts_with("throws") { 500 } else { 200 },
                "{case}"
            );
        }
        Self {
            source,
            behind,
            caller,
            invocations: cases.iter().map(|(_, count)| count).sum(),
        }
    }

    /// The streams by invocation, sorted: what workerd told its own tail Worker, what is in our file, and what the
    /// tail Worker behind us got.
    async fn streams(&mut self) -> [Vec<Vec<Value>>; 3] {
        let count = self.invocations;
        let own = self
            .source
            .tail(|tail| tail.ended == count)
            .await
            .streams
            .clone();
        let behind = self
            .behind
            .tail(|tail| tail.ended == count)
            .await
            .streams
            .clone();
        let file = in_file(&self.caller.file("tail.jsonl"), count).await;
        let sorted = |mut streams: Vec<Vec<Value>>| {
            streams.sort_by_key(|stream| stream[0]["invocationId"].to_string());
            streams
        };
        [sorted(own), sorted(file), sorted(behind)]
    }
}

fn assert_same(streams: &[Vec<Value>], expected: &[Vec<Value>], who: &str) {
    for (line, expected) in text(streams).iter().zip(&text(expected)) {
        assert!(line == expected, "{who}:\n{line}\n{expected}");
    }
    assert_eq!(text(streams).len(), text(expected).len(), "{who}");
}

#[tokio::test(flavor = "local")]
async fn every_event_of_a_real_worker_is_told_as_workerd_tells_it() {
    within(async {
        let mut carried = Carried::run(&CASES, &["--tail-from-headers", "all"]).await;
        let [own, file, behind] = carried.streams().await;
        let seen = text(&own).join("\n");
        // What they are judged by has it all.
        for kind in [
            r#""type":"log","level":"debug""#,
            r#""truncated":true"#,
            r#""errorInfo":[{"#,
            r#""type":"diagnosticChannel""#,
            r#""stack":"#,
            r#""type":"spanUpdate","info":{"type":"name","name":"second"}"#,
            r#"{"type":"status","status":{"code":"error","message":"boom"}}"#,
            r#""type":"fetch","method":"POST""#,
            r#""type":"scheduled","scheduledTime":"1970-01-01T00:00:01.000Z","cron":"* * * * 1""#,
            r#""type":"queue","queueName":"orders","batchSize":1"#,
            r#""type":"alarm","scheduledTime":"#,
            r#""type":"hibernatableWebSocket","info":{"type":"close","code":1000,"wasClean":true}"#,
            r#""type":"return","info":{"type":"fetch","statusCode":404}"#,
            r#""executionModel":"durableObject""#,
            r#""durableObjectId":"#,
            r#""type":"outcome","outcome":"exception""#,
        ] {
            assert!(seen.contains(kind), "no {kind}");
        }
        assert_same(&file, &own, "the file");
        assert_same(&behind, &own, "the tail Worker behind us");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn secrets_are_left_out_unless_they_are_asked_for() {
    within(async {
        let mut carried = Carried::run(&[("posts", 2)], &[]).await;
        let [own, file, behind] = carried.streams().await;
        assert!(text(&own).join("\n").matches("secret").count() >= 4);
        for streams in [file, behind] {
            let text = text(&streams).join("\n");
            assert!(!text.contains("secret"), "{text}");
            for kept in [
                r#"{"name":"cookie","value":"REDACTED"}"#,
                r#"{"name":"x-kept","value":"kept"}"#,
                "token=REDACTED&page=2",
            ] {
                assert!(text.contains(kept), "no {kept} in {text}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spans_of_a_real_worker_open_late_under_their_final_names() {
    within(async {
        let mut carried = Carried::run(&[("spans", 1)], &["--tail-rename", "late"]).await;
        let [own, file, behind] = carried.streams().await;
        assert!(text(&own)[1].contains(r#""type":"spanOpen","name":"first""#));
        for streams in [file, behind] {
            let all = text(&streams);
            assert!(
                all[1].contains(r#""type":"spanOpen","name":"second""#),
                "{}",
                all[1]
            );
            let all = all.join("\n");
            assert!(!all.contains(r#""name":"first""#), "{all}");
            // The request is no span that opens, so its rename is still one; that and statuses are attributes.
            assert_eq!(
                all.matches(r#"{"name":"span.name","value":"the whole request"}"#)
                    .count(),
                1
            );
            assert_eq!(all.matches(r#"{"name":"otel.status_code","#).count(), 5);
            assert!(!all.contains("spanUpdate"), "{all}");
            let numbers: Vec<&Value> = streams[0].iter().map(|event| &event["sequence"]).collect();
            let expected: Vec<Value> = (0..numbers.len()).map(|n| json!(n)).collect();
            assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_tail_worker_whose_own_events_come_back_is_not_fed_with_them() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let admin = format!("unix:{}/admin", dir.path().display());
        let fed = Builder::new("fed");
        let to = format!("{}#tail", fed.debug_port());
        let args = ["--tail-from", "TAIL", "--tail-to", &to, "--admin", &admin];
        let args = [&args[..], &["--admin-host", "test"]].concat();
        let caller = Daemon::caller(&args).await;
        let mut fed = fed.external("ours", &caller.address()).start().await;
        let port = fed.debug_port();
        let connection = Connection::connect(&port, ConnectOptions::default()).await;
        let main = connection.unwrap().binding("main");
        drop(main.call("add", (1, 2)).await.unwrap());
        fed.tail(|tail| tail.ended == 1).await;
        // The call, and what the tail Worker did with its events.
        let seen = in_file(&caller.file("tail.jsonl"), 2).await;
        let mut kinds: Vec<&Value> = seen
            .iter()
            .map(|s| &s[0]["event"]["info"]["type"])
            .collect();
        kinds.sort_by_key(|kind| kind.to_string());
        assert_eq!(kinds, ["jsrpc", "trace"]);
        // Had it got that, there would be more soon.
        tokio::time::sleep(Duration::from_millis(500)).await;
        in_file(&caller.file("tail.jsonl"), 2).await;
        let (_, metrics) = get(&admin.parse().unwrap(), "/metrics").await;
        let kept = metrics
            .lines()
            .find(|line| line.contains("left_out_events_total{kind=\"tail\"}"));
        let kept: u32 = kept.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(kept >= 3, "{metrics}");
    })
    .await;
}

/// Reports events as one invocation, and gives what a tail Worker printed of them.
async fn printed(
    workerd: &mut Workerd,
    invocation: u128,
    kinds: Vec<EventKind>,
) -> [Vec<String>; 2] {
    let connection = Connection::connect(&workerd.debug_port(), ConnectOptions::default()).await;
    let stream = connection.unwrap().tail_stream("tail");
    let last = EventKind::Outcome {
        outcome: "ok".into(),
        cpu_time: 1,
        wall_time: 2,
    };
    let event = |(i, event)| Event {
        span_context: StreamContext {
            trace_id: TraceId(0x7 << 64),
            span_id: Some(SpanId(8)),
            trace_flags: Some(1),
        },
        invocation_id: InvocationId(invocation),
        timestamp: UNIX_EPOCH + Duration::from_millis(1_795_000_000_123),
        sequence: i as u32,
        event,
    };
    let events: Vec<Event> = kinds
        .into_iter()
        .chain([last])
        .enumerate()
        .map(event)
        .collect();
    let (onset, rest) = events.split_at(1);
    for batch in [onset, rest] {
        let sent = stream.report(batch.len() as u32, |mut list| {
            for (i, event) in batch.iter().enumerate() {
                tail::wire::write_event(event, list.reborrow().get(i as u32));
            }
        });
        sent.await.unwrap();
    }
    let id = json!(format!("{invocation:032x}"));
    let ended = |r: &Recording| {
        let own = r
            .streams
            .iter()
            .find(|stream| stream[0]["invocationId"] == id);
        own.is_some_and(|stream| stream.len() == events.len())
    };
    let recording = workerd.tail(ended).await;
    let own = recording
        .streams
        .iter()
        .find(|stream| stream[0]["invocationId"] == id);
    let ours = events.iter().map(|event| {
        let line: Value = serde_json::from_str(&event.to_line()).unwrap();
        line.to_string()
    });
    [
        own.unwrap().iter().map(Value::to_string).collect(),
        ours.collect(),
    ]
}

fn onset(info: OnsetInfo) -> Onset {
    Onset {
        span_id: SpanId(1),
        info,
        ..Onset::default()
    }
}

#[tokio::test(flavor = "local")]
async fn what_no_worker_does_here_is_written_as_a_tail_worker_prints_it() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let time = Some(UNIX_EPOCH + Duration::from_millis(1_795_000_000_123));
        let request = |method: &'static str| FetchInfo {
            method: method.into(),
            url: "http://shop/?q=\u{1}\u{202e}".into(),
            cf_json: Some(JsonText(r#"{"colo":"AMS","deep":[[1.5,null]]}"#.into())),
            headers: vec![Header {
                name: "accept".into(),
                value: "*/*".into(),
            }],
        };
        let email = OnsetInfo::Email {
            mail_from: "a@x".into(),
            rcpt_to: "b@y".into(),
            raw_size: 42,
        };
        // workerd has an empty name for a service without one.
        let traces = vec![Some("shop".into()), Some(String::new())];
        let alarm = OnsetInfo::Alarm {
            scheduled_time: time,
        };
        let broken = WebSocketEvent::Error;
        let mut onsets: Vec<Onset> = [
            email,
            OnsetInfo::Trace { traces },
            OnsetInfo::Connect,
            OnsetInfo::Custom,
            alarm,
            OnsetInfo::HibernatableWebSocket { info: broken },
        ]
        .map(onset)
        .into();
        // Every method by its number.
        for method in [
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "PURGE",
            "OPTIONS",
            "TRACE",
            "COPY",
            "LOCK",
            "MKCOL",
            "MOVE",
            "PROPFIND",
            "PROPPATCH",
            "SEARCH",
            "UNLOCK",
            "ACL",
            "REPORT",
            "MKACTIVITY",
            "CHECKOUT",
            "MERGE",
            "MSEARCH",
            "NOTIFY",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "QUERY",
            "BAN",
        ] {
            onsets.push(onset(OnsetInfo::Fetch(Box::new(request(method)))));
        }
        onsets.push(Onset {
            execution_model: "workflow".into(),
            dispatch_namespace: Some("space".into()),
            entrypoint: Some("Entry".into()),
            durable_object_id: Some("da07".into()),
            script_name: Some("shop".into()),
            script_tags: vec!["a".into(), "b".into()],
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
            ..onset(OnsetInfo::default())
        });
        for (i, onset) in onsets.into_iter().enumerate() {
            let kinds = vec![EventKind::Onset(Box::new(onset))];
            let [theirs, ours] = printed(&mut workerd, (1 << 64) + i as u128, kinds).await;
            assert_eq!(ours, theirs);
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_happens_within_is_written_as_a_tail_worker_prints_it() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let open = |info| EventKind::SpanOpen {
            name: "s".into(),
            span_id: SpanId(2),
            info,
        };
        let status = |code, message: Option<&str>| EventKind::SpanUpdate {
            info: SpanChange::Status {
                status: SpanStatus {
                    code,
                    message: message.map(str::to_owned),
                },
            },
        };
        let log = |message: &str, truncated, error_info| {
            EventKind::Log(Log {
                level: "warn".into(),
                message: message.into(),
                truncated,
                error_info,
            })
        };
        let slot = ErrorInfo {
            name: "TypeError".into(),
            message: "bad".into(),
            stack: None,
        };
        let published = |message| {
            EventKind::DiagnosticChannel(ChannelMessage {
                channel: "c".into(),
                message,
            })
        };
        let attributes = vec![binding_span::Attribute::new("k", "v")];
        let request = FetchInfo {
            method: "PUT".into(),
            url: "http://x/".into(),
            ..FetchInfo::default()
        };
        let kinds = vec![
            EventKind::Onset(Box::new(onset(OnsetInfo::default()))),
            open(None),
            open(Some(SpanInfo::Fetch(Box::new(request)))),
            open(Some(SpanInfo::Jsrpc {
                method: Some("m".into()),
            })),
            open(Some(SpanInfo::Attributes { info: attributes })),
            EventKind::SpanUpdate {
                info: SpanChange::Name {
                    name: "n\u{1}".into(),
                },
            },
            status(StatusCode::Error, Some("boom")),
            status(StatusCode::Error, Some("")),
            status(StatusCode::Error, None),
            status(StatusCode::Ok, None),
            status(StatusCode::Unset, None),
            log(
                r#"["a",{"b":[1,1e21,0.1]}]"#,
                false,
                Some(vec![Some(slot), None]),
            ),
            log("[\"cut \u{1b}", true, None),
            // As a line has it, sent on.
            published(Published::Json(JsonText(r#"{"a":[1,null,"x"]}"#.into()))),
            published(Published::Undefined),
            EventKind::Exception {
                name: "E".into(),
                message: "m".into(),
                stack: Some("  at x\n".into()),
            },
            EventKind::Return {
                info: Some(ReturnInfo::Fetch { status_code: 418 }),
            },
        ];
        let [theirs, ours] = printed(&mut workerd, 7 << 64, kinds).await;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
    })
    .await;
}
