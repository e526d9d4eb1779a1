//! A gateway's rules: fallback, attempts, cache, rate limit, log.

use std::time::{Duration, Instant};

use bindings::ai::{Cached, ModelRule, Price};
use serde_json::{Value as Json, json};

use crate::upstream::{Upstream, chat, delta};
use crate::world::{World, attributes, events, map, provider, steady, with_gateway};

const CHAT: &str = "/v1/AI/g/up/chat/completions";

fn step(provider: &str) -> Json {
    json!({"provider": provider, "endpoint": "chat/completions", "query": {"model": "m", "messages": []}})
}

fn body() -> Json {
    json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
}

#[tokio::test(flavor = "local")]
async fn a_provider_that_fails_gives_way_to_the_next_and_the_span_is_of_the_one_that_answered() {
    let bad = Upstream::statuses(&[(500, &[])]).await;
    let good = Upstream::answering(chat("Hello")).await;
    let mut options = with_gateway(&bad, |gateway| gateway.max_attempts = 2);
    options.providers[0].break_after = 0;
    options.providers.push(provider("other", &good));
    let world = World::new(options).await;
    let answer = world.universal([json!([step("up"), step("other")])]).await;
    assert_eq!(answer.json(), chat("Hello"));
    assert_eq!(answer.header("cf-aig-step"), Some("1"));
    let span = world
        .caller
        .now()
        .into_iter()
        .find(|span| span.name == "ai_gateway.run")
        .unwrap();
    assert_eq!(span.error, None);
    let mut expected = map([
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "other"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.id", "chatcmpl-1"),
        ("gen_ai.response.model", "model-of-theirs"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "3"),
        ("gen_ai.usage.cache_read.input_tokens", "2"),
        ("gen_ai.usage.reasoning.output_tokens", "1"),
        ("ai_gateway.id", "g"),
        ("ai_gateway.attempts", "3"),
    ]);
    expected.insert("ai_gateway.fallback".into(), "1".into());
    assert_eq!(steady(&span), expected);
    assert_eq!(
        attributes(&span)["ai_gateway.log.id"],
        answer.header("cf-aig-log-id").unwrap()
    );
    world.accounts.nth(2).await;
    let accounts = world.accounts.all();
    let told: Vec<_> = accounts
        .iter()
        .map(|it| {
            (
                it.provider.as_str(),
                it.step,
                it.attempts,
                it.error_type.as_deref(),
            )
        })
        .collect();
    assert_eq!(told, [("up", 0, 2, Some("500")), ("other", 1, 1, None)]);
    assert_eq!(
        (accounts[1].attempts_before, accounts[0].status),
        (2, Some(500))
    );

    // By plain HTTP it is the same, and when none answers the last one's refusal is the answer.
    let answer = world
        .post(
            "/ai-gateway/universal/run/g",
            &json!([step("up"), step("other")]),
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, chat("Hello"))
    );
    let answer = world
        .post("/v1/AI/g", &json!([step("other-not"), step("up")]))
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .contains("there is no provider \\\"other-not\\\""),
        "{}",
        answer.text()
    );
    let answer = world.post("/v1/AI/g", &step("up")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cf-aig-step")),
        (500, Some("0"))
    );
    assert!(answer.text().contains("the upstream's own words"));
}

#[tokio::test(flavor = "local")]
async fn attempts_wait_as_long_as_the_provider_asks() {
    let upstream =
        Upstream::statuses(&[(429, &[("retry-after", "1")]), (503, &[]), (200, &[])]).await;
    let world = World::new(with_gateway(&upstream, |gateway| gateway.max_attempts = 3)).await;
    let since = Instant::now();
    let answer = world.post(CHAT, &body()).await;
    assert_eq!(answer.status, 200);
    assert!(
        since.elapsed() >= Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(world.accounts.nth(1).await.attempts, 3);
    assert_eq!(upstream.seen().len(), 3);
    // Each attempt is a span of the callee's own, with its status.
    let spans = world.callee.now();
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "POST").collect();
    let status = |n: usize| {
        attempts[n]
            .get("http.response.status_code")
            .unwrap()
            .to_string()
    };
    assert_eq!(
        (status(0), status(1), status(2)),
        ("429".into(), "503".into(), "200".into())
    );
    assert_eq!(
        attempts[2]
            .get("http.request.resend_count")
            .unwrap()
            .to_string(),
        "2"
    );
}

#[tokio::test(flavor = "local")]
async fn a_request_has_its_own_timeout_and_attempts() {
    let upstream = Upstream::new(|exchange| exchange.gone()).await;
    let world = World::new(with_gateway(&upstream, |_| {})).await;
    let headers = [
        ("cf-aig-request-timeout", "30"),
        ("cf-aig-max-attempts", "2"),
        ("cf-aig-retry-delay", "1"),
    ];
    let answer = world.http("POST", CHAT, &headers, body().to_string()).await;
    assert_eq!(answer.status, 504);
    assert!(answer.header("cf-aig-log-id").is_some(), "{answer:?}");
    let account = world.accounts.nth(1).await;
    assert_eq!(
        (account.attempts, account.error_type.as_deref()),
        (2, Some("upstream_timeout"))
    );
    let answer = world
        .http(
            "POST",
            CHAT,
            &[("cf-aig-max-attempts", "9")],
            body().to_string(),
        )
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .contains("cf-aig-max-attempts is \\\"9\\\"; give a whole number from 1 to 5")
    );
}

#[tokio::test(flavor = "local")]
async fn a_gateway_takes_only_so_many_requests() {
    let upstream = Upstream::answering(chat("Hi")).await;
    let world = World::new(with_gateway(&upstream, |gateway| gateway.rate_limit = 1)).await;
    assert_eq!(world.post(CHAT, &body()).await.status, 200);
    let refused = world.post(CHAT, &body()).await;
    assert_eq!(refused.status, 429);
    assert!(
        (1..=60).contains(
            &refused
                .header("retry-after")
                .unwrap()
                .parse::<u64>()
                .unwrap()
        )
    );
    let options = json!({"gateway": {"id": "g"}});
    let (error, span) = world
        .failed([json!("m"), json!({"prompt": "Hi"}), options])
        .await;
    assert!(error.contains("Rate limited"), "{error}");
    assert_eq!(
        (span.name.as_str(), span.error.unwrap().kind.as_str()),
        ("ai_gateway.run", "InferenceUpstreamError")
    );
    assert_eq!(upstream.seen().len(), 1);
    let account = world.accounts.nth(3).await;
    assert_eq!(
        (account.attempts, account.error_type.as_deref()),
        (0, Some("rate_limited"))
    );
}

#[tokio::test(flavor = "local")]
async fn the_cache_answers_the_same_request_in_any_shape_and_no_other() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let mut options = with_gateway(&upstream, |gateway| {
        gateway.cache_ttl = Duration::from_secs(60)
    });
    options.models = vec![ModelRule {
        pattern: "*".into(),
        provider: None,
        model: None,
        price: Some(Price {
            input: 1e6,
            output: 1e6,
            cached_input: None,
        }),
    }];
    let world = World::new(options).await;
    let status = async |headers: &[(&str, &str)], body: Json| {
        let answer = world.http("POST", CHAT, headers, body.to_string()).await;
        assert_eq!(answer.json(), chat("Hello"));
        answer.header("cf-aig-cache-status").map(str::to_owned)
    };
    let (hit, miss) = (Some("HIT".to_owned()), Some("MISS".to_owned()));
    assert_eq!(status(&[], body()).await, miss);
    assert_eq!(status(&[], body()).await, hit);
    assert_eq!(upstream.seen().len(), 1);
    let account = world.accounts.nth(2).await;
    assert_eq!(
        (account.cached, account.attempts, account.cost),
        (Some(Cached::Hit), 0, Some(0.0))
    );
    assert_eq!(account.reading.usage.output, Some(3));
    assert_eq!(world.accounts.all()[0].cost, Some(10.0));
    // Not what somebody else paid for, not another body, not when it is not wanted.
    assert_eq!(
        status(&[("authorization", "Bearer other")], body()).await,
        miss
    );
    assert_eq!(
        status(&[], json!({"model": "m", "messages": []})).await,
        miss
    );
    assert_eq!(status(&[("cf-aig-skip-cache", "true")], body()).await, None);
    assert_eq!(status(&[("cf-aig-cache-ttl", "0")], body()).await, None);
    // A key of one's own is shared by all, but for answers of another form.
    let keyed = [("cf-aig-cache-key", "k")];
    assert_eq!(status(&keyed, body()).await, miss);
    assert_eq!(status(&keyed, json!({"model": "other"})).await, hit);
    let answer = world
        .http("POST", "/v1/AI/g/up/embeddings", &keyed, "{}")
        .await;
    assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
    for form in ["responses", "messages"] {
        let path = format!("/v1/AI/g/up/{form}");
        let answer = world.http("POST", &path, &keyed, "{}").await;
        assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"), "{form}");
    }
    // What a Worker gets of it has a Worker's shape.
    let asks = json!({"gateway": {"id": "g", "cacheKey": "k"}});
    let (reply, span) = world.ran([json!("m"), json!({"prompt": "x"}), asks]).await;
    assert_eq!(reply["response"], "Hello");
    assert_eq!(attributes(&span)["ai_gateway.cache"], "hit");
    assert_eq!(attributes(&span)["gen_ai.usage.cost"], "0.0");
}

#[tokio::test(flavor = "local")]
async fn streams_are_kept_whole_and_played_again_in_both_shapes_and_broken_ones_are_not() {
    let upstream = Upstream::new(|mut exchange| async move {
        match exchange.seen.json()["model"].as_str() {
            Some("cut") => {
                exchange.begin().await;
                exchange.event(&delta("a")).await;
                exchange.say("0\r\n\r\n").await;
            }
            Some("dies") => {
                exchange.begin().await;
                exchange.event(&delta("a")).await;
            }
            _ => exchange.stream(&["a", "b"]).await,
        }
    })
    .await;
    let world = World::new(with_gateway(&upstream, |gateway| {
        gateway.cache_ttl = Duration::from_secs(60)
    }))
    .await;
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let first = world.post(CHAT, &ask("m")).await;
    let again = world.post(CHAT, &ask("m")).await;
    assert_eq!(first.header("cf-aig-cache-status"), Some("MISS"));
    assert_eq!(again.header("cf-aig-cache-status"), Some("HIT"));
    assert_eq!(first.body, again.body);
    assert!(
        again
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    assert!(!again.text().contains("usage"));
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!(world.accounts.nth(2).await.reading.usage.output, Some(5));
    // A Worker's run of the same, by a key of its own since its body is written otherwise.
    let inputs = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let options = json!({"gateway": {"id": "g", "cacheKey": "w"}});
    let run = [json!("m"), inputs, options];
    let first = crate::world::rest(world.streamed(run.clone()).await).await;
    let again = crate::world::rest(world.streamed(run).await).await;
    assert_eq!(first, again);
    assert_eq!(events(&again)[0], json!({"response": "a"}));
    assert_eq!(world.accounts.nth(4).await.cached, Some(Cached::Hit));
    let headers = [("cf-aig-cache-key", "w")];
    let shaped = world
        .http("POST", CHAT, &headers, ask("m").to_string())
        .await;
    assert_eq!(events(shaped.text())[0], delta("a"));
    // One that ended too early is played to nobody.
    for model in ["cut", "cut"] {
        let answer = world.post(CHAT, &ask(model)).await;
        assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
    }
    for _ in 0..2 {
        let answer = world.post(CHAT, &ask("dies")).await;
        assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_is_in_the_log_as_soon_as_its_answer_has_ended_and_can_be_marked() {
    let upstream =
        Upstream::new(|exchange| async move { exchange.stream(&["secret-answer"]).await }).await;
    for content in [false, true] {
        let world = World::new(with_gateway(&upstream, |gateway| {
            gateway.log_content = content
        }))
        .await;
        let request = json!({"model": "m", "messages": [{"role": "user", "content": "secret-prompt"}], "stream": true});
        let headers = [
            ("cf-aig-metadata", "{\"user\":\"u1\",\"n\":2}"),
            (
                "cf-aig-custom-cost",
                "{\"per_token_in\":0.5,\"per_token_out\":2}",
            ),
            ("cf-aig-event-id", "ev-1"),
        ];
        let answer = world
            .http("POST", CHAT, &headers, request.to_string())
            .await;
        assert_eq!(answer.header("cf-aig-event-id"), Some("ev-1"));
        let id = answer.header("cf-aig-log-id").unwrap().to_owned();
        let gateway = world.call("gateway", [json!("g")]).await.unwrap();
        let gateway = gateway.stub(0).unwrap();
        let args = |args: Vec<Json>| js_rpc::Args::from_json(args).unwrap();
        let get = async || {
            gateway
                .call("getLog", args(vec![json!(id)]))
                .await
                .unwrap()
                .to_json()
                .unwrap()
        };
        let log = get().await;
        assert_eq!(log["provider"], "up");
        assert_eq!(
            (&log["model"], &log["status_code"], &log["success"]),
            (&json!("m"), &json!(200), &json!(true))
        );
        assert_eq!(
            (&log["tokens_in"], &log["tokens_out"]),
            (&json!(11), &json!(5))
        );
        assert_eq!(
            (&log["cost"], &log["custom_cost"]),
            (&json!(15.5), &json!(true))
        );
        assert_eq!(log["metadata"], json!({"user": "u1", "n": 2}));
        assert_eq!(log.to_string().contains("secret-prompt"), content);
        assert_eq!(log.to_string().contains("secret-answer"), content);
        let patch = json!({"feedback": 1, "score": 80, "metadata": {"seen": true}});
        gateway
            .call("patchLog", args(vec![json!(id), patch]))
            .await
            .unwrap();
        let log = get().await;
        assert_eq!((&log["feedback"], &log["score"]), (&json!(1), &json!(80)));
        assert_eq!(log["metadata"]["seen"], true);
        // The same by HTTP.
        let path = format!("/ai-gateway/gateways/g/logs/{id}");
        assert_eq!(
            world.http("GET", &path, &[], "").await.json()["result"]["score"],
            80
        );
        let patched = world.http("PATCH", &path, &[], "{\"score\":10}").await;
        assert_eq!(patched.json()["success"], true);
        assert_eq!(get().await["score"], 10);
        let missing = world
            .http("GET", "/ai-gateway/gateways/g/logs/01ARZ", &[], "")
            .await;
        assert_eq!(
            (
                missing.status.as_u16(),
                missing.json()["errors"][0]["message"].as_str()
            ),
            (404, Some("Not Found"))
        );
        let error = gateway
            .call("getLog", args(vec![json!("01ARZ")]))
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, "AiGatewayLogNotFound: Not Found");
        let unlogged = world
            .http(
                "POST",
                CHAT,
                &[("cf-aig-collect-log", "false")],
                request.to_string(),
            )
            .await;
        assert_eq!(unlogged.header("cf-aig-log-id"), None);
    }
}

#[tokio::test(flavor = "local")]
async fn what_failed_is_in_the_log_with_the_status_that_was_answered() {
    let upstream = Upstream::new(|exchange| exchange.gone()).await;
    let world = World::new(with_gateway(&upstream, |gateway| {
        gateway.request_timeout = Some(Duration::from_millis(30))
    }))
    .await;
    let answer = world.post(CHAT, &body()).await;
    let path = format!(
        "/ai-gateway/gateways/g/logs/{}",
        answer.header("cf-aig-log-id").unwrap()
    );
    let log = world.http("GET", &path, &[], "").await.json();
    assert_eq!(log["result"]["status_code"], 504);
    assert_eq!(log["result"]["success"], false);
}

#[tokio::test(flavor = "local")]
async fn workers_ai_is_a_provider_of_every_gateway() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let world = World::new(with_gateway(&upstream, |_| {})).await;
    let step =
        json!({"provider": "workers-ai", "endpoint": "@cf/meta/llama", "query": {"prompt": "Hi"}});
    let by_rpc = world.universal([step.clone()]).await;
    let by_http = world.post("/ai-gateway/universal/run/g", &step).await;
    let by_path = world
        .post(
            "/v1/AI/g/workers-ai/@cf/meta/llama",
            &json!({"prompt": "Hi"}),
        )
        .await;
    for answer in [by_rpc, by_http, by_path] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["response"], "Hello");
        assert!(answer.header("cf-aig-log-id").is_some());
    }
    let openai =
        json!({"provider": "workers-ai", "endpoint": "v1/chat/completions", "query": body()});
    assert_eq!(world.universal([openai]).await.json(), chat("Hello"));
    let refused = world
        .universal([json!({"provider": "workers-ai", "endpoint": "m", "query": {}})])
        .await;
    assert_eq!(refused.status, 400);
}

#[tokio::test(flavor = "local")]
async fn a_gateways_url_is_known_where_the_binding_is_reached_by_http() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let mut options = with_gateway(&upstream, |_| {});
    options.public_url = Some("http://127.0.0.1:9".into());
    let world = World::new(options).await;
    let gateway = world.call("gateway", [json!("g")]).await.unwrap();
    let url = async |args: Vec<Json>| {
        let args = js_rpc::Args::from_json(args).unwrap();
        gateway
            .stub(0)
            .unwrap()
            .call("getUrl", args)
            .await
            .unwrap()
            .to_json()
            .unwrap()
    };
    assert_eq!(url(vec![]).await, "http://127.0.0.1:9/v1/AI/g");
    assert_eq!(
        url(vec![json!("up")]).await,
        "http://127.0.0.1:9/v1/AI/g/up"
    );
    let answer = world
        .http("GET", "/ai-gateway/gateways/g/url/universal", &[], "")
        .await;
    assert_eq!(answer.json()["result"]["url"], "http://127.0.0.1:9/v1/AI/g");
    let unknown = world
        .call("gateway", [json!("x")])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("there is no gateway \"x\"; there is g"),
        "{unknown}"
    );
}

#[tokio::test(flavor = "local")]
async fn a_page_is_no_answer_that_is_kept() {
    let upstream = Upstream::new(|mut exchange| async move {
        let html = [("content-type", "text/html")];
        exchange.answer(200, &html, "<html>").await;
    })
    .await;
    let world = World::new(with_gateway(&upstream, |_| {})).await;
    for _ in 0..2 {
        let headers = [("cf-aig-cache-ttl", "60")];
        let answer = world.http("POST", CHAT, &headers, body().to_string()).await;
        assert_eq!(answer.header("cf-aig-cache-status"), Some("MISS"));
        assert_eq!(answer.text(), "<html>");
    }
}
