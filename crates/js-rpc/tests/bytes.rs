//! A service that takes and gives bytes is to its callers a service like any other.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::{World, every_way};
use js_rpc::{
    Args, ByteService, CallError, ClientId, Connection, Context, Enrichment, JsError, Service,
    ServiceResult, Stub, Value, async_trait, unknown_method,
};
use js_value::{DecodeLimits, Object};

/// Knows whose calls it served.
#[derive(Default, Clone)]
struct Echo(Rc<RefCell<Vec<ClientId>>>);

#[async_trait(?Send)]
impl ByteService for Echo {
    async fn call(&self, method: &str, args: Vec<u8>, cx: &Context) -> Result<Vec<u8>, JsError> {
        self.0.borrow_mut().push(cx.client());
        let argument = || {
            let values = js_value::decode_args(&args, &DecodeLimits::default()).unwrap();
            values.into_iter().next().unwrap()
        };
        cx.enrich(
            Enrichment::new()
                .name("echo")
                .attribute("bytes", args.len()),
        );
        match method {
            "same" => Ok(js_value::encode(&argument()).unwrap()),
            "length" => Ok(js_value::encode(&Value::from(args.len() as f64)).unwrap()),
            "throw" => Err(JsError::range_error("too far")),
            "panic" => panic!("on purpose"),
            other => unknown_method(other),
        }
    }
}

#[async_trait(?Send)]
impl Service for Echo {
    async fn call(&self, _method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        panic!("calls come as bytes")
    }

    fn as_bytes(&self) -> Option<&dyn ByteService> {
        Some(self)
    }
}

fn nested() -> Value {
    let inner = Object::from([("b", Value::from("deep"))]);
    Value::from(Object::from([("a", Value::from(inner))]))
}

#[tokio::test(flavor = "local")]
async fn values_errors_and_enrichment_are_as_of_any_service() {
    every_way(Echo::default, async |world| {
        for value in [Value::from("x"), nested(), Value::from("y".repeat(300_000))] {
            let args = Args::from(vec![value.clone()]);
            let (reply, span) = world.one(world.binding().call("same", args)).await;
            assert_eq!(reply.unwrap().into_payload().value, value);
            assert_eq!(span.name, "echo");
        }
        let length = world.call("length").await.unwrap().into_payload().value;
        assert_eq!(length, Value::Number(0.0), "no arguments are no bytes");
        let error = world.call("throw").await.unwrap_err();
        assert!(
            matches!(&error, CallError::Thrown(e) if e.name == "RangeError"),
            "{error}"
        );
        let error = world.call("panic").await.unwrap_err();
        assert!(error.to_string().contains("the method panicked"), "{error}");
        let error = world.call("nothing").await.unwrap_err();
        assert!(error.to_string().contains("\"nothing\""), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_part_of_a_result_can_be_asked_for_before_it_is_there() {
    every_way(Echo::default, async |world| {
        let args = Args::from(vec![nested()]);
        let pending = world.binding().call("same", args).send();
        let ahead = pending.pipelined().unwrap();
        let part = ahead.get("a.b").await.unwrap();
        assert_eq!(part.into_payload().value, Value::from("deep"));
        let error = ahead.get("a.c").await.unwrap_err();
        assert!(error.to_string().contains("no property"), "{error}");
        let error = ahead.call("a", ()).await.unwrap_err();
        assert!(error.to_string().contains("not a function"), "{error}");
        pending.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_client_is_a_connection() {
    let echo = Echo::default();
    let world = World::of(common::Way::Unix, echo.clone()).await;
    let other = Connection::connect(&world.address, Default::default())
        .await
        .unwrap();
    for _ in 0..2 {
        world.call("length").await.unwrap();
        other
            .binding(common::BINDING)
            .call("length", ())
            .await
            .unwrap();
    }
    let clients = echo.0.take();
    assert_eq!((clients[0], clients[1]), (clients[2], clients[3]));
    assert_ne!(clients[0], clients[1]);
    assert!(!clients.contains(&ClientId::LOCAL));
}

#[tokio::test(flavor = "local")]
async fn stubs_in_arguments_have_nothing_behind_them() {
    let world = World::of(common::Way::Unix, Echo::default()).await;
    let callback = Stub::new(js_rpc::service_fn(async |_: &str, _: Args, _: &Context| {
        js_rpc::nothing()
    }));
    let outcome = world.binding().call("same", (callback,)).await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("stub"), "{error}");
}
