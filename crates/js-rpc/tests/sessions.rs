//! Sessions: stubs both ways, calls ahead of results, and how long things last.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use binding_span_schema::js_rpc_capnp::{js_rpc_session, js_rpc_target, workerd_debug_port};
use common::{BINDING, SOON, Shared, Way, World, every_way, raw, released, service};
use js_rpc::{
    Args, Context, JsError, Payload, Service, ServiceResult, Stub, Value, async_trait, nothing,
    reply, unknown_method,
};
use serde::{Deserialize, Serialize};

/// A counter; the objects that it hands out are remembered weakly.
struct Counter {
    count: Cell<i64>,
    made: Rc<RefCell<Vec<Weak<Counter>>>>,
}

impl Counter {
    fn new(made: &Rc<RefCell<Vec<Weak<Counter>>>>) -> Rc<Self> {
        let counter = Rc::new(Self {
            count: Cell::default(),
            made: Rc::clone(made),
        });
        made.borrow_mut().push(Rc::downgrade(&counter));
        counter
    }

    fn stub(&self, count: i64) -> Stub {
        let counter = Self::new(&self.made);
        counter.count.set(count);
        Stub::new(Shared(counter))
    }
}

#[derive(Serialize, Deserialize)]
struct Nested {
    name: String,
    list: Vec<Stub>,
    inner: Inner,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    stub: Option<Stub>,
    none: Option<Stub>,
}

#[async_trait(?Send)]
impl Service for Counter {
    async fn call(&self, method: &str, args: Args, _: &Context) -> ServiceResult {
        match method {
            "add" | "deep.in.add" => {
                let by = args.first::<Option<i64>>()?.unwrap_or(1);
                self.count.set(self.count.get() + by);
                reply(&self.count.get())
            }
            "" => reply(&"called"),
            "make" => reply(&self.stub(args.first::<Option<i64>>()?.unwrap_or(0))),
            "nested" => reply(&Nested {
                name: "n".into(),
                list: vec![self.stub(10), self.stub(20)],
                inner: Inner {
                    stub: Some(self.stub(30)),
                    none: None,
                },
            }),
            "twice" => {
                let stub = self.stub(5);
                reply(&(stub.clone(), stub))
            }
            // Calls each of its arguments, in order.
            "each" => {
                let mut sums = Vec::new();
                for stub in args.first::<Vec<Stub>>()? {
                    sums.push(stub.call("add", (1,)).await?.parse::<i64>()?);
                }
                reply(&sums)
            }
            "echo" => Ok(Payload {
                value: args.values.into_iter().next().unwrap_or_default(),
                externals: args.externals,
            }),
            "method" => reply(&method),
            _ => unknown_method(method),
        }
    }

    async fn get(&self, property: &str, _: &Context) -> ServiceResult {
        match property {
            "count" => reply(&self.count.get()),
            "self" => reply(&self.stub(self.count.get())),
            "a.b.c" => reply(&"path"),
            r"a\.b" => reply(&"dot"),
            r"a\\.b" => reply(&"backslash"),
            r"\" => reply(&"nameless"),
            r"." => reply(&"two nameless"),
            "" => reply(&"whole"),
            _ => Err(JsError::type_error(format!("no property {property}"))),
        }
    }
}

type Made = Rc<RefCell<Vec<Weak<Counter>>>>;

async fn with_counters(test: impl AsyncFn(&World, &Made)) {
    let made = Made::default();
    every_way(
        || Shared(Counter::new(&made)),
        async |world| {
            made.borrow_mut().truncate(0);
            test(world, &made).await;
            // Nothing leaks: what was handed out is let go of when the caller did.
            let handed_out = std::mem::take(&mut *made.borrow_mut());
            for object in &handed_out {
                released(object).await;
            }
            world.caller.closed().await;
        },
    )
    .await;
}

async fn count(stub: &Stub) -> i64 {
    stub.call("add", (1,)).await.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_held_stub_is_one_object_and_its_clones_are_the_same() {
    with_counters(async |world, made| {
        let stub: Stub = world
            .binding()
            .call("make", (40,))
            .await
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!((count(&stub).await, count(&stub.clone()).await), (41, 42));
        assert_eq!(made.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn stubs_inside_of_a_result_are_the_objects_at_their_places() {
    with_counters(async |world, _| {
        let reply = world.call("nested").await.unwrap();
        assert_eq!(reply.externals().len(), 3);
        let nested: Nested = reply.parse().unwrap();
        assert_eq!(nested.name, "n");
        assert_eq!(
            (count(&nested.list[0]).await, count(&nested.list[1]).await),
            (11, 21)
        );
        assert_eq!(count(&nested.inner.stub.unwrap()).await, 31);
        assert!(nested.inner.none.is_none());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stub_that_comes_twice_is_one_object() {
    with_counters(async |world, made| {
        let (one, two): (Stub, Stub) = world.call("twice").await.unwrap().parse().unwrap();
        assert_eq!((count(&one).await, count(&two).await), (6, 7));
        assert_eq!(made.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn stubs_given_as_arguments_are_called_in_their_order_and_let_go_of() {
    with_counters(async |world, _| {
        let mine = Made::default();
        let [a, b] = [1, 2].map(|n| {
            let counter = Counter::new(&mine);
            counter.count.set(100 * n);
            Stub::new(Shared(counter))
        });
        let call = world.binding().call("each", (vec![b.clone(), a, b],));
        let sums: Vec<i64> = call.await.unwrap().parse().unwrap();
        assert_eq!(sums, [201, 101, 202]);
        for object in mine.take() {
            released(&object).await;
        }
        world.caller.ended(4).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stub_given_and_returned_is_still_the_callers_object() {
    with_counters(async |world, _| {
        let mine = Made::default();
        let counter = Counter::new(&mine);
        let stub = Stub::new(Shared(Rc::clone(&counter)));
        let back: Stub = world
            .binding()
            .call("echo", (stub,))
            .await
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(count(&back).await, 1);
        assert_eq!(counter.count.get(), 1);
        drop((back, counter));
        released(&mine.take()[0]).await;
        world.caller.ended(3).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_stub_of_the_callees_can_be_given_back_to_it() {
    with_counters(async |world, _| {
        let stub: Stub = world
            .binding()
            .call("make", (7,))
            .await
            .unwrap()
            .parse()
            .unwrap();
        let call = world.binding().call("each", (vec![stub.clone()],));
        assert_eq!(call.await.unwrap().parse::<Vec<i64>>().unwrap(), [8]);
        assert_eq!(count(&stub).await, 9);
        drop(stub);
        // Two sessions, the call of what was given, which is passed on, and the last one.
        world.caller.ended(5).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn calls_go_four_deep_before_anything_returned() {
    with_counters(async |world, made| {
        let first = world.binding().call("make", (1,)).send();
        let second = first.pipelined().unwrap().call("make", (2,)).send();
        let third = second.pipelined().unwrap().call("make", (3,)).send();
        let fourth = third.pipelined().unwrap().call("make", (4,)).send();
        let last = fourth.pipelined().unwrap().call("add", (10,)).send();
        assert_eq!(made.borrow().len(), 0, "nothing has been polled");
        assert_eq!(last.await.unwrap().parse::<i64>().unwrap(), 14);
        assert_eq!(made.borrow().len(), 4);
        drop((first, second, third, fourth));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn results_that_are_not_there_yet_can_be_called_and_read_by_path() {
    with_counters(async |world, _| {
        let pending = world.call("nested").send();
        let early = pending.pipelined().unwrap();
        let calls = [
            ("list.1.add", 25),
            ("inner.stub.add", 35),
            ("list.0.add", 15),
        ];
        for (path, expected) in calls {
            let sum: i64 = early.call(path, (5,)).await.unwrap().parse().unwrap();
            assert_eq!(sum, expected, "{path}");
        }
        let name: String = early.get("name").await.unwrap().parse().unwrap();
        assert_eq!(name, "n");
        let stub: Stub = early.get("list.0").await.unwrap().parse().unwrap();
        assert_eq!(count(&stub).await, 16);
        let through: i64 = early.get("list.0.count").await.unwrap().parse().unwrap();
        assert_eq!(through, 16, "a property of a stub in the result");
        let whole: Nested = early.get("").await.unwrap().parse().unwrap();
        assert_eq!(whole.list.len(), 2);
        for (path, says) in [("nope", "no property"), ("name", "is not a function")] {
            let error = early.call(path, ()).await.unwrap_err().to_string();
            assert!(
                error.starts_with("TypeError: ") && error.contains(says),
                "{error}"
            );
        }
        drop((early, stub, whole, pending));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_result_that_is_no_object_cannot_be_called_ahead() {
    with_counters(async |world, _| {
        let pending = world.call("add").send();
        let early = pending.pipelined().unwrap();
        let call = early.call("add", ()).send();
        assert!(call.await.is_err());
        assert_eq!(pending.await.unwrap().parse::<i64>().unwrap(), 1);
        drop(early);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn methods_and_properties_are_found_by_path() {
    with_counters(async |world, _| {
        let call = world.binding().call("deep.in.add", (3,));
        assert_eq!(call.await.unwrap().parse::<i64>().unwrap(), 3);
        let called: String = world.call("").await.unwrap().parse().unwrap();
        assert_eq!(called, "called", "the target itself");
        for (path, value) in [
            ("a.b.c", "path"),
            ("", "whole"),
            // `stub["a.b"]` is not `stub.a.b`.
            (r"a\.b", "dot"),
            (r"a\\.b", "backslash"),
            (r"\", "nameless"),
            (".", "two nameless"),
        ] {
            let read: String = world.binding().get(path).await.unwrap().parse().unwrap();
            assert_eq!(read, value);
        }
        let stub: Stub = world.binding().get("self").await.unwrap().parse().unwrap();
        let read: i64 = stub.get("count").await.unwrap().parse().unwrap();
        assert_eq!(read, 3);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn dropping_a_stub_in_the_middle_of_its_call_does_not_cancel_the_call() {
    with_counters(async |world, _| {
        let stub: Stub = world.call("make").await.unwrap().parse().unwrap();
        let pending = stub.call("add", (2,)).send();
        drop(stub);
        assert_eq!(pending.await.unwrap().parse::<i64>().unwrap(), 2);
        world.caller.ended(2).await;
    })
    .await;
}

/// A session by hand: the top level, and the capability that tells its end.
async fn session(world: &World) -> (js_rpc_target::Client, js_rpc_session::Client) {
    let port: workerd_debug_port::Client = raw::connect(&world.address).await;
    let mut request = port.get_entrypoint_request();
    request.get().set_service(BINDING);
    let entrypoint = request.send().pipeline.get_entrypoint();
    let dispatcher = entrypoint
        .start_event_request()
        .send()
        .pipeline
        .get_dispatcher();
    let opened = dispatcher
        .js_rpc_session_request()
        .send()
        .promise
        .await
        .unwrap();
    let opened = opened.get().unwrap();
    (
        opened.get_top_level().unwrap(),
        opened.get_session().unwrap(),
    )
}

/// What an event of that service begins with on a connection.
async fn begin(
    port: &workerd_debug_port::Client,
    service: &str,
    entrypoint: &str,
) -> Result<js_rpc_target::Client, capnp::Error> {
    let mut request = port.get_entrypoint_request();
    request.get().set_service(service);
    request.get().set_entrypoint(entrypoint);
    let entrypoint = request.send().pipeline.get_entrypoint();
    let started = entrypoint.start_event_request().send().promise.await?;
    let dispatcher = started.get()?.get_dispatcher()?;
    let opened = dispatcher.js_rpc_session_request().send().promise.await?;
    opened.get()?.get_top_level()
}

#[tokio::test(flavor = "local")]
async fn a_development_server_may_ask_for_services_that_there_are_not_and_name_a_worker_as_it_does()
{
    for way in [Way::Unix, Way::Proxied] {
        let world = World::of(way, Shared(Counter::new(&Made::default()))).await;
        let port: workerd_debug_port::Client = raw::connect(&world.address).await;
        let user = format!("core:user:{BINDING}");
        for entrypoint in ["", "default"] {
            let top = begin(&port, &user, entrypoint).await.unwrap();
            call(&top, "add").send().promise.await.unwrap();
        }
        for (service, entrypoint) in [
            ("core:entry", ""),
            ("core:user:nobody", ""),
            ("core:user:", ""),
            (&user, "Admin"),
        ] {
            let Err(error) = begin(&port, service, entrypoint).await else {
                panic!("{service}#{entrypoint} was found")
            };
            let says = error.to_string();
            assert!(says.contains(&format!("no binding \"{service}")), "{says}");
            // The same connection serves on.
            let top = begin(&port, BINDING, "").await.unwrap();
            call(&top, "add").send().promise.await.unwrap();
        }
    }
}

fn call(target: &js_rpc_target::Client, method: &str) -> CallRequest {
    let mut request = target.call_request();
    request.get().set_method_name(method);
    request.get().init_operation();
    request
}

type CallRequest = capnp::capability::Request<
    js_rpc_target::call_params::Owned,
    js_rpc_target::call_results::Owned,
>;

#[tokio::test(flavor = "local")]
async fn the_top_level_takes_one_call() {
    for way in [Way::Unix, Way::Proxied] {
        let world = World::of(way, Shared(Counter::new(&Made::default()))).await;
        let (top, _session) = session(&world).await;
        call(&top, "add").send().promise.await.unwrap();
        let Err(error) = call(&top, "add").send().promise.await else {
            panic!("a second call was served")
        };
        assert!(error.to_string().contains("takes one call"), "{error}");
    }
}

#[tokio::test(flavor = "local")]
async fn the_session_resolves_when_the_last_that_came_through_it_is_dropped() {
    for way in [Way::Unix, Way::Proxied] {
        let world = World::of(way, Shared(Counter::new(&Made::default()))).await;
        let (top, session) = session(&world).await;
        let over = Rc::new(Cell::new(false));
        let told = Rc::clone(&over);
        let waiting = tokio::task::spawn_local(async move {
            session.client.when_resolved().await.unwrap();
            told.set(true);
        });
        let made = call(&top, "make").send().promise.await.unwrap();
        drop(top);
        let stub = {
            let value = made.get().unwrap().get_result().unwrap();
            let external = value.get_externals().unwrap().get(0);
            use binding_span_schema::js_rpc_capnp::js_value::external::RpcTarget;
            let Ok(RpcTarget(target)) = external.which() else {
                panic!("a stub")
            };
            target.get_cap().unwrap()
        };
        drop(made);
        common::a_while().await;
        call(&stub, "add").send().promise.await.unwrap();
        assert!(!over.get(), "a stub is held");
        drop(stub);
        tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
        assert!(over.get());
    }
}

#[tokio::test(flavor = "local")]
async fn a_session_that_makes_no_call_ends_when_its_top_level_is_dropped() {
    for way in [Way::Unix, Way::Proxied] {
        let world = World::of(way, Shared(Counter::new(&Made::default()))).await;
        let (top, session) = session(&world).await;
        drop(top);
        let resolved = session.client.when_resolved();
        tokio::time::timeout(SOON, resolved).await.unwrap().unwrap();
        assert!(world.callee.now().is_empty());
    }
}

#[tokio::test(flavor = "local")]
async fn a_result_that_nobody_takes_is_let_go_of() {
    with_counters(async |world, _| {
        drop(world.call("nested").await.unwrap());
        world.caller.ended(1).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_thousand_sessions_leave_nothing_behind() {
    with_counters(async |world, _| {
        for _ in 0..20 {
            let calls = (0..50).map(|_| world.call("make").send());
            for made in common::all(calls).await {
                drop(made.unwrap());
            }
        }
        world.caller.ended(1000).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn an_object_called_where_it_lives_needs_no_wire_and_no_span() {
    let world = World::of(
        Way::Unix,
        service(async |_: &str, _, _: &Context| nothing()),
    )
    .await;
    let own = Stub::new(service(async |_: &str, args: Args, cx: &Context| {
        assert!(!cx.enrich(js_rpc::Enrichment::new().name("nobody")));
        reply(&args.first::<i64>()?)
    }));
    assert_eq!(own.call("m", (3,)).await.unwrap().value(), &Value::from(3));
    assert!(world.caller.now().is_empty());
}
