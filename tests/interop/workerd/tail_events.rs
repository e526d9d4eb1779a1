//! A real streaming tail Worker judges our tail: the three scenarios of the enrichment proposal, order,
//! types, losses. And we are a tail ourselves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use binding_span::{
    Attribute, InvocationId, Outcome, Sinks, SpanClose, SpanContext, SpanKind, SpanOpen, SpanRef,
    SpanSink,
};
use daemons::tail_from::TailTaker;
use daemons::tail_to::TailSender;
use js_rpc::{
    Address, Args, Binding, ConnectOptions, Connection, Context, Enrichment, JsError, Server,
    Service, ServiceResult, async_trait, reply, unknown_method,
};
use serde_json::{Value, json};
use tail::{Feed, QueueLimits};
use tokio::sync::mpsc;

use crate::harness::{Builder, Ours, Recording, Workerd, attributes_of, renamed, within};

/// A service that enriches as the proposal's own scenarios do.
struct Scenarios;

#[async_trait(?Send)]
impl Service for Scenarios {
    async fn call(&self, method: &str, _args: Args, cx: &Context) -> ServiceResult {
        let said = Enrichment::new;
        match method {
            "name_and_attributes" => {
                let said = said().name("kv.get").attribute("kv.key", "user:7");
                cx.enrich(
                    said.attribute("kv.bytes", 1024_i64)
                        .attribute("kv.hit", true),
                );
            }
            "merging" => {
                cx.enrich(said().name("first").attribute("a", 1_i64));
                cx.enrich(
                    said()
                        .name("second")
                        .attribute("a", 2_i64)
                        .attribute("b", "x"),
                );
                cx.enrich(said().attribute("c", 0.5));
            }
            "not_finite" => {
                let said = said().attribute("inf", f64::INFINITY);
                let said = said.attribute("minus_inf", f64::NEG_INFINITY);
                cx.enrich(said.attribute("nan", f64::NAN).attribute("marker", "here"));
            }
            "lists" => {
                let said = said().attribute("strings", ["stop", "length"]);
                let said = said.attribute("integers", [1_i64, i64::MAX]);
                let said = said.attribute("doubles", [0.5, 2.0]);
                cx.enrich(
                    said.attribute("bools", [true, false])
                        .attribute("one", ["stop"]),
                );
            }
            "fails" => return Err(JsError::range_error("too far")),
            _ => return unknown_method(method),
        }
        reply(&"done")
    }
}

/// Calls of `Scenarios` whose tail goes to the tail Worker of a workerd.
struct Tailed {
    workerd: Workerd,
    binding: Binding,
    _callee: Ours,
    _sender: TailSender,
}

impl Tailed {
    async fn start() -> Self {
        let workerd = Builder::new("called").start().await;
        let callee = Ours::serve(Server::new().service("SVC", Scenarios)).await;
        let (feed, sender) = feed_to(&workerd.debug_port(), "tail", QueueLimits::default());
        let sinks: Sinks = Arc::new([feed as Arc<dyn SpanSink>]);
        let options = ConnectOptions {
            sinks,
            ..ConnectOptions::default()
        };
        let connection = Connection::connect(callee.address(), options).await;
        Self {
            workerd,
            binding: connection.unwrap().binding("SVC"),
            _callee: callee,
            _sender: sender,
        }
    }

    async fn stream_of(&mut self, method: &str) -> Vec<Value> {
        // A failure is as good as a result here.
        let _ = self.binding.call(method, ()).await;
        let recording = self.workerd.tail(|tail| tail.ended == 1).await;
        recording.streams[0].clone()
    }
}

fn feed_to(address: &Address, name: &str, limits: QueueLimits) -> (Arc<Feed>, TailSender) {
    let feed = Arc::new(Feed::new());
    let sender = TailSender::start(address.clone(), name.to_owned(), limits).unwrap();
    feed.subscribe(sender.sink());
    (feed, sender)
}

/// The id of the span that an event opened.
fn session(stream: &[Value]) -> &Value {
    let opened = |event: &&Value| event["event"]["name"] == "jsRpcSession";
    &stream.iter().find(opened).unwrap()["event"]["spanId"]
}

fn kinds(stream: &[Value]) -> Vec<&str> {
    let kinds = stream.iter().map(|event| event["event"]["type"].as_str());
    kinds.flatten().collect()
}

/// What the callee said, of all attributes of the session's span.
fn said(stream: &[Value]) -> Value {
    let own = ["rpc.", "jsrpc.", "span.name"];
    let all = attributes_of(stream, session(stream)).into_iter();
    let said = all.filter(|(name, _)| !own.iter().any(|own| name.starts_with(own)));
    said.map(|(name, value)| json!([name, value])).collect()
}

#[tokio::test(flavor = "local")]
async fn lists_arrive_as_arrays_and_one_of_a_single_element_as_that() {
    within(async {
        let stream = Tailed::start().await.stream_of("lists").await;
        let expected = json!([
            ["strings", ["stop", "length"]],
            ["integers", [{"int64": "1"}, {"int64": i64::MAX.to_string()}]],
            ["doubles", [0.5, 2]],
            ["bools", [true, false]],
            ["one", "stop"],
        ]);
        assert_eq!(said(&stream), expected);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_name_and_three_attributes_of_mixed_types_arrive() {
    within(async {
        let stream = Tailed::start().await.stream_of("name_and_attributes").await;
        assert_eq!(renamed(&stream, session(&stream)), Some("kv.get"));
        // Natively as well, as workerd's own `span.updateName()` is seen.
        let update = &stream[3];
        let info = json!({"type": "spanUpdate", "info": {"type": "name", "name": "kv.get"}});
        assert_eq!(update["event"], info);
        assert_eq!(&update["spanContext"]["spanId"], session(&stream));
        let expected =
            json!([["kv.key", "user:7"], ["kv.bytes", {"int64": "1024"}], ["kv.hit", true]]);
        assert_eq!(said(&stream), expected);
        assert_eq!(
            kinds(&stream),
            [
                "onset",
                "spanOpen",
                "attributes",
                "spanUpdate",
                "attributes",
                "attributes",
                "spanClose",
                "return",
                "outcome"
            ]
        );
        for (i, event) in stream.iter().enumerate() {
            assert_eq!(event["sequence"], json!(i));
            assert_eq!(event["invocationId"], stream[0]["invocationId"]);
            assert_eq!(
                event["spanContext"]["traceId"],
                stream[0]["spanContext"]["traceId"]
            );
        }
        // In the shape of workerd's own: see the last test.
        let onset = r#"{"spanContext":{"traceId":0},"invocationId":1,"timestamp":"time","sequence":0,"event":{"type":"onset","executionModel":"stateless","spanId":2,"entrypoint":"SVC","scriptTags":[],"info":{"type":"jsrpc"}}}"#;
        assert_eq!(shape(&stream)[0], onset);
        assert_eq!(stream[0]["event"]["entrypoint"], "SVC");
        assert_eq!(stream.last().unwrap()["event"]["outcome"], "ok");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn three_calls_merge_and_the_last_has_no_name() {
    within(async {
        let stream = Tailed::start().await.stream_of("merging").await;
        assert_eq!(renamed(&stream, session(&stream)), Some("second"));
        let expected = json!([["a", {"int64": "2"}], ["b", "x"], ["c", 0.5]]);
        assert_eq!(said(&stream), expected);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn infinity_and_nan_arrive_next_to_a_marker() {
    within(async {
        let stream = Tailed::start().await.stream_of("not_finite").await;
        assert_eq!(renamed(&stream, session(&stream)), None);
        let expected = json!([
            ["inf", {"float64": "Infinity"}],
            ["minus_inf", {"float64": "-Infinity"}],
            ["nan", {"float64": "NaN"}],
            ["marker", "here"]
        ]);
        assert_eq!(said(&stream), expected);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_failed_call_ends_as_an_exception() {
    within(async {
        let stream = Tailed::start().await.stream_of("fails").await;
        let thrown = stream
            .iter()
            .find(|e| e["event"]["type"] == "exception")
            .unwrap();
        assert_eq!(thrown["event"]["name"], "RangeError");
        assert_eq!(thrown["event"]["message"], "too far");
        assert_eq!(said(&stream), json!([["error.type", "RangeError"]]));
        let status = json!({"type": "status", "status": {"code": "error", "message": "too far"}});
        let updates = stream.iter().filter(|e| e["event"]["type"] == "spanUpdate");
        let updates: Vec<&Value> = updates.map(|e| &e["event"]["info"]).collect();
        assert_eq!(updates, [&status]);
        assert_eq!(stream.last().unwrap()["event"]["outcome"], "exception");
    })
    .await;
}

/// Reports a span with so many attributes, in one go.
fn burst(feed: &Feed, attributes: usize) {
    let span = SpanRef {
        context: SpanContext::root(),
        invocation: InvocationId::random(),
    };
    let time = SystemTime::now();
    feed.open(&SpanOpen {
        span,
        parent: None,
        name: "jsRpcSession",
        kind: SpanKind::Client,
        root: true,
        time,
        attributes: &[],
    });
    for n in 0..attributes {
        feed.attributes(span, &[Attribute::new(format!("a{n}"), n)]);
    }
    feed.close(&SpanClose {
        span,
        outcome: Outcome::Ok,
        error: None,
        time,
    });
}

#[tokio::test(flavor = "local")]
async fn a_receiver_that_is_too_slow_is_told_how_much_it_lost() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let limits = QueueLimits {
            events: 16,
            ..QueueLimits::default()
        };
        let (feed, _sender) = feed_to(&workerd.debug_port(), "tail", limits);
        burst(&feed, 20_000);
        let recording = workerd.tail(|tail| tail.ended == 1).await;
        let stream = &recording.streams[0];
        let arrived = stream
            .iter()
            .filter(|e| e["event"]["type"] == "attributes")
            .count();
        let told = stream
            .iter()
            .find(|e| e["event"]["type"] == "streamDiagnostic");
        let told = &told.unwrap_or_else(|| panic!("nothing was lost"))["event"]["diagnostic"];
        assert_eq!(told["diagnosticsType"], "droppedEvents");
        let lost = told["count"].as_u64().unwrap() as usize;
        // Besides the attributes, `spanClose` may be lost; `return` and `outcome` never are.
        assert!(
            (20_000..=20_002).contains(&(arrived + lost)),
            "{arrived} + {lost}"
        );
        assert_eq!(kinds(stream).last(), Some(&"outcome"));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn calls_are_neither_slowed_nor_failed_by_a_tail_that_hangs_or_is_not_there() {
    within(async {
        let dir = tempfile::tempdir().unwrap();
        let hangs = Address::Unix(dir.path().join("hangs.sock"));
        let _silent = tokio::net::UnixListener::bind(dir.path().join("hangs.sock")).unwrap();
        let missing = Address::Unix(dir.path().join("missing.sock"));
        for address in [hangs, missing] {
            let callee = Ours::serve(Server::new().service("SVC", Scenarios)).await;
            let (feed, sender) = feed_to(&address, "tail", QueueLimits::default());
            let options = ConnectOptions {
                sinks: Arc::new([feed as Arc<dyn SpanSink>]),
                ..ConnectOptions::default()
            };
            let connection = Connection::connect(callee.address(), options)
                .await
                .unwrap();
            let binding = connection.binding("SVC");
            let mut longest = Duration::ZERO;
            for _call in 0..500 {
                let started = std::time::Instant::now();
                let done = binding.call("merging", ()).await.unwrap();
                assert_eq!(done.parse::<String>().unwrap(), "done");
                longest = longest.max(started.elapsed());
            }
            // Ten seconds is how long the tail itself waits for its receiver.
            assert!(longest < Duration::from_secs(8), "{longest:?}");
            drop(sender);
        }
    })
    .await;
}

/// A sink that hands lines to the test.
struct Lines(mpsc::UnboundedSender<String>);

impl tail::EventSink for Lines {
    fn event(&self, event: &Arc<tail::Event>) -> bool {
        self.0.send(event.to_line()).is_ok()
    }
}

#[tokio::test(flavor = "local")]
async fn we_are_a_tail_and_see_what_a_tail_worker_sees() {
    within(async {
        let (sender, mut lines) = mpsc::unbounded_channel();
        let receiver = TailTaker::new(vec![Arc::new(Lines(sender))]);
        let ours = Ours::serve(Server::new().tail("TAIL", receiver)).await;
        let mut workerd = Builder::new("tailed")
            .external("ours", ours.address())
            .start()
            .await;
        let port = workerd.debug_port();
        let connection = Connection::connect(&port, ConnectOptions::default()).await;
        let main = connection.unwrap().binding("main");
        let _ = main.call("throw", ("RangeError", "no")).await;
        drop(main.call("object", ()).await.unwrap());
        let mut seen = Recording::default();
        while seen.ended < 2 {
            let line = tokio::time::timeout(Duration::from_secs(60), lines.recv()).await;
            seen.add(&format!(
                "TAIL {}",
                line.expect("no event").expect("no sink")
            ));
        }
        let judge = workerd.tail(|tail| tail.ended == 2).await;
        // As text: the order of the keys counts.
        let text = |stream: &[Value]| stream.iter().map(Value::to_string).collect::<Vec<_>>();
        for stream in &seen.streams {
            let id = &stream[0]["invocationId"];
            let mut others = judge.streams.iter();
            let same = others
                .find(|other| other[0]["invocationId"] == *id)
                .unwrap();
            assert_eq!(text(stream), text(same));
        }
    })
    .await;
}

/// A stream with every id and time replaced by what it is, so that it can be compared.
fn shape(stream: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut known = |id: &str| {
        let place = ids.iter().position(|other| other == id);
        place.unwrap_or_else(|| {
            ids.push(id.to_owned());
            ids.len() - 1
        })
    };
    let mut line = |event: &Value| {
        let mut event = event.clone();
        event["timestamp"] = json!("time");
        for pointer in [
            "/spanContext/traceId",
            "/invocationId",
            "/spanContext/spanId",
            "/event/spanId",
        ] {
            if let Some(id) = event.pointer_mut(pointer) {
                *id = json!(known(id.as_str().unwrap_or_default()));
            }
        }
        event.to_string()
    };
    stream.iter().map(&mut line).collect()
}

#[tokio::test(flavor = "local")]
async fn the_pinned_workerd_reports_a_call_in_this_order_and_shape() {
    within(async {
        let mut workerd = Builder::new("called").start().await;
        let port = workerd.debug_port();
        let connection = Connection::connect(&port, ConnectOptions::default()).await;
        let main = connection.unwrap().binding("main");
        drop(main.call("add", (1, 2)).await.unwrap());
        let recording = workerd.tail(|tail| tail.ended == 1).await;
        assert_eq!(
            shape(&recording.streams[0]),
            [
                r#"{"spanContext":{"traceId":0},"invocationId":1,"timestamp":"time","sequence":0,"event":{"type":"onset","executionModel":"stateless","spanId":2,"scriptTags":[],"info":{"type":"jsrpc"}}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":2},"invocationId":1,"timestamp":"time","sequence":1,"event":{"type":"spanOpen","name":"jsRpcCall","spanId":3}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":2},"invocationId":1,"timestamp":"time","sequence":2,"event":{"type":"attributes","info":[{"name":"jsrpc.method","value":"add"}]}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":3},"invocationId":1,"timestamp":"time","sequence":3,"event":{"type":"attributes","info":[{"name":"jsrpc.method","value":"add"},{"name":"jsrpc.target_kind","value":"entrypoint"},{"name":"jsrpc.operation","value":"call"}]}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":3},"invocationId":1,"timestamp":"time","sequence":4,"event":{"type":"spanClose","outcome":"ok"}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":2},"invocationId":1,"timestamp":"time","sequence":5,"event":{"type":"return"}}"#,
                r#"{"spanContext":{"traceId":0,"spanId":2},"invocationId":1,"timestamp":"time","sequence":6,"event":{"type":"outcome","outcome":"ok","cpuTime":0,"wallTime":0}}"#,
            ],
            "{recording}"
        );
    })
    .await;
}
