//! Plain HTTP: what clients of OpenAI's HTTP and of a gateway send, and what they may not.

use serde_json::json;

use crate::upstream::{Upstream, chat};
use crate::world::{World, options, with_gateway};

#[tokio::test(flavor = "local")]
async fn an_openai_client_is_answered_with_what_the_provider_said() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let world = World::of(&upstream).await;
    let headers = [
        ("authorization", "Bearer callers"),
        ("openai-organization", "org-1"),
        ("cookie", "a=b"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let body = json!({"model": "up/real", "messages": []});
    let answer = world
        .http("POST", "/v1/chat/completions", &headers, body.to_string())
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, chat("Hello"))
    );
    assert_eq!(answer.header("cf-aig-step"), None, "there is no gateway");
    let sent = upstream.last();
    assert_eq!(sent.json()["model"], "real");
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.header("openai-organization"), Some("org-1"));
    assert_eq!(
        sent.header("authorization"),
        Some("Bearer callers"),
        "the provider has no key of its own"
    );
    for name in [
        "cookie",
        "traceparent",
        "x-forwarded-for",
        "accept-encoding",
    ] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    let span = world.callee.reached(2).await;
    assert_eq!(span.name, "chat up/real");
    let by_gateway = world
        .post("/v1/AI/default/compat/chat/completions", &body)
        .await;
    assert_eq!(by_gateway.json(), chat("Hello"));
    assert!(by_gateway.header("cf-aig-log-id").is_some());
}

#[tokio::test(flavor = "local")]
async fn models_are_listed_as_openai_lists_them() {
    let upstream =
        Upstream::answering(json!({"data": [{"id": "one", "created": 5, "owned_by": "them"}]}))
            .await;
    let world = World::of(&upstream).await;
    for path in ["/v1/models", "/v1/AI/default/compat/models"] {
        let answer = world.http("GET", path, &[], "").await;
        assert_eq!(
            answer.json(),
            json!({
                "object": "list",
                "data": [{"id": "one", "object": "model", "created": 5, "owned_by": "them"}],
            })
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_providers_own_paths_take_any_method_and_any_body() {
    let upstream = Upstream::new(|mut exchange| async move {
        let seen = exchange.seen.clone();
        let echoed = format!("{} {} {}", seen.method, seen.path, seen.body.len());
        let headers = [
            ("content-type", "text/plain"),
            ("x-of-theirs", "1"),
            ("cf-aig-step", "99"),
        ];
        exchange.answer(200, &headers, &echoed).await;
    })
    .await;
    let world = World::new(with_gateway(&upstream, |_| {})).await;
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for (method, path, body, echoed) in [
        (
            "POST",
            "/v1/AI/g/up/files?purpose=x",
            binary.clone(),
            "POST /v1/files?purpose=x 1048576",
        ),
        (
            "GET",
            "/v1/AI/g/up/files/a%2Fb",
            vec![],
            "GET /v1/files/a%2Fb 0",
        ),
        (
            "DELETE",
            "/v1/AI/g/up/files/1",
            vec![],
            "DELETE /v1/files/1 0",
        ),
        ("PUT", "/v1/AI/g/up/x", vec![1], "PUT /v1/x 1"),
    ] {
        let answer = world
            .http(
                method,
                path,
                &[("content-type", "application/octet-stream")],
                body,
            )
            .await;
        assert_eq!(answer.text(), echoed);
        assert_eq!(answer.header("x-of-theirs"), Some("1"));
        assert_eq!(answer.header("cf-aig-step"), Some("0"), "ours, not theirs");
    }
    assert_eq!(upstream.seen()[0].body, binary);
    let head = world.http("HEAD", "/v1/AI/g/up/files/1", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(upstream.last().method, "HEAD");
    world.accounts.nth(5).await;
    assert!(
        world
            .accounts
            .all()
            .iter()
            .all(|it| it.error_type.is_none()),
        "{:#?}",
        world.accounts.all()
    );
    let spans = world.callee.now();
    assert!(spans.iter().all(|it| it.error.is_none()), "{spans:#?}");
}

#[tokio::test(flavor = "local")]
async fn what_cannot_be_meant_is_refused_in_the_callers_own_form() {
    let upstream = Upstream::answering(chat("Hello")).await;
    let mut options = options(&upstream);
    options.max_request_bytes = 1000;
    let world = World::new(options).await;
    let long = "x".repeat(2000);
    let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
    for (method, path, body, status, says) in [
        (
            "POST",
            "/v1/chat/completions",
            "{nothing",
            400,
            "the body is not JSON (line 1, column 2)",
        ),
        (
            "POST",
            "/v1/chat/completions",
            "[]",
            400,
            "the body is not an object",
        ),
        (
            "POST",
            "/v1/chat/completions",
            "{}",
            400,
            "model is missing",
        ),
        (
            "POST",
            "/v1/chat/completions",
            deep.as_str(),
            400,
            "the body is not JSON",
        ),
        (
            "POST",
            "/v1/chat/completions",
            long.as_str(),
            413,
            "1000 bytes",
        ),
        (
            "GET",
            "/v1/chat/completions",
            "",
            405,
            "this path takes POST",
        ),
        ("GET", "/run", "", 405, "this path takes POST"),
        ("POST", "/v1/nothing", "{}", 404, "there is no such path"),
        ("POST", "/nothing", "{}", 404, "there is no such path"),
        (
            "POST",
            "/v1/OTHER/g/up/x",
            "{}",
            404,
            "there is no such path",
        ),
        (
            "POST",
            "/v1/AI/a%20b/up/x",
            "{}",
            400,
            "the gateway's id is",
        ),
        (
            "POST",
            "/v1/AI/g/nobody/x",
            "{}",
            400,
            "there is no provider \\\"nobody\\\"; there are up, workers-ai",
        ),
        ("POST", "/v1/AI/g/up/x", long.as_str(), 413, "1000 bytes"),
        (
            "POST",
            "/v1/AI/g/up/a/%2e%2e/%2e%2e/admin",
            "{}",
            400,
            "leads upwards",
        ),
        (
            "POST",
            "/ai-gateway/universal/run/g",
            "{}",
            400,
            "provider is missing",
        ),
        (
            "POST",
            "/ai-gateway/universal/run/g",
            "[]",
            400,
            "0 requests",
        ),
        (
            "POST",
            "/to-everything/markdown/transformer",
            "",
            501,
            "toMarkdown is not served",
        ),
        (
            "PATCH",
            "/ai-gateway/gateways/g/logs/1",
            "{\"score\":1000}",
            400,
            "score",
        ),
        (
            "GET",
            "/ai-gateway/gateways/g/url/up",
            "",
            500,
            "configure its public URL",
        ),
    ] {
        let answer = world.http(method, path, &[], body.to_owned()).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(
            answer.text().contains(says),
            "{method} {path}: {}",
            answer.text()
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
        if path == "/v1/chat/completions" && method == "POST" {
            assert!(
                answer.json()["error"]["message"].is_string(),
                "OpenAI's form: {}",
                answer.text()
            );
        }
    }
    let headers = [("content-type", "application/json")];
    let answer = world.http("POST", "/run", &headers, "{}").await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.json()["internalCode"].as_u64()
        ),
        (400, Some(3003))
    );
    assert!(upstream.seen().is_empty());
    assert!(world.accounts.all().is_empty());
    for span in world.callee.now() {
        assert!(span.error.is_some(), "{span:#?}");
    }
}
