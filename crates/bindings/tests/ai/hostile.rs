//! What somebody may try who may call the binding.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::upstream::{Upstream, chat, delta};
use crate::world::{World, attributes, options, with_gateway};

#[tokio::test(flavor = "local")]
async fn a_long_model_is_no_name_of_a_span_and_goes_nowhere_else() {
    let upstream = Upstream::answering(chat("Hi")).await;
    let world = World::of(&upstream).await;
    let long = "m".repeat(400);
    let (_, span) = world.ran([json!(long), json!({"prompt": "Hi"})]).await;
    assert_eq!(span.name, "chat");
    assert!(span.dropped.is_empty(), "{:?}", span.dropped);
    assert_eq!(attributes(&span)["gen_ai.request.model"], long);
    let longer = "m".repeat(600);
    let error = world
        .run([json!(longer), json!({"prompt": "Hi"})])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("this one has 600"), "{error}");
    // A provider may know what to do with it.
    let body = json!({"model": longer, "messages": []});
    let answer = world.post("/v1/AI/g/up/chat/completions", &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().json()["model"], longer);
    assert_eq!(world.accounts.nth(2).await.model, "");
}

#[tokio::test(flavor = "local")]
async fn no_header_is_injected() {
    let upstream = Upstream::answering(chat("Hi")).await;
    let world = World::new(with_gateway(&upstream, |_| {})).await;
    let step = json!({
        "provider": "up", "endpoint": "chat/completions",
        "headers": {"x-one": "a\r\nx-two: b"}, "query": {"model": "m"},
    });
    let answer = world.universal([step]).await;
    assert_eq!(answer.status, 400);
    let step = json!({
        "provider": "up", "endpoint": "chat/completions",
        "headers": {"cf-aig-event-id": "a\u{7f}b"}, "query": {"model": "m"},
    });
    assert_eq!(world.universal([step]).await.status, 400);
    // Headers of the connection are not the caller's to set.
    let step = json!({
        "provider": "up", "endpoint": "chat/completions", "query": {"model": "m"},
        "headers": {"host": "elsewhere", "content-length": "5", "transfer-encoding": "chunked", "connection": "x-a", "x-a": "1"},
    });
    let answer = world.universal([step]).await;
    assert_eq!(answer.status, 200);
    let sent = upstream.last();
    assert_eq!(sent.header("host"), Some(upstream.at.to_string().as_str()));
    assert_eq!(
        sent.header("content-length"),
        Some(sent.body.len().to_string().as_str())
    );
    for name in ["transfer-encoding", "x-a"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn what_a_provider_says_to_browsers_of_its_own_site_is_not_passed_on() {
    let upstream = Upstream::new(|mut exchange| async move {
        let headers = [
            ("content-type", "application/json"),
            ("set-cookie", "session=theirs"),
            ("access-control-allow-origin", "*"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3=\":443\""),
            ("clear-site-data", "*"),
            ("cf-aig-log-id", "theirs"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("x-request-id", "r1"),
        ];
        exchange
            .answer(200, &headers, &chat("Hi").to_string())
            .await;
    })
    .await;
    let world = World::of(&upstream).await;
    let body = json!({"model": "m", "messages": []});
    for path in ["/v1/chat/completions", "/v1/AI/g/up/chat/completions"] {
        let answer = world.post(path, &body).await;
        assert_eq!(answer.json(), chat("Hi"));
        assert_eq!(answer.header("x-request-id"), Some("r1"));
        for name in [
            "set-cookie",
            "access-control-allow-origin",
            "strict-transport-security",
            "alt-svc",
            "clear-site-data",
            "x-hop",
        ] {
            assert_eq!(answer.header(name), None, "{path}: {name}");
        }
        assert_ne!(answer.header("cf-aig-log-id"), Some("theirs"), "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_status_that_no_standard_has_is_a_failure() {
    let upstream = Upstream::statuses(&[(700, &[])]).await;
    let world = World::of(&upstream).await;
    let body = json!({"model": "m", "messages": []});
    let answer = world.post("/v1/AI/g/up/chat/completions", &body).await;
    assert_eq!(answer.status, 700);
    let account = world.accounts.nth(1).await;
    assert_eq!(account.error_type.as_deref(), Some("700"));
}

#[tokio::test(flavor = "local")]
async fn a_request_in_chunks_is_read_to_its_limit() {
    let upstream = Upstream::answering(chat("Hi")).await;
    let mut options = options(&upstream);
    options.max_request_bytes = 100;
    let world = World::new(options).await;
    let js_rpc::Address::Tcp { host, port } = &world.address else {
        unreachable!()
    };
    let ask = async |chunks: &[String]| {
        let mut io = tokio::net::TcpStream::connect((host.as_str(), *port))
            .await
            .unwrap();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: ai\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        io.write_all(head.as_bytes()).await.unwrap();
        for chunk in chunks {
            let _ = io
                .write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes())
                .await;
        }
        let _ = io.write_all(b"0\r\n\r\n").await;
        let mut answer = vec![0; 12];
        io.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let body = json!({"model": "m", "messages": []}).to_string();
    let (one, two) = body.split_at(9);
    assert_eq!(ask(&[one.to_owned(), two.to_owned()]).await, "HTTP/1.1 200");
    assert_eq!(ask(&["x".repeat(60), "x".repeat(60)]).await, "HTTP/1.1 413");
}

#[tokio::test(flavor = "local")]
async fn an_answer_longer_than_it_may_be_is_given_up() {
    let upstream = Upstream::answering(chat(&"x".repeat(5000))).await;
    let mut options = options(&upstream);
    options.max_answer_bytes = 1000;
    let world = World::new(options).await;
    let error = world
        .run([json!("m"), json!({"prompt": "Hi"})])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 1000 bytes"), "{error}");

    let upstream = Upstream::new(|mut exchange| async move {
        exchange.begin().await;
        exchange.event(&delta(&"x".repeat(5000))).await;
        exchange.gone().await;
    })
    .await;
    let mut options = crate::world::options(&upstream);
    options.max_answer_bytes = 1000;
    let world = World::new(options).await;
    let text = crate::world::rest(
        world
            .streamed([json!("m"), json!({"prompt": "Hi", "stream": true})])
            .await,
    )
    .await;
    assert!(text.contains("\"internalCode\":3043"), "{text}");
    crate::world::until("the upstream's connection closes", || {
        upstream.closed() == 1
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_providers_choices_without_end_are_not_collected() {
    let upstream = Upstream::new(|mut exchange| async move {
        exchange.begin().await;
        for index in 0..5000 {
            let choice =
                json!({"index": index, "delta": {"content": "x"}, "finish_reason": "stop"});
            exchange.event(&json!({"choices": [choice]})).await;
        }
        exchange.end().await;
    })
    .await;
    let mut options = options(&upstream);
    options.content_on_spans = true;
    let world = World::new(options).await;
    let body = json!({"model": "m", "messages": [], "stream": true});
    world.post("/v1/chat/completions", &body).await;
    assert_eq!(world.accounts.nth(1).await.reading.finish_reasons.len(), 16);
    let span = world
        .callee
        .now()
        .into_iter()
        .find(|span| span.name == "chat m")
        .unwrap();
    let messages: serde_json::Value =
        serde_json::from_str(&attributes(&span)["gen_ai.output.messages"]).unwrap();
    assert_eq!(messages.as_array().unwrap().len(), 16);
}
