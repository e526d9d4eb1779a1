//! Peers that are older than enrichment, and peers that are newer.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use binding_span::{Enrichment, SpanContext};
use binding_span_schema::call_capnp::call_target;
use binding_span_schema::js_rpc_capnp as current;
use capnp::Error;
use common::relay::{Relay, with};
use common::words::{Words, answer_with};
use common::{BINDING, Spans, WIRES, Way, Wire, World, raw, said, service, socket_dir};
use js_rpc::{ConnectOptions, Connection, Context, Value, nothing, reply};
use older_schema::older_capnp as older;

/// The bytes of the number 3 as V8 serializes it.
const THREE: [u8; 4] = [0xff, 0x0f, 0x49, 0x06];

/// A callee on the types of a schema: one object for everything from the bootstrap to the target. It
/// answers 3.
macro_rules! callee {
    ($name:ident, $schema:ident) => {
        struct $name;

        impl $schema::workerd_debug_port::Server for $name {
            async fn get_entrypoint(
                self: Rc<Self>,
                _: $schema::workerd_debug_port::GetEntrypointParams,
                mut results: $schema::workerd_debug_port::GetEntrypointResults,
            ) -> Result<(), Error> {
                results.get().set_entrypoint(capnp_rpc::new_client(Self));
                Ok(())
            }
        }

        impl $schema::workerd_bootstrap::Server for $name {
            async fn start_event(
                self: Rc<Self>,
                _: $schema::workerd_bootstrap::StartEventParams,
                mut results: $schema::workerd_bootstrap::StartEventResults,
            ) -> Result<(), Error> {
                results.get().set_dispatcher(capnp_rpc::new_client(Self));
                Ok(())
            }
        }

        impl $schema::event_dispatcher::Server for $name {
            async fn js_rpc_session(
                self: Rc<Self>,
                _: $schema::event_dispatcher::JsRpcSessionParams,
                mut results: $schema::event_dispatcher::JsRpcSessionResults,
            ) -> Result<(), Error> {
                results.get().set_top_level(capnp_rpc::new_client(Self));
                results.get().set_session(capnp_rpc::new_client(Self));
                Ok(())
            }
        }

        impl $schema::js_rpc_session::Server for $name {}
        impl $schema::external_pusher::Server for $name {}

        impl $schema::js_rpc_target::Server for $name {
            async fn call(
                self: Rc<Self>,
                _: $schema::js_rpc_target::CallParams,
                mut results: $schema::js_rpc_target::CallResults,
            ) -> Result<(), Error> {
                let mut results = results.get();
                results.reborrow().init_result().set_v8_serialized(&THREE);
                results.set_call_pipeline(capnp_rpc::new_client(Self));
                Ok(())
            }
        }
    };
}

callee!(Older, older);
callee!(Current, current);

fn older_callee(dir: &tempfile::TempDir) -> js_rpc::Address {
    let port: older::workerd_debug_port::Client = capnp_rpc::new_client(Older);
    raw::serve(port, dir)
}

fn current_callee(dir: &tempfile::TempDir) -> js_rpc::Address {
    let port: current::workerd_debug_port::Client = capnp_rpc::new_client(Current);
    raw::serve(port, dir)
}

/// Calls once; the span, and the reply's bytes as they came over the socket.
async fn call_of(callee: &js_rpc::Address) -> (tail::FinishedSpan, Vec<u8>) {
    call_over(callee, Wire::OneMessage).await
}

async fn call_over(callee: &js_rpc::Address, wire: Wire) -> (tail::FinishedSpan, Vec<u8>) {
    let dir = socket_dir();
    let relay = Relay::to(callee, &dir).await;
    let spans = Spans::new();
    let options = ConnectOptions {
        sinks: spans.sinks(),
        limits: wire.limits(),
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(&relay.address, options).await.unwrap();
    let reply = connection.binding(BINDING).call("run", ()).await.unwrap();
    assert_eq!(reply.value(), &Value::from(3));
    (spans.last(), relay.replies().remove(0))
}

#[tokio::test(flavor = "local")]
async fn a_callee_of_an_older_schema_is_called_as_ever() {
    let dir = socket_dir();
    let (span, _) = call_of(&older_callee(&dir)).await;
    assert_eq!(span.name, "jsRpcSession");
    assert_eq!(said(&span), []);
    assert!(span.dropped.is_empty());
    assert_eq!(span.outcome, binding_span::Outcome::Ok);
}

#[tokio::test(flavor = "local")]
async fn a_callee_of_an_older_schema_is_asked_once_how_it_is_called() {
    let dir = socket_dir();
    let other = socket_dir();
    let relay = Relay::to(&older_callee(&dir), &other).await;
    let connection = Connection::connect(&relay.address, ConnectOptions::default())
        .await
        .unwrap();
    let began = std::time::Instant::now();
    let calls = (0..5).map(|_| connection.binding(BINDING).call("run", ()).send());
    for outcome in common::all(calls).await {
        assert_eq!(outcome.unwrap().value(), &Value::from(3));
    }
    assert!(began.elapsed() < common::SOON / 2, "at once");
    assert_eq!((relay.pings(), relay.calls().len()), (1, 5));
}

#[tokio::test(flavor = "local")]
async fn absent_enrichment_adds_one_null_pointer_to_the_reply_and_nothing_else() {
    let [one, two] = [socket_dir(), socket_dir()];
    let (_, before) = call_of(&older_callee(&one)).await;
    let (_, now) = call_of(&current_callee(&two)).await;
    // What is said costs only itself: nothing in a reply where nothing survived.
    let saying = async |say: fn(&Context)| {
        let service = service(async move |_: &str, _, cx: &Context| {
            say(cx);
            reply(&3)
        });
        World::of(Way::Unix, service).await
    };
    let silent = saying(|_| ()).await;
    let empty = saying(|cx| {
        cx.enrich(Enrichment::new());
        cx.enrich(Enrichment::new().name(""));
    })
    .await;
    let named = saying(|cx| {
        cx.enrich(Enrichment::new().name("d1.query"));
    })
    .await;
    for wire in WIRES {
        let (_, ours) = call_over(&silent.address, wire).await;
        println!(
            "{wire:?}: older {} B, current {} B, the library {} B",
            before.len(),
            now.len(),
            ours.len()
        );
        match wire {
            Wire::ThreeCalls => assert_eq!(ours.len(), now.len()),
            // A response of four pointers around the results, and neither what is called before the result is there,
            // nor the table of the one capability that it is.
            Wire::OneMessage => assert_eq!(ours.len(), now.len() + 5 * 8 - 3 * 8),
        }
        assert_eq!(call_over(&empty.address, wire).await.1.len(), ours.len());
        let (span, enriched) = call_over(&named.address, wire).await;
        assert_eq!(span.name, "d1.query");
        println!("with the name d1.query {} B", enriched.len());
        // A struct of two pointers, and the text with its NUL in two words.
        assert_eq!(enriched.len(), ours.len() + 4 * 8);
    }
}

/// Calls once as a caller of the older schema; the result's bytes.
async fn call_as_older(address: &js_rpc::Address) -> Vec<u8> {
    let port: older::workerd_debug_port::Client = raw::connect(address).await;
    let mut request = port.get_entrypoint_request();
    request.get().set_service(BINDING);
    let entrypoint = request.send().pipeline.get_entrypoint();
    let dispatcher = entrypoint
        .start_event_request()
        .send()
        .pipeline
        .get_dispatcher();
    let opened = dispatcher.js_rpc_session_request().send();
    let mut call = opened.pipeline.get_top_level().call_request();
    call.get().set_method_name("run");
    call.get().init_operation();
    let answer = call.send().promise.await.unwrap();
    let value = answer.get().unwrap().get_result().unwrap();
    value.get_v8_serialized().unwrap().to_vec()
}

#[tokio::test(flavor = "local")]
async fn a_caller_of_an_older_schema_ignores_what_it_does_not_know() {
    for way in [Way::Unix, Way::Proxied] {
        let told = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&told);
        let world = World::of(
            way,
            service(async move |_: &str, _, cx: &Context| {
                keep.borrow_mut().push(cx.caller_span());
                cx.enrich(Enrichment::new().name("d1.query").attribute("rows", 3));
                reply(&3)
            }),
        )
        .await;
        assert_eq!(call_as_older(&world.address).await, THREE);

        // It tells no span: the callee's is the root of a trace of its own, or of the proxy's.
        let server = &world.callee.ended(1).await[0];
        match way {
            Way::Proxied => {
                let above = &world.proxy.ended(1).await[0];
                assert_eq!((above.parent, above.name.as_str()), (None, "d1.query"));
                assert_eq!(told.take(), [Some(above.context)]);
                assert_eq!(server.parent, Some(above.context.span_id));
            }
            _ => {
                assert_eq!(told.take(), [None]);
                assert_eq!(server.parent, None);
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn results_with_fewer_or_with_more_fields_are_read() {
    for wire in WIRES {
        for pointers in [1, 2, 3, 4, 9] {
            let dir = socket_dir();
            let address = answer_with(Words::results(pointers), wire, &dir);
            let (span, _) = call_of(&address).await;
            assert_eq!((&*span.name, said(&span).len()), ("jsRpcSession", 0));
            assert!(span.dropped.is_empty());
        }
    }
}

/// The trace flags of the caller's span in the one call that was sent: none if they are not there.
fn flags_sent(relay: &Relay, wire: Wire) -> Option<Option<u8>> {
    use binding_span_schema::binding_span_capnp::trace_flags::value::Which;
    with(&relay.calls()[0], |message| {
        let Ok(capnp_rpc::rpc_capnp::message::Call(Ok(call))) = message.which() else {
            panic!("a call")
        };
        let content = call.get_params().unwrap().get_content();
        let params: current::js_rpc_target::call_params::Reader<'_> = match wire {
            Wire::ThreeCalls => content.get_as().unwrap(),
            Wire::OneMessage => {
                let request: call_target::request::Reader<'_> = content.get_as().unwrap();
                request.get_params().unwrap()
            }
        };
        params.has_caller_span().then(|| {
            let span = params.get_caller_span().unwrap();
            if !span.has_trace_flags() {
                return None;
            }
            match span.get_trace_flags().unwrap().get_value().which().unwrap() {
                Which::Set(flags) => Some(flags),
                Which::Unset(()) => None,
            }
        })
    })
}

#[tokio::test(flavor = "local")]
async fn on_the_wire_flags_are_there_only_if_somebody_decided() {
    for wire in WIRES {
        // Without a trace nothing is told at all.
        for flags in [None, Some(None), Some(Some(0)), Some(Some(1))] {
            let quiet = service(async |_: &str, _, _: &Context| nothing());
            let world = World::of(Way::Unix, quiet).await;
            let dir = socket_dir();
            let relay = Relay::to(&world.address, &dir).await;
            let options = ConnectOptions {
                limits: wire.limits(),
                ..ConnectOptions::default()
            };
            let connection = Connection::connect(&relay.address, options).await.unwrap();
            let mut call = connection.binding(BINDING).call("run", ());
            if let Some(flags) = flags {
                call = call.parent(SpanContext {
                    flags,
                    ..SpanContext::root()
                });
            }
            call.await.unwrap();
            assert_eq!(flags_sent(&relay, wire), flags);
        }
    }
}
