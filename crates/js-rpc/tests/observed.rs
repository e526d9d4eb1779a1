//! What is said of a call while it runs, and while its result is held: heard by whoever looks, said to the end,
//! counted once, and no way to harm either side.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binding_span::{Attribute, AttributeValue::Int64, CallScope, DropReason, Enrichment, Outcome};
use binding_span_schema::call_capnp::{
    call_session, call_target, enrichment_observer, named_bindings,
};
use binding_span_schema::js_rpc_capnp as wire;
use bytes::Bytes;
use capnp::Error;
use common::relay::{Relay, with};
use common::{BINDING, SOON, Spans, Wire, a_while, raw, said, serve, service, socket_dir, unix};
use js_rpc::{
    Address, Args, Binding, ByteStream, ConnectOptions, Connection, Context, JsError, NetworkStats,
    Policy, PolicyConfig, Proxy, RpcLimits, Server, Service, ServiceResult, StreamError, Stub,
    async_trait, nothing, reply,
};
use tokio::sync::Notify;

/// A callee behind some proxies, and what each says of its spans.
struct Chain {
    connection: Connection,
    caller: Arc<Spans>,
    /// From the callee's to the caller's.
    proxies: Vec<Arc<Spans>>,
    callee: Arc<Spans>,
    /// Where the caller calls.
    address: Address,
    #[allow(dead_code, reason = "held for its drop")]
    dir: tempfile::TempDir,
}

impl Chain {
    async fn of(proxies: usize, service: impl Service) -> Self {
        let (dir, callee) = (socket_dir(), Spans::new());
        let server = Server::new().service(BINDING, service);
        let address = serve(server.sinks(callee.sinks()), &unix(&dir, "callee")).await;
        Self::to(address, proxies, dir, callee, RpcLimits::default()).await
    }

    async fn to(
        mut address: Address,
        count: usize,
        dir: tempfile::TempDir,
        callee: Arc<Spans>,
        limits: RpcLimits,
    ) -> Self {
        let mut proxies = Vec::new();
        for n in 0..count {
            let (spans, on) = (
                Spans::new(),
                Proxy::new(address, BINDING, ConnectOptions::default()),
            );
            let front = Server::new().proxy(BINDING, on).sinks(spans.sinks());
            let front = front.limits(limits.clone());
            address = serve(front, &unix(&dir, &format!("proxy{n}"))).await;
            proxies.push(spans);
        }
        let caller = Spans::new();
        let options = ConnectOptions {
            sinks: caller.sinks(),
            limits,
            ..ConnectOptions::default()
        };
        Self {
            connection: Connection::connect(&address, options).await.unwrap(),
            caller,
            proxies,
            callee,
            address,
            dir,
        }
    }

    fn binding(&self) -> Binding {
        self.connection.binding(BINDING)
    }

    /// The caller's spans, and the proxies'.
    fn callers(&self) -> impl Iterator<Item = &Arc<Spans>> {
        std::iter::once(&self.caller).chain(&self.proxies)
    }
}

/// What a test and its callee share.
#[derive(Default)]
struct Talk {
    go: Notify,
    /// The call whose result is held.
    scope: RefCell<Option<CallScope>>,
}

impl Talk {
    fn say(&self, said: Enrichment) -> bool {
        self.scope.borrow().as_ref().unwrap().enrich(said)
    }
}

struct Talker(Rc<Talk>);

#[async_trait(?Send)]
impl Service for Talker {
    async fn call(&self, method: &str, _: Args, cx: &Context) -> ServiceResult {
        match method {
            "slow" | "fail" => {
                cx.enrich(Enrichment::new().name("begun").attribute("a", 1));
                self.0.go.notified().await;
                let more = Enrichment::new().attribute("a", 2).attribute("b", 1);
                cx.enrich(more.attribute("error.type", "E").attribute("", 0));
                self.0.go.notified().await;
                match method {
                    "slow" => reply(&1),
                    _ => Err(JsError::type_error("no")),
                }
            }
            "make" => {
                cx.enrich(Enrichment::new().name("made").attribute("a", 1));
                self.0.scope.replace(Some(cx.scope().clone()));
                reply(&Stub::new(Kept(Rc::clone(&self.0))))
            }
            _ => nothing(),
        }
    }
}

/// A result that is held.
struct Kept(Rc<Talk>);

#[async_trait(?Send)]
impl Service for Kept {
    async fn call(&self, _: &str, args: Args, _: &Context) -> ServiceResult {
        let (key, value): (String, i64) = args.parse()?;
        reply(&self.0.say(Enrichment::new().attribute(key, value)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.say(Enrichment::new().attribute("last", 1));
    }
}

async fn chains(test: impl AsyncFn(&Chain, &Rc<Talk>)) {
    for proxies in 0..3 {
        println!("{proxies} proxies");
        let talk = Rc::new(Talk::default());
        let chain = Chain::of(proxies, Talker(Rc::clone(&talk))).await;
        let test = test(&chain, &talk);
        tokio::time::timeout(3 * SOON, test)
            .await
            .expect("it hangs");
    }
}

#[tokio::test(flavor = "local")]
async fn who_looks_sees_a_call_change_before_it_returns() {
    chains(async |chain, talk| {
        chain.caller.look(true);
        let call = chain.binding().call("slow", ()).send();
        for spans in chain.callers() {
            spans.hears("name begun").await;
            spans.hears("a 1").await;
            assert_eq!((spans.now().len(), spans.open()), (0, 1));
        }
        talk.go.notify_one();
        for spans in chain.callers() {
            spans.hears("b 1").await;
        }
        assert_eq!(chain.caller.now(), []);
        talk.go.notify_one();
        call.await.unwrap();
        for spans in chain.callers() {
            let span = &spans.ended(1).await[0];
            // It returned, and the callee says that it failed.
            assert_eq!((&*span.name, span.outcome), ("begun", Outcome::Exception));
            assert_eq!(span.dropped.count(DropReason::Callee), 1);
            // Each once; whether the callee's error type counts is known at the end.
            let told = ["name begun", "a 1", "a 2", "b 1"];
            assert_eq!(spans.told()[..4], told);
            let mut end = spans.told()[4..].to_vec();
            end.sort();
            assert_eq!(end, ["dropped callee=1", "error.type E"]);
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_was_seen_stays_when_the_call_fails() {
    chains(async |chain, talk| {
        chain.caller.look(true);
        let call = chain.binding().call("fail", ()).send();
        chain.caller.hears("a 1").await;
        talk.go.notify_one();
        chain.caller.hears("b 1").await;
        talk.go.notify_one();
        call.await.unwrap_err();
        for spans in chain.callers() {
            let span = &spans.ended(1).await[0];
            assert_eq!((&*span.name, span.outcome), ("begun", Outcome::Exception));
            assert_eq!(
                (span.get("a"), span.get("b")),
                (Some(&Int64(2)), Some(&Int64(1)))
            );
            // The call's own, not the callee's.
            assert_eq!(span.get("error.type").unwrap().as_str(), Some("TypeError"));
            assert_eq!(span.dropped.total(), 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_proxy_may_look_while_its_caller_does_not() {
    let talk = Rc::new(Talk::default());
    let chain = Chain::of(2, Talker(Rc::clone(&talk))).await;
    let [below, above] = [&chain.proxies[0], &chain.proxies[1]];
    below.look(true);
    let call = chain.binding().call("slow", ()).send();
    below.hears("a 1").await;
    talk.go.notify_one();
    below.hears("b 1").await;
    for spans in [&chain.caller, above] {
        assert_eq!(spans.told(), <[String; 0]>::default());
    }
    talk.go.notify_one();
    call.await.unwrap();
    for spans in [&chain.caller, above] {
        spans.ended(1).await;
        let told = [
            "name begun",
            "a 2",
            "b 1",
            "error.type E",
            "dropped callee=1",
        ];
        assert_eq!(spans.told(), told);
    }
}

/// Calls ten times through a relay; the relay, and what the caller counted of it.
async fn counted(sinks: Option<bool>) -> (Relay, u64, u64) {
    let quick = service(async |_: &str, _, cx: &Context| {
        cx.enrich(Enrichment::new().name("quick"));
        reply(&1)
    });
    let dir = socket_dir();
    let server = Server::new().service(BINDING, quick);
    let relay = Relay::to(&serve(server, &unix(&dir, "callee")).await, &dir).await;
    let spans = Spans::new();
    spans.look(sinks == Some(true));
    let mut options = ConnectOptions::default();
    if sinks.is_some() {
        options.sinks = spans.sinks();
    }
    let stats: NetworkStats = options.limits.network.stats.clone();
    let connection = Connection::connect(&relay.address, options).await.unwrap();
    let binding = connection.binding(BINDING);
    binding.call("run", ()).await.unwrap();
    let before = (stats.frames_out(), stats.frames_in());
    for _ in 0..10 {
        binding.call("run", ()).await.unwrap();
    }
    a_while().await;
    let (sent, received) = (stats.frames_out() - before.0, stats.frames_in() - before.1);
    (relay, sent, received)
}

#[tokio::test(flavor = "local")]
async fn where_nobody_looks_nothing_more_is_sent() {
    let with_caps = |relay: &Relay| {
        let caps = |frame: &Vec<u8>| {
            with(frame, |message| {
                let Ok(capnp_rpc::rpc_capnp::message::Call(Ok(call))) = message.which() else {
                    panic!("a call")
                };
                call.get_params().unwrap().get_cap_table().unwrap().len()
            })
        };
        relay.calls().iter().filter(|frame| caps(frame) > 0).count()
    };
    let (relay, sent, received) = counted(None).await;
    assert_eq!((with_caps(&relay), received), (0, 10));
    let (relay, with_sinks, answers) = counted(Some(false)).await;
    assert_eq!((with_caps(&relay), with_sinks, answers), (0, sent, 10));
    let (relay, live, answers) = counted(Some(true)).await;
    assert_eq!(with_caps(&relay), 11);
    assert!(live >= sent && answers > 10, "{live} and {answers}");
}

/// `CallSession`.
const SESSION: u64 = 0x83c2_f15b_6970_49dc;

#[tokio::test(flavor = "local")]
async fn a_held_result_is_observed_once_and_only_if_somebody_records_the_call() {
    for (sinks, live, observed) in [(false, false, 0), (true, false, 1), (true, true, 0)] {
        let (dir, spans) = (socket_dir(), Spans::new());
        let server = Server::new().service(BINDING, Talker(Rc::default()));
        let relay = Relay::to(&serve(server, &unix(&dir, "callee")).await, &dir).await;
        spans.look(live);
        let mut options = ConnectOptions::default();
        if sinks {
            options.sinks = spans.sinks();
        }
        let connection = Connection::connect(&relay.address, options).await.unwrap();
        let made = connection.binding(BINDING).call("make", ()).await.unwrap();
        made.stub(0)
            .unwrap()
            .call("say", ("late", 1))
            .await
            .unwrap();
        drop(made);
        a_while().await;
        let asked = relay.asked();
        let asked = asked.iter().filter(|(interface, _)| *interface == SESSION);
        assert_eq!(asked.count(), observed, "{sinks} {live}");
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_said_while_the_result_is_held_counts_once_and_to_the_last() {
    for live in [false, true] {
        println!("live: {live}");
        chains(async |chain, talk| {
            chain.caller.look(live);
            let made: Stub = chain
                .binding()
                .call("make", ())
                .await
                .unwrap()
                .parse()
                .unwrap();
            let again = made.clone();
            for spans in chain.callers() {
                spans.hears("name made").await;
            }
            for n in 1..3 {
                let heard = made.call("say", ("late", n)).await.unwrap();
                assert!(heard.parse::<bool>().unwrap());
                for spans in chain.callers() {
                    spans.hears(&format!("late {n}")).await;
                }
            }
            drop(made);
            a_while().await;
            assert_eq!(chain.caller.open(), 1, "it is held");
            drop(again);
            let told = ["name made", "a 1", "late 1", "late 2", "last 1"];
            for spans in chain.callers() {
                let spans_ended = spans.ended(3).await;
                let session = &spans_ended[2];
                assert_eq!(
                    (&*session.original_name, &*session.name),
                    ("jsRpcSession", "made")
                );
                let expected = [("a", Int64(1)), ("late", Int64(2)), ("last", Int64(1))];
                assert_eq!(said(session), expected);
                assert_eq!(spans.told(), told);
                assert!(session.dropped.is_empty());
            }
            assert!(!talk.say(Enrichment::new().name("sealed")), "it is over");
            chain.callee.ended(3).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "local")]
async fn in_three_calls_a_held_result_says_nothing_more() {
    let talk = Rc::new(Talk::default());
    let world = common::World::over(common::Way::Unix, Wire::ThreeCalls, Talker(talk)).await;
    let made: Stub = world.call("make").await.unwrap().parse().unwrap();
    let heard = made.call("say", ("late", 1)).await.unwrap();
    assert!(!heard.parse::<bool>().unwrap());
    drop(made);
    let session = &world.caller.ended(2).await[1];
    assert_eq!(said(session), [("a", Int64(1))]);
}

#[tokio::test(flavor = "local")]
async fn what_is_said_late_is_under_policy_and_caps() {
    chains(async |chain, talk| {
        let config = PolicyConfig {
            denied_prefixes: vec!["secret.".into()],
            ..PolicyConfig::default()
        };
        let policy = Arc::new(Policy::new(config));
        let binding = chain.binding().with_policy(policy);
        let made: Stub = binding.call("make", ()).await.unwrap().parse().unwrap();
        made.call("say", ("secret.key", 1)).await.unwrap();
        made.call("say", ("service.name", 1)).await.unwrap();
        let many =
            |n: usize| (0..n).fold(Enrichment::new(), |e, i| e.attribute(format!("k{i}"), 1));
        // One is there, and two were said: the callee has room for 253.
        assert!(talk.say(many(300)));
        assert!(talk.say(Enrichment::new().name("n".repeat(257))));
        chain.caller.hears("k252 1").await;
        drop(made);
        let session = chain.caller.ended(3).await.remove(2);
        assert_eq!(session.name, "made");
        assert_eq!(session.get("secret.key"), None);
        // The policies of the proxies are not this one's, but the defaults.
        let name = chain.proxies.is_empty().then_some(&Int64(1));
        assert_eq!(session.get("service.name"), name);
        let denied = session.dropped.count(DropReason::DeniedKey);
        assert_eq!(denied, 1, "once: {}", session.dropped);
        // 47 of the many, the name, and the last word; and what a proxy denied.
        let callee = 47 + 1 + 1 + u32::from(!chain.proxies.is_empty());
        assert_eq!(session.dropped.count(DropReason::Callee), callee);
        assert_eq!(session.dropped.total(), u64::from(callee + denied));
    })
    .await;
}

/// A callee that no honest program is.
#[derive(Clone)]
struct Rogue(Rc<Inner>);

struct Inner {
    kind: Kind,
    /// What it was given, and does not let go of.
    kept: RefCell<Vec<enrichment_observer::Client>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Says a hundred things at once.
    Floods,
    /// Says more than it may, in turn.
    Rambles,
    /// Returns an object and keeps the observer.
    Keeps,
    /// The same without an object.
    KeepsAlone,
}

const THREE: [u8; 4] = [0xff, 0x0f, 0x49, 0x06];
const STUB: [u8; 4] = [0xff, 0x0f, 0x5c, 0x01];

/// Says something to an observer.
fn tell(
    observer: &enrichment_observer::Client,
    said: &Enrichment,
) -> impl Future<Output = ()> + use<> {
    tell_all(observer, said.span_name(), said.attributes())
}

/// The same of what may be beyond all caps.
fn tell_all(
    observer: &enrichment_observer::Client,
    name: Option<&str>,
    attributes: &[Attribute],
) -> impl Future<Output = ()> + use<> {
    let mut request = observer.enriched_request();
    let mut said = request.get().init_enrichment();
    if let Some(name) = name {
        said.set_name(name);
    }
    let mut list = said.init_attributes(attributes.len() as u32);
    for (i, Attribute { key, value }) in attributes.iter().enumerate() {
        binding_span::wire::write_attribute(list.reborrow().get(i as u32), key, value);
    }
    let answered = request.send().promise;
    async move { drop(answered.await) }
}

impl wire::workerd_debug_port::Server for Rogue {}
impl named_bindings::Server for Rogue {}
impl wire::external_pusher::Server for Rogue {}
impl wire::js_rpc_target::Server for Rogue {}

impl call_session::Server for Rogue {
    async fn observe(
        self: Rc<Self>,
        params: call_session::ObserveParams,
        _: call_session::ObserveResults,
    ) -> Result<(), Error> {
        self.0.kept.borrow_mut().push(params.get()?.get_observer()?);
        Ok(())
    }
}

impl call_target::Server for Rogue {
    async fn invoke(
        self: Rc<Self>,
        params: call_target::InvokeParams,
        mut results: call_target::InvokeResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let observer = request.has_observer().then(|| request.get_observer());
        let observer = observer.transpose()?;
        let mut returned = results.get().init_returned();
        match self.0.kind {
            Kind::Keeps => {
                let mut value = returned.init_result();
                value.set_v8_serialized(&STUB);
                let stub = value.init_externals(1).get(0);
                let target = capnp_rpc::new_client(Self::clone(&self));
                stub.init_rpc_target().set_cap(target);
                results
                    .get()
                    .set_session(capnp_rpc::new_client(Self::clone(&self)));
            }
            _ => returned.reborrow().init_result().set_v8_serialized(&THREE),
        }
        let Some(observer) = observer else {
            return Ok(());
        };
        match self.0.kind {
            Kind::Floods => {
                let said = (0..100).map(|n| tell(&observer, &Enrichment::new().attribute("n", n)));
                common::all(said.collect::<Vec<_>>()).await;
            }
            Kind::Rambles => {
                for n in 0..10 {
                    let said = [
                        Attribute::new(format!("k{n}"), "x".repeat(100 << 10)),
                        Attribute::new("service.name", "me"),
                    ];
                    tell_all(&observer, Some(&"n".repeat(300)), &said).await;
                }
                let many = (0..300).map(|n| Attribute::new(format!("a{n}"), true));
                tell_all(&observer, None, &many.collect::<Vec<_>>()).await;
            }
            Kind::Keeps | Kind::KeepsAlone => self.0.kept.borrow_mut().push(observer),
        }
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

/// A rogue behind some proxies, and a caller that looks.
async fn rogue(kind: Kind, proxies: usize) -> (Rogue, Chain) {
    let dir = socket_dir();
    let rogue = Rogue(Rc::new(Inner {
        kind,
        kept: RefCell::default(),
    }));
    let port: named_bindings::Client = capnp_rpc::new_client(rogue.clone());
    let address = raw::serve(port, &dir);
    let limits = RpcLimits {
        linger: LINGER,
        ..RpcLimits::default()
    };
    let chain = Chain::to(address, proxies, dir, Spans::new(), limits).await;
    (rogue, chain)
}

const LINGER: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "local")]
async fn updates_that_come_faster_than_they_are_answered_are_dropped_and_counted() {
    for proxies in 0..2 {
        let (_, chain) = rogue(Kind::Floods, proxies).await;
        chain.caller.look(true);
        let outcome = chain.binding().call("run", ()).await.unwrap();
        assert_eq!(outcome.parse::<i64>().unwrap(), 3);
        let next = chain.proxies.first().unwrap_or(&chain.caller);
        let span = &next.ended(1).await[0];
        let dropped = span.dropped.count(DropReason::UpdateRate);
        let heard = next
            .told()
            .iter()
            .filter(|told| told.starts_with("n "))
            .count();
        assert!(
            dropped > 50 && heard > 0,
            "{dropped} dropped, {heard} heard"
        );
        assert_eq!(dropped as usize + heard, 100);
        assert_eq!(chain.caller.ended(1).await[0].outcome, Outcome::Ok);
    }
}

#[tokio::test(flavor = "local")]
async fn updates_are_under_caps_and_policy_together() {
    for proxies in 0..2 {
        let (_, chain) = rogue(Kind::Rambles, proxies).await;
        chain.caller.look(true);
        chain.binding().call("run", ()).await.unwrap();
        for spans in chain.callers() {
            let span = &spans.ended(1).await[0];
            assert_eq!(span.name, "jsRpcSession");
            let bytes = |key: &str| key.starts_with('k');
            let large = said(span).iter().filter(|(key, _)| bytes(key)).count();
            assert_eq!(large, 2, "256 KiB in all");
            assert!(said(span).len() <= 256);
            assert_eq!(span.get("service.name"), None);
        }
        let next = chain
            .proxies
            .first()
            .unwrap_or(&chain.caller)
            .now()
            .remove(0);
        assert_eq!(next.dropped.count(DropReason::TotalBytes), 8);
        assert_eq!(next.dropped.count(DropReason::NameTooLong), 10);
        assert!(next.dropped.count(DropReason::DeniedKey) >= 1);
        assert!(next.dropped.count(DropReason::TooManyAttributes) >= 40);
    }
}

#[tokio::test(flavor = "local")]
async fn an_observer_that_is_never_let_go_of_costs_the_span_its_linger_and_no_more() {
    for (proxies, live) in [(0, false), (0, true), (1, false), (1, true)] {
        let (rogue, chain) = rogue(Kind::Keeps, proxies).await;
        chain.caller.look(live);
        let made: Stub = chain
            .binding()
            .call("run", ())
            .await
            .unwrap()
            .parse()
            .unwrap();
        a_while().await;
        let observer = rogue.0.kept.borrow().last().cloned().expect("an observer");
        tell(&observer, &Enrichment::new().attribute("held", 1)).await;
        chain.caller.hears("held 1").await;
        let dropped = Instant::now();
        drop(made);
        a_while().await;
        tell(&observer, &Enrichment::new().attribute("still", 1)).await;
        let span = &chain.caller.ended(1).await[0];
        assert!(dropped.elapsed() >= LINGER, "{:?}", dropped.elapsed());
        assert!(dropped.elapsed() < SOON / 2);
        assert_eq!(span.get("held"), Some(&Int64(1)));
        let told = chain.caller.told();
        tell(&observer, &Enrichment::new().attribute("after", 1)).await;
        a_while().await;
        assert_eq!(chain.caller.told(), told, "it is over");
    }
}

#[tokio::test(flavor = "local")]
async fn an_observer_that_is_kept_without_an_object_costs_nothing() {
    for proxies in 0..2 {
        let (rogue, chain) = rogue(Kind::KeepsAlone, proxies).await;
        chain.caller.look(true);
        let began = Instant::now();
        chain.binding().call("run", ()).await.unwrap();
        assert_eq!(chain.caller.now().len(), 1, "closed when it returned");
        assert!(began.elapsed() < SOON / 2);
        let observer = rogue.0.kept.borrow()[0].clone();
        tell(&observer, &Enrichment::new().name("after")).await;
        a_while().await;
        assert_eq!(chain.caller.told(), <[String; 0]>::default());
    }
}

/// An observer by hand.
struct Observer {
    heard: Rc<RefCell<Vec<Enrichment>>>,
    answers: bool,
    gone: Rc<Cell<bool>>,
}

#[derive(Default, Clone)]
struct Observed {
    heard: Rc<RefCell<Vec<Enrichment>>>,
    gone: Rc<Cell<bool>>,
}

impl Observed {
    fn client(&self, answers: bool) -> enrichment_observer::Client {
        capnp_rpc::new_client(Observer {
            heard: Rc::clone(&self.heard),
            answers,
            gone: Rc::clone(&self.gone),
        })
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, held).await.expect("it happens");
    }
}

impl enrichment_observer::Server for Observer {
    async fn enriched(
        self: Rc<Self>,
        params: enrichment_observer::EnrichedParams,
        _: enrichment_observer::EnrichedResults,
    ) -> Result<(), Error> {
        let said = params.get()?.get_enrichment();
        let said = binding_span::read_result(said, binding_span::Limits::DEFAULT);
        self.heard.borrow_mut().push(said);
        match self.answers {
            true => Ok(()),
            false => std::future::pending().await,
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.gone.set(true);
    }
}

type Invoke = capnp::capability::Request<call_target::request::Owned, call_target::response::Owned>;

async fn invoke(address: &Address, method: &str) -> (call_target::Client, Invoke) {
    let target: call_target::Client = raw::connect(address).await;
    let mut request = target.invoke_request();
    request.get().set_binding(BINDING);
    let mut params = request.get().init_params();
    params.set_method_name(method);
    params.init_operation();
    (target, request)
}

#[tokio::test(flavor = "local")]
async fn an_observer_that_never_answers_holds_up_nothing_and_is_given_up() {
    for proxies in 0..2 {
        let talk = Rc::new(Talk::default());
        let chain = Chain::of(proxies, Talker(Rc::clone(&talk))).await;
        let observed = Observed::default();
        let (_target, mut request) = invoke(&chain.address, "slow").await;
        request.get().set_observer(observed.client(false));
        let answered = tokio::task::spawn_local(request.send().promise);
        observed.until(|it| !it.heard.borrow().is_empty()).await;
        talk.go.notify_one();
        a_while().await;
        talk.go.notify_one();
        let answer = tokio::time::timeout(SOON / 3, answered)
            .await
            .expect("it is answered");
        let answer = answer.unwrap().unwrap();
        let response = answer.get().unwrap();
        let all = binding_span::read_result(response.get_enrichment(), Default::default());
        assert_eq!(all.span_name(), Some("begun"));
        assert_eq!(all.attributes().len(), 3);
        assert_eq!(observed.heard.borrow().len(), 1, "one at a time");
        observed.until(|it| it.gone.get()).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_session_has_one_observer() {
    for proxies in 0..2 {
        let talk = Rc::new(Talk::default());
        let chain = Chain::of(proxies, Talker(Rc::clone(&talk))).await;
        let [first, second] = [Observed::default(), Observed::default()];
        let (_target, request) = invoke(&chain.address, "make").await;
        let answer = request.send().promise.await.unwrap();
        let session = answer.get().unwrap().get_session().unwrap();
        let observe = async |observed: &Observed| {
            let mut request = session.observe_request();
            request.get().set_observer(observed.client(true));
            request.send().promise.await.map(drop)
        };
        observe(&first).await.unwrap();
        let error = observe(&second).await.unwrap_err().to_string();
        assert!(error.contains("one observer"), "{error}");
        second.until(|it| it.gone.get()).await;
        talk.say(Enrichment::new().attribute("late", 1));
        first.until(|it| !it.heard.borrow().is_empty()).await;
        assert!(second.heard.borrow().is_empty());
        assert!(!first.gone.get());
        drop((answer, session));
        first.until(|it| it.gone.get()).await;
        let heard = first.heard.borrow();
        let expected = [("late", 1), ("last", 1)];
        let expected = expected.map(|(key, value)| Enrichment::new().attribute(key, value));
        assert_eq!(*heard, expected);
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_had_an_observer_from_the_start_has_no_other() {
    let talk = Rc::new(Talk::default());
    let chain = Chain::of(0, Talker(Rc::clone(&talk))).await;
    let [first, second] = [Observed::default(), Observed::default()];
    let (_target, mut request) = invoke(&chain.address, "make").await;
    request.get().set_observer(first.client(true));
    let answer = request.send().promise.await.unwrap();
    let session = answer.get().unwrap().get_session().unwrap();
    let mut request = session.observe_request();
    request.get().set_observer(second.client(true));
    let _ = request.send().promise.await;
    second.until(|it| it.gone.get()).await;
    talk.say(Enrichment::new().attribute("late", 1));
    drop((answer, session));
    first.until(|it| it.gone.get()).await;
    let last = first.heard.borrow().last().cloned().unwrap();
    assert!(
        last.attributes()
            .iter()
            .any(|attribute| attribute.key == "last")
    );
    assert!(second.heard.borrow().is_empty());
}

/// Has an object whose calls return a stream, of which they say how it ended.
struct Streaming;

/// Says when it goes that a stream is no more.
struct Ends(CallScope);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.enrich(Enrichment::new().attribute("ended", 1));
    }
}

#[async_trait(?Send)]
impl Service for Streaming {
    async fn call(&self, _: &str, _: Args, _: &Context) -> ServiceResult {
        reply(&Stub::new(service(
            async |method: &str, _, cx: &Context| {
                let last = if method == "read" { 3 } else { i32::MAX };
                cx.enrich(Enrichment::new().name("read").attribute("a", 1));
                let ends = Ends(cx.scope().clone());
                let chunks = futures::stream::unfold((ends, 0), move |(ends, n)| async move {
                    if n == last {
                        ends.0.enrich(Enrichment::new().attribute("chunks", n));
                        return None;
                    }
                    let chunk = if last == 3 {
                        Bytes::from("chunk")
                    } else {
                        Bytes::from(vec![7; 10_000])
                    };
                    Some((Ok::<_, StreamError>(chunk), (ends, n + 1)))
                });
                Ok(ByteStream::new(chunks).into())
            },
        )))
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_said_of_an_objects_call_while_its_stream_is_read_counts_to_the_last() {
    for (proxies, live, whole) in [
        (0, false, true),
        (0, true, true),
        (0, false, false),
        (1, false, true),
        (2, true, true),
        (1, false, false),
        (2, false, false),
    ] {
        println!("{proxies} proxies, live: {live}, read to its end: {whole}");
        let chain = Chain::of(proxies, Streaming).await;
        chain.caller.look(live);
        let object = chain.binding().call("open", ()).await.unwrap();
        let object: Stub = object.parse().unwrap();
        let method = if whole { "read" } else { "endless" };
        let mut stream: ByteStream = object.call(method, ()).await.unwrap().parse().unwrap();
        a_while().await;
        assert_eq!(chain.caller.open(), 2, "both are open");
        match whole {
            true => assert_eq!(stream.read_to_end(100).await.unwrap().len(), 15),
            false => {
                futures::StreamExt::next(&mut stream)
                    .await
                    .unwrap()
                    .unwrap();
                drop(stream);
            }
        }
        for spans in chain.callers() {
            spans.hears("ended 1").await;
        }
        drop(object);
        for spans in chain.callers() {
            let call = spans.ended(2).await.remove(0);
            assert_eq!(call.name, "read");
            let chunks = whole.then_some(("chunks", Int64(3)));
            let expected: Vec<_> = [Some(("a", Int64(1))), chunks, Some(("ended", Int64(1)))]
                .into_iter()
                .flatten()
                .collect();
            assert_eq!(said(&call), expected);
        }
        chain.callee.ended(2).await;
    }
}
