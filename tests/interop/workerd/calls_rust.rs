//! A Worker calls a Rust service: values, errors, stubs both ways, pipelining, properties, paths.

use std::cell::Cell;
use std::rc::Rc;

use js_rpc::{
    Args, Context, JsError, Payload, Server, Service, ServiceResult, Stub, Value, async_trait,
    nothing, reply, unknown_method,
};
use serde::Serialize;
use serde_json::json;

use crate::harness::{Builder, Ours, Workerd, get, within};

/// What the Worker in `workers/calls_rust.js` calls.
struct Probe;

#[async_trait(?Send)]
impl Service for Probe {
    async fn call(&self, method: &str, args: Args, _cx: &Context) -> ServiceResult {
        match method {
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                stubs: args.stubs,
            }),
            "count" => reply(&args.values.len()),
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
async fn dump() {
    within(async {
        let (_ours, workerd) = start().await;
        for case in [
            "values",
            "errors",
            "stub_from_rust",
            "stubs_from_js",
            "stub_there_and_back",
            "stub_is_kept",
            "pipelining",
            "properties",
            "many",
            "no_arguments",
            "large",
            "streams",
            "fetch",
            "unknown_binding",
        ] {
            let (s, b) = tokio::time::timeout(
                std::time::Duration::from_secs(8),
                get(&workerd.http(), &format!("/{case}")),
            )
            .await
            .unwrap_or((0, "HANG".into()));
            println!("{case}: {s} {b}");
        }
        let _ = json!(1);
    })
    .await;
}
