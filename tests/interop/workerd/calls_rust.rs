//! A Worker calls a Rust service: values, errors, stubs both ways, pipelining, properties, paths.

use std::cell::Cell;
use std::rc::Rc;

use js_rpc::{
    Args, Context, External, JsError, Payload, Server, Service, ServiceResult, Stub, Value,
    async_trait, nothing, reply, unknown_method,
};
use serde::Serialize;
use serde_json::json;

use crate::harness::{Builder, Ours, Workerd, get, within};

/// What the Worker in `workers/calls_rust.js` calls.
pub struct Probe;

#[async_trait(?Send)]
impl Service for Probe {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                externals: args.externals,
            }),
            "count" => reply(&args.values.len()),
            "swap" => {
                let mut externals = args.externals;
                let values = [1, 0, 1].map(Value::Stub).to_vec();
                // One that the value does not name must not shift the others.
                externals.push(External::Stub(counter(0)));
                Ok(Payload {
                    value: Value::Array(values),
                    externals,
                })
            }
            "throw" => {
                let (class, message): (String, String) = args.parse()?;
                Err(JsError::new(class, message))
            }
            "panic" => panic!("on purpose"),
            "counter" => reply(&counter(args.first()?)),
            "add_all" => {
                let (counters, n): (Vec<Stub>, i64) = args.parse()?;
                let mut sum = 0;
                for counter in counters {
                    sum += counter.call("increment", (n,)).await?.parse::<i64>()?;
                }
                reply(&sum)
            }
            "call" => {
                let (stub, method, arguments): (Stub, String, Vec<Value>) = args.parse()?;
                let answer = stub.call(&method, Args::from(arguments)).await?;
                Ok(answer.into_payload())
            }
            "get" => {
                let (stub, property): (Stub, String) = args.parse()?;
                Ok(stub.get(&property).await?.into_payload())
            }
            "keep" => reply(&Stub::new(Kept(args.first()?))),
            "object" => reply(&Object::new()),
            "users.by.name" => reply(method),
            _ => unknown_method(method),
        }
    }

    async fn get(&self, property: &str, _cx: &Context) -> ServiceResult {
        match property {
            "missing" => Err(JsError::type_error("there is no such property")),
            _ => reply(&format!("property {property}")),
        }
    }
}

/// A stub of the caller's that outlives the call that brought it.
struct Kept(Stub);

#[async_trait(?Send)]
impl Service for Kept {
    async fn call(&self, _method: &str, args: Args, _cx: &Context) -> ServiceResult {
        Ok(self.0.call("", args).await?.into_payload())
    }
}

struct Counter(Cell<i64>);

fn counter(start: i64) -> Stub {
    Stub::of(Rc::new(Counter(Cell::new(start))))
}

#[async_trait(?Send)]
impl Service for Counter {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "increment" => {
                self.0.set(self.0.get() + args.first::<i64>()?);
                reply(&self.0.get())
            }
            "fork" => reply(&counter(0)),
            "nothing" => nothing(),
            _ => unknown_method(method),
        }
    }

    async fn get(&self, _property: &str, _cx: &Context) -> ServiceResult {
        reply(&self.0.get())
    }
}

#[derive(Serialize)]
struct Object {
    name: &'static str,
    list: [i64; 2],
    nested: Nested,
}

#[derive(Serialize)]
struct Nested {
    deep: bool,
    counter: Stub,
}

impl Object {
    fn new() -> Self {
        let nested = Nested {
            deep: true,
            counter: counter(0),
        };
        Self {
            name: "plain",
            list: [10, 20],
            nested,
        }
    }
}

async fn start() -> (Ours, Workerd) {
    let ours = Ours::serve(Server::new().service("SVC", Probe)).await;
    let workerd = Builder::new("calls_rust")
        .external("rust", ours.address())
        .external("nobody", ours.address())
        .start()
        .await;
    (ours, workerd)
}

#[tokio::test(flavor = "local")]
async fn every_value_comes_back_as_it_went() {
    within(async {
        let (_ours, workerd) = start().await;
        let outcome = workerd.run("values").await;
        assert_eq!(outcome["failed"], json!([]));
        assert!(outcome["cases"].as_u64() > Some(100));
        workerd.run("large").await;
        assert_eq!(workerd.run("no_arguments").await, json!([0, 1, 3]));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn errors_keep_their_class_and_message() {
    within(async {
        let (_ours, workerd) = start().await;
        let thrown = workerd.run("errors").await;
        for class in [
            "Error",
            "TypeError",
            "RangeError",
            "ReferenceError",
            "SyntaxError",
            "EvalError",
            "URIError",
        ] {
            assert_eq!(thrown[class], error(class, &format!("a {class}: of ours")));
        }
        // A class that the other side cannot know: it keeps its name.
        let custom =
            json!({"name": "QuotaError", "class": "Error", "message": "a QuotaError: of ours"});
        assert_eq!(thrown["QuotaError"], custom);
        assert_eq!(thrown["empty"], error("TypeError", ""));
        let unknown = "The RPC receiver does not implement the method \"nothing_of_that_name\".";
        assert_eq!(thrown["unknown"], error("TypeError", unknown));
        let panicked = "internal error: the method panicked";
        assert_eq!(thrown["panic"], error("Error", panicked));
        let unknown = "there is no binding \"NOBODY\" here; there is: SVC";
        assert_eq!(
            workerd.run("unknown_binding").await,
            error("Error", unknown)
        );
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn stubs_go_both_ways_and_are_called_again() {
    within(async {
        let (_ours, workerd) = start().await;
        for case in [
            "stub_from_rust",
            "stubs_from_js",
            "stub_there_and_back",
            "stub_is_kept",
        ] {
            workerd.run(case).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn calls_are_pipelined_on_a_result() {
    within(async {
        let (_ours, workerd) = start().await;
        let thrown = workerd.run("pipelining").await;
        assert_eq!(thrown["of_what_throws"], error("RangeError", "no"));
        for case in ["of_a_number", "of_a_text", "of_nothing"] {
            assert_eq!(thrown[case]["class"], "TypeError", "{thrown}");
        }
        workerd.run("many").await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn properties_are_read_and_paths_are_called() {
    within(async {
        let (_ours, workerd) = start().await;
        let missing = error("TypeError", "there is no such property");
        assert_eq!(workerd.run("properties").await, missing);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_is_not_served_says_so() {
    within(async {
        let (_ours, workerd) = start().await;
        let thrown = workerd.run("streams").await;
        for (case, named) in [
            ("readable", "ReadableStream"),
            ("writable", "WritableStream"),
            ("response", "Response"),
            ("request", "Request"),
            ("headers", "Headers"),
            ("blob", "Blob"),
        ] {
            let message = thrown[case]["message"].as_str().unwrap_or_default();
            assert_eq!(thrown[case]["class"], "TypeError", "{thrown}");
            assert!(message.contains(named), "{case}: {thrown}");
            assert!(message.ends_with("is not supported"), "{case}: {thrown}");
        }
        // workerd refuses to send these itself.
        for case in ["signal", "service"] {
            assert_eq!(thrown[case]["name"], "DataCloneError", "{thrown}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_plain_http_request_of_a_service_without_fetch_is_answered_with_that() {
    within(async {
        let (ours, workerd) = start().await;
        let answer = workerd.run("fetch").await;
        assert_eq!(answer["status"], 501);
        let text = answer["text"].as_str().unwrap_or_default();
        assert!(text.contains("\"SVC\" has no fetch handler"), "{answer}");
        let (status, body) = get(ours.address(), "/").await;
        assert_eq!((status, body.as_str()), (501, text));
    })
    .await;
}

fn error(class: &str, message: &str) -> serde_json::Value {
    json!({"name": class, "class": class, "message": message})
}
