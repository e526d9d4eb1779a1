//! Providers that refuse, and providers that are not there.

use std::time::Duration;

use bindings::ai::{AiOptions, Endpoint, ProviderOptions};
use serde_json::json;

use crate::upstream::{Upstream, chat};
use crate::world::{World, attributes, options};

const WORDS: &str = "the upstream's own words";

#[tokio::test(flavor = "local")]
async fn a_refusal_is_a_failed_call_with_its_status_and_its_words_are_for_the_caller() {
    let upstream = Upstream::statuses(&[(429, &[("retry-after", "3")])]).await;
    let world = World::of(&upstream).await;
    let (error, span) = world.failed([json!("m"), json!({"prompt": "Hi"})]).await;
    assert!(error.contains("3040") && error.contains(WORDS), "{error}");
    let stated = span.error.clone().unwrap();
    assert_eq!(
        (stated.kind.as_str(), stated.message.as_str()),
        ("InferenceUpstreamError", "up answered 429")
    );
    assert_eq!(attributes(&span)["http.response.status_code"], "429");
    assert_eq!(world.callee.last().error, span.error);
    let account = world.accounts.nth(1).await;
    assert_eq!(
        (account.error_type.as_deref(), account.status),
        (Some("429"), Some(429))
    );

    let body = json!({"model": "m", "messages": []});
    let answer = world.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("3"));
    assert_eq!(answer.json()["error"]["message"], WORDS);
    let worker = json!({"inputs": {"prompt": "Hi"}, "options": {}});
    let headers = [
        ("content-type", "application/json"),
        ("cf-consn-model-id", "m"),
    ];
    let answer = world
        .http("POST", "/run?version=3", &headers, worker.to_string())
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, Some("3"))
    );
    assert_eq!(answer.json()["internalCode"], 3040);
    world.callee.reached(3).await;
    for span in world.callee.now().iter().chain(&world.caller.now()) {
        assert!(!format!("{span:?}").contains(WORDS), "{span:#?}");
    }
    assert_eq!(world.accounts.all().len(), 3);
}

#[tokio::test(flavor = "local")]
async fn nobody_there_slow_and_redirecting_providers_are_told_apart() {
    let slow = Upstream::new(|exchange| exchange.gone()).await;
    let mut slow = options(&slow);
    slow.providers[0].timeout = Duration::from_millis(50);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = nobody.local_addr().unwrap();
    drop(nobody);
    let nobody = Endpoint::Http(format!("http://{at}/v1").parse().unwrap());
    let nobody = AiOptions {
        providers: vec![ProviderOptions::new("up", nobody)],
        ..AiOptions::default()
    };
    let redirecting = Upstream::statuses(&[(307, &[("location", "http://127.0.0.1:1/")])]).await;
    let page = Upstream::new(|mut exchange| async move {
        exchange
            .answer(200, &[("content-type", "text/html")], "<html>")
            .await;
    })
    .await;
    for (options, status, kind) in [
        (slow, 504, "upstream_timeout"),
        (nobody, 502, "upstream_connect"),
        (options(&redirecting), 502, "upstream_broken"),
        (options(&page), 502, "invalid_answer"),
    ] {
        let world = World::new(options).await;
        let (error, span) = world.failed([json!("m"), json!({"prompt": "Hi"})]).await;
        assert_eq!(
            span.error.unwrap().kind,
            "InferenceUpstreamError",
            "{error}"
        );
        assert_eq!(
            world.accounts.nth(1).await.error_type.as_deref(),
            Some(kind)
        );
        let headers = [
            ("content-type", "application/json"),
            ("cf-consn-model-id", "m"),
        ];
        let answer = world
            .http(
                "POST",
                "/run",
                &headers,
                json!({"inputs": {"prompt": "Hi"}}).to_string(),
            )
            .await;
        assert!(answer.status.as_u16() == status, "{kind}: {answer:?}");
        world.accounts.nth(2).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_compressed_answer_that_nobody_asked_for_is_passed_on_and_not_taken_for_text() {
    let upstream = Upstream::new(|mut exchange| async move {
        let headers = [
            ("content-type", "text/event-stream"),
            ("content-encoding", "gzip"),
        ];
        exchange.answer(200, &headers, "data: \u{1f}not text").await;
    })
    .await;
    let world = World::of(&upstream).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    let answer = world.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.text(), "data: \u{1f}not text");
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(upstream.last().header("accept-encoding"), None);
    let (error, _) = world
        .failed([json!("m"), json!({"prompt": "Hi", "stream": true})])
        .await;
    assert!(error.contains("3043"), "{error}");
}

#[tokio::test(flavor = "local")]
async fn an_error_with_a_good_status_fails_a_workers_run() {
    let mut answer = chat("x");
    answer["error"] = json!({"message": WORDS});
    let upstream = Upstream::answering(answer).await;
    let world = World::of(&upstream).await;
    let (error, span) = world.failed([json!("m"), json!({"prompt": "Hi"})]).await;
    assert!(error.contains(WORDS), "{error}");
    assert!(!format!("{span:?}").contains(WORDS), "{span:#?}");
}

#[tokio::test(flavor = "local")]
async fn what_a_provider_says_of_a_key_that_is_not_the_callers_is_not_passed_on() {
    let upstream = Upstream::statuses(&[(401, &[("www-authenticate", "Bearer planted")])]).await;
    let mut keyed = options(&upstream);
    keyed.providers[0].key = Some(bindings::ai::Secret::Value("k".parse().unwrap()));
    for (options, passed) in [(keyed, false), (crate::world::options(&upstream), true)] {
        let world = World::new(options).await;
        let body = json!({"model": "m", "messages": []});
        let answer = world.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.text().contains(WORDS), passed);
        assert_eq!(answer.header("www-authenticate").is_some(), passed);
        assert!(answer.json()["error"]["message"].is_string());
    }
}
