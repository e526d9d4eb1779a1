//! Errors keep everything: what a Worker throws at us, what we throw at a Worker, and what we pass on from one to
//! the other, with what a Worker gets from a Worker as the measure.

use js_rpc::{
    Args, Binding, CallError, ConnectOptions, Connection, Context, JsError, Server, Service,
    ServiceResult, Stub, Value, async_trait,
};
use serde_json::{Value as Json, json};

use crate::harness::{Builder, Ours, Workerd, within};

/// What the Worker in `workers/errors.js` calls.
struct Thrower;

#[async_trait(?Send)]
impl Service for Thrower {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "call" => {
                let stub: Stub = args.first()?;
                Ok(stub.call("", ()).await?.into_payload())
            }
            _ => Err(thrown(&args.first::<String>()?)),
        }
    }

    async fn get(&self, _property: &str, _cx: &Context) -> ServiceResult {
        Err(thrown("custom"))
    }
}

fn thrown(name: &str) -> JsError {
    let error = JsError::error;
    match name {
        "nul" => JsError::type_error("a\0b"),
        "cause" => error("outer").with_cause(JsError::range_error("inner").with_cause(42)),
        "aggregate" => JsError::new("AggregateError", "many").with_property(
            "errors",
            vec![JsError::range_error("first").into(), Value::from(2)],
        ),
        "custom" => JsError::new("QuotaError", "full").with_property("code", 7),
        "retryable" => error("stock is low").with_property("retryable", true),
        "overloaded" => error("too busy").with_property("overloaded", true),
        "number" => JsError::from_thrown(42.into()),
        "object" => JsError::from_thrown(Value::from_json(json!({"a": 1})).unwrap()),
        "large" => error("large").with_property("large", "x".repeat(4 << 20)),
        "stub" => error("stub")
            .with_property("stub", Value::Stub(0))
            .with_property("code", 7),
        _ => error(name),
    }
}

async fn start() -> (Ours, Workerd) {
    let ours = Ours::serve(Server::new().service("SVC", Thrower)).await;
    let workerd = Builder::new("errors").external("rust", ours.address());
    let workerd = workerd.start().await;
    (ours, workerd)
}

async fn worker(workerd: &Workerd) -> Binding {
    let connection = Connection::connect(&workerd.debug_port(), ConnectOptions::default()).await;
    connection.unwrap().binding("main#Thrower")
}

async fn fails(call: impl IntoFuture<Output = Result<js_rpc::Reply, CallError>>) -> JsError {
    match call.await {
        Err(CallError::Thrown(error)) => *error,
        Err(other) => panic!("{}: {other}", other.kind()),
        Ok(_) => panic!("it returned"),
    }
}

#[tokio::test(flavor = "local")]
async fn what_a_worker_throws_arrives_whole() {
    within(async {
        let (_ours, workerd) = start().await;
        let main = worker(&workerd).await;
        for (name, shown) in [
            ("plain", "Error: plain"),
            ("type", "TypeError: no: good"),
            ("empty", "RangeError"),
            ("retryable", "Error: stock is low { retryable: true }"),
            ("overloaded", "TypeError: too busy { overloaded: true, code: 'E_BUSY' }"),
            ("nul", "Error: a\\u{0}b"),
            ("cause", "Error: outer [cause: TypeError: inner [cause: 42]]"),
            ("aggregate", "AggregateError: many { errors: [ RangeError: first, 2, { a: 1 } ] }"),
            ("suppressed", "SuppressedError: both { error: Error: a, suppressed: Error: b }"),
            ("custom", "QuotaError: full { code: 7 }"),
            ("circular", "Error: circular { self: [ref *0] }"),
            ("unicode", "Error: hä € 😀"),
            (
                "properties",
                "Error: p { map: Map(1) { 1 => 1970-01-01T00:00:00.000Z }, big: 1n, bytes: Uint8Array <01> }",
            ),
            ("wasm", "CompileError: w"),
            ("abort", "DOMException(AbortError): stop"),
            ("retryable_function", "Error: f"),
            ("symbol", "Error: Symbol(s)"),
            ("number", "42"),
            ("text", "text"),
            ("null", "null"),
            ("undefined", "undefined"),
            ("object", "{ a: 1 }"),
            ("map", "Map(1) { 1 => 2 }"),
        ] {
            let error = fails(main.call("throw", (name,))).await;
            assert_eq!(format!("{error:#}"), shown, "{name}");
        }
        let number = fails(main.call("throw", ("number",))).await;
        assert_eq!(number.into_thrown(), Value::from(42));
        let retryable = fails(main.call("throw", ("retryable",))).await;
        assert!(retryable.stack.is_some());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_property_of_a_worker_that_is_called_or_throws_is_its_error() {
    within(async {
        let (_ours, workerd) = start().await;
        let main = worker(&workerd).await;
        let no_function = JsError::type_error("\"count\" is not a function.");
        assert_eq!(fails(main.call("count", ())).await, no_function);
        let target: Stub = main.call("target", ()).await.unwrap().parse().unwrap();
        let called = target.call("count", ()).send().await;
        assert_eq!(called.unwrap_err().to_string(), no_function.to_string());
        let got = fails(main.get("bad")).await;
        assert_eq!(got.to_string(), "RangeError: the getter threw");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_catches_through_us_what_it_would_catch_without() {
    within(async {
        let (_ours, workerd) = start().await;
        let (direct, through) = (
            workerd.run("worker").await,
            workerd.run("through_rust").await,
        );
        let names = direct.as_object().unwrap();
        assert_eq!(names.len(), 23);
        for (name, direct) in names {
            let mut direct = direct.clone();
            // It came with the text alone, where workerd reads it off the exception's type, which we do not pass on.
            if name == "retryable_function" {
                direct["own"].as_object_mut().unwrap().remove("retryable");
            }
            assert_eq!(through[name], direct, "{name}");
        }
    })
    .await;
}

/// An error as `errors.js` shows it.
fn caught(class: &str, name: &str, message: &str, own: Json) -> Json {
    let mut own = own;
    own["remote"] = json!("boolean true");
    json!({"class": class, "name": name, "message": message, "own": own})
}

#[tokio::test(flavor = "local")]
async fn what_we_throw_arrives_whole_at_a_worker() {
    within(async {
        let (_ours, workerd) = start().await;
        let seen = workerd.run("rust").await;
        let inner = |class: &str, message: &str, own: Json| {
            json!({"class": class, "name": class, "message": message, "own": own})
        };
        let custom = caught("Error", "QuotaError", "full", json!({"code": "number 7"}));
        for (name, expected) in [
            ("plain", caught("Error", "Error", "plain", json!({}))),
            ("nul", caught("TypeError", "TypeError", "a\0b", json!({}))),
            (
                "cause",
                caught("Error", "Error", "outer", json!({
                    "cause": inner("RangeError", "inner", json!({"cause": "number 42"})),
                })),
            ),
            (
                "aggregate",
                caught("AggregateError", "AggregateError", "many", json!({
                    "errors": {"0": inner("RangeError", "first", json!({})), "1": "number 2"},
                })),
            ),
            (
                "retryable",
                caught("Error", "Error", "stock is low", json!({"retryable": "boolean true"})),
            ),
            (
                "overloaded",
                caught("Error", "Error", "too busy", json!({"overloaded": "boolean true"})),
            ),
            ("custom", custom.clone()),
            ("get", custom.clone()),
            ("pipelined", custom),
            // workerd makes an error of every primitive, also of a Worker's own.
            ("number", caught("Error", "Error", "42", json!({}))),
            ("object", json!({"a": "number 1", "remote": "boolean true"})),
            // Too large, and what has no place in an error: the rest arrives.
            ("large", caught("Error", "Error", "large", json!({}))),
            ("stub", caught("Error", "Error", "stub", json!({"code": "number 7"}))),
        ] {
            assert_eq!(seen[name], expected, "{name}");
        }
    })
    .await;
}
