//! A Worker's `env.AI` is an AI binding of ours: by the plain HTTP of workerd's own wrapper in a stock workerd, and by calls
//! where a service is bound under that name; directly, and through `caller`, whose spans say what each request was.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, Response, StatusCode};
use binding_span::{AttributeList, AttributeValue, Outcome, Sinks, SpanSink};
use bindings::ai::{Ai, AiOptions, Endpoint, ModelRule, Price, ProviderOptions};
use js_rpc::{
    Address, Args, ByteStream, ConnectOptions, Context, JsError, Listener, Proxy, Server, Service,
    ServiceResult, async_trait, unknown_method,
};
use serde_json::{Value, json};
use tail::{FinishedSpan, Recorder};
use tokio::sync::Notify;

use crate::harness::{Builder, Daemon, Ours, Workerd, within};

/// A provider whose answers a test decides: which, is in the model's name.
#[derive(Default, Clone)]
struct Standin(Rc<Seen>);

#[derive(Default)]
struct Seen {
    go: Notify,
    /// Requests and streams that whoever asked has given up.
    given_up: Cell<usize>,
}

#[async_trait(?Send)]
impl Service for Standin {
    async fn call(&self, method: &str, _args: Args, _cx: &Context) -> ServiceResult {
        unknown_method(method)
    }

    async fn fetch(
        &self,
        request: Request<ByteStream>,
        _cx: &Context,
    ) -> Result<Response<ByteStream>, JsError> {
        if request.uri().path() == "/v1/models" {
            return Ok(whole(json!({"object": "list", "data": []})));
        }
        let body = request.into_body().read_to_end(1 << 20).await;
        let body = body.map_err(|error| JsError::error(error.to_string()))?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let mut limited = failed(StatusCode::TOO_MANY_REQUESTS, "slow down");
        let after = HeaderValue::from_static("7");
        limited.headers_mut().insert("retry-after", after);
        match body["model"].as_str().unwrap() {
            "tools" => Ok(whole(calls_the_tool(&body))),
            "limited" => Ok(limited),
            "failing" => Ok(failed(StatusCode::INTERNAL_SERVER_ERROR, "out of order")),
            "hanging" => {
                let _given_up = GivenUp(&self.0);
                std::future::pending().await
            }
            "go" => {
                self.0.go.notify_one();
                Ok(whole(said("go")))
            }
            other => Ok(self.stream(other)),
        }
    }
}

/// Counts if it is dropped.
struct GivenUp<'a>(&'a Seen);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.given_up.set(self.0.given_up.get() + 1);
    }
}

impl Standin {
    fn stream(&self, kind: &str) -> Response<ByteStream> {
        let (sink, stream) = ByteStream::pipe();
        let (kind, seen) = (kind.to_owned(), Rc::clone(&self.0));
        tokio::task::spawn_local(async move {
            let chunk = |text: &str, reason: Value| {
                let choice =
                    json!({"index": 0, "delta": {"content": text}, "finish_reason": reason});
                format!("data: {}\n\n", json!({"id": "s", "choices": [choice]}))
            };
            let mut written = sink.write(chunk("first", Value::Null)).await;
            if kind == "paced" || kind == "broken" {
                seen.go.notified().await;
            }
            match &*kind {
                "paced" => written = sink.write(chunk("second", Value::Null)).await,
                "broken" => return sink.fail("on purpose"),
                _ => {}
            }
            while kind == "endless" && written.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                written = sink.write(chunk("more", Value::Null)).await;
            }
            if written.is_err() {
                drop(GivenUp(&seen));
                return;
            }
            let end = format!("{}data: [DONE]\n\n", chunk("", "stop".into()));
            let _ = sink.write(end).await;
            let _ = sink.end().await;
        });
        let mut response = Response::new(stream);
        let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
        response.headers_mut().insert("content-type", kind);
        response
    }
}

fn whole(value: Value) -> Response<ByteStream> {
    let mut response = Response::new(ByteStream::from(value.to_string()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", kind);
    response
}

fn failed(status: StatusCode, message: &str) -> Response<ByteStream> {
    let mut response = whole(json!({"error": {"message": message, "type": "server_error"}}));
    *response.status_mut() = status;
    response
}

fn said(text: &str) -> Value {
    let message = json!({"role": "assistant", "content": text});
    json!({"id": "w", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}

/// What a model answers that calls the first of its tools.
fn calls_the_tool(asked: &Value) -> Value {
    let function =
        json!({"name": asked["tools"][0]["function"]["name"], "arguments": "{\"at\":\"sea\"}"});
    let calls = json!([{"id": "call_1", "type": "function", "function": function}]);
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
}

/// The binding AI, and who answers it.
struct World {
    standin: Standin,
    ours: Ours,
}

impl World {
    async fn new() -> Self {
        let standin = Standin::default();
        let loopback = Address::Tcp {
            host: "127.0.0.1".into(),
            port: 0,
        };
        let listener = Listener::bind(&loopback).await.unwrap();
        let url = format!("http://{}/v1", listener.address());
        let server = Server::new().service("STANDIN", standin.clone());
        tokio::task::spawn_local(server.serve([listener], std::future::pending()));
        let other = ProviderOptions {
            // Its failures are on purpose.
            break_after: 0,
            ..ProviderOptions::new("standin", Endpoint::Http(url.parse().unwrap()))
        };
        let options = AiOptions {
            providers: vec![ProviderOptions::new("counter", Endpoint::Builtin), other],
            models: vec![ModelRule {
                pattern: "@cf/meta/*".into(),
                provider: None,
                model: Some("word-counter".into()),
                price: Some(Price {
                    input: 1.0,
                    output: 2.0,
                    cached_input: None,
                }),
            }],
            public_url: Some("http://ai.example".into()),
            ..AiOptions::default()
        };
        let ai = Ai::open("AI", options, None).unwrap();
        let ours = Ours::serve(Server::new().service("AI", ai)).await;
        Self { standin, ours }
    }

    /// Waits until so many requests have been given up.
    async fn given_up(&self, count: usize, what: &str) {
        let seen = &self.standin.0.given_up;
        let enough = async {
            while seen.get() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let enough = tokio::time::timeout(Duration::from_secs(30), enough).await;
        assert!(enough.is_ok(), "{what}: {} of {count}", seen.get());
        seen.set(0);
    }
}

async fn worker(address: &Address) -> Workerd {
    Builder::new("ai")
        .external("plain", address)
        .external("calls", address)
        .start()
        .await
}

/// The binding, and workerds that reach it directly and through `caller`.
async fn both_ways() -> (World, Daemon, [(&'static str, Workerd); 2]) {
    let world = World::new().await;
    let bind = format!("AI={}", world.ours.address());
    let caller = Daemon::caller(&["--bind", &bind]).await;
    let direct = worker(world.ours.address()).await;
    let passed = worker(&caller.address()).await;
    (world, caller, [("direct", direct), ("passed", passed)])
}

/// By HTTP, and by calls.
const BINDINGS: [&str; 2] = ["HTTP", "CALLS"];

#[tokio::test(flavor = "local")]
async fn models_run_for_a_worker_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let run = async |case: &str| workerd.run(&format!("{case}/{binding}")).await;
                for case in ["text", "json_mode", "embeddings", "raw", "models"] {
                    run(case).await;
                }
                let tools = run("tools").await;
                let wanted = json!([
                    "InferenceUpstreamError",
                    "5006: the word counter calls no tools; any OpenAI-compatible server can take its place"
                ]);
                assert_eq!(tools, wanted, "{way} {binding}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_worker_reads_a_stream_as_it_comes_in_every_way() {
    within(async {
        let (world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let run = async |case: &str| workerd.run(&format!("{case}/{binding}")).await;
                run("stream").await;
                run("stream_as_it_comes").await;
                let broken = run("stream_that_breaks_off").await;
                assert_eq!(broken[0], "InferenceUpstreamError", "{way} {binding}");
                assert_eq!(broken[1], 3043, "{way} {binding}");
                let text = broken[2].as_str().unwrap();
                assert!(text.contains("standin broke its answer off"), "{text}");
                run("stream_that_is_cancelled").await;
                world.given_up(1, &format!("{way} {binding}")).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn errors_have_workers_ais_names_and_codes_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        let input = "InvalidInput";
        let upstream = "InferenceUpstreamError";
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let errors = workerd.run(&format!("errors/{binding}")).await;
                let wanted = json!([
                    [input, "1001: prompt and messages are mutually exclusive"],
                    [input, "5006: the inputs need one of `prompt`, `messages`, `input` (text generation) or `text` (embeddings)"],
                    [upstream, "3040: slow down"],
                    [upstream, "3043: out of order"],
                    [upstream, "3040: slow down"],
                    [upstream, "5007: text-to-image is not served by this binding: it runs text generation (prompt, messages or input) and embeddings (text)"],
                    [upstream, "7001: the gateway's id is \"not a gateway\"; give 1 to 64 letters, digits, `-`, `_` and `.`"],
                ]);
                assert_eq!(errors, wanted, "{way} {binding}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_gateway_answers_a_worker_in_every_way() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            for binding in BINDINGS {
                let run = async |case: &str| workerd.run(&format!("{case}/{binding}")).await;
                for case in ["gateway_option", "gateway_stream", "gateway_fallback"] {
                    run(case).await;
                }
                let refused = run("gateway_run").await;
                assert_eq!(refused[0], 400, "{way} {binding}");
                let text = refused[1].as_str().unwrap();
                assert!(text.contains("no provider \"nobody\""), "{text}");
                let urls = json!([
                    "http://ai.example/v1/AI/my-gateway",
                    "http://ai.example/v1/AI/my-gateway/openai",
                    "http://ai.example/v1/AI/my-gateway/workers-ai",
                ]);
                assert_eq!(run("gateway_url").await, urls, "{way} {binding}");
                let lost = ["AiGatewayLogNotFound", "Not Found"];
                let log = run("gateway_log").await;
                assert_eq!(
                    log.as_array().unwrap()[..3],
                    [json!(lost), json!(lost), json!(lost)]
                );
                assert_eq!(log[3][0], "AiGatewayInternalError", "{way} {binding}");
                let text = log[3][1].as_str().unwrap();
                assert!(text.contains("feedback"), "{text}");
            }
            let url = "http://ai.example/v1/AI/beta/openai";
            assert_eq!(workerd.run("gateway_in_beta/BOTH").await, url, "{way}");
            assert_eq!(workerd.run("gateway_in_beta/CALLS").await, url, "{way}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn an_abort_signal_ends_the_providers_work() {
    within(async {
        let (world, _caller, ways) = both_ways().await;
        for (way, workerd) in &ways {
            workerd.run("properties/HTTP").await;
            workerd.run("aborted/HTTP").await;
            world.given_up(3, way).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn what_is_not_served_says_so() {
    within(async {
        let (_world, _caller, ways) = both_ways().await;
        let thrown = |name: &str, text: &str| json!([name, text]);
        let upstream = "InferenceUpstreamError";
        let has = "it has run(), models() and gateway(), over HTTP and RPC";
        let none = |what: &str| format!("{what} is not served by this binding: {has}");
        let stream = "5007: an input that is a stream is not served by this binding: it runs text generation \
            (prompt, messages or input) and embeddings (text)";
        let websocket = format!("5007: {}", none("websocket"));
        let by_http = json!({
            "markdown": thrown("AiInternalError", &none("toMarkdown")),
            "formats": [],
            "autorag": thrown("AutoRAGInternalError", &none("autorag")),
            "autorags": thrown("AutoRAGInternalError", &none("autorag")),
            "audio": thrown(upstream, stream),
            "form": thrown(upstream, stream),
        });
        let by_calls = json!({
            "markdown": thrown(upstream, &format!("5007: {}", none("toMarkdown"))),
            "autorag": thrown(upstream, &format!("5007: {}", none("autorag"))),
            "search": thrown(upstream, &format!("5007: {}", none("aiSearch"))),
            "audio": thrown(upstream, stream),
            "websocket": thrown(upstream, &websocket),
            // workerd's own.
            "signal": thrown("DataCloneError", "AbortSignal serialization is not enabled."),
            "method": thrown("TypeError", "The RPC receiver does not implement the method \"nothing\"."),
        });
        for (way, workerd) in &ways {
            let mut all = workerd.run("not_served_by_http/HTTP").await;
            let websocket = all.as_object_mut().unwrap().remove("websocket").unwrap();
            assert_eq!(websocket[0], 501, "{way}: {websocket}");
            let text = websocket[1].as_str().unwrap();
            assert!(text.to_lowercase().contains("upgrade"), "{way}: {text}");
            assert_eq!(all, by_http, "{way}");
            let all = workerd.run("not_served_by_calls/CALLS").await;
            assert_eq!(all, by_calls, "{way}");
        }
    })
    .await;
}

/// What a span says, without what differs each time.
fn told(span: &FinishedSpan) -> Value {
    let mut told = serde_json::Map::new();
    told.insert("name".into(), span.name.clone().into());
    told.insert("ok".into(), (span.outcome == Outcome::Ok).into());
    for attribute in &span.attributes {
        let key = &*attribute.key;
        let value = match &attribute.value {
            AttributeValue::String(text) => json!(text),
            AttributeValue::Bool(flag) => json!(flag),
            AttributeValue::Int64(number) => json!(number),
            AttributeValue::Float64(number) => json!(number),
            AttributeValue::List(list) => match &**list {
                AttributeList::Strings(texts) => json!(texts),
                other => panic!("{key}: {other:?}"),
            },
        };
        match key {
            "ai_gateway.log.id" => assert!(value.as_str().unwrap().len() > 20, "{value}"),
            "gen_ai.response.id" => assert!(value.is_string(), "{value}"),
            "gen_ai.response.time_to_first_chunk" => {
                let seconds = value.as_f64().unwrap();
                assert!(seconds > 0.0 && seconds < 30.0, "{seconds}");
                told.insert(key.into(), true.into());
            }
            _ if key.starts_with("gen_ai.") || key.starts_with("ai_gateway.") => {
                told.insert(key.into(), value);
            }
            "error.type" | "http.response.status_code" if span.outcome != Outcome::Ok => {
                told.insert(key.into(), value);
            }
            _ => {}
        }
    }
    Value::Object(told)
}

/// The spans of a caller through which a Worker has asked for one of each by this binding.
async fn spans_of_one_of_each(binding: &str) -> Vec<Value> {
    let world = World::new().await;
    let recorder = Arc::new(Recorder::new());
    let sinks: Sinks = Arc::new([Arc::clone(&recorder) as Arc<dyn SpanSink>]);
    let proxy = Proxy::new(
        world.ours.address().clone(),
        "AI",
        ConnectOptions::default(),
    );
    let caller = Server::new().sinks(sinks).proxy("AI", proxy);
    let caller = Ours::serve(caller).await;
    let workerd = worker(caller.address()).await;
    workerd.run(&format!("one_of_each/{binding}")).await;
    let waiting = move || recorder.wait_idle(Duration::from_secs(60));
    let spans = tokio::task::spawn_blocking(waiting).await.unwrap();
    spans.iter().map(told).collect()
}

#[tokio::test(flavor = "local")]
async fn the_callers_spans_are_named_and_have_a_streams_token_counts_once_it_ended() {
    within(async {
        for binding in BINDINGS {
            let mut spans = spans_of_one_of_each(binding).await;
            // By calls a gateway is an object, which is asked for.
            let opened = json!({"name": "ai_gateway.open", "ok": true, "ai_gateway.id": "g"});
            let all = spans.len();
            spans.retain(|span| *span != opened);
            assert_eq!(all - spans.len(), if binding == "CALLS" { 2 } else { 0 });
            for wanted in of_one_of_each(binding) {
                let found = spans.iter().position(|span| *span == wanted);
                let found = found.unwrap_or_else(|| panic!("{binding}: no {wanted} in {spans:#?}"));
                spans.remove(found);
            }
            assert!(spans.is_empty(), "{binding}: {spans:#?}");
        }
    })
    .await;
}

/// What the spans of `one_of_each` say.
fn of_one_of_each(binding: &str) -> Vec<Value> {
    let span = |name: &str, model: &str, more: Value| {
        let mut span = json!({
            "name": name,
            "ok": true,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "counter",
            "gen_ai.request.model": model,
        });
        let whole = span.as_object_mut().unwrap();
        whole.extend(more.as_object().unwrap().clone());
        span
    };
    let counted = |input: u64, output: u64, more: Value| {
        let mut counted = json!({
            "gen_ai.response.model": "word-counter",
            // A list of one arrives as that one.
            "gen_ai.response.finish_reasons": "stop",
            "gen_ai.usage.input_tokens": input,
            "gen_ai.usage.output_tokens": output,
        });
        let whole = counted.as_object_mut().unwrap();
        whole.extend(more.as_object().unwrap().clone());
        counted
    };
    let streamed = json!({
        "gen_ai.request.stream": true,
        "gen_ai.response.time_to_first_chunk": true,
    });
    let (llama, counter) = ("@cf/meta/llama-3.1-8b-instruct", "word-counter");
    let bge = "@cf/baai/bge-base-en-v1.5";
    let priced = json!({"gen_ai.request.temperature": 0.5, "gen_ai.usage.cost": 0.000021});
    let fallback =
        json!({"ai_gateway.id": "g", "ai_gateway.attempts": 2, "ai_gateway.fallback": 1});
    let mut gateway_streamed = streamed.clone();
    gateway_streamed["ai_gateway.id"] = "g".into();
    gateway_streamed["ai_gateway.attempts"] = 1.into();
    let vectors = json!({
        "gen_ai.operation.name": "embeddings",
        "gen_ai.response.model": counter,
        "gen_ai.usage.input_tokens": 2,
    });
    let limited = json!({
        "ok": false,
        "gen_ai.provider.name": "standin",
        "http.response.status_code": 429,
        // The class of an exception replaces the callee's type.
        "error.type": match binding {
            "CALLS" => "InferenceUpstreamError",
            _ => "429",
        },
    });
    vec![
        span(&format!("chat {llama}"), llama, counted(3, 9, priced)),
        span("chat word-counter", counter, counted(3, 9, streamed)),
        span(&format!("embeddings {bge}"), bge, vectors),
        span("ai_gateway.run", counter, counted(3, 9, fallback)),
        span("ai_gateway.run", counter, counted(2, 8, gateway_streamed)),
        span("chat standin/limited", "standin/limited", limited),
    ]
}
