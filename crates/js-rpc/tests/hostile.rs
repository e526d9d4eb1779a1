//! Enrichment that no honest callee sends: it never costs the result, and what is dropped is counted.

mod common;

use std::rc::Rc;
use std::time::{Duration, Instant};

use binding_span::{AttributeValue::Int64, DropReason::*, Outcome};
use binding_span_schema::call_capnp::failure::{self, Kind};
use binding_span_schema::call_capnp::{call_target, named_bindings};
use binding_span_schema::js_rpc_capnp::{external_pusher, workerd_debug_port};
use capnp::Error;
use common::words::{Attribute, RESULT, Words, answer_with};
use common::{BINDING, Spans, WIRES, Wire, raw, said, socket_dir, unix};
use js_rpc::{CallError, ConnectOptions, Connection, Proxy, Server, Value};
use tail::FinishedSpan;

/// The tags of a value's union in the schema.
const STRING: u64 = 0;
const INT64: u64 = 2;
const UNKNOWN: u64 = 9;

/// Calls a callee that answers with these words, in three calls and in one message, directly and through a proxy;
/// each time the caller's span, and the proxy's. The result is there each time.
async fn spans_of(reply: &Words) -> Vec<FinishedSpan> {
    let mut spans = Vec::new();
    for wire in WIRES {
        println!("{wire:?}");
        spans.extend(spans_over(wire, reply).await);
    }
    spans
}

async fn spans_over(wire: Wire, reply: &Words) -> [FinishedSpan; 2] {
    let dir = socket_dir();
    let address = answer_with(reply.clone(), wire, &dir);
    let [caller, beyond, proxy] = std::array::from_fn(|_| Spans::new());
    let front = Proxy::new(address.clone(), BINDING, ConnectOptions::default());
    let front = Server::new().proxy(BINDING, front).sinks(proxy.sinks());
    let front = common::serve(front, &unix(&dir, "front")).await;
    for (address, spans) in [(address, &caller), (front, &beyond)] {
        let options = ConnectOptions {
            sinks: spans.sinks(),
            ..ConnectOptions::default()
        };
        let began = Instant::now();
        let connection = Connection::connect(&address, options).await.unwrap();
        let reply = connection.binding(BINDING).call("run", ()).await;
        let reply = reply.unwrap_or_else(|error| panic!("the result is lost: {error}"));
        assert_eq!(reply.value(), &Value::from(RESULT));
        assert!(began.elapsed() < common::SOON);
        assert_eq!(spans.last().outcome, Outcome::Ok);
    }
    let (caller, beyond) = (caller.last(), beyond.last());
    // Whoever is behind the proxy sees the same, with all drops as the callee's.
    assert_eq!(beyond.name, caller.name);
    assert_eq!(said(&beyond), said(&caller));
    assert_eq!(beyond.dropped.total(), caller.dropped.total());
    [caller, proxy.ended(1).await.remove(0)]
}

#[tokio::test(flavor = "local")]
async fn attributes_that_are_not_as_they_should_be_are_dropped_and_counted_and_the_rest_counts() {
    let reply = Words::with_attributes(&[
        (b"first", &[(INT64, 1)]),
        (b"none", &[]),
        (b"several", &[(INT64, 2), (INT64, 3)]),
        (b"mixed", &[(INT64, 2), (STRING, 0)]),
        (b"unknown", &[(UNKNOWN, 7)]),
        (b"\xff\xfe", &[(INT64, 4)]),
        (b"", &[(INT64, 5)]),
        (b"first", &[(INT64, 6)]),
        (b"last", &[(INT64, 8)]),
    ]);
    for span in spans_of(&reply).await {
        let expected = [
            ("first", Int64(6)),
            ("several", [2, 3].into()),
            ("last", Int64(8)),
        ];
        assert_eq!(said(&span), expected);
        for reason in [Malformed, UnknownValue, InvalidUtf8, KeyEmpty] {
            assert_eq!(span.dropped.count(reason), 1, "{reason}");
        }
        assert_eq!(span.dropped.total(), 4);
    }
}

#[tokio::test(flavor = "local")]
async fn names_that_are_not_text_or_too_long_are_dropped_and_counted() {
    let long = [b'n'; 257];
    let cases: [(&[u8], _); 2] = [(b"\xc3\x28", InvalidUtf8), (&long, NameTooLong)];
    for (name, reason) in cases {
        let (mut reply, at, _) = Words::enriched();
        let text = reply.text(name);
        reply.point_text(at, text);
        for span in spans_of(&reply).await {
            assert_eq!(span.name, "jsRpcSession");
            assert_eq!((span.dropped.count(reason), span.dropped.total()), (1, 1));
        }
    }
    let (mut reply, at, _) = Words::enriched();
    let text = reply.text(b"");
    reply.point_text(at, text);
    for span in spans_of(&reply).await {
        assert_eq!(span.name, "jsRpcSession");
        assert!(span.dropped.is_empty(), "an empty name is nothing");
    }
}

#[tokio::test(flavor = "local")]
async fn pointers_that_lead_nowhere_are_malformed() {
    let nowhere = |words: &Words| words.0.len() + 1000;
    let mut cases = Vec::new();
    // The enrichment itself, its name, its attributes.
    let (mut reply, name, list) = Words::enriched();
    reply.point_struct(Words::ENRICHMENT, nowhere(&reply), 0, 2);
    cases.push(reply.clone());
    let (mut reply, ..) = Words::enriched();
    reply.point_text(name, (nowhere(&reply), 5));
    cases.push(reply);
    let (mut reply, ..) = Words::enriched();
    reply.point(list, nowhere(&reply), 7, 4);
    cases.push(reply);
    // A struct where a list should be, and the reverse.
    let (mut reply, ..) = Words::enriched();
    reply.point_struct(list, name, 0, 2);
    cases.push(reply);
    let (mut reply, ..) = Words::enriched();
    let text = reply.text(b"x");
    reply.point_text(Words::ENRICHMENT, text);
    cases.push(reply);
    for (i, reply) in cases.iter().enumerate() {
        for span in spans_of(reply).await {
            assert_eq!((&*span.name, said(&span).len()), ("jsRpcSession", 0), "{i}");
            assert_eq!(
                (span.dropped.count(Malformed), span.dropped.total()),
                (1, 1),
                "{i}"
            );
        }
    }
}

/// As many zero-sized elements as the reader may visit words, less some: they take no room in the
/// message, but use up what may be read of it.
fn zero_sized(list: usize, reply: &mut Words, count: u64) {
    reply.structs(list, count, 0, 0);
}

#[tokio::test(flavor = "local")]
async fn eight_million_attributes_without_a_size_are_counted_and_do_not_use_up_the_message() {
    for count in [
        8_000_000,
        8 * 1024 * 1024 - 64,
        8 * 1024 * 1024,
        100_000_000,
    ] {
        let (mut reply, _, list) = Words::enriched();
        zero_sized(list, &mut reply, count);
        for span in spans_of(&reply).await {
            assert_eq!(said(&span), []);
            println!("{count}: {}", span.dropped);
            assert!(!span.dropped.is_empty());
        }
    }
}

#[tokio::test(flavor = "local")]
async fn millions_of_values_of_one_attribute_do_not_use_up_the_message() {
    for count in [8_000_000, 8 * 1024 * 1024 - 90] {
        let mut reply = Words::with_attributes(&[(b"a", &[(INT64, 1)]), (b"b", &[])]);
        let (_, _, list) = Words::enriched();
        // The value list of "b": the second pointer of the second attribute.
        let second = list + 2 + 2 + 1;
        zero_sized(second, &mut reply, count);
        for span in spans_of(&reply).await {
            assert_eq!(span.get("a"), Some(&Int64(1)));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn one_large_text_named_many_times_is_taken_as_often_as_the_caps_allow() {
    let (mut reply, _, list) = Words::enriched();
    let large = reply.text(&[b'x'; 128 * 1024]);
    let first = reply.structs(list, 256, 0, 2);
    for i in 0..256 {
        let key = reply.text(format!("k{i}").as_bytes());
        reply.point_text(first + 2 * i, key);
        let value = reply.values(first + 2 * i + 1, &[(STRING, 0)]);
        reply.point_text(value + 2, large);
    }
    for span in spans_of(&reply).await {
        // The second no longer fits, by the bytes of two keys.
        assert_eq!(said(&span).len(), 1);
        assert_eq!(span.dropped.count(TotalBytes), 255);
    }
}

#[tokio::test(flavor = "local")]
async fn a_thousand_attributes_are_256() {
    let keys: Vec<String> = (0..1000).map(|i| format!("k{i}")).collect();
    let attributes: Vec<Attribute<'_>> = keys
        .iter()
        .map(|key| (key.as_bytes(), &[(INT64, 1)][..]))
        .collect();
    for span in spans_of(&Words::with_attributes(&attributes)).await {
        assert_eq!(said(&span).len(), 256);
        assert_eq!(span.dropped.count(TooManyAttributes), 744);
    }
}

#[tokio::test(flavor = "local")]
async fn a_callee_that_claims_drops_is_believed_up_to_what_a_count_holds() {
    let claims = [(3, 3), (u64::MAX, 0), (i64::MAX as u64, u32::MAX)];
    for ((claimed, counted), wire) in claims
        .into_iter()
        .flat_map(|it| WIRES.map(|wire| (it, wire)))
    {
        let reply = Words::with_attributes(&[(b"binding_span.dropped", &[(INT64, claimed)])]);
        let dir = socket_dir();
        let spans = Spans::new();
        let options = ConnectOptions {
            sinks: spans.sinks(),
            ..ConnectOptions::default()
        };
        let address = answer_with(reply, wire, &dir);
        let connection = Connection::connect(&address, options).await.unwrap();
        connection.binding(BINDING).call("run", ()).await.unwrap();
        assert_eq!(spans.last().dropped.count(Callee), counted);
    }
}

/// A callee that fails as it is told to.
#[derive(Clone, Copy)]
struct Fails(fn(failure::Builder<'_>));

impl workerd_debug_port::Server for Fails {}
impl external_pusher::Server for Fails {}

impl named_bindings::Server for Fails {}

impl call_target::Server for Fails {
    async fn invoke(
        self: Rc<Self>,
        _: call_target::InvokeParams,
        mut results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let mut response = results.get();
        self.0(response.reborrow().init_failure());
        // A result as well, which does not count.
        let mut returned = response.reborrow().init_returned();
        returned
            .reborrow()
            .init_result()
            .set_v8_serialized(&[0xff, 0x0f, 0x49, 0x06]);
        let mut said = response.init_enrichment();
        said.set_name("failed.anyway");
        let attribute = said.init_attributes(1).get(0);
        binding_span::wire::write_attribute(attribute, "error.type", &"theirs".into());
        Ok(())
    }

    async fn ping(
        self: Rc<Self>,
        _: call_target::PingParams,
        _: call_target::PingResults,
    ) -> Result<(), Error> {
        Ok(())
    }
}

/// How a callee fails, and what its caller sees: directly, and behind a proxy; whether it is known that the call did
/// not run.
type Failure = (fn(failure::Builder<'_>), &'static str, &'static str, bool);

fn kind(mut to: failure::Builder<'_>, kind: Kind) {
    to.set_kind(kind);
    to.set_message("why");
}

const FAILURES: &[Failure] = &[
    (
        |to| kind(to, Kind::Overloaded),
        "overloaded",
        "overloaded",
        true,
    ),
    (|to| kind(to, Kind::Deadline), "deadline", "deadline", false),
    (
        |to| kind(to, Kind::Cancelled),
        "canceled",
        "canceled",
        false,
    ),
    (
        |to| kind(to, Kind::Unavailable),
        "unavailable",
        "unavailable",
        true,
    ),
    (
        |to| kind(to, Kind::Unimplemented),
        "unimplemented",
        "unimplemented",
        true,
    ),
    (|to| kind(to, Kind::Refused), "refused", "refused", true),
    (|to| kind(to, Kind::Protocol), "protocol", "protocol", false),
    (
        |to| kind(to, Kind::Disconnected),
        "disconnected",
        "disconnected",
        false,
    ),
    (|to| kind(to, Kind::Result), "result", "result", false),
    // Nothing was thrown, or no error, or no value at all.
    (|to| kind(to, Kind::Application), "result", "result", false),
    (
        |to| to.init_error().set_v8_serialized(&[0xff, 0x0f, 0x49, 0x06]),
        "Error",
        "Error",
        false,
    ),
    (
        |to| to.init_error().set_v8_serialized(b"what is this?"),
        "result",
        "result",
        false,
    ),
];

#[tokio::test(flavor = "local")]
async fn failures_keep_their_kind_over_every_hop_and_are_enriched() {
    for (fails, near, far, did_not_run) in FAILURES {
        let dir = socket_dir();
        let port: named_bindings::Client = capnp_rpc::new_client(Fails(*fails));
        let address = raw::serve(port, &dir);
        let proxy = Proxy::new(address.clone(), BINDING, ConnectOptions::default());
        let front = Server::new().proxy(BINDING, proxy);
        let front = common::serve(front, &unix(&dir, "front")).await;
        for (address, kind) in [(address, near), (front, far)] {
            let spans = Spans::new();
            let options = ConnectOptions {
                sinks: spans.sinks(),
                ..ConnectOptions::default()
            };
            let connection = Connection::connect(&address, options).await.unwrap();
            let limit = Duration::from_secs(20);
            let call = connection.binding(BINDING).call("run", ());
            let error = call.deadline(limit).await.unwrap_err();
            assert_eq!((error.kind(), error.did_not_run()), (*kind, *did_not_run));
            if let CallError::Deadline(said) = error {
                assert_eq!(said, limit, "its own, which nobody need tell it");
            }
            let span = spans.last();
            assert_eq!(span.name, "failed.anyway");
            assert_eq!(span.get("error.type").unwrap().as_str(), Some(*kind));
            assert_ne!(span.outcome, Outcome::Ok);
        }
    }
}
